"""Tensors and conditions of a hypernetwork inside another one."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["declare_inner", "grow"]


def declare_inner(
    net: Any, inner: Any, prefix: str = "", keep_layers: bool = True, own_conditions: bool = False
) -> None:
    """Declare all tensors of ``inner`` in ``net``; its parameters remain in ``inner``.

    Args:
        net: the hypernetwork outside.
        inner: the hypernetwork inside.
        prefix: prefix of labels.
        keep_layers: keep the layer numbers of ``inner``.
        own_conditions: do not add the prefix to labels of conditional tensors.
    """
    for record in inner._ledger.records:
        label = record.label if own_conditions and record.conditional else f"{prefix}{record.label}"
        net._declare(
            record.shape,
            record.name,
            record.layer if keep_layers else -1,
            internal=record.home is not None,
            label=label,
            role=record.role,
            fan_in=record.fan_in,
            group=record.group,
            home=record.home,
        )


def grow(inner: Any, num_conds: int) -> list[nn.Parameter]:
    """Add conditions to ``inner`` until it has ``num_conds``; return the new parameters."""
    missing = num_conds - inner.num_known_conds
    return inner.add_conditions(missing) if missing > 0 else []
