"""The search for the latents that may have generated given weights, from the weights alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...distributions.semi_implicit import SemiImplicit
from ...geometry.base import Geometry
from ...rng import uniform_like
from ..latent_posterior import Anchored, find_modes, row_blocks
from ..noise import log_normal

__all__ = ["Effort", "Modes", "search_modes"]


@dataclass(frozen=True)
class Effort:
    """Effort with which modes are searched.

    Attributes:
        pool: latents drawn, whose weights are compared with the given ones.
        starts: of them that a search begins at, for each vector of weights.
        kept: modes kept for each vector of weights.
        proposals: latents drawn around the modes.
        levels: of annealing between these and the latent's posterior; one is importance sampling alone.
        draws: largest number of weight vectors.
        steps: of each search.
    """

    pool: int
    starts: int
    kept: int
    proposals: int
    levels: int = 1
    draws: int = 1024
    steps: int = 30


@dataclass(frozen=True)
class Modes:
    r"""Modes of :math:`p(z | u)` for given whitened weights ``u`` ``(S, P)``.

    Attributes:
        anchored: likelihood ratios between latents and the anchors, the best modes.
        latents: ``(S, R, n)``.
        roots: Cholesky factors of the precisions :math:`I + G` at them ``(S, R, n, n)``.
        log_density: log-densities relative to the anchors' ``(S, R)``; minus infinity for repeated modes.
        residual: :math:`(u - h(a)) / \sigma` at the anchors ``(S, P)``.
    """

    anchored: Anchored
    latents: Tensor
    roots: Tensor
    log_density: Tensor
    residual: Tensor

    @property
    def found(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three parts that a proposal is made of."""
        return self.latents, self.roots, self.log_density

    @property
    def best_root(self) -> Tensor:
        """The Cholesky factors at the best modes ``(S, n, n)``."""
        best = self.log_density.argmax(-1)[:, None, None, None]
        return self.roots.gather(1, best.expand(-1, 1, *self.roots.shape[-2:])).squeeze(1)

    @property
    def number(self) -> Tensor:
        """The number of modes that share the mass, the exponential of the entropy of their Laplace masses ``(S,)``."""
        mass = self.log_density - self.roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        found: Tensor = torch.special.entr(mass.softmax(-1)).sum(-1).exp()
        return found

    def joined_by(self, latents: Tensor, steps: int) -> tuple[Modes, Tensor]:
        """Return the modes with those next to one latent each ``(S, n)``, and where these are new ``(S,)``."""
        more = find_modes(self.anchored, latents.unsqueeze(1), steps)
        z, roots, density = (torch.cat(pair, 1) for pair in zip(self.found, more, strict=True))
        density = _without_repeats(z, roots, density)
        new = torch.isfinite(density).sum(-1) > torch.isfinite(self.log_density).sum(-1)
        return Modes(self.anchored, z, roots, density, self.residual), new

    def at(self, rows: Tensor) -> Modes:
        """Return the modes of some of the weights."""
        parts = (part[rows] for part in (*self.found, self.residual))
        return Modes(self.anchored.at(rows), *parts)

    def log_density_at(self, z: Tensor) -> Tensor:
        r"""Return :math:`\log N(z; 0, I) + \log N(u; h(z)) - \log N(u; h(a))` at latents ``(S, K, n)``: ``(S, K)``."""
        return _log_ratio(self.anchored, z) + log_normal(z)


