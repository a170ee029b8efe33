"""Importance sampling of the latent given weights: the modes of its posterior, a proposal around them, log-weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..distributions.base import WeightDraw
from ..distributions.semi_implicit import SemiImplicit
from ..geometry.base import Geometry
from ..geometry.head import HeadGeometry
from ..geometry.linalg import identity_plus_cholesky, precise
from ..memo import transforms_active
from ..rng import normal_like, uniform_like
from ..speed import shortcuts
from .draws import latent_and_noise
from .noise import log_normal, log_normalizer

__all__ = ["Anchored", "Proposal", "find_modes", "implicit_log_prob", "log_weights", "make_proposal", "row_blocks"]


def row_blocks(rows: int, entries: int) -> Iterator[slice]:
    """Yield the rows ``S`` in blocks whose temporary tensors, of so many entries for each row, stay in bounds."""
    step = max(1, shortcuts().search_block // max(1, entries))
    return (slice(start, start + step) for start in range(0, max(1, rows), step))


@dataclass(frozen=True)
class Anchored:
    r"""Likelihood ratios of given weights ``u`` between any latent and an anchor, a latent near their own.

    With anchor ``a``, residual :math:`r = u - h(a)` and :math:`\Delta = h(a) - h(z)`,

    .. math:: \log\frac{N(u; h(z), \sigma^2)}{N(u; h(a), \sigma^2)} = -r^\top \sigma^{-2} \Delta
        - \tfrac12 \Delta^\top \sigma^{-2} \Delta,

    which never subtracts two large squared norms and never computes ``h(z)`` where the geometry can avoid it. What
    depends on the anchor alone is computed in the first call, under the modes of autograd that hold then, and its graph
    lasts for one backward pass.

    Attributes:
        geometry: the map ``h``.
        precision: ``sigma**-2``, ``()`` or ``(P,)``.
        latent: anchors ``(S, n)``.
        pull: residuals times precision ``(S, P)``.
    """

    geometry: Geometry
    precision: Tensor
    latent: Tensor
    pull: Tensor

    @classmethod
    def of(cls, q: SemiImplicit, draw: WeightDraw) -> Anchored:
        """Anchor draws of ``q`` at their own latents."""
        latent, eps = latent_and_noise(draw)
        return cls(q.geometry, q.sigma**-2, latent, eps / q.sigma)

    def log_ratio(self, z: Tensor) -> Tensor:
        """Compute the ratio above at latents ``z`` ``(S, K, n)``: ``(S, K)``."""
        return self._log_ratio(z)

    @cached_property
    def _log_ratio(self) -> Callable[[Tensor], Tensor]:
        geometry, anchor, pull = self.geometry, self.latent.unsqueeze(1), self.pull.unsqueeze(1)
        if isinstance(geometry, HeadGeometry):  # which has both parts from the same activations
            return geometry.log_ratio_from(anchor, pull, self.precision)
        along = geometry.against(pull)
        return lambda z: -along(anchor, z) - 0.5 * geometry.sqdist_between(anchor, z, self.precision)

    def at(self, rows: Tensor | slice) -> Anchored:
        """Return the same for some of the weights."""
        return Anchored(self.geometry, self.precision, self.latent[rows], self.pull[rows])

    def detached(self) -> Anchored:
        """Return the same without gradients of anchor, pull and precision.

        A precision without gradient stays the same tensor, by which geometries find matrices in their memo.
        """
        precision = self.precision.detach() if self.precision.requires_grad else self.precision
        return Anchored(self.geometry, precision, self.latent.detach(), self.pull.detach())


@dataclass(frozen=True)
class Proposal:
    """A mixture of Student t distributions over the latent, one component per mode.

    Attributes:
        modes: ``(S, R, n)``.
        roots: Cholesky factors of the precisions ``I + G`` at the modes ``(S, R, n, n)``, in double precision.
        log_mixture: log-probabilities of the components ``(S, R)``.
        inflation: factor on the standard deviations.
        dof: degrees of freedom.
    """

    modes: Tensor
    roots: Tensor
    log_mixture: Tensor
    inflation: float
    dof: int

    def draw(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents ``(S, num, n)``, in pairs that mirror each other at their mode."""
        draws, _, n = self.modes.shape
        half = (num + 1) // 2
        normal = normal_like(self.roots, (draws, half, n), generator)
        chi2 = normal_like(self.roots, (draws, half, self.dof), generator).square().sum(-1, keepdim=True)
        tail = normal * (self.inflation * (self.dof / chi2).sqrt())
        which = uniform_like(self.roots, (draws, half), generator)
        edges = self.log_mixture.exp().cumsum(-1)[..., :-1].contiguous()
        if transforms_active():  # whose layouts make a search warn
            index = (edges.unsqueeze(-2) < which.unsqueeze(-1)).sum(-1)
        else:
            index = torch.searchsorted(edges, which)
        picked = index.unsqueeze(-1)
        roots = self.roots.gather(1, picked.unsqueeze(-1).expand(-1, -1, n, n))
        center = precise(self.modes).gather(1, picked.expand(-1, -1, n))
        step = torch.linalg.solve_triangular(roots.mT, tail.unsqueeze(-1), upper=True).squeeze(-1)
        return torch.cat([center + step, center - step], dim=1)[:, :num].to(self.modes)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-densities ``(S, K)`` of latents ``(S, K, n)``."""
        n = z.shape[-1]
        blocks = row_blocks(len(z), self.modes.shape[1] * z.shape[1] * n)
        distance = torch.cat([self._distance(z, rows) for rows in blocks]) / self.inflation**2
        log_det = self.roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = math.lgamma((self.dof + n) / 2) - math.lgamma(self.dof / 2)
        constant -= 0.5 * n * math.log(self.dof * math.pi) + n * math.log(self.inflation)
        tails = -0.5 * (self.dof + n) * torch.log1p(distance / self.dof)
        return torch.logsumexp((self.log_mixture + log_det).unsqueeze(-1) + tails, dim=1) + constant

    def _distance(self, z: Tensor, rows: slice) -> Tensor:
        offset = precise(z[rows]).unsqueeze(1) - precise(self.modes[rows]).unsqueeze(2)
        return (offset @ self.roots[rows]).square().sum(-1)


def find_modes(
    anchored: Anchored, starts: Tensor, steps: int = 10, likelihood: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Find modes of :math:`p(z | u) \propto N(z; 0, I)\, N(u; h(z), \sigma^2)` by damped Gauss-Newton steps.

    Args:
        anchored: the given weights.
        starts: latents ``(S, R, n)`` to start from.
        steps: number of steps; a step that does not improve the density is rejected.
        likelihood: powers ``(S,)`` of the likelihood, ones if None; less than one makes the density flatter.

    Returns:
        Modes ``(S, R, n)``, Cholesky factors of ``I + G`` at them ``(S, R, n, n)``, and log-densities relative to the
        anchor's ``(S, R)``.
    """
    anchored, starts = anchored.detached(), starts.detach()
    powers = None if likelihood is None else likelihood.unsqueeze(-1)
    entries = starts.shape[1] * starts.shape[2] * anchored.geometry.num_weights
    found = [
        _find_modes(anchored.at(rows), starts[rows], steps, None if powers is None else powers[rows])
        for rows in row_blocks(len(starts), entries)
    ]
    z, roots, density = (torch.cat(parts).detach() for parts in zip(*found, strict=True))  # of forward mode, too
    return z, roots, density


