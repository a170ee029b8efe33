"""Checks of the arguments of all metrics: what a metric is given has values, fits together and can be scored.

Every check returns tensors of at least single precision, in which the sums of the metrics are accumulated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import check_int, check_positive, type_error, value_error

__all__ = [
    "check_bins",
    "check_generator",
    "check_labels",
    "check_mean",
    "check_no_overflow",
    "check_numbers",
    "check_ordered",
    "check_pair",
    "check_probs",
    "check_same_device",
    "check_samples",
    "check_scale",
    "check_scores",
    "check_targets",
    "check_values",
]

_TOLERANCE = 1e-2  # of half precision and of rounding to two digits; logits are far beyond
_YES_OR_NO = "The probability p of yes becomes two columns by torch.cat([1 - p, p], -1), as in Prediction.probs."
_MOST_BINS = 1_000_000


def check_values(argument: str, value: Tensor, expected: str, *, integers: bool = False) -> Tensor:
    """Return a tensor that holds at least one number, in single precision at least if it is floating.

    Args:
        argument: name of the argument.
        value: the tensor.
        expected: description of the accepted tensors.
        integers: True to accept integers and bools as well.
    """
    if not isinstance(value, Tensor):
        raise type_error(argument, expected=expected, got=value)
    known = value.element_size() > 1 if value.is_floating_point() else integers and not value.is_complex()
    if not known:  # Of 8 bits no metric is right.
        raise type_error(argument, expected=expected, got=value)
    if value.is_meta or value.layout != torch.strided:
        raise value_error(argument, expected="a dense tensor that holds values", got=value)
    if value.numel() == 0:
        raise value_error(argument, expected=f"{expected}, at least one entry", got=value)
    return value.to(torch.float32) if value.is_floating_point() and value.element_size() < 4 else value


def check_numbers(argument: str, value: Tensor, expected: str, *, integers: bool = False) -> Tensor:
    """Return a tensor as :func:`check_values` does; it must be finite."""
    value = check_values(argument, value, expected, integers=integers)
    if not bool(torch.isfinite(value).all()):
        raise value_error(argument, expected="finite values", found="NaN or infinity among them")
    return value


def check_ordered(argument: str, value: Tensor, expected: str) -> Tensor:
    """Return scores of which only the order matters, infinite ones included, of a type that torch can sort."""
    value = check_values(argument, value, expected, integers=True)
    if value.is_floating_point():
        if bool(value.isnan().any()):
            raise value_error(argument, expected="scores that can be ordered", found="NaN among them")
        return value
    return value.double() if value.dtype == torch.uint64 else value.long()


def check_same_device(argument: str, value: Tensor, other: Tensor) -> Tensor:
    """Return ``value`` if it is on the device of ``other``."""
    if value.device != other.device:
        raise value_error(argument, expected=f"a tensor on {other.device}, like the others", got=value)
    return value


def check_no_overflow(argument: str, value: Tensor) -> Tensor:
    """Return the result of a metric of finite numbers; one that is not finite has overflowed."""
    if not bool(torch.isfinite(value).all()):
        raise value_error(
            argument,
            expected=f"numbers whose squares and ratios fit into {value.dtype}",
            found="an overflow",
            hint="Use float64, or other units.",
        )
    return value


def check_bins(num_bins: int) -> int:
    """Return the number of bins."""
    if check_int("num_bins", num_bins, 1) > _MOST_BINS:
        raise value_error("num_bins", expected=f"an integer from 1 to {_MOST_BINS}", got=num_bins)
    return int(num_bins)


def check_generator(generator: torch.Generator | None) -> torch.Generator | None:
    """Return a random generator, or None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise type_error("generator", expected="a torch.Generator or None", got=generator)
    return generator


def check_probs(probs: Tensor, argument: str = "probs") -> Tensor:
    """Return class probabilities ``(..., C)``, clamped to [0, 1]; rows must sum to 1 up to a tolerance."""
    kind = "a floating tensor of class probabilities (..., C)"
    precision = 4 * torch.finfo(probs.dtype).eps if isinstance(probs, Tensor) and probs.is_floating_point() else 0.0
    probs = check_numbers(argument, probs, kind)
    if probs.ndim == 0:
        raise value_error(argument, expected="class probabilities (..., C)", got=probs)
    tolerance = max(_TOLERANCE, precision)
    low, high = float(probs.detach().min()), float(probs.detach().max())
    sums = probs.detach().sum(-1)
    worst = float(sums.flatten()[(sums - 1).abs().argmax()])
    if low < -tolerance or high > 1 + tolerance or not abs(worst - 1) <= tolerance:
        raise value_error(
            argument,
            expected="class probabilities (..., C): in [0, 1], and 1 in sum over the classes",
            found=f"entries from {low:.4g} to {high:.4g} and a row that sums to {worst:.4g}",
            hint="Logits become probabilities by logits.softmax(-1); the probability p of one of two classes by "
            "torch.cat([1 - p, p], -1).",
        )
    return probs.clamp(0, 1)


def check_samples(samples: Tensor, argument: str = "samples") -> Tensor:
    """Return ``samples`` ``(S, ..., C)``: class probabilities under ``S`` weight vectors."""
    if isinstance(samples, Tensor) and samples.ndim < 2:
        raise value_error(argument, expected="class probabilities under S weight samples (S, ..., C)", got=samples)
    return check_probs(samples, argument)


