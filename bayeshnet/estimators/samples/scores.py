"""Estimators of the score at its own samples, whose value is a small matrix times the samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import GeneratedWeights, SemiImplicit
from ...geometry.linalg import precise
from ...parallel.shares import gathered
from ...rng import normal_like
from ...speed import shortcuts
from ..accepted import with_score
from ..analytic import conditional_kl, log_prob_of
from ..base import KLEstimate, KLEstimator
from ..draws import draw_from
from ..lazy_diagnostics import LazyDiagnostics
from .kernels import column_block, gram_and_distances, kernel_width

__all__ = ["KernelSamples", "Score", "ScoreEstimator", "apply_score", "stein_trace"]


@dataclass(frozen=True)
class KernelSamples:
    """Draws of a posterior in the coordinates in which kernels compare them.

    Attributes:
        q: the posterior.
        draw: the draws.
        x: samples ``(M, P)``, whitened where the posterior has a whitening.
        mean: generated weights ``h(z)`` ``(M, P)`` before noise; or None.
    """

    q: Distribution
    draw: WeightDraw
    x: Tensor
    mean: Tensor | None = None

    @classmethod
    def of(cls, q: Distribution, draw: WeightDraw) -> KernelSamples:
        """Use given draws of ``q``."""
        x = q.whitened(draw) if isinstance(q, GeneratedWeights) else draw.w
        if not isinstance(q, SemiImplicit) or draw.eps is None:
            return cls(q, draw, x)
        return cls(q, draw, x, torch.addcmul(x, q.sigma, draw.eps, value=-1))

    @classmethod
    def take(cls, q: Distribution, num: int, generator: torch.Generator | None) -> KernelSamples:
        """Draw ``num`` samples of ``q``."""
        if not isinstance(q, SemiImplicit):
            return cls.of(q, draw_from(q, num, generator))
        z = q.geometry.draw_latent(num, generator)
        eps, mean = normal_like(z, (num, q.geometry.num_weights), generator), q.geometry(z)
        x = torch.addcmul(mean, q.sigma, eps)
        return cls(q, WeightDraw(q.unwhiten(x), z, eps, x), x, mean)

    def cross_entropy(self, p: Distribution, generator: torch.Generator | None = None) -> Tensor:
        r"""Return :math:`-E \log p`, up to a constant where the noise is integrated out.

        Args:
            p: the prior.
            generator: of the search for the density of a prior that is a hypernetwork.
        """
        analytic = conditional_kl(self.q, p) if isinstance(self.q, SemiImplicit) else None
        if analytic is not None and analytic.mean_at is not None and self.mean is not None:
            return analytic.mean_at(self.mean)
        if analytic is not None and self.draw.z is not None:
            return analytic.at(self.draw.z).mean()
        return -log_prob_of(p, self.draw.w, generator).mean()


@dataclass(frozen=True)
class Score:
    r"""An estimate of the score at its own samples, :math:`\hat s(x_i) = \sum_j A_{ij} x_j`.

    Attributes:
        matrix: ``A`` ``(M, M)``; its rows sum to zero.
        diagnostics: further results by name.
        later: functions that compute further results at first access.
    """

    matrix: Tensor
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    later: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


class ScoreEstimator(KLEstimator):
    r"""Estimator of the KL's gradient from the score of samples; a subclass implements :meth:`_score`.

    The surrogate is :math:`\tfrac1M \sum_i \hat s(x_i)^\top x_i - \tfrac1M \sum_i \log p(w_i)` with the score constant.
    There is no value: it would need the density, not its score.

    Attributes:
        width: kernel width, ``"median"`` or a number.
    """

    accepts = with_score
    min_samples = 3
    width: float | str

    @abstractmethod
    def _score(self, gram: Tensor, distances: Tensor, width: Tensor, num_weights: int) -> Score:
        """Estimate the score from inner products of the centered samples and their squared distances, ``(M, M)``."""

    @final
    def _estimate(
        self, q: Distribution, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        return self._estimate_from(KernelSamples.take(q, num_samples, generator), p, generator)

    @final
    def _estimate_from(
        self, samples: KernelSamples, p: Distribution, generator: torch.Generator | None = None
    ) -> KLEstimate:
        x = gathered(samples.x)
        with torch.no_grad():
            gram, distances = gram_and_distances(x)
            width = kernel_width(distances, self.width)
            score = self._score(gram, distances, width, x.shape[1])
        surrogate = _ScoreSurrogate.apply(x, score.matrix.detach()) + samples.cross_entropy(p, generator)  # type: ignore[no-untyped-call]
        known = {"why_no_value": "a score has no normalizing constant", "width": width, **score.diagnostics}
        later = {"stein_trace": lambda: stein_trace(score.matrix, gram, x.shape[1]), **score.later}
        return KLEstimate(None, surrogate, diagnostics=LazyDiagnostics(known, later))


class _ScoreSurrogate(torch.autograd.Function):
    """A zero whose gradient with respect to samples ``x`` is ``A x / M``, computed block by block."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(x, matrix)
        return x.new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, matrix = ctx.saved_tensors
        return apply_score(matrix * (grad / x.shape[0]).to(matrix), x), None


def apply_score(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply ``(M, M)``, whose rows sum to zero, by samples ``(M, P)``, block by block."""
    block = column_block(x)
    if x.shape[1] <= block:
        small = x.numel() < shortcuts().precise_samples
        return (matrix @ precise(x - x.mean(0))).to(x) if small else matrix.to(x) @ (x - x.mean(0))
    out, factor = torch.empty_like(x), matrix.to(x)
    for start in range(0, x.shape[1], block):
        part = x[:, start : start + block]
        torch.matmul(factor, part - part.mean(0), out=out[:, start : start + block])
    return out


def stein_trace(matrix: Tensor, gram: Tensor, num_weights: int) -> Tensor:
    r"""Return the share of dimensions that a score ``A x`` covers, one for the true score.

    It is :math:`-\tfrac1{MP} \sum_i \hat s(x_i)^\top (x_i - \bar x)`.
    """
    return -(matrix * gram).sum() / (gram.shape[0] * num_weights)
