"""What the kernel estimators share: distances, widths, and scores that are a small matrix times the samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.dirac import Dirac
from ...distributions.semi_implicit import GeneratedWeights, SemiImplicit
from ...errors import check_choice, check_positive, type_error, value_error
from ...geometry.linalg import precise
from ...rng import normal_like
from .._cross_entropy import log_prob_of
from .._split import check_value, conditional_kl, draw_from, prior_of
from ..base import KLEstimate, as_distribution
from ..lazy_diagnostics import Findings

__all__ = ["KernelSamples", "check_width", "gram_and_distances", "kernel_width", "score_estimate"]

_COLUMNS = 2**24
"""Entries that a block of columns of the samples may have."""

_PRECISE = 2**18
"""Up to so many entries samples are copied to double precision before they are multiplied."""


def gram_and_distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of the centered samples ``(M, P)`` and squared distances between them, ``(M, M)`` each.

    Accumulated block by block in double precision: no ``(M, M, P)`` tensor and no copy of the samples.
    """
    block = max(1, _COLUMNS // max(1, x.shape[0]))
    if x.shape[1] <= block:
        gram = _centered_gram(x)
    else:
        gram = precise(x.new_zeros(x.shape[0], x.shape[0]))
        for part in x.split(block, dim=1):
            gram += _centered_gram(part)
    norms = gram.diagonal()
    if x.device.type == "cpu" and not math.isfinite(norms.sum()):
        raise ValueError(
            "q: expected draws of finite weights, got NaN or infinity. Look for them among the weights of the "
            "hypernetwork, its inputs and sigma."
        )
    distances = torch.sub(norms[:, None] + norms, gram, alpha=2).clamp_min_(0)
    return gram, distances.fill_diagonal_(0)


def _centered_gram(x: Tensor) -> Tensor:
    """Inner products of the centered samples, in double precision, which small samples are multiplied in."""
    centered = precise(x) if x.numel() <= _PRECISE else x
    centered = centered - centered.mean(0)
    return precise(centered @ centered.T)


def cross_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances ``(M, K)`` between rows of ``x`` ``(M, P)`` and ``y`` ``(K, P)``, differentiable."""
    center = y.detach().mean(0)
    left, right = precise(x - center), precise(y - center)
    norms = left.square().sum(-1)[:, None] + right.square().sum(-1)[None, :]
    return (norms - 2 * left @ right.T).clamp_min(0)


def kernel_width(distances: Tensor, width: float | str) -> Tensor:
    """The kernel's length: a number, or the median of all pairwise distances, those of zero included."""
    if isinstance(width, str):
        return distances.flatten().median().sqrt().clamp_min(torch.finfo(distances.dtype).tiny)
    return torch.as_tensor(width, dtype=distances.dtype, device=distances.device)


def check_width(width: Any) -> float | str:
    """``"median"`` or a number > 0."""
    if isinstance(width, str):
        return check_choice("width", width, ("median",), "Or give a number > 0.")
    return check_positive("width", width, "Or 'median', which adapts to the distances.")


@dataclass(frozen=True)
class KernelSamples:
    """Draws in the space where the kernel lives, with what all of them need.

    Attributes:
        q: the posterior.
        draw: the draws.
        x: samples ``(M, P)``, whitened where the posterior has a whitening.
        mean: what a hypernetwork generated of the latents ``(M, P)``, before noise; or None.
    """

    q: Distribution
    draw: WeightDraw
    x: Tensor
    mean: Tensor | None = None

    @classmethod
    def of(cls, q: Distribution, draw: WeightDraw, method: str) -> KernelSamples:
        """The samples of draws from ``q``."""
        check_kernel_target(q, draw.w.shape[0], method)
        x = q.whitened(draw) if isinstance(q, GeneratedWeights) else draw.w
        if not isinstance(q, SemiImplicit) or draw.eps is None:
            return cls(q, draw, x)
        return cls(q, draw, x, torch.addcmul(x, q.sigma, draw.eps, value=-1))

    @classmethod
    def take(cls, q: Any, num: int, method: str, generator: torch.Generator | None) -> KernelSamples:
        """Draw ``num`` samples; a learned sigma, which kernels are blind to, and fewer than two samples are refused."""
        posterior = as_distribution(q)
        check_kernel_target(posterior, num, method)
        if isinstance(posterior, SemiImplicit):
            z = posterior.geometry.draw_latent(num, generator)
            eps, mean = normal_like(z, (num, posterior.geometry.num_weights), generator), posterior.geometry(z)
            x = torch.addcmul(mean, posterior.sigma, eps)
            return cls(posterior, WeightDraw(posterior.unwhiten(x), z, eps, x), x, mean)
        draw = draw_from(posterior, num, generator)
        return cls(posterior, draw, posterior.whitened(draw) if isinstance(posterior, GeneratedWeights) else draw.w)


def check_kernel_target(q: Distribution, num: int, method: str) -> None:
    """Refuse point masses, a learned sigma, which kernels are blind to, and fewer than two samples."""
    if isinstance(q, Dirac):
        raise type_error(
            "q",
            expected="a distribution with a density",
            found="Dirac",
            hint="A point mass has no score: use ClosedForm.",
        )
    if isinstance(q, GeneratedWeights) and q.sigma.requires_grad:
        raise value_error(
            "q",
            expected="a fixed sigma",
            found="one that requires grad",
            hint=f"{method} is blind to scales far below the kernel's width and would shrink it: "
            "learn sigma with LIVI, or detach it.",
        )
    if num < 2:
        raise value_error(
            "num_samples", expected="at least 2 samples", got=num, hint=f"{method} compares samples with each other."
        )


class _ScoreSurrogate(torch.autograd.Function):
    """A scalar whose gradient with respect to samples ``x`` is ``A x / M``, made block by block."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(x, matrix)
        return x.new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, matrix = ctx.saved_tensors
        return apply_score(matrix * (grad / x.shape[0]).to(matrix), x), None


def apply_score(matrix: Tensor, x: Tensor) -> Tensor:
    """Product of ``(M, M)`` (whose rows sum to zero) and samples ``(M, P)``, block by block."""
    block = max(1, _COLUMNS // max(1, x.shape[0]))
    if x.shape[1] <= block:
        return (matrix @ precise(x - x.mean(0))).to(x) if x.numel() < _PRECISE else matrix.to(x) @ (x - x.mean(0))
    out, small = torch.empty_like(x), matrix.to(x)
    for start in range(0, x.shape[1], block):
        part = x[:, start : start + block]
        torch.matmul(small, part - part.mean(0), out=out[:, start : start + block])
    return out


def score_estimate(
    samples: KernelSamples,
    p: Distribution | nn.Module,
    matrix: Tensor,
    diagnostics: dict[str, Any],
    later: dict[str, Callable[[], Any]] | None = None,
) -> KLEstimate:
    r"""The record of an estimator whose score at its own samples is :math:`\hat s(x_i) = \sum_j A_{ij} x_j`.

    The surrogate is :math:`\tfrac1M \sum_i \hat s(x_i)^\top x_i - \tfrac1M \sum_i \log p(w_i)` with the score constant.
    The value is None: it would need the density, not its score. Diagnostics ``later`` are computed when asked for.
    """
    q, draw, x = samples.q, samples.draw, samples.x
    prior = prior_of(q, p)
    analytic = conditional_kl(q, prior) if isinstance(q, SemiImplicit) else None
    if analytic is not None and analytic.of is not None and samples.mean is not None:
        cross = analytic.of(samples.mean)
    elif analytic is not None and draw.z is not None:
        cross = analytic.at(draw.z).mean()
    else:
        cross = -log_prob_of(prior, draw.w).mean()
    check_value(cross.detach(), "q, p")
    surrogate = _ScoreSurrogate.apply(x, matrix.detach()) + cross
    known = {"why_no_value": "a score has no normalizing constant", **diagnostics}
    return KLEstimate(None, surrogate, None, None, Findings(known, later or {}))


def stein_trace(matrix: Tensor, gram: Tensor, num_weights: int) -> Tensor:
    r"""The share of dimensions that a score ``A x`` sees, :math:`-\tfrac1{MP} \sum_i \hat s(x_i)^\top (x_i - \bar x)`.

    It is one for the true score.
    """
    return -(matrix * gram).sum() / (gram.shape[0] * num_weights)


def log_normal(eps: Tensor) -> Tensor:
    """Log-density ``(S,)`` of standard normal noise ``(S, P)``."""
    return -0.5 * precise(eps).square().sum(-1) - 0.5 * eps.shape[-1] * math.log(2 * math.pi)
