"""Importance weights of a guide's draws: how good they are, and draws that are corrected by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...checks import check_generator
from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit, SharedNoise
from ...errors import check_size, value_error
from ...estimators import ChangeOfVariables, ImportanceSandwich
from ...metrics import ParetoSmoothing, pareto_smoothing
from ..implicit_site import has_exact_density
from .outside import MISSED, Outside

__all__ = [
    "LEAST_DRAWS",
    "RELIABLE",
    "GuideCheck",
    "density_at_draws",
    "judge",
    "resampled",
    "with_missed",
    "with_shift",
]

RELIABLE, _GOOD, _WIDE = 0.7, 0.5, 1.0
LEAST_DRAWS, _SHIFTED, _FEWEST = 100, 0.25, 0.05
_FINE = "The guide covers the posterior that it has found: its draws can be used, or resampled to exactness."


@dataclass(frozen=True)
class GuideCheck:
    r"""Judgment of a guide by the importance weights of its draws.

    Attributes:
        k_hat: shape of the tail of the weights, see :class:`~bayeshnet.metrics.ParetoSmoothing`: below 0.7 the guide
            covers the posterior that it has found, and :meth:`AutoHypernet.resample` corrects what is left.
        effective: effective sample size of the weights, out of ``num_samples``.
        num_samples: draws that were judged.
        log_evidence: estimate of the logarithm of the evidence, in nats.
        gap: mean distance in nats between the two sides of :math:`\log q`; 0 where the density is exact.
        advice: one sentence.
        missed: share of annealed particles, which know nothing of the guide, where the guide lacks density. The weights
            of its own draws say nothing about these. None without a search, or one that did not arrive.
        shift: largest change that the weights make to an unknown: of its mean, in standard deviations, or of its
            standard deviation, in parts of it; of the logarithm of a positive unknown.
        apart: True if what is missed is in modes of its own, to which no moves lead from the guide's draws.
    """

    k_hat: float
    effective: float
    num_samples: int
    log_evidence: float
    gap: float
    advice: str
    missed: float | None = None
    shift: float = 0.0
    apart: bool = False

    def __repr__(self) -> str:
        """Show the numbers with four digits."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        shown = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def misses_modes(self) -> bool:
        """True if a search has found modes of their own, with more than 5 % of the posterior, that the guide lacks."""
        return self.apart and self._lacks_density

    @property
    def reliable(self) -> bool:
        """True if ``k_hat`` is below 0.7, at least 5 % of the draws count, and at most 5 % of the mass is missed."""
        return self.resamples and not self._lacks_density

    @property
    def resamples(self) -> bool:
        """True if resampling mends what the guide covers: of fewer draws that count it would be noise, as is k-hat."""
        return self.k_hat < RELIABLE and self.effective >= _FEWEST * self.num_samples

    @property
    def _lacks_density(self) -> bool:
        return self.missed is not None and self.missed > MISSED


