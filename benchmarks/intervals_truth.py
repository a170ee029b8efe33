"""The KL of a random hypernetwork by plain torch, for judging intervals of the library: nothing of it is used here.

Weights ``w = W a(z) + b + sigma eps`` are reduced to the coordinates in which ``W`` acts, which is exact. With one
latent, or two and few enough points, the density is an integral on a grid. Otherwise it is importance sampling around
modes, bounded from both sides: modes are searched from the weights alone for the one side, and from the latent that
generated them, too, for the other. What the search misses makes them differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["ACTIVATIONS", "Network", "Truth", "analytic_part", "true_kl"]

Function = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "tanh": (torch.tanh, lambda x: 1 - torch.tanh(x).square()),
    "ReLU": (torch.relu, lambda x: (x > 0).to(x)),
    "sigmoid": (torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x)),
    "cos": (torch.cos, lambda x: -torch.sin(x)),
    "softplus": (torch.nn.functional.softplus, torch.sigmoid),
}
"""Activations with their derivatives."""


@dataclass(frozen=True)
class Truth:
    """A KL with the error of its computation, in nats."""

    kl: float
    error: float


@dataclass(frozen=True)
class Network:
    """A perceptron from latents to weights, in double precision, with noise ``sigma``.

    Attributes:
        activation: name of the activation.
        layers: matrix ``(H', H)`` and offset ``(H')`` of each hidden layer.
        head: matrix ``(P, H)`` and offset ``(P,)`` of the last one.
        sigma: standard deviation of the noise.
    """

    activation: str
    layers: list[tuple[Tensor, Tensor]]
    head: tuple[Tensor, Tensor]
    sigma: float

    @classmethod
    def random(cls, seed: int) -> Network:
        """Draw a network; the weights are rounded to single precision, in which the library is given them."""
        gen = torch.Generator().manual_seed(seed)

        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=gen))

        def normal(*size: int) -> Tensor:
            return torch.randn(*size, generator=gen)

        activation = list(ACTIVATIONS)[seed % len(ACTIVATIONS)]
        n, depth = int(uniform(1, 17)), int(uniform(1, 4))
        gain = math.exp(uniform(math.log(0.3), math.log(4)))
        num = round(math.exp(uniform(math.log(2), math.log(1000))))
        sigma = float(torch.tensor(10 ** uniform(-3, 0)))
        sizes = [n, *(int(uniform(8, 25)) for _ in range(depth))]
        layers = [(gain * normal(b, a) / math.sqrt(a), 0.3 * normal(b)) for a, b in pairwise(sizes)]
        head = (normal(num, sizes[-1]) / math.sqrt(sizes[-1]), 0.3 * normal(num))
        return cls(
            activation, [(w.double(), b.double()) for w, b in layers], (head[0].double(), head[1].double()), sigma
        )

    @property
    def latent_size(self) -> int:
        """Number of latents."""
        return self.layers[0][0].shape[1]

    def features(self, z: Tensor) -> Tensor:
        """Evaluate the last hidden layer ``(*B, H)``."""
        act, _ = ACTIVATIONS[self.activation]
        for weight, bias in self.layers:
            z = act(z @ weight.T + bias)
        return z

    def slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the last hidden layer and its derivatives ``(*B, H, n)``."""
        act, derivative = ACTIVATIONS[self.activation]
        moved = torch.eye(self.latent_size, dtype=z.dtype).expand(*z.shape[:-1], -1, -1)
        for weight, bias in self.layers:
            inner = z @ weight.T + bias
            z, moved = act(inner), derivative(inner).unsqueeze(-1) * (weight @ moved)
        return z, moved


