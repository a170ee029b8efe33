"""Taking over the tensors of a hypernetwork that another one contains."""

from __future__ import annotations

from typing import Any

from ...mnets.parts.ledger import TensorLedger

__all__ = ["adopt", "take_over"]


def adopt(net: Any, inner: Any) -> None:
    """Let ``net`` have exactly the tensors of ``inner``, under the same names."""
    net._ledger = TensorLedger()
    take_over(net, inner)


def take_over(net: Any, inner: Any, prefix: str = "", keep_layers: bool = True, own_conditions: bool = False) -> None:
    """Declare all tensors of ``inner`` in ``net``; those that ``inner`` keeps stay where they are.

    ``prefix`` comes before labels, except those of conditional tensors if ``own_conditions``. Layer numbers are dropped
    unless ``keep_layers``.
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
