"""IWHVI: an upper bound of the KL with a learned model of the latent given the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit
from ...errors import check_int, check_positive, check_sizes
from ...geometry.linalg import precise
from ...representation import ModuleSettings
from ..accepted import semi_implicit
from ..analytic import analytic_part, kl_of_parts
from ..base import KLEstimate, KLEstimator
from ..draws import latent_and_noise, standard_error
from ..latent_posterior import Anchored
from ..noise import log_normal
from .reverse_model import ReverseModel

__all__ = ["IWHVI"]


class IWHVI(ModuleSettings, nn.Module, KLEstimator):
    r"""Importance-weighted hierarchical bound: :class:`SIVI` with latents from a learned reverse model.

    .. math:: I(w; z) \ge E\left[-\log \tfrac1{K+1} \sum_{k=0}^K \frac{N(z_k; 0, I)\, N(w; h(z_k), \sigma^2)}
        {\tau(z_k | w)\, N(w; h(z_0), \sigma^2)}\right], \qquad z_{1..K} \sim \tau(z | w).

    ``K = 0`` is the bound of hierarchical variational models and of multiplicative normalizing flows,
    :math:`I \ge E[\log \tau(z_0 | w) - \log N(z_0)]`, whose gap is :math:`E\, \mathrm{KL}(q(z|w) \| \tau)`. No Jacobian
    is needed, and the bound holds for any reverse model.

    The reverse model (a Gaussian with full covariance, computed from the weights by a perceptron, under affine coupling
    layers) is part of this object, created at the first estimate. It is trained by its own Adam for ``steps`` steps
    before each estimate; with ``steps=0`` pass its parameters to your optimizer.

    Args:
        num_samples: weight vectors ``S`` per estimate.
        num_proposals: latents ``K`` of the reverse model per weight vector; may be 0.
        hidden: sizes of the hidden layers of the reverse model's perceptrons.
        num_flows: coupling layers on top of the Gaussian.
        steps: training steps of the reverse model per estimate.
        lr: learning rate.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``analytic``; ``mutual_information``; ``constant``; ``standard_error``. ``value`` is the bound ``upper``.

    References:
        Sobolev, Vetrov, "Importance weighted hierarchical variational inference", 2019.
        Ranganath, Tran, Blei, "Hierarchical variational models", 2016.
        Louizos, Welling, "Multiplicative normalizing flows for variational Bayesian neural networks", 2017.
    """

    accepts = semi_implicit

    def __init__(
        self,
        num_samples: int = 32,
        num_proposals: int = 8,
        *,
        hidden: Sequence[int] = (64,),
        num_flows: int = 0,
        steps: int = 5,
        lr: float = 3e-3,
        num_draws: int | None = None,
    ) -> None:
        super().__init__()
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        self.num_proposals = check_int("num_proposals", num_proposals, 0)
        self.hidden = tuple(check_sizes("hidden", hidden))
        self.num_flows = check_int("num_flows", num_flows, 0)
        self.steps = check_int("steps", steps, 0)
        self.lr = check_positive("lr", lr)
        self.reverse: ReverseModel | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def build(self, q: SemiImplicit, generator: torch.Generator | None = None) -> ReverseModel:
        """Create the reverse model for posteriors of the size of ``q``."""
        with torch.no_grad():
            samples = q.whitened(q.draw(64, generator))
        self.reverse = ReverseModel(samples, q.latent_size, self.hidden, self.num_flows, generator)
        self._optimizer = torch.optim.Adam(self.reverse.parameters(), lr=self.lr)
        return self.reverse

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make the reverse model for the sizes of a state that has one; its Adam begins anew."""
        loc, direct = (state_dict.get(f"{prefix}reverse.{name}") for name in ("loc", "direct.0.weight"))
        if loc is None or direct is None:
            self.reverse = self._optimizer = None
        elif self.reverse is None or not self.reverse.suits(loc.to(self.reverse.loc), loc.new_zeros(len(direct))):
            own = torch.Generator(device=loc.device)  # of sizes that suit torch casts what it copies
            self.reverse = ReverseModel(loc.expand(2, -1), len(direct), self.hidden, self.num_flows, own)
            self._optimizer = torch.optim.Adam(self.reverse.parameters(), lr=self.lr)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _estimate(
        self, q: SemiImplicit, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        self.train_reverse(q, self.steps, generator)
        draw = q.draw(num_samples, generator)
        analytic = analytic_part(q, p, *latent_and_noise(draw), generator)
        per_draw = self._information(q, draw, generator)
        bound = per_draw.mean().to(draw.w)
        return kl_of_parts(
            analytic, bound, (bound, None), {"standard_error": standard_error(analytic.terms - per_draw)}
        )

    def train_reverse(self, q: SemiImplicit, steps: int, generator: torch.Generator | None = None) -> None:
        """Tighten the bound at the present ``q`` by ``steps`` steps on the reverse model alone."""
        for _ in range(steps if q.latent_size else 0):
            with torch.no_grad():
                draw = q.draw(self.num_samples, generator)
            with torch.enable_grad():
                loss = -self._information(q, draw, generator).mean()
            if self._optimizer is not None and self.reverse is not None:
                parameters = list(self.reverse.parameters())
                for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    parameter.grad = grad
                self._optimizer.step()
                self._optimizer.zero_grad()

    def _information(self, q: SemiImplicit, draw: WeightDraw, generator: torch.Generator | None) -> Tensor:
        """Return the bound of the mutual information per draw ``(S,)``."""
        z0, _ = latent_and_noise(draw)
        if not z0.shape[1]:
            return z0.new_zeros(len(z0))
        u = q.whitened(draw)
        model = self.reverse
        if model is None or not model.suits(u, z0):
            model = self.build(q, generator)
        view = model.view(u)
        own = log_normal(z0) - view.log_prob(z0.unsqueeze(1)).squeeze(1)
        if not self.num_proposals:
            return -own
        z, log_tau = view.rsample(self.num_proposals, generator)
        weights = precise(Anchored.of(q, draw).log_ratio(z) + log_normal(z) - log_tau)
        total = torch.logsumexp(torch.cat([precise(own).unsqueeze(1), weights], dim=1), dim=1)
        return math.log(self.num_proposals + 1) - total
