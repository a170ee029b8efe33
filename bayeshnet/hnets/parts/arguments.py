"""Checks of the arguments of hypernetworks: target shapes, inputs, conditions and the common batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import check_int, check_shape, check_size, check_sizes, type_error, value_error

__all__ = [
    "check_batch",
    "check_has_input",
    "check_id",
    "check_ids",
    "check_input",
    "check_targets",
    "like_tensor",
    "one_row",
    "select",
]


def check_targets(target_shapes: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors to generate as tuples."""
    if not isinstance(target_shapes, (list, tuple)) or not target_shapes:
        raise value_error("target_shapes", expected="a list of at least one shape", got=target_shapes)
    shapes = [tuple(check_sizes("target_shapes", shape, 1)) for shape in target_shapes]
    check_size("target_shapes, all weights together", sum(map(math.prod, shapes)))
    return shapes


def check_has_input(uncond_in_size: int, cond_in_size: int, chunked: bool | None = None, num_conds: int = 0) -> None:
    """Refuse hypernetworks without any input.

    Args:
        uncond_in_size: size of unconditional inputs.
        cond_in_size: size of conditional inputs.
        chunked: True if each condition has its own chunk embeddings; None without chunks.
        num_conds: number of conditions.
    """
    if chunked and not num_conds:
        raise value_error("num_cond_embs", expected="at least one condition with cond_chunk_embs", got=0)
    if not (uncond_in_size or cond_in_size or chunked):
        raise value_error(
            "uncond_in_size and cond_in_size",
            expected="at least one positive size" + (", or cond_chunk_embs" if chunked is not None else ""),
            found="0 and 0",
            hint="" if chunked is None else "For a fixed output set cond_chunk_embs=True and num_cond_embs=1.",
        )


def check_input(name: str, value: Any, size: int, owner: str) -> Tensor | None:
    """Return the input ``(B, size)``, or None if ``size`` is 0; ``owner`` is the name of the argument for the size."""
    if value is None:
        if size:
            raise value_error(name, expected=f"a tensor of shape (batch, {size})", got=None, hint=f"{owner} is {size}.")
        return None
    if not size:
        raise value_error(name, expected="None", got=value, hint=f"{owner} is 0.")
    return check_shape(name, value, (None, size), f"{owner} is {size}; inputs have a batch dimension.")


def check_ids(cond_id: Any, num_conds: int) -> list[int] | Tensor:
    """Return condition identifiers as a list of ints within ``[0, num_conds)``; under compilation as a tensor."""
    if isinstance(cond_id, Tensor):
        if cond_id.dtype.is_floating_point or cond_id.dtype == torch.bool or cond_id.ndim > 1:
            raise type_error("cond_id", expected="an integer, or a list or 1-d tensor of integers", got=cond_id)
        if torch.compiler.is_compiling():
            return cond_id.reshape(-1)
        ids = cond_id.reshape(-1).tolist()
    else:
        value = cond_id.tolist() if hasattr(cond_id, "tolist") else cond_id  # an array
        ids = list(value) if isinstance(value, (list, tuple, range)) else [value]
    for i in ids:
        if isinstance(i, (bool, type)) or not hasattr(i, "__index__"):
            raise type_error("cond_id", expected="an integer, or a list or 1-d tensor of integers", got=cond_id)
        if not 0 <= i < num_conds:
            known = f"between 0 and {num_conds - 1}" if num_conds else "none: the hypernetwork knows no conditions"
            raise value_error(
                "cond_id", expected=f"condition identifiers {known}", got=cond_id, hint="See add_conditions()."
            )
    if not ids:
        raise value_error("cond_id", expected="at least one condition", got=cond_id)
    return [int(i) for i in ids]


def check_id(cond_id: Any, num_conds: int) -> int:
    """Return a single condition as an int within ``[0, num_conds)``."""
    return int(next(iter(check_ids(check_int("cond_id", cond_id), num_conds))))


def select(per_condition: Sequence[Tensor | None], ids: list[int] | Tensor) -> Tensor:
    """Stack the tensors of the conditions ``ids``: ``(B, *shape)``."""
    chosen = list(per_condition) if isinstance(ids, Tensor) else [per_condition[i] for i in ids]
    present = [tensor for tensor in chosen if tensor is not None]
    if len(present) < len(chosen):
        raise value_error(
            "cond_id",
            expected="conditional weights kept by the hypernetwork or given in weights",
            found="neither",
            hint="Pass weights={'cond_weights': [...]} or cond_input.",
        )
    if isinstance(ids, Tensor):
        return torch.stack(present)[ids]
    return present[0].unsqueeze(0) if len(present) == 1 else torch.stack(present)


def one_row(x: Tensor | None) -> Tensor | None:
    """Return the input of a single condition, ``(m,)`` or ``(1, m)``, as ``(1, m)``."""
    if x is None:
        return None
    row = x.unsqueeze(0) if isinstance(x, Tensor) and x.ndim == 1 else x
    return check_shape("cond_input", row, (1, None), "A geometry belongs to one condition.")


def check_batch(**inputs: Tensor | None) -> int:
    """Return the common batch size of ``inputs``; a batch of one is compatible with any size."""
    sizes = {name: x.shape[0] for name, x in inputs.items() if x is not None}
    for name, size in sizes.items():
        if size == 0:
            raise value_error(name, expected="at least one sample", got=inputs[name])
    larger = {size for size in sizes.values() if size != 1}
    if len(larger) > 1:
        got = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise value_error(" and ".join(sizes), expected="one batch size (or batches of one)", found=got)
    return larger.pop() if larger else 1


def like_tensor(net: nn.Module, weights: Any, cond_input: Tensor | None) -> Tensor:
    """Return some tensor with the dtype and the device of a forward pass of ``net`` with these arguments."""
    values = list(weights.values()) if isinstance(weights, Mapping) else list(weights or [])
    flat = [t for v in values for t in ([v] if isinstance(v, Tensor) else v if isinstance(v, Sequence) else [])]
    candidates = [cond_input, *(t for t in flat if isinstance(t, Tensor)), *net.parameters()]
    return next((t for t in candidates if t is not None), torch.empty(0))
