"""Checks of the examples that heads are given, and the weights that examples still have in sums that forget."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import check_data
from ..errors import check_shape, type_error, value_error

__all__ = ["check_classes", "check_features", "check_values", "check_weights", "typical_weights"]

_LARGEST = 1e100


def check_features(features: Tensor, width: int) -> None:
    """Refuse features that are not finite numbers ``(N, width)``."""
    check_shape("features", check_data("features", features), (None, width))
    if not features.is_floating_point() or features.dtype.itemsize < 2:
        raise type_error("features", expected="floating features", got=features)
    if len(features) and not float(features.detach().abs().max()) < _LARGEST:  # also if that is NaN
        found = "NaN, infinity or larger ones among them"
        raise value_error("features", expected=f"finite features below {_LARGEST:g}", found=found)


def check_classes(y: Tensor, features: Tensor) -> Tensor:
    """Return the classes of examples, integers ``(N,)``."""
    check_shape("y", check_data("y", y), (len(features),))
    if y.is_floating_point():
        raise type_error("y", expected="classes, as integers", got=y)
    return y


def check_values(y: Tensor, features: Tensor, width: int) -> Tensor:
    """Return the values of examples, finite numbers ``(N, width)``."""
    check_shape("y", check_data("y", y), (len(features), width))
    if not y.is_floating_point() or y.dtype.itemsize < 2:
        raise type_error("y", expected="floating values", got=y)
    if len(y) and not float(y.detach().abs().max()) < _LARGEST:
        raise value_error("y", expected=f"finite values below {_LARGEST:g}", found="others")
    return y


def typical_weights(counts: Tensor, total: float, forgetting: float) -> Tensor:
    r"""Return the mean weight of the examples of each class, ``(C,)``, as if all classes had equally many examples.

    The number :math:`N` of examples is found from the sum of their weights, :math:`(1 - f^N) / (1 - f)`.

    Args:
        counts: sum of the weights of the examples of each class, ``(C,)``.
        total: sum of the weights of all examples.
        forgetting: the number :math:`f`.
    """
    if forgetting == 1 or total == 0:
        return torch.ones_like(counts)
    left = max(1 - total * (1 - forgetting), torch.finfo(torch.float64).eps)
    number = max(total, math.log(left) / math.log(forgetting))
    return (counts * len(counts) / number).clamp_max(1)


def check_weights(weight: Tensor, features: Tensor, like: Tensor) -> Tensor:
    """Return the weights of learned examples ``(N,)`` as a column ``(N, 1)``."""
    check_shape("weight", check_data("weight", weight), (len(features),))
    if not weight.is_floating_point() or not bool(((weight >= 0) & (weight <= 1)).all()):
        raise value_error("weight", expected="weights of the examples from 0 to 1", got=weight)
    return weight.to(like).unsqueeze(1)
