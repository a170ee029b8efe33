"""A classifier as a test of whether two sets of samples come from one distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import value_error
from ._checks import check_generator, check_no_overflow, check_numbers, check_same_device

__all__ = ["ClassifierTest", "classifier_test"]

_MOST_DIRECTIONS, _ROWS_PER_DIRECTION, _PAIRED = 16, 24, 4
_RIDGE, _STEPS = 1.0, 12


@dataclass(frozen=True)
class ClassifierTest:
    """The result of :func:`classifier_test`.

    Attributes:
        accuracy: share of samples whose set is recognized by a classifier that was not fitted to them; about 0.5 for
            sets from one distribution, and 1 for sets that do not overlap.
        p_value: probability of such an accuracy, or a larger one, if both sets come from one distribution.
    """

    accuracy: float
    p_value: float


@torch.no_grad()
def classifier_test(x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> ClassifierTest:
    r"""Test whether samples ``x`` ``(S, D)`` and ``y`` ``(R, D)`` come from one distribution by telling them apart.

    A logistic regression is fitted to a random half of the samples and judged on the other half, and the reverse. Its
    features are the components along the main directions of all samples (at most 16, standardized), their squares, the
    products of the first four, and the logarithm of what the directions leave over of each squared norm. So it sees a
    shift, a change of spread or of correlation along these directions, and a change of spread as a whole, in any number
    of dimensions; differences of higher moments alone it does not see.

    Given the samples, every division of the labels is equally likely if the distributions are one. The p-value of each
    half is therefore that of Fisher's exact test, and the result is twice the smaller of the two, at most 1: it is
    valid for any number of samples.

    Args:
        x: independent samples.
        y: other independent samples of the same unknowns.
        generator: of the division into halves.

    References:
        Lopez-Paz, Oquab, "Revisiting classifier two-sample tests", 2017.

    Raises:
        ValueError: if there are fewer than eight samples in a set, or their shapes do not fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(2, 200, 5, generator=generator)
        >>> classifier_test(x, y + 1, generator).p_value < 1e-6
        True
    """
    x = check_numbers("x", x, "a floating tensor (S, D)")
    y = check_numbers("y", y, "a floating tensor (R, D)")
    for name, value in (("x", x), ("y", y)):
        if value.ndim != 2 or len(value) < 8 or value.shape[1:] != x.shape[1:]:
            raise value_error(name, expected="samples (S, D) of the same unknowns, S > 7", got=value)
    check_same_device("y", y, x)
    check_generator(generator)
    dtype = torch.promote_types(x.dtype, y.dtype)
    features = _features(torch.cat([x.to(dtype), y.to(dtype)]))
    label = torch.cat([torch.zeros(len(x)), torch.ones(len(y))]).to(features)
    halves = _halves(len(x), len(y), generator)
    right, p_values = 0, []
    for fitted, judged in (halves, halves[::-1]):
        found = features[judged] @ _fit(features[fitted], label[fitted]) > 0
        truth = label[judged] > 0.5
        right += int((found == truth).sum())
        p_values.append(_fisher(int((found & truth).sum()), int(found.sum()), int(truth.sum()), len(truth)))
    return ClassifierTest(right / len(label), min(1.0, 2 * min(p_values)))


def _halves(first: int, second: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Divide the rows of both sets into halves at random."""
    device = "cpu" if generator is None else generator.device
    orders = [torch.randperm(size, generator=generator, device=device) for size in (first, second)]
    one, two = orders[0].cpu(), orders[1].cpu() + first
    return torch.cat([one[::2], two[::2]]), torch.cat([one[1::2], two[1::2]])


def _features(rows: Tensor) -> Tensor:
    """Return the features ``(N, F)`` in double precision; no label is used, so they are the same for all divisions."""
    centered = rows - rows.mean(0)
    scale = check_no_overflow("x", centered.square().mean(0).sqrt())
    centered = torch.where(scale > 0, centered / scale.clamp_min(torch.finfo(rows.dtype).tiny), 0.0)
    norms = centered.square().sum(1).double()
    num = max(1, min(_MOST_DIRECTIONS, len(rows) // _ROWS_PER_DIRECTION, rows.shape[1]))
    scores = _main_components(centered, num)
    rest = norms - scores.square().sum(1)
    left_over = rest.clamp_min(1e-9 * norms.mean() + torch.finfo(norms.dtype).tiny).log().unsqueeze(1)
    scores = scores / scores.square().mean(0).sqrt().clamp_min(1e-6 * norms.mean().sqrt() + 1e-30)
    first = scores[:, :_PAIRED]
    i, j = torch.triu_indices(first.shape[1], first.shape[1], 1, device=first.device)
    found = torch.cat([scores, scores.square(), first[:, i] * first[:, j], left_over], 1)
    found = found - found.mean(0)
    spread = found.square().mean(0).sqrt()
    found = torch.where(spread > 1e-9, found / spread.clamp_min(1e-9), 0.0)
    return torch.cat([found, torch.ones_like(found[:, :1])], 1)


def _main_components(centered: Tensor, num: int) -> Tensor:
    """Return the components of rows ``(N, D)`` along their ``num`` main directions, in double precision."""
    if centered.shape[1] <= len(centered):
        wide = centered.double()
        _, vectors = torch.linalg.eigh(wide.T @ wide)
        found: Tensor = wide @ vectors[:, -num:].flip(1)
        return found
    values, vectors = torch.linalg.eigh((centered @ centered.T).double())
    values = torch.where(values > 1e-12 * values[-1], values, 0.0)  # directions of rounding alone
    found = vectors[:, -num:].flip(1) * values[-num:].flip(0).sqrt()
    return found


def _fit(features: Tensor, label: Tensor) -> Tensor:
    """Return the coefficients of a logistic regression with a ridge, by Newton's method with a line search."""
    ridge = _RIDGE * torch.eye(features.shape[1]).to(features)
    ridge[-1, -1] = 1e-6
    beta = torch.zeros_like(features[0])

    def loss(b: Tensor) -> Tensor:
        logit = features @ b
        return torch.nn.functional.softplus(logit).sum() - logit @ label + 0.5 * b @ ridge @ b

    best = loss(beta)
    for _ in range(_STEPS):
        probs = torch.sigmoid(features @ beta)
        slope = features.T @ (probs - label) + ridge @ beta
        curvature = features.T @ ((probs * (1 - probs)).unsqueeze(1) * features) + ridge
        step = torch.linalg.solve(curvature, slope)
        tried = [beta - factor * step for factor in (1.0, 0.25, 0.05)]
        losses = torch.stack([loss(b) for b in tried])
        if losses.min() >= best - 1e-9 * best.abs():
            break
        beta, best = tried[int(losses.argmin())], losses.min()
    return beta


def _fisher(hits: int, found: int, positives: int, total: int) -> float:
    """Return the probability of at least ``hits`` positives among ``found`` of ``total``, drawn without replacement."""
    counts = torch.arange(hits, min(found, positives) + 1, dtype=torch.float64)

    def log_choose(n: Tensor | float, k: Tensor | float) -> Tensor:
        n, k = torch.as_tensor(n, dtype=torch.float64), torch.as_tensor(k, dtype=torch.float64)
        return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)

    counts = counts[found - counts <= total - positives]
    logs = log_choose(positives, counts) + log_choose(total - positives, found - counts) - log_choose(total, found)
    return min(1.0, float(logs.logsumexp(0).exp())) if len(logs) else 0.0
