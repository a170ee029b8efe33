"""The contrast of adversarial variational Bayes: a Gaussian with the moments of the posterior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.gaussian import MeanFieldGaussian
from ...distributions.gaussian_forms import as_gaussian
from ...distributions.priors import FanInGaussian
from ...distributions.semi_implicit import GeneratedWeights, total
from ..analytic import log_prob_of
from ..draws import sample_from

__all__ = ["contrast_log_ratio", "moments_of", "standardize"]


def moments_of(q: Distribution, num: int, generator: torch.Generator | None) -> MeanFieldGaussian:
    """Return a Gaussian with the means and standard deviations of ``num`` draws."""
    w = sample_from(q, num, generator)
    return MeanFieldGaussian(w.mean(0), w.std(0).clamp_min(torch.finfo(w.dtype).tiny), validate_args=False)


def standardize(w: Tensor, contrast: Distribution) -> Tensor:
    """Return weights in units of the contrast's standard deviations if it is Gaussian, else the weights themselves."""
    return (w - contrast.loc) / contrast.scale if isinstance(contrast, MeanFieldGaussian) else w


def contrast_log_ratio(
    contrast: Distribution,
    x: Tensor,
    prior: Distribution,
    q: Distribution,
    draw: WeightDraw,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor | float]:
    """Return the log-densities of draws of ``q`` under contrast and prior, subtracted: terms ``(S,)`` and a constant.

    ``x`` are the draws in units of the contrast.
    """
    form = as_gaussian(prior)
    if form is None or not isinstance(contrast, MeanFieldGaussian):
        return contrast.log_prob(draw.w) - log_prob_of(prior, draw.w, generator), 0.0
    if isinstance(q, GeneratedWeights) and isinstance(prior, FanInGaussian) and prior.whitened_by(q.whitening):
        y = q.whitened(draw)
    else:
        y = (draw.w - form[0]) / form[1]
    constant = total(form[1].log(), x.shape[1]) - contrast.scale.log().sum()
    return 0.5 * ((y * y).sum(-1) - (x * x).sum(-1)), constant
