"""Problems with known answers for weight distributions and KL estimators."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bayeshnet.distributions import MeanFieldGaussian, Mixture, SemiImplicit, SharedNoise
from bayeshnet.geometry.base import Geometry
from tests.support.comparison import cosine, gradients, relative_error
from tests.support.dense_geometry import DTYPE, DenseGeometry

__all__ = [
    "DTYPE",
    "BananaProblem",
    "DenseGeometry",
    "FoldProblem",
    "LinearProblem",
    "MixtureProblem",
    "SharedLinearProblem",
    "TanhProblem",
    "banana_flow",
    "cosine",
    "gradients",
    "quadrature_kl",
    "quadrature_log_density",
    "relative_error",
    "standard_prior",
]


@dataclass
class LinearProblem:
    """``u = A z + b + sigma eps``: everything about it is known, for any number of weights."""

    A: Tensor
    b: Tensor
    sigma: Tensor

    @classmethod
    def make(cls, n: int, P: int, sigma: float = 0.1, per_weight: bool = False, seed: int = 0) -> LinearProblem:
        gen = torch.Generator().manual_seed(seed)
        A = torch.randn(P, n, dtype=DTYPE, generator=gen) / math.sqrt(n)
        b = 0.3 * torch.randn(P, dtype=DTYPE, generator=gen)
        noise = torch.full((), sigma, dtype=DTYPE)
        if per_weight:
            noise = sigma * (0.5 + torch.rand(P, dtype=DTYPE, generator=gen))
        return cls(A.requires_grad_(), b.requires_grad_(), noise.requires_grad_())

    @property
    def parameters(self) -> list[Tensor]:
        return [self.A, self.b, self.sigma]

    def geometry(self, affine: bool = False) -> Geometry:
        return DenseGeometry(lambda z: z @ self.A.T + self.b, self.A.shape[1], self.A.shape[0], affine)

    def q(self, affine: bool = False) -> SemiImplicit:
        """The distribution; an estimator does not see that it is linear unless ``affine``."""
        return SemiImplicit(self.geometry(affine), self.sigma)

    def dense(self) -> torch.distributions.MultivariateNormal:
        """The same law with its full covariance."""
        noise = torch.diag_embed(self.sigma.expand(self.b.shape) ** 2)
        return torch.distributions.MultivariateNormal(self.b, self.A @ self.A.T + noise)

    def information(self) -> Tensor:
        """Mutual information of weights and latent."""
        scaled = self.A / self.sigma.expand(self.b.shape).unsqueeze(-1)
        return 0.5 * torch.linalg.slogdet(torch.eye(self.A.shape[1], dtype=DTYPE) + scaled.T @ scaled)[1]

    def kl(self, loc: Tensor, scale: Tensor) -> Tensor:
        """KL to ``N(loc, scale**2)`` in a form that needs no P x P matrix: trace and squares minus the information."""
        variance = scale.expand(self.b.shape) ** 2
        noise = self.sigma.expand(self.b.shape) ** 2
        second = noise + (self.A**2).sum(-1) + (self.b - loc) ** 2
        conditional = 0.5 * (second / variance - 1 + variance.log() - noise.log()).sum()
        return conditional - self.information()


@dataclass
class TanhProblem:
    """``u = W2 tanh(W1 z + c) + b + sigma eps``, a small nonlinear hypernetwork."""

    W1: Tensor
    c: Tensor
    W2: Tensor
    b: Tensor
    sigma: Tensor
    extra: dict[str, float] = field(default_factory=dict)

    @classmethod
    def make(
        cls, n: int, P: int, H: int = 16, sigma: float = 0.1, gain: float = 1.0, per_weight: bool = False, seed: int = 0
    ) -> TanhProblem:
        gen = torch.Generator().manual_seed(seed)

        def normal(*size: int) -> Tensor:
            return torch.randn(*size, dtype=DTYPE, generator=gen)

        noise = torch.full((), sigma, dtype=DTYPE)
        if per_weight:
            noise = sigma * (0.5 + torch.rand(P, dtype=DTYPE, generator=gen))
        parts = (
            gain * normal(H, n) / math.sqrt(n),
            0.1 * normal(H),
            normal(P, H) / math.sqrt(H),
            0.3 * normal(P),
            noise,
        )
        return cls(*(t.requires_grad_() for t in parts))

    @property
    def parameters(self) -> list[Tensor]:
        return [self.W1, self.c, self.W2, self.b, self.sigma]

    def h(self, z: Tensor) -> Tensor:
        return torch.tanh(z @ self.W1.T + self.c) @ self.W2.T + self.b

    def q(self) -> SemiImplicit:
        return SemiImplicit(DenseGeometry(self.h, self.W1.shape[1], self.W2.shape[0]), self.sigma)


@dataclass
class BananaProblem:
    """``w = Q (z1, z2 + b (z1^2 - 1)) + sigma eps``, orthonormal ``Q`` (P, 2): nonlinear, with a density for any P."""

    Q: Tensor
    bend: Tensor
    sigma: Tensor

    @classmethod
    def make(cls, P: int = 50, bend: float = 1.0, sigma: float = 0.3, seed: int = 0) -> BananaProblem:
        gen = torch.Generator().manual_seed(seed)
        Q = torch.linalg.qr(torch.randn(P, 2, dtype=DTYPE, generator=gen))[0]
        return cls(Q, *(torch.tensor(x, dtype=DTYPE).requires_grad_() for x in (bend, sigma)))

    @property
    def parameters(self) -> list[Tensor]:
        return [self.bend, self.sigma]

    def h(self, z: Tensor) -> Tensor:
        return torch.stack([z[..., 0], z[..., 1] + self.bend * (z[..., 0] ** 2 - 1)], dim=-1) @ self.Q.T

    def q(self) -> SemiImplicit:
        return SemiImplicit(DenseGeometry(self.h, 2, self.Q.shape[0]), self.sigma)

    def log_density(self, w: Tensor) -> Tensor:
        """Exact log-density: one integral over z1 given the first coordinate, by 120 Gauss-Hermite nodes."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(120)
        x, log_weight = torch.tensor(nodes), torch.tensor(weights).log() - 0.5 * math.log(2 * math.pi)
        y, variance = w @ self.Q, self.sigma**2
        rest = (w - y @ self.Q.T).square().sum(-1)
        z1 = (y[..., :1] + self.sigma * (1 + variance).sqrt() * x) / (1 + variance)
        inner = _log_normal(y[..., 1:] - self.bend * (z1**2 - 1), 1 + variance)
        complement = -0.5 * rest / variance - 0.5 * (w.shape[-1] - 2) * (2 * math.pi * variance).log()
        return _log_normal(y[..., 0], 1 + variance) + torch.logsumexp(inner + log_weight, dim=-1) + complement

    def kl_to_standard(self, num: int = 40_000, seed: int = 1) -> Tensor:
        """KL to N(0, I) with gradient: the entropy by many exact densities (in the plane), all else analytic."""
        plane = BananaProblem(torch.eye(2, dtype=DTYPE), self.bend, self.sigma)
        gen = torch.Generator().manual_seed(seed)
        z, eps = (torch.randn(num, 2, dtype=DTYPE, generator=gen) for _ in range(2))
        negative_entropy = plane.log_density(plane.h(z) + self.sigma * eps).mean()
        num_weights = self.Q.shape[0]
        negative_entropy = negative_entropy - 0.5 * (num_weights - 2) * (2 * math.pi * math.e * self.sigma**2).log()
        second = 2 + 2 * self.bend**2 + num_weights * self.sigma**2
        return negative_entropy + 0.5 * second + 0.5 * num_weights * math.log(2 * math.pi)