@torch.no_grad()
def search_modes(q: SemiImplicit, u: Tensor, effort: Effort, generator: torch.Generator | None = None) -> Modes:
    """Search the modes of the latent of whitened weights ``u`` ``(S, P)``.

    The latents that generated ``u`` are not used: the result depends on ``u`` and on fresh random numbers alone.
    """
    geometry, sigma = q.geometry, q.sigma
    pool = geometry.draw_latent(effort.pool, generator)
    energy = _energies(geometry, u, pool, sigma)
    starts = pool[_choose(energy, effort.starts, generator)]
    best = pool[energy.argmin(-1)]
    anchored = _anchor(geometry, sigma, u, best)
    spread = (anchored.pull * sigma).square().mean(-1)
    warm = find_modes(anchored, starts, effort.steps, likelihood=1 / spread.clamp_min(1.0))[0]
    modes, roots, density = find_modes(anchored, warm, effort.steps)
    density = _without_repeats(modes, roots, density)
    for _ in range(2):
        images = _mirrored(modes, density, anchored, effort.kept)
        if images is None:
            break
        polished = find_modes(anchored, images, max(5, effort.steps // 3))
        modes, roots, density = (torch.cat(pair, 1) for pair in zip((modes, roots, density), polished, strict=True))
        density = _without_repeats(modes, roots, density)
        modes, roots, density = _keep(modes, roots, density, effort.kept)
    modes, roots, density = _keep(modes, roots, density, effort.kept)
    top = modes.gather(1, density.argmax(-1)[:, None, None].expand(-1, 1, modes.shape[-1])).squeeze(1)
    moved = _anchor(geometry, sigma, u, top)
    return Modes(moved, modes, roots, density - density.amax(-1, keepdim=True), moved.pull * sigma)


def _anchor(geometry: Geometry, sigma: Tensor, u: Tensor, latent: Tensor) -> Anchored:
    return Anchored(geometry, sigma**-2, latent, (u - geometry(latent)) / sigma**2)


def _energies(geometry: Geometry, u: Tensor, pool: Tensor, sigma: Tensor) -> Tensor:
    """Return the negative log-densities of all latents of a pool ``(J, n)`` for all weights: ``(S, J)``."""
    scaled, parts = u / sigma, []
    norm = scaled.square().sum(-1, keepdim=True)
    for block in pool.split(max(1, 2**22 // u.shape[1])):
        made = geometry(block) / sigma
        distance = norm - 2 * scaled @ made.T + made.square().sum(-1)
        parts.append(0.5 * (distance.clamp_min(0) + block.square().sum(-1)))
    return torch.cat(parts, -1)


def _choose(energy: Tensor, number: int, generator: torch.Generator | None) -> Tensor:
    """Return the best half of the starts, and others drawn with probabilities that fall with their energy."""
    number = min(number, energy.shape[-1])
    sorted_energy = energy.sort(-1).values
    scale = (sorted_energy[:, number - 1] - sorted_energy[:, 0]).clamp_min(1.0)[:, None]
    uniform = uniform_like(energy, tuple(energy.shape), generator).clamp_min(1e-300)
    noisy = -energy / scale - (-uniform.log()).log()
    first = energy.topk(number - number // 2, largest=False).indices
    noisy.scatter_(1, first, -torch.inf)
    return torch.cat([first, noisy.topk(number // 2).indices], -1)


_NEAR = 30.0
"""Nats below the best mode at which an image of a mode is not searched."""


def _mirrored(modes: Tensor, density: Tensor, anchored: Anchored, most: int) -> Tensor | None:
    """Return images of the best modes under changes of sign that are nearly as probable, if there are any."""
    n = modes.shape[-1]
    best = density.topk(min(2, density.shape[1])).indices
    centers = modes.gather(1, best[..., None].expand(-1, -1, n))
    images = (centers.unsqueeze(2) * _signs(n).to(modes)).flatten(1, 2)
    value = _log_ratio(anchored, images) - 0.5 * images.square().sum(-1)
    near = int((value > density.amax(-1, keepdim=True) - _NEAR).sum(-1).max())
    if near == 0:
        return None
    return images.gather(1, value.topk(min(most, near)).indices[..., None].expand(-1, -1, n))


def _log_ratio(anchored: Anchored, z: Tensor) -> Tensor:
    blocks = list(row_blocks(len(z), z.shape[1] * anchored.geometry.num_weights))
    if len(blocks) == 1:  # which keeps what the anchors have been pulled back to
        return anchored.log_ratio(z)
    return torch.cat([anchored.at(rows).log_ratio(z[rows]) for rows in blocks])


def _signs(n: int) -> Tensor:
    """Return all changes of sign of up to 8 latents, else those of one, of all but one, and of all."""
    if n <= 8:
        patterns = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * n).reshape(-1, n)
        return patterns[1:]
    single = 1 - 2 * torch.eye(n)
    return torch.cat([single, -single, -torch.ones(1, n)])


def _without_repeats(modes: Tensor, roots: Tensor, density: Tensor) -> Tensor:
    """Return the log-densities with minus infinity for each mode that lies at a better one."""
    _, number, n = modes.shape
    distance = torch.cat([_distances(modes[rows], roots[rows]) for rows in row_blocks(len(modes), number**2 * n)]) / n
    order = density.argsort(-1, descending=True).argsort(-1)
    better = order.unsqueeze(1) < order.unsqueeze(2)
    repeated = ((distance < _SAME**2) & better).any(-1)
    return density.masked_fill(repeated, -torch.inf)


def _distances(modes: Tensor, roots: Tensor) -> Tensor:
    offset = modes.unsqueeze(1) - modes.unsqueeze(2)
    return (offset @ roots).square().sum(-1)


_SAME = 0.1
"""Distance between two modes that are one, in standard deviations per latent."""


def _keep(modes: Tensor, roots: Tensor, density: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the modes of largest mass."""
    mass = density - roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    distinct = int(torch.isfinite(density).sum(-1).max())
    index = mass.topk(max(1, min(number, distinct))).indices
    n = modes.shape[-1]
    return (
        modes.gather(1, index[..., None].expand(-1, -1, n)),
        roots.gather(1, index[..., None, None].expand(-1, -1, n, n)),
        density.gather(1, index),
    )
