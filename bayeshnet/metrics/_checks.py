"""Checks of arguments that several metrics share."""

from __future__ import annotations

from torch import Tensor

from ..errors import check_shape, type_error, value_error

__all__ = ["check_pair", "check_probs", "check_samples"]


def check_probs(probs: Tensor, argument: str = "probs") -> Tensor:
    """Return floating ``probs`` ``(..., C)`` of at least one class."""
    if not isinstance(probs, Tensor) or not probs.is_floating_point():
        raise type_error(argument, expected="a floating tensor of class probabilities (..., C)", got=probs)
    if probs.ndim == 0 or probs.shape[-1] == 0:
        raise value_error(argument, expected="class probabilities (..., C)", got=probs)
    return probs


def check_samples(samples: Tensor, argument: str = "samples") -> Tensor:
    """Return ``samples`` ``(S, ..., C)``: class probabilities under ``S`` weight vectors."""
    if check_probs(samples, argument).ndim < 2 or samples.shape[0] == 0:
        raise value_error(argument, expected="class probabilities under S weight samples (S, ..., C)", got=samples)
    return samples


def check_pair(probs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities ``(N, C)`` and class indices ``(N,)`` of equal length."""
    check_shape("probs", check_probs(probs), (None, None))
    check_shape("y", y, (len(probs),))
    if y.is_floating_point():
        raise type_error("y", expected="class indices", got=y)
    if len(y) == 0:
        raise value_error("y", expected="at least one example", got=y)
    return probs, y