def quadrature_log_density(problem: TanhProblem, w: Tensor, reach: float = 5.5, cell: float = 0.35) -> Tensor:
    """Exact log-density of a nonlinear problem with one or two latents, by a grid that resolves the noise."""
    n = problem.W1.shape[1]
    slope = torch.linalg.matrix_norm(problem.W1, 2) * torch.linalg.matrix_norm(problem.W2, 2)
    step = min(0.2, cell * (problem.sigma.min() / slope).item())
    axis = torch.arange(-reach, reach, step, dtype=DTYPE)
    grid = torch.cartesian_prod(*[axis] * n).reshape(-1, n)
    scaled = 1 / problem.sigma.expand(problem.b.shape)
    basis, head = torch.linalg.qr(problem.W2 * scaled[:, None])  # P weights reduced to H coordinates
    residual = (w - problem.b) * scaled
    inside = residual @ basis
    outside = (residual - inside @ basis.T).square().sum(-1)
    made = torch.tanh(grid @ problem.W1.T + problem.c) @ head.T
    base = -0.5 * grid.square().sum(-1) + n * math.log(step) - 0.5 * n * math.log(2 * math.pi)
    integral = torch.logsumexp(base - 0.5 * torch.cdist(inside, made).square(), dim=-1)
    return integral - 0.5 * outside + scaled.log().sum() - 0.5 * w.shape[1] * math.log(2 * math.pi)


