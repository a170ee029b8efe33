"""Small posteriors, networks and data for the tests of guides and inference."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bayeshnet.distributions import FanInGaussian, SemiImplicit, WeightDraw, WeightPosterior
from bayeshnet.guides import BayesianModel, Categorical, Gaussian, HypernetGuide
from bayeshnet.mnets import MLP
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE, DenseGeometry


class ToyPosterior(WeightPosterior):
    """``w = W2 tanh(W1 z + c_t) + b + sigma eps`` with one ``c`` per condition; linear in ``z`` on request."""

    def __init__(
        self, spec: WeightSpec, n: int = 2, num_conds: int = 1, linear: bool = False, sigma: float = 0.1
    ) -> None:
        super().__init__()
        gen = torch.Generator().manual_seed(7)

        def parameter(*size: int, scale: float = 1.0) -> nn.Parameter:
            return nn.Parameter(scale * torch.randn(*size, dtype=DTYPE, generator=gen))

        self.weight_spec, self.n, self.linear = spec, n, linear
        self.W1 = parameter(6, n, scale=1 / math.sqrt(n))
        self.c = parameter(num_conds, 6)
        self.W2 = parameter(spec.numel, 6, scale=0.5)
        self.b = parameter(spec.numel, scale=0.3)
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma), dtype=DTYPE))

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> SemiImplicit:
        shift = self.c[0 if cond_id is None else cond_id]

        def h(z: Tensor) -> Tensor:
            hidden = z @ self.W1.T + shift
            return (hidden if self.linear else hidden.tanh()) @ self.W2.T + self.b

        geometry = DenseGeometry(h, self.n, self.weight_spec.numel, affine=self.linear)
        return SemiImplicit(geometry, self.log_sigma.exp(), weight_spec=self.weight_spec)


class Replayed(SemiImplicit):
    """Draws come from a table of noise, one row after the other, however many are asked for at a time."""

    table: list[tuple[Tensor, Tensor]]

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        rows = [self.table.pop(0) for _ in range(num)]
        return self.place(torch.stack([z for z, _ in rows]), torch.stack([e for _, e in rows]))


class ReplayedPosterior(ToyPosterior):
    """A :class:`ToyPosterior` whose draws are fixed by ``table``."""

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> SemiImplicit:
        q = super().forward(cond_id, cond_input)
        replayed = Replayed(q.geometry, q.sigma, weight_spec=self.weight_spec)
        replayed.table = self.table
        return replayed

    def fill(self, num: int, seed: int = 0) -> ReplayedPosterior:
        gen = torch.Generator().manual_seed(seed)
        P = self.weight_spec.numel
        self.table = [
            (torch.randn(self.n, dtype=DTYPE, generator=gen), torch.randn(P, dtype=DTYPE, generator=gen))
            for _ in range(num)
        ]
        return self


def small_net(n_in: int = 2, n_out: int = 1, hidden: tuple[int, ...] = (3,)) -> MLP:
    return MLP(n_in, n_out, hidden_layers=hidden, activation_fn=nn.Tanh(), no_weights=True, verbose=False)


def data(N: int = 12, n_in: int = 2, classes: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(N, n_in, dtype=DTYPE, generator=gen)
    if classes is not None:
        return x, torch.randint(classes, (N,), generator=gen)
    return x, x.sum(-1, keepdim=True).sin() + 0.1 * torch.randn(N, 1, dtype=DTYPE, generator=gen)


def regression(
    num_data: int | None = None, linear: bool = False, **options: object
) -> tuple[BayesianModel, HypernetGuide]:
    net = small_net()
    prior = FanInGaussian(net.weight_spec, dtype=DTYPE)
    model = BayesianModel(net, prior, Gaussian(torch.tensor(0.5, dtype=DTYPE)), num_data)
    return model, HypernetGuide(ToyPosterior(net.weight_spec, linear=linear, **options))


def classification(classes: int = 3, num_data: int | None = None) -> tuple[BayesianModel, HypernetGuide]:
    net = small_net(n_out=classes)
    model = BayesianModel(net, FanInGaussian(net.weight_spec, dtype=DTYPE), Categorical(), num_data)
    return model, HypernetGuide(ToyPosterior(net.weight_spec))


def gradients_of(loss: Tensor, module: nn.Module) -> Tensor:
    """All gradients of ``loss`` with respect to the parameters of ``module``, flat, zero where there is none."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(parameters, found, strict=True)]
    )
