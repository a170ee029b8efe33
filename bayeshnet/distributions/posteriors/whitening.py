"""The argument ``scale`` of posteriors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import check_choice, check_shape, value_error
from ...weights import WeightSpec, Whitening
from ..base import filled

__all__ = ["resolve_whitening"]

_ADVICE = "Use None, a number > 0, a tensor (P,), a Whitening, or 'fan_in'."


def resolve_whitening(scale: Any, spec: WeightSpec, like: Tensor) -> Whitening | None:
    """Return the affine map ``w = loc + scale * u`` for the argument ``scale``, with dtype and device of ``like``.

    Example:
        >>> resolve_whitening("fan_in", WeightSpec.of_shapes([[2, 4]]), torch.zeros(())).scale[:2]
        tensor([0.5000, 0.5000])
    """
    if scale is None:
        return None
    if isinstance(scale, str):
        check_choice("scale", scale, ("fan_in",), _ADVICE)
        return spec.whitening(dtype=like.dtype, device=like.device)
    if isinstance(scale, Whitening):
        return Whitening(_vector("scale.loc", scale.loc, spec, like), _positive(scale.scale, spec, like))
    if isinstance(scale, Tensor):
        value = _positive(scale, spec, like)
    else:
        value = filled("scale", scale, like, _ADVICE)
    return Whitening(torch.zeros_like(value), value)


def _vector(argument: str, value: Tensor, spec: WeightSpec, like: Tensor) -> Tensor:
    if value.ndim:
        check_shape(argument, value, (spec.numel,), _ADVICE)
    return value.detach().to(like)


def _positive(value: Tensor, spec: WeightSpec, like: Tensor) -> Tensor:
    value = _vector("scale", value, spec, like)
    if not bool(((value > 0) & torch.isfinite(value)).all()):
        raise value_error("scale", expected="finite values > 0", got=value, hint=_ADVICE)
    return value
