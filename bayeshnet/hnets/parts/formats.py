"""Formats of generated weights, and the conversions between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import check_choice, check_shape, type_error, value_error
from ...geometry.truncate import truncate

__all__ = ["FORMATS", "convert_format", "parts_of_rows", "to_format"]

FORMATS = ("flattened", "sequential", "squeezed")


def to_format(flat: Tensor, shapes: Sequence[Sequence[int]], ret_format: str) -> Any:
    """Bring ``flat`` ``(B, P)`` into ``ret_format``; columns beyond the ``P`` weights of ``shapes`` are dropped."""
    sizes = [math.prod(shape) for shape in shapes]
    rest = flat.shape[-1] - sum(sizes)
    if ret_format == "flattened":
        return truncate(flat, sum(sizes))
    if rest:
        sizes.append(rest)
    # One split instead of slices: its gradient is one concatenation, that of a slice is a full vector of zeros.
    parts = flat.reshape(-1).split(sizes * flat.shape[0])
    samples = [
        [part if len(s) == 1 else part.view(torch.Size(s)) for part, s in zip(parts[start:], shapes, strict=False)]
        for start in range(0, len(parts), len(sizes))
    ]
    return samples[0] if ret_format == "squeezed" and len(samples) == 1 else samples


def parts_of_rows(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Split the rows of ``flat`` ``(T, P)`` into tensors ``(T, *shape)``."""
    parts = flat.split([math.prod(shape) for shape in shapes], dim=1)
    return [part if len(s) == 1 else part.unflatten(1, torch.Size(s)) for part, s in zip(parts, shapes, strict=True)]


def convert_format(hnet_out: Any, src_format: str, trgt_format: str, shapes: Sequence[Sequence[int]]) -> Any:
    """Convert generated weights of tensors ``shapes`` from ``src_format`` to ``trgt_format``."""
    check_choice("src_format", src_format, FORMATS)
    check_choice("trgt_format", trgt_format, FORMATS)
    if src_format == "flattened":
        check_shape("hnet_out", hnet_out, (None, sum(math.prod(shape) for shape in shapes)))
        return hnet_out if trgt_format == src_format else to_format(hnet_out, shapes, trgt_format)
    samples = _samples(hnet_out, src_format, shapes)
    if trgt_format == src_format:
        return hnet_out
    if trgt_format == "flattened":
        return torch.stack([torch.cat([tensor.flatten() for tensor in sample]) for sample in samples])
    return samples[0] if trgt_format == "squeezed" and len(samples) == 1 else samples


def _samples(hnet_out: Any, src_format: str, shapes: Sequence[Sequence[int]]) -> list[Any]:
    """Return the list of samples in ``hnet_out``, each checked to be a list of tensors of ``shapes``."""
    if not isinstance(hnet_out, (list, tuple)):
        raise type_error("hnet_out", expected=f"a list in the format {src_format!r}", got=hnet_out)
    single = src_format == "squeezed" and len(hnet_out) > 0 and isinstance(hnet_out[0], Tensor)
    samples = [hnet_out] if single else list(hnet_out)
    if not samples:
        raise value_error("hnet_out", expected="at least one sample", found="an empty list")
    for sample in samples:
        if not isinstance(sample, (list, tuple)) or len(sample) != len(shapes):
            raise value_error(
                "hnet_out", expected=f"lists of {len(shapes)} tensors in the format {src_format!r}", got=sample
            )
        for tensor, shape in zip(sample, shapes, strict=True):
            check_shape("hnet_out", tensor, tuple(shape))
    return samples