def true_kl(net: Network, seed: int, draws: int = 160) -> Truth:
    """Compute the KL to a standard normal prior."""
    gen = torch.Generator().manual_seed(seed)
    root = torch.linalg.qr(net.head[0] / net.sigma)[1]
    z = _normal(gen, draws, net.latent_size)
    eps = _normal(gen, draws, root.shape[0])
    y = net.features(z) @ root.T + eps
    grid = _grid(net, root)
    sides = (_on_grid(net, root, y, grid),) * 2 if grid is not None else _sampled(net, root, y, z, gen)
    analytic, analytic_error = analytic_part(net, seed)
    controls, scatter = _controls(net, root, z, eps, gen)
    found = []
    for log_density in sides:
        terms = -0.5 * eps.square().sum(-1) - log_density
        design = torch.cat([torch.ones_like(terms)[:, None], controls], 1)
        fitted = torch.linalg.lstsq(design, terms.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
        rest = (terms - design @ fitted).square().sum() / (draws - design.shape[1])
        found.append((float(fitted[0]), float((rest / draws).sqrt()) + scatter * abs(float(fitted[-1]))))
    (low, error), (high, other) = found
    return Truth(analytic - 0.5 * (low + high), 0.5 * abs(high - low) + max(error, other) + analytic_error)


def _normal(gen: torch.Generator, *size: int) -> Tensor:
    return torch.randn(*size, generator=gen, dtype=torch.float64)


def analytic_part(net: Network, seed: int) -> tuple[float, float]:
    """Return the mean KL of the weights given their latent, with its standard error."""
    weight, bias = net.head
    gram, pulled = weight.T @ weight, weight.T @ bias
    means = []
    for replicate in range(8):
        engine = torch.quasirandom.SobolEngine(net.latent_size, scramble=True, seed=97 * seed + replicate)
        a = net.features(torch.special.ndtri(engine.draw(2**15, dtype=torch.float64).clamp(1e-15, 1 - 1e-15)))
        means.append(((a @ gram) * a).sum(-1).mean() + 2 * (a @ pulled).mean() + bias.square().sum())
    square = torch.stack(means)
    num = len(bias)
    mean = 0.5 * (float(square.mean()) + num * (net.sigma**2 - 1 - 2 * math.log(net.sigma)))
    return mean, 0.5 * float(square.std()) / math.sqrt(8)


def _controls(net: Network, root: Tensor, z: Tensor, eps: Tensor, gen: torch.Generator) -> tuple[Tensor, float]:
    """Return functions of a draw whose means are zero ``(S, 4)``, the last of them with a standard error."""
    n = net.latent_size

    def factor(at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        moved = root @ net.slopes(at)[1]
        chol = torch.linalg.cholesky(torch.eye(n, dtype=at.dtype) + moved.mT @ moved)
        return chol, moved, chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    chol, moved, half = factor(z)
    many = torch.cat([factor(x)[2] for x in _normal(gen, 2**15, n).split(2**11)])
    pulled = torch.linalg.solve_triangular(chol, moved.mT @ eps.unsqueeze(-1), upper=False).squeeze(-1)
    latent = torch.linalg.solve_triangular(chol, z.unsqueeze(-1), upper=False).squeeze(-1)
    inverse = torch.cholesky_inverse(chol).diagonal(dim1=-2, dim2=-1).sum(-1)
    controls = [pulled.square().sum(-1) - (n - inverse), (pulled * latent).sum(-1), z.square().sum(-1) - n]
    return torch.stack([*controls, half - many.mean()], 1), float(many.std()) / math.sqrt(len(many))


_MOST = 2**20
"""Points of a grid."""


def _grid(net: Network, root: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return latents and log-weights of a grid that resolves the noise, if it has not too many points."""
    n = net.latent_size
    if n > 2:
        return None
    if n == 1:
        fine = torch.linspace(-8, 8, 2**19, dtype=torch.float64)
        length = (root @ net.slopes(fine[:, None])[1]).squeeze(-1).norm(dim=-1) / 0.3 + 100
        total = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumulative_trapezoid(length, fine)])
        num = int(total[-1])
        if num > _MOST:
            return None
        at = torch.linspace(0, float(total[-1]), num, dtype=torch.float64)
        index = torch.searchsorted(total, at).clamp(1, len(fine) - 1)
        share = (at - total[index - 1]) / (total[index] - total[index - 1])
        z = (fine[index - 1] + share * (fine[index] - fine[index - 1]))[:, None]
        weights = torch.zeros_like(z[:, 0])
        gaps = (z[1:] - z[:-1]).squeeze(-1)
        weights[1:] += 0.5 * gaps
        weights[:-1] += 0.5 * gaps
        return z, _log_normal(z) + weights.clamp_min(1e-300).log()
    sample = torch.cartesian_prod(*[torch.linspace(-6, 6, 60, dtype=torch.float64)] * 2)
    step = min(0.1, 0.5 / float(torch.linalg.matrix_norm(root @ net.slopes(sample)[1], 2).max()))
    if (12 / step) ** 2 > _MOST:
        return None
    z = torch.cartesian_prod(*[torch.arange(-6, 6, step, dtype=torch.float64)] * 2)
    return z, _log_normal(z) + 2 * math.log(step)


def _log_normal(z: Tensor) -> Tensor:
    return -0.5 * z.square().sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


def _on_grid(net: Network, root: Tensor, y: Tensor, grid: tuple[Tensor, Tensor]) -> Tensor:
    """Return log-densities of ``y`` ``(S, d)`` without the normalizer of the noise."""
    total = torch.full((len(y),), -math.inf, dtype=y.dtype)
    for z, weight in zip(grid[0].split(2**15), grid[1].split(2**15), strict=True):
        distance = torch.cdist(y, net.features(z) @ root.T, compute_mode="donot_use_mm_for_euclid_dist")
        total = torch.logaddexp(total, torch.logsumexp(weight - 0.5 * distance.square(), -1))
    return total


def _sampled(net: Network, root: Tensor, y: Tensor, z: Tensor, gen: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return log-densities that are too low and too high in expectation, in the order of the information's sides."""
    pool = _normal(gen, 2**13, net.latent_size)
    energy = 0.5 * torch.cdist(y, net.features(pool) @ root.T).square() + 0.5 * pool.square().sum(-1)
    best = energy.topk(16, largest=False).indices
    others = torch.randint(len(pool), (len(y), 8), generator=gen)
    alone, known = [], []
    for part in torch.arange(len(y)).split(32):
        found = _modes(net, root, y[part], pool[torch.cat([best[part], others[part]], 1)])
        near = _modes(net, root, y[part], z[part].unsqueeze(1))
        own, weights = _weights(net, root, y[part], found, z[part], gen)
        joined = (torch.cat([found[0], near[0]], 1), torch.cat([found[1], near[1]], 1))
        _, wide = _weights(net, root, y[part], joined, z[part], gen)
        count = weights.shape[1]
        alone.append(torch.logaddexp(torch.logsumexp(weights, 1), own) - math.log(count + 1))
        known.append(torch.logsumexp(wide, 1) - math.log(count))
    return torch.cat(alone), torch.cat(known)


def _energy(net: Network, root: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return 0.5 * (net.features(z) @ root.T - y.unsqueeze(1)).square().sum(-1) + 0.5 * z.square().sum(-1)


def _modes(net: Network, root: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return modes ``(S, R, n)`` and roots of their precisions, by Levenberg and Marquardt's steps."""
    eye = torch.eye(z.shape[-1], dtype=z.dtype)
    far = (net.features(z) @ root.T - y.unsqueeze(1)).square().mean(-1).clamp_min(1.0)
    powers = [far ** -(1 - t / 16) for t in range(16)] + [torch.ones_like(far)] * 24
    ridge = torch.full_like(far, 1e-3)
    for power in powers:
        a, moved = net.slopes(z)
        rest, moved = a @ root.T - y.unsqueeze(1), root @ moved
        gram = power[..., None, None] * (moved.mT @ moved) + eye
        slope = power.unsqueeze(-1) * (moved.mT @ rest.unsqueeze(-1)).squeeze(-1) + z
        damped = gram + torch.diag_embed(ridge.unsqueeze(-1) * gram.diagonal(dim1=-2, dim2=-1))
        trial = z - torch.linalg.solve(damped, slope.unsqueeze(-1)).squeeze(-1)
        before = 0.5 * power * rest.square().sum(-1) + 0.5 * z.square().sum(-1)
        after = power * (_energy(net, root, y, trial) - 0.5 * trial.square().sum(-1)) + 0.5 * trial.square().sum(-1)
        better = after < before
        z = torch.where(better.unsqueeze(-1), trial, z)
        ridge = torch.where(better, ridge / 5, ridge * 8).clamp(1e-12, 1e12)
    moved = root @ net.slopes(z)[1]
    return z, torch.linalg.cholesky(eye + moved.mT @ moved)


_DOF, _WIDE, _COUNT = 6, 1.25, 1024


def _weights(
    net: Network, root: Tensor, y: Tensor, modes: tuple[Tensor, Tensor], own: Tensor, gen: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return log-weights of the generating latents ``(S,)`` and of draws around the modes ``(S, K)``."""
    centers, roots = modes
    draws, number, n = centers.shape
    log_det = roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    mass = (-_energy(net, root, y, centers) - log_det).softmax(-1)
    share = 0.85 * mass + 0.15 / number
    picked = torch.multinomial(share, _COUNT, replacement=True, generator=gen)[..., None]
    spread = (_DOF / _normal(gen, draws, _COUNT, _DOF).square().sum(-1, keepdim=True)).sqrt()
    noise = _WIDE * spread * _normal(gen, draws, _COUNT, n)
    chosen = roots.gather(1, picked[..., None].expand(-1, -1, n, n))
    step = torch.linalg.solve_triangular(chosen.mT, noise.unsqueeze(-1), upper=True).squeeze(-1)
    z = centers.gather(1, picked.expand(-1, -1, n)) + step
    prior = torch.rand(draws, _COUNT, 1, generator=gen, dtype=z.dtype) < 0.05
    z = torch.cat([own.unsqueeze(1), torch.where(prior, _normal(gen, draws, _COUNT, n), z)], 1)
    log_proposal = torch.full(z.shape[:2], -math.inf, dtype=z.dtype)
    constant = math.lgamma((_DOF + n) / 2) - math.lgamma(_DOF / 2) - n * math.log(_WIDE * math.sqrt(_DOF * math.pi))
    for r in range(number):
        distance = ((z - centers[:, r : r + 1]) @ roots[:, r]).square().sum(-1) / _WIDE**2
        part = (share[:, r].log() + log_det[:, r])[:, None] - 0.5 * (_DOF + n) * torch.log1p(distance / _DOF)
        log_proposal = torch.logaddexp(log_proposal, part + constant)
    log_proposal = torch.logaddexp(log_proposal + math.log(0.95), _log_normal(z) + math.log(0.05))
    found = -_energy(net, root, y, z) - 0.5 * n * math.log(2 * math.pi) - log_proposal
    return found[:, 0], found[:, 1:]
