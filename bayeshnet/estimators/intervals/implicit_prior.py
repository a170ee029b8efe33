"""The mean log-density of a prior that is itself made by a hypernetwork."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit
from ..draws import latent_and_noise
from ..latent.control_variate import linear_noise
from ..latent_posterior import make_proposal
from ..noise import log_normalizer
from .defended import Defended
from .information import choose_effort, mean_determinant
from .mode_search import Effort, search_modes
from .quasi_random import Mean

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
    of what makes ``log p(w)`` vary where there are many weights.
    At most ``num_samples`` weights are drawn, and at least 64. With ``quick`` the lowest efforts alone are tried.
    """
    effort, settled = choose_effort(p, 4 * target, generator, quick)
    determinants = mean_determinant(q, 0.5 * target, generator)
    lows: list[Tensor] = []
    gains: list[Tensor] = []
    while not lows or (_error(lows) > target and len(lows) * _DRAWS < num_samples):
        draw = q.draw(_DRAWS, generator)
        first, second = (_log_prob(p, draw.w, effort, generator) for _ in range(2))
        joined = torch.logaddexp(first, second) - math.log(2)
        lows.append(joined + _noise(q, p, draw, effort, generator))
        gains.append(joined - 0.5 * (first + second))
    low, gain = torch.cat(lows), torch.cat(gains)
    doubt = None
    if not settled or float((gain > 1).double().mean()) > 0.02 or float(gain.mean()) > target:
        doubt = "The density of the prior, a hypernetwork itself, changes with the search for its latents."
    return Mean.of(low) + -determinants, Mean.of(low + 3 * gain) + -determinants, doubt


def _noise(
    q: SemiImplicit, p: SemiImplicit, draw: WeightDraw, effort: Effort, generator: torch.Generator | None
) -> Tensor:
    r"""Return noise per draw ``(S,)``, nearly the opposite of that of ``log p(w)``, whose mean is LIVI's information.

    With the noise :math:`s \varepsilon` of a draw in units of that of ``p``, and the residual ``r``, in these units, of
    the same weights without noise from the latents that a search finds for them, it is
    :math:`\tfrac12 (|s \varepsilon|^2 - |s|^2) + (s \varepsilon)^\top r`, of mean zero, since the search knows nothing
    of the noise. Added is the linearized information of ``q`` at the draw, noise of mean zero and a determinant, of
    which ``log q(w)`` has the opposite, and ``log p(w)`` nearly so where ``p`` is close to ``q``.
    """
    latent, eps = latent_and_noise(draw)
    clean = search_modes(p, p.whiten(q.place(latent, torch.zeros_like(eps)).w), effort, generator).residual
    ratio = (q.sigma * q.scale) / (p.sigma * p.scale)
    noise = ratio * eps
    linear, determinants = linear_noise(q, draw)
    return (0.5 * (noise.square() - ratio.square()) + noise * clean).sum(-1) + linear + determinants


def _error(blocks: list[Tensor]) -> float:
    return Mean.of(torch.cat(blocks)).error


def _log_prob(p: SemiImplicit, w: Tensor, effort: Effort, generator: torch.Generator | None) -> Tensor:
    modes = search_modes(p, p.whiten(w), effort, generator)
    proposal = Defended(make_proposal(modes.found))
    z = proposal.draw(max(64, effort.proposals), generator)
    weights = modes.log_density_at(z) - proposal.log_prob(z)
    ratio = torch.logsumexp(weights, 1) - math.log(z.shape[1])
    return ratio - 0.5 * modes.residual.square().sum(-1) - log_normalizer(p)