def check_labels(y: Tensor, scores: Tensor) -> Tensor:
    """Return the true classes ``(N,)`` of the rows of ``scores`` ``(N, C)`` as int64."""
    length, count = scores.shape
    if isinstance(y, Tensor) and y.is_floating_point():
        raise type_error("y", expected="class indices", got=y, hint="Use y.long().")
    y = check_values("y", y, "class indices (N,)", integers=True)
    if y.shape != (length,):
        raise value_error("y", expected=f"class indices of shape ({length},)", got=y)
    check_same_device("y", y, scores)
    y = y.double() if y.dtype == torch.uint64 else y.long()
    low, high = float(y.min()), float(y.max())
    if low < 0 or high >= count:
        raise value_error(
            "y",
            expected=f"class indices from 0 to {count - 1}, one for each column",
            found=f"{(low if low < 0 else high):.0f} among them",
            hint=_YES_OR_NO if count == 1 else "",
        )
    return y.long()


def check_pair(probs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities ``(N, C)`` and class indices ``(N,)`` of equal length; places are taken as examples."""
    probs, y = _places_as_examples(probs, y)
    if isinstance(probs, Tensor) and probs.ndim != 2:
        raise value_error("probs", expected="class probabilities (N, C)", got=probs)
    probs = check_probs(probs)
    return probs, check_labels(y, probs)


def check_scores(scores: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores of classes ``(N, C)``, which need not be probabilities, and class indices ``(N,)``."""
    scores, y = _places_as_examples(scores, y)
    kind = "a floating tensor of class probabilities or scores (N, C)"
    if isinstance(scores, Tensor) and not scores.is_floating_point():
        raise type_error("probs", expected=kind, got=scores)
    scores = check_ordered("probs", scores, kind)
    if scores.ndim != 2:
        raise value_error("probs", expected=kind, got=scores)
    labels = check_labels(y, scores)
    if scores.shape[1] == 1 and bool(((scores.detach() - 1).abs() > _TOLERANCE).any()):
        found = "one column that is not 1"
        raise value_error("probs", expected="a column for each class", found=found, hint=_YES_OR_NO)
    return scores, labels


def _places_as_examples(probs: Any, y: Any) -> tuple[Any, Any]:
    """Return probabilities ``(N, C, *P)`` and labels ``(N, *P)`` with each pixel or step as an example."""
    several = isinstance(probs, Tensor) and isinstance(y, Tensor) and probs.ndim == y.ndim + 1 > 2
    if not several or probs.shape[:1] + probs.shape[2:] != y.shape:
        return probs, y
    return probs.movedim(1, -1).flatten(0, -2), y.flatten()


def check_mean(mean: Tensor, argument: str = "mean", batch: int = 1) -> Tensor:
    """Return predicted values ``(N, C)``, after ``batch - 1`` other dimensions; ``(N,)`` is one target, ``(N, 1)``."""
    kind = "a floating tensor (N, C)" if batch == 1 else "a floating tensor (S, N, C)"
    mean = check_numbers(argument, mean, kind)
    if mean.ndim < batch:
        raise value_error(argument, expected=kind, got=mean)
    return mean[..., None] if mean.ndim == batch else mean


def check_targets(y: Tensor, shape: tuple[int, ...], like: Tensor, hint: str = "") -> Tensor:
    """Return true values of the given ``shape`` ``(N, C)``, on the device of ``like``; ``(N,)`` is one target."""
    values = check_numbers("y", y, "a tensor of true values (N, C)", integers=True)
    values = values[:, None] if values.ndim == 1 else values
    if values.shape != shape:
        raise value_error("y", expected=f"true values of shape {tuple(shape)}", got=y, hint=hint)
    check_same_device("y", values, like)
    return values if values.is_floating_point() else values.to(like.dtype)


def check_scale(argument: str, scale: Tensor | float, values: Tensor) -> Tensor:
    """Return standard deviations that broadcast against ``values`` ``(..., N, C)``; ``(N,)`` belongs to one target."""
    if not isinstance(scale, Tensor):
        return torch.as_tensor(check_positive(argument, scale), dtype=values.dtype, device=values.device)
    std = check_numbers(argument, scale, "a number, or a floating tensor of standard deviations")
    if not bool((std > 0).all()):
        raise value_error(argument, expected="standard deviations > 0", found="one of at most 0")
    if std.numel() == 1:
        return std.reshape(()).to(values.device)
    check_same_device(argument, std, values)
    if std.ndim == 1 and values.shape[-1] > 1:
        raise value_error(
            argument,
            expected=f"a tensor that broadcasts against {tuple(values.shape)}, with a dimension of targets",
            got=scale,
            hint="Write std[:, None] for one per example, std[None] for one per target; the std of a Prediction is "
            "that of all targets together.",
        )
    std = std[:, None] if std.ndim == 1 else std
    fits = std.ndim <= values.ndim and all(
        a in (1, b) for a, b in zip(reversed(std.shape), reversed(values.shape), strict=False)
    )
    if not fits:
        raise value_error(argument, expected=f"a tensor that broadcasts against {tuple(values.shape)}", got=scale)
    return std