@dataclass
class FoldProblem:
    """``w = a z^2 + sigma eps``: weights have two latents each, so LIVI's information is too large by log 2."""

    a: Tensor
    sigma: Tensor

    @classmethod
    def make(cls, P: int = 20, sigma: float = 0.05, seed: int = 0) -> FoldProblem:
        gen = torch.Generator().manual_seed(seed)
        a, noise = torch.randn(P, dtype=DTYPE, generator=gen), torch.tensor(sigma, dtype=DTYPE)
        return cls(a.requires_grad_(), noise.requires_grad_())

    @property
    def parameters(self) -> list[Tensor]:
        return [self.a, self.sigma]

    def q(self) -> SemiImplicit:
        return SemiImplicit(DenseGeometry(lambda z: z[..., :1] ** 2 * self.a, 1, self.a.shape[0]), self.sigma)

    def log_density(self, w: Tensor) -> Tensor:
        """Exact log-density by a fine grid of the latent."""
        length = self.a.norm()
        along = w @ self.a / length
        outside = (w.square().sum(-1) - along**2) / self.sigma**2
        inside = self._log_along(along / self.sigma, length / self.sigma)
        return inside - 0.5 * outside - 0.5 * (len(self.a) - 1) * math.log(2 * math.pi) - len(self.a) * self.sigma.log()

    def _log_along(self, y: Tensor, ratio: Tensor, num: int = 10_001) -> Tensor:
        """Log-density of ``ratio * z**2`` plus unit noise at ``y``."""
        z = torch.linspace(-7, 7, num, dtype=DTYPE)
        terms = -0.5 * (y[:, None] - ratio * z**2) ** 2 - 0.5 * z**2
        return torch.logsumexp(terms, dim=-1) + math.log(14 / (num - 1)) - math.log(2 * math.pi)

    def information(self) -> Tensor:
        """Mutual information, which depends on ``|a| / sigma`` alone: an entropy in one dimension, by quadrature."""
        ratio = self.a.norm() / self.sigma
        y = torch.arange(-7, 36 * ratio.item() + 7, 0.2, dtype=DTYPE)
        log_density = self._log_along(y, ratio, 2401)
        return -0.2 * (log_density.exp() * log_density).sum() - 0.5 * math.log(2 * math.pi * math.e)

    def kl(self) -> Tensor:
        """KL to N(0, I); the mean of ``z**4`` is 3."""
        num = len(self.a)
        conditional = 0.5 * (3 * self.a.square().sum() + num * (self.sigma**2 - 1 - 2 * self.sigma.log()))
        return conditional - self.information()


@dataclass
class SharedLinearProblem:
    """``w = A z[:n] + b + sigma z`` with one noise vector ``z`` of ``P`` entries: a Gaussian by a square matrix."""

    A: Tensor
    b: Tensor
    sigma: Tensor

    @classmethod
    def make(cls, n: int = 2, P: int = 6, sigma: float = 0.5, seed: int = 0) -> SharedLinearProblem:
        gen = torch.Generator().manual_seed(seed)
        A = torch.randn(P, n, dtype=DTYPE, generator=gen)
        b = 0.5 * torch.randn(P, dtype=DTYPE, generator=gen)
        return cls(*(t.requires_grad_() for t in (A, b, torch.tensor(sigma, dtype=DTYPE))))

    def q(self) -> SharedNoise:
        geometry = DenseGeometry(lambda z: z @ self.A.T + self.b, self.A.shape[1], self.A.shape[0])
        return SharedNoise(geometry, self.sigma)

    def kl(self) -> Tensor:
        """KL to N(0, I)."""
        P, n = self.A.shape
        root = torch.cat([self.A, torch.zeros(P, P - n, dtype=DTYPE)], dim=1) + self.sigma * torch.eye(P, dtype=DTYPE)
        log_det = torch.linalg.slogdet(root)[1]
        return 0.5 * (root.square().sum() + self.b.square().sum() - P) - log_det


@dataclass
class MixtureProblem:
    """Two modes in the plane."""

    means: Tensor
    scales: Tensor

    @classmethod
    def make(cls, distance: float = 2.0, scale: float = 0.5) -> MixtureProblem:
        means = torch.tensor([[-distance / 2, 0.3], [distance / 2, -0.2]], dtype=DTYPE)
        scales = torch.tensor([[scale, 1.4 * scale], [scale, scale]], dtype=DTYPE)
        return cls(means.requires_grad_(), scales.requires_grad_())

    def q(self) -> Mixture:
        parts = [MeanFieldGaussian(m, s) for m, s in zip(self.means, self.scales, strict=True)]
        return Mixture(torch.tensor([0.0, 0.5], dtype=DTYPE), parts)

    def kl(self) -> Tensor:
        """KL to N(0, I) by quadrature."""
        return quadrature_kl(self.q().log_prob)


def quadrature_kl(log_density: Callable[[Tensor], Tensor], reach: float = 6.0, step: float = 0.06) -> Tensor:
    """KL to N(0, I) of a law of two weights by its density on a grid, differentiable."""
    axis = torch.arange(-reach, reach, step, dtype=DTYPE)
    grid = torch.cartesian_prod(axis, axis)
    log_q = log_density(grid)
    log_p = -0.5 * grid.square().sum(-1) - math.log(2 * math.pi)
    return step**2 * (log_q.exp() * (log_q - log_p)).sum()


def banana_flow(bend: Tensor, sigma: float = 0.5) -> SharedNoise:
    """The noiseless banana as a shared-noise map ``h(z) + sigma z`` of two weights: KL to N(0, I) is ``bend**2``."""

    def h(z: Tensor) -> Tensor:
        moved = torch.stack([z[..., 0], z[..., 1] + bend * (z[..., 0] ** 2 - 1)], dim=-1)
        return moved - sigma * z

    return SharedNoise(DenseGeometry(h, 2, 2), sigma)


def standard_prior(P: int, scale: float = 1.0) -> MeanFieldGaussian:
    """N(0, scale^2 I)."""
    return MeanFieldGaussian(torch.zeros(P, dtype=DTYPE), torch.full((P,), scale, dtype=DTYPE))


def _log_normal(x: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * x**2 / variance - 0.5 * (2 * math.pi * variance).log()