def _find_modes(anchored: Anchored, z: Tensor, steps: int, power: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    energy, slope = _energy(anchored, z, power)
    gram = _gram(anchored, z, power)
    eye = torch.eye(z.shape[-1], dtype=gram.dtype, device=gram.device)
    damping = torch.zeros_like(energy)
    for _ in range(steps):
        curvature = eye + gram
        ridge = damping[..., None, None] * torch.diag_embed(curvature.diagonal(dim1=-2, dim2=-1))
        step = torch.linalg.solve_ex(curvature + ridge, slope.to(gram).unsqueeze(-1))[0].squeeze(-1)
        trial = z - step.to(z)
        trial_energy, trial_slope = _energy(anchored, trial, power)
        better = trial_energy < energy
        z = torch.where(better.unsqueeze(-1), trial, z)
        slope = torch.where(better.unsqueeze(-1), trial_slope, slope)
        energy = torch.where(better, trial_energy, energy)
        damping = torch.where(better, 0.1 * damping, (10 * damping).clamp_min(1e-2))
        gram = _gram(anchored, z, power)
    return z, identity_plus_cholesky(gram), -energy


def _gram(anchored: Anchored, z: Tensor, power: Tensor | None) -> Tensor:
    gram = precise(anchored.geometry.gram(z, anchored.precision).detach())
    return gram if power is None else gram * power[..., None, None]


def _energy(anchored: Anchored, z: Tensor, power: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the negative log-density of the latent up to a constant, ``(S, R)``, and its gradient."""

    def energy_of(z: Tensor) -> tuple[Tensor, Tensor]:
        ratio = anchored.log_ratio(z)
        energy = 0.5 * (z**2).sum(-1) - (ratio if power is None else power * ratio)
        return energy.sum(), energy

    if torch.is_inference_mode_enabled() or transforms_active():  # where transforms of functions work, autograd not
        slope, energy = torch.func.grad(energy_of, has_aux=True)(z)
        return precise(energy), slope
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        total, energy = energy_of(z)
        (slope,) = torch.autograd.grad(total, z)
    return precise(energy.detach()), slope


def make_proposal(modes: tuple[Tensor, Tensor, Tensor], inflation: float = 1.2, dof: int = 8) -> Proposal:
    """Make a proposal around modes, weighted by nine tenths of their Laplace masses and one tenth of equal shares."""
    z, roots, log_density = modes
    mass = (log_density - roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)).softmax(-1)
    share = 0.9 * torch.nan_to_num(mass) + 0.1 / mass.shape[-1]
    return Proposal(z, roots, (share / share.sum(-1, keepdim=True)).log(), inflation, dof)


def log_weights(anchored: Anchored, proposal: Proposal, z: Tensor) -> Tensor:
    r"""Return the log-weights ``(S, K)`` of latents ``z`` ``(S, K, n)`` drawn from a proposal :math:`\tau`.

    They are :math:`\log N(z; 0, I) N(u; h(z)) - \log N(u; h(a)) \tau(z)`.
    """
    base = log_normal(precise(z))
    return anchored.log_ratio(z).to(base) + base - proposal.log_prob(z)


def implicit_log_prob(
    q: SemiImplicit,
    w: Tensor,
    num_proposals: int = 32,
    num_starts: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Estimate the log-density ``(S,)`` of a hypernetwork posterior at any weights ``(S, P)``.

    It is a lower bound in expectation. The modes of the latent are searched from zero and from ``num_starts - 1``
    random latents; importance sampling around them follows. Differentiable with respect to ``w`` and the parameters of
    ``q``.
    """
    geometry, precision = q.geometry, q.sigma**-2
    u = q.whiten(w).to(geometry.zero_latent())
    with torch.no_grad():
        zero = geometry.zero_latent()
        starts = torch.cat([zero[None], geometry.draw_latent(num_starts - 1, generator)]).expand(w.shape[0], -1, -1)
        origin = zero.expand(w.shape[0], -1)
        far = Anchored(geometry, precision, origin, precision * (u - geometry(origin)))
        found = find_modes(far, starts, 20)
        best = found[2].argmax(-1)[:, None, None].expand(-1, 1, zero.shape[0])
        anchor = found[0].gather(1, best).squeeze(1)
    residual = u - geometry(anchor)
    near = Anchored(geometry, precision, anchor, precision * residual)
    with torch.no_grad():
        proposal = make_proposal(find_modes(near, found[0], 5))
        z = proposal.draw(num_proposals, generator)
    ratio = torch.logsumexp(log_weights(near, proposal, z), dim=1) - math.log(num_proposals)
    return ratio.to(w) - 0.5 * (precision * residual**2).sum(-1) - log_normalizer(q)
