"""The mutual information between weights and latent, bounded from both sides in expectation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit
from ...geometry.linalg import half_log_det
from ..draws import latent_and_noise
from ..latent.control_variate import linear_noise
from ..latent_posterior import make_proposal
from .annealing import anneal
from .defended import Defended
from .mode_search import Effort, Modes, search_modes
from .quasi_random import Mean, normal_mean
from .reduced import reduced

__all__ = [
    "InformationBounds",
    "bound_information",
    "choose_effort",
    "exact_information",
    "mean_determinant",
    "upper_rest",
]

EFFORTS = (
    Effort(pool=256, starts=4, kept=8, proposals=128),
    Effort(pool=2048, starts=16, kept=32, proposals=256),
    Effort(pool=2048, starts=16, kept=32, proposals=8, levels=64, draws=384),
    Effort(pool=8192, starts=32, kept=256, proposals=256, draws=384),
    Effort(pool=8192, starts=32, kept=64, proposals=4, levels=256, draws=192),
)
"""Efforts that are tried in turn."""

_QUICK = 1
"""Number of efforts that are tried where time is short."""

_PILOT = 32
"""Draws on which an effort is tried."""

_FEW = 64
"""Draws evaluated at once, and those evaluated where no effort closes the gap."""


@dataclass(frozen=True)
class InformationBounds:
    """Two means between which the mutual information lies in expectation, in nats.

    Attributes:
        lower: includes the generating latent among the proposals.
        upper: excludes it.
        linearized: LIVI's estimate.
        missing: share of the draws whose generating latent lies where no mode was found.
        ess: effective share of the proposals, in the mean over draws.
        modes: number of modes that share the mass of the latent's posterior, in the mean over draws: the exponential of
            the entropy of their Laplace masses.
        num_draws: weight vectors used.
        effort: with which modes were searched; None if there was no need.
    """

    lower: Mean
    upper: Mean
    linearized: Mean
    missing: float
    ess: float
    modes: float
    num_draws: int
    effort: Effort | None


@torch.no_grad()
def bound_information(
    q: SemiImplicit,
    target: float,
    most: int,
    level: float,
    generator: torch.Generator | None = None,
    *,
    quick: bool = False,
) -> InformationBounds:
    r"""Bound ``I(w; z)`` from both sides.

    For a draw ``w`` with latent :math:`z_0`, modes are searched from ``w`` alone, so that given ``w`` the proposals
    :math:`z_k \sim \tau` are independent of :math:`z_0`, itself a draw from :math:`p(z | w)`. With
    :math:`a_k = N(z_k) N(w; h(z_k)) / \tau(z_k)`, in expectation

    .. math:: \log \tfrac1K \sum_{k=1}^K a_k \;\le\; \log q(w) \;\le\; \log \tfrac1{K+1} \sum_{k=0}^K a_k,

    whatever the search has found; what it misses makes the two sides differ. Where the modes are far from Gaussian,
    both are sharpened by :func:`anneal`, whose chain back from :math:`z_0` takes its place. LIVI's determinants,
    averaged over many latents, and noise of mean zero that a linear map would have are subtracted from both: they
    change no expectation. The left side holds for any proposals; there the mode next to :math:`z_0` is added where it
    had not been found.

    Args:
        q: posterior, in double precision.
        target: half-width of the interval of each side to reach.
        most: largest number of weight vectors.
        level: confidence of that half-width.
        generator: of all noise.
        quick: try the lowest efforts alone.
    """
    q = reduced(q)
    size = max(4, 2**20 // q.geometry.num_weights)
    linearized = mean_determinant(q, 0.2 * target, generator)
    effort, pilot = _try_efforts(q, target, generator, quick)
    settled = _closes(pilot, target)
    most = min(most, effort.draws) if settled else _FEW
    blocks: list[_Block] = []
    joined = None
    sides: tuple[Mean, Mean] | None = None
    while joined is None or sides is None or (_half_width(sides, level) > target and joined.num < most):
        blocks.append(_block(q, min(_FEW, size, max(2, most)), effort, generator))
        joined = _Block.joined(blocks)
        parts = (joined.include, pilot.include), (joined.exclude, pilot.exclude)
        low, high = (skewed_mean(own, other, level) for own, other in parts)
        sides = low, high
    lower, upper = sides
    return InformationBounds(
        lower + linearized,
        upper + linearized,
        linearized,
        float(joined.missed.double().mean()),
        float(joined.ess.mean()),
        float(joined.modes.mean()),
        joined.num,
        effort,
    )


def mean_determinant(q: SemiImplicit, target: float, generator: torch.Generator | None) -> Mean:
    """Return the mean of LIVI's half log-determinants over latents, to a standard error of ``target`` if possible."""
    precision, size = q.sigma**-2, max(4, 2**20 // q.geometry.num_weights)

    def determinant(z: Tensor) -> Tensor:
        return half_log_det(q.geometry.gram(z, precision))

    like = q.geometry.zero_latent()
    return normal_mean(determinant, like, target, most=2**16, block=min(2**12, size), generator=generator)


@dataclass(frozen=True)
class _Block:
    """Results per draw ``(S,)``: both sides minus LIVI and noise, whether the latent was missed, ess, modes."""

    include: Tensor
    exclude: Tensor
    missed: Tensor
    ess: Tensor
    modes: Tensor

    @classmethod
    def joined(cls, blocks: list[_Block]) -> _Block:
        return cls(*(torch.cat([getattr(b, name) for b in blocks]) for name in cls.__dataclass_fields__))

    @property
    def num(self) -> int:
        return self.include.numel()

    @property
    def gap(self) -> float:
        return float((self.exclude - self.include).mean())


def exact_information(q: SemiImplicit) -> InformationBounds:
    """Return the mutual information of an affine map, which has no error."""
    value = Mean(float(half_log_det(q.geometry.gram(q.geometry.zero_latent(), q.sigma**-2))), 0.0)
    return InformationBounds(value, value, value, 0.0, 1.0, 1.0, 0, None)


def choose_effort(
    q: SemiImplicit, target: float, generator: torch.Generator | None, quick: bool = False
) -> tuple[Effort, bool]:
    """Return the least effort that closes the gap on a few draws, or else the one with the smallest gap."""
    effort, pilot = _try_efforts(q, target, generator, quick)
    return effort, _closes(pilot, target)


def _try_efforts(
    q: SemiImplicit, target: float, generator: torch.Generator | None, quick: bool
) -> tuple[Effort, _Block]:
    """Return the effort that is chosen, and the draws on which it was tried."""
    pilots = []
    for effort in EFFORTS[: _QUICK if quick else None]:
        pilots.append(_block(q, _PILOT, effort, generator))
        if _closes(pilots[-1], target):
            return effort, pilots[-1]
    best = min(range(len(pilots)), key=lambda i: pilots[i].gap)
    return EFFORTS[best], pilots[best]


def _closes(pilot: _Block, target: float) -> bool:
    return pilot.gap < 2 * target and not bool(pilot.missed.any())


def _half_width(sides: tuple[Mean, Mean], level: float) -> float:
    return max(side.half_width(level) for side in sides)


def skewed_mean(values: Tensor, others: Tensor, level: float) -> Mean:
    r"""Return the mean of ``values`` ``(S,)`` with an error that counts values which are rare, but far from the others.

    Without one of them among the values their scatter, and with it the interval at which no more draws are made, would
    be too small. So the standard deviation s is that of the values and of ``others`` ``(R,)``, draws of before that are
    no part of the mean, and with their skewness g the quantile t of Student's distribution is widened to
    :math:`t + |g| (1 + 2 t^2) / (6 \sqrt S)`.

    References:
        Johnson, "Modified t tests and confidence intervals for asymmetrical populations", 1978.
    """
    plain, seen = Mean.of(values), torch.cat([values, others])
    deviation, spread = seen - seen.mean(), seen.std()
    error = float(spread) / math.sqrt(len(values))
    if not error > 0:
        return plain
    t = Mean(0.0, 1.0, plain.dof).half_width(level)
    skewness = abs(float((deviation / spread).pow(3).mean()))
    return Mean(plain.value, error * (1 + skewness * (1 + 2 * t * t) / (6 * t * math.sqrt(len(values)))), plain.dof)


@torch.no_grad()
def upper_rest(q: SemiImplicit, draw: WeightDraw, effort: Effort, generator: torch.Generator | None = None) -> Tensor:
    """Return what the upper side of the information is above LIVI's at own draws, ``(S,)``.

    Its mean bounds the difference from above, whatever the search has found; noise of mean zero is subtracted.
    """
    return _block_at(q, draw, effort, generator).exclude


def _block(q: SemiImplicit, num: int, effort: Effort, generator: torch.Generator | None) -> _Block:
    return _block_at(q, q.draw(num, generator), effort, generator)


def _block_at(q: SemiImplicit, draw: WeightDraw, effort: Effort, generator: torch.Generator | None) -> _Block:
    origin, _ = latent_and_noise(draw)
    noise, livi = linear_noise(q, draw)
    modes = search_modes(q, q.whitened(draw), effort, generator)
    weights, own = _log_weights(modes, origin, effort, generator)
    total = torch.logsumexp(weights, 1)
    count = weights.shape[1]
    shift = _log_conditional(draw, modes) - noise - livi
    wide, new = modes.joined_by(origin, effort.steps)
    total_wide = total.clone()
    if bool(new.any()):
        known, _ = _log_weights(wide.at(new), origin[new], effort, generator)
        total_wide[new] = torch.logsumexp(known, 1)
    return _Block(
        math.log(count + 1) - torch.logaddexp(total, own) + shift,
        math.log(count) - total_wide + shift,
        own - (total - math.log(count)) > math.log(_FAR),
        (2 * total - torch.logsumexp(2 * weights, 1)).exp() / count,
        modes.number,
    )


def _log_weights(
    modes: Modes, origin: Tensor, effort: Effort, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return log-weights of proposals around modes ``(S, K)``, and of the generating latents ``(S,)``."""
    proposal = Defended(make_proposal(modes.found))
    z = proposal.draw(effort.proposals, generator)
    if effort.levels > 1:
        found = anneal(
            modes.log_density_at,
            proposal.log_prob,
            z,
            origin,
            root=modes.best_root,
            num_levels=effort.levels,
            generator=generator,
        )
        return found.forward, found.backward
    own = origin.unsqueeze(1)
    weights, own_weight = (modes.log_density_at(x) - proposal.log_prob(x) for x in (z, own))
    return weights, own_weight.squeeze(1)


_FAR = 1000.0
"""Times the density at which a generating latent shows that the proposals miss where it came from."""


def _log_conditional(draw: WeightDraw, modes: Modes) -> Tensor:
    r"""Return :math:`\log N(w; h(z_0)) - \log N(w; h(a))` for the anchors ``a``, ``(S,)``."""
    _, eps = latent_and_noise(draw)
    return 0.5 * (modes.residual.square().sum(-1) - eps.square().sum(-1))
