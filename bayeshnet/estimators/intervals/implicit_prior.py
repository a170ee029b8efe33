"""The mean log-density of a prior that is itself made by a hypernetwork."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit, total
from ..draws import latent_and_noise
from ..latent.control_variate import linear_noise
from ..latent_posterior import make_proposal
from ..noise import log_normalizer
from .defended import Defended
from .information import choose_effort, mean_determinant
from .known_means import Known
from .mode_search import Effort, search_modes
from .quasi_random import Mean, normal_mean
from .span import Split

__all__ = ["searched_log_prob"]

_DRAWS = 64


@torch.no_grad()
def searched_log_prob(
    q: SemiImplicit,
    p: SemiImplicit,
    target: float,
    generator: torch.Generator | None,
    num_samples: int = 1024,
    *,
    quick: bool = False,
) -> tuple[Mean, Mean, str | None]:
    """Estimate the mean of ``log p(w)`` over ``q``, from both sides, with a sentence if it is in doubt.

    Importance sampling around modes that are searched gives a lower bound in expectation. Two independent searches are
    made. What their union adds to one of them is added three times more for the upper side, which is no bound: a mode
    that neither finds is not seen. Therefore the search has to work on draws of ``p`` too, whose latents are known: on
    them both sides have to differ by less than eight times ``target``. Noise of mean zero is subtracted, which is most
    of what makes ``log p(w)`` vary where there are many weights. Where both maps end in a head, what lies across that
    of ``p`` is a Gaussian, whose part is a mean over thousands of latents; only the rest is searched. What depends on
    the latent nearly linearly on known functions costs no error, see :class:`Known`.
    At most ``num_samples`` weights are drawn, and at least 64. With ``quick`` the lowest efforts alone are tried.
    """
    pair, outside, known = _prepared(q, p, target, generator)
    effort, settled = choose_effort(pair.p, 4 * target, generator, quick)
    determinants = mean_determinant(pair.q, 0.5 * target, generator)
    lows: list[Tensor] = []
    gains: list[Tensor] = []
    latents: list[Tensor] = []
    while not lows or (known.mean(lows, latents).error > target and len(lows) * _DRAWS < num_samples):
        draw = pair.q.draw(_DRAWS, generator)
        first, second = (_log_prob(pair.p, pair.lift(draw.w), effort, generator) for _ in range(2))
        joined = torch.logaddexp(first, second) - math.log(2)
        lows.append(joined + _noise(pair, draw, effort, generator))
        gains.append(joined - 0.5 * (first + second))
        latents.append(latent_and_noise(draw)[0])
    gain, doubt = torch.cat(gains), None
    if not settled or float((gain > 1).double().mean()) > 0.02 or float(gain.mean()) > target:
        doubt = "The density of the prior, a hypernetwork itself, changes with the search for its latents."
    rest = outside + -determinants
    highs = [low + 3 * part for low, part in zip(lows, gains, strict=True)]
    return known.mean(lows, latents) + rest, known.mean(highs, latents) + rest, doubt


def _prepared(
    q: SemiImplicit, p: SemiImplicit, target: float, generator: torch.Generator | None
) -> tuple[_Pair, Mean, Known]:
    """Return what is to be searched, the part of ``log p(w)`` that is known, and functions of known mean."""
    split = Split.of(q, p)
    if split is None:
        return _Pair(q, p), Mean(0.0, 0.0), Known(())
    pair, like, across = _Pair(*split.along()), q.geometry.zero_latent(), split.half_square()

    def along(z: Tensor) -> Tensor:
        return 0.5 * pair.lift(pair.q.geometry(z)).square().sum(-1)

    means = [normal_mean(part, like, 0.25 * target, generator=generator) for part in (across, along)]
    known = Known(((across, means[0], 1.0), (along, means[1], 0.0)))
    half = 0.5 * (split.trace + split.dimensions * math.log(2 * math.pi)) + split.log_volume
    return pair, Mean(-means[0].value - float(half), 0.0), known


@dataclass(frozen=True)
class _Pair:
    """A posterior and a prior, with a matrix from the weights of one to those of the other; None for the identity."""

    q: SemiImplicit
    p: SemiImplicit
    root: Tensor | None = None

    def lift(self, w: Tensor) -> Tensor:
        """Return weights of the prior for those of the posterior ``(S, P)``."""
        return w if self.root is None else w @ self.root.mT

    def noise(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return noise ``(S, P)`` in units of the prior's, and its expected squared norm ``()``."""
        if self.root is not None:
            return self.lift(eps), self.root.square().sum()
        ratio = (self.q.sigma * self.q.scale) / (self.p.sigma * self.p.scale)
        return ratio * eps, total(ratio.square(), eps.shape[-1])


def _noise(pair: _Pair, draw: WeightDraw, effort: Effort, generator: torch.Generator | None) -> Tensor:
    r"""Return noise per draw ``(S,)``, nearly the opposite of that of ``log p(w)``, whose mean is LIVI's information.

    With the noise :math:`\eta` of a draw in units of that of ``p``, and the residual ``r``, in these units, of the same
    weights without noise from the latents that a search finds for them, it is
    :math:`\tfrac12 (|\eta|^2 - E |\eta|^2) + \eta^\top r`, of mean zero, since the search knows nothing of the noise.
    Added is the linearized information of ``q`` at the draw, noise of mean zero and a determinant, of which
    ``log q(w)`` has the opposite, and ``log p(w)`` nearly so where ``p`` is close to ``q``.
    """
    q, p = pair.q, pair.p
    latent, eps = latent_and_noise(draw)
    still = pair.lift(q.place(latent, torch.zeros_like(eps)).w)
    clean = search_modes(p, p.whiten(still), effort, generator).residual
    noise, mean_square = pair.noise(eps)
    linear, determinants = linear_noise(q, draw)
    return 0.5 * (noise.square().sum(-1) - mean_square) + (noise * clean).sum(-1) + linear + determinants


def _log_prob(p: SemiImplicit, w: Tensor, effort: Effort, generator: torch.Generator | None) -> Tensor:
    modes = search_modes(p, p.whiten(w), effort, generator)
    proposal = Defended(make_proposal(modes.found))
    z = proposal.draw(max(64, effort.proposals), generator)
    weights = modes.log_density_at(z) - proposal.log_prob(z)
    ratio = torch.logsumexp(weights, 1) - math.log(z.shape[1])
    return ratio - 0.5 * modes.residual.square().sum(-1) - log_normalizer(p)