def density_at_draws(
    q: Distribution, draw: WeightDraw, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return a lower and an upper estimate of :math:`\log q` ``(S,)`` at own draws; both are exact where it is known.

    Of a hypernetwork with noise they are those of :class:`~bayeshnet.estimators.ImportanceSandwich`. The upper one
    includes the generating latent, so that :math:`p(w) / \hat q(w)` is an unbiased importance weight.
    """
    if has_exact_density(q):
        exact = q.log_prob(draw.w)
        return exact, exact
    if isinstance(q, SharedNoise):
        exact = ChangeOfVariables().log_density(q, draw)
        return exact, exact
    if isinstance(q, SemiImplicit):
        return ImportanceSandwich(num_starts=4).log_density_bounds(q, draw, generator)
    raise value_error(
        "guide",
        expected="one whose posterior has a density, or is a hypernetwork with noise",
        found=type(q).__name__,
        hint="Without a density no draw has a weight.",
    )


def judge(log_joint: Tensor, lower: Tensor, upper: Tensor) -> tuple[GuideCheck, ParetoSmoothing]:
    """Judge draws by the model's log-density and both sides of the guide's, ``(S,)`` each, in the same coordinates."""
    ratios = (log_joint - upper).double()
    if not bool((ratios.isfinite() | ratios.isneginf()).all()) or bool(ratios.isneginf().all()):
        raise value_error(
            "model",
            expected="one with a density at the guide's draws",
            found="NaN or infinity",
            hint="Train the guide, and look for data outside the supports.",
        )
    smooth = pareto_smoothing(ratios)
    gap = max(0.0, float((upper - lower).double().mean()))
    num = len(ratios)
    advice = _advice(smooth.k_hat, smooth.effective, num, gap)
    return GuideCheck(smooth.k_hat, smooth.effective, num, smooth.log_mean, gap, advice), smooth


def _advice(k_hat: float, effective: float, num: int, gap: float) -> str:
    """Return one sentence."""
    if gap > _WIDE:
        return (
            f"The guide's density is known to {gap:.1f} nats only: use fewer latents or hidden units, or more noise, "
            "before its weights are trusted."
        )
    if k_hat < _GOOD and effective > 0.5 * num:
        return _FINE
    if k_hat < RELIABLE and effective < _FEWEST * num:
        return (
            f"Of {num} draws of the guide {effective:.0f} count, too few to tell how wrong it is or to resample them: "
            "train longer, learn the centring of hierarchies, or use the sampler."
        )
    if k_hat < RELIABLE:
        return f"The guide has wrong proportions: resample its draws, of which {effective:.0f} of {num} count."
    return (
        f"The guide misses a part of the posterior (k-hat {k_hat:.2f}): train longer, learn the centring of "
        "hierarchies, begin hot or with components where there are modes, or use the sampler; resampling does not help."
    )


def with_missed(check: GuideCheck, outside: Outside | None) -> GuideCheck:
    """Return the same judgment with what a search has found outside the guide."""
    if outside is None:
        return check
    found = replace(check, missed=outside.share, apart=outside.apart)
    if found.reliable or not check.reliable:
        return found
    share = f"about {100 * outside.share:.0f} % of the posterior"
    advice = (
        f"The guide lacks modes with {share}: give it components, which begin in them, or its symmetries, or use the "
        "sampler; resampling cannot mend it."
        if outside.apart
        else f"The guide is too narrow, and lacks density at {share}, though in no mode apart: train longer, or with "
        "tails, learn the centring of hierarchies, or use the sampler; resampling mends a part of it."
    )
    return replace(found, advice=advice)


def with_shift(check: GuideCheck, weights: ParetoSmoothing, values: Mapping[str, Tensor]) -> GuideCheck:
    """Return the same judgment with the change that the weights make to values ``(S, *shape)`` by site."""
    flat = torch.cat([_on_the_line(value.reshape(len(value), -1).double()) for value in values.values()], -1)
    share = weights.log_weights.exp().to(flat)
    mean, std = flat.mean(0), flat.std(0)
    weighted = share @ flat
    deviation = (share @ (flat - weighted) ** 2).sqrt().clamp_min(torch.finfo(flat.dtype).tiny)
    moved = torch.maximum((weighted - mean).abs() / deviation, (std / deviation - 1).abs())
    found = replace(check, shift=float(moved.nan_to_num(0.0).max()))
    if found.shift <= _SHIFTED or check.advice != _FINE:
        return found
    advice = f"The weights move a mean or a spread by {100 * found.shift:.0f} %: resample the guide's draws."
    return replace(found, advice=advice)


def _on_the_line(x: Tensor) -> Tensor:
    """Return columns of ``x`` ``(S, D)``, those that are all positive as their logarithms."""
    return torch.where((x > 0).all(0), x.clamp_min(torch.finfo(x.dtype).tiny).log(), x)


def resampled(weights: ParetoSmoothing, num: int, generator: torch.Generator | None) -> Tensor:
    """Return indices ``(num,)`` of draws by their smoothed weights: systematic resampling, in random order."""
    size, device = check_size("num_samples", num), weights.log_weights.device
    check_generator(generator)
    edges = weights.log_weights.exp().cumsum(0)
    options: Any = {"generator": generator, "device": device if generator is None else generator.device}
    start = torch.rand((), dtype=edges.dtype, **options).to(device)
    points = (torch.arange(size, dtype=edges.dtype, device=device) + start) / size * edges[-1]
    index = torch.searchsorted(edges, points).clamp_max(len(edges) - 1)
    return index[torch.randperm(size, **options).to(device)]
