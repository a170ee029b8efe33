"""The argument ``weights`` of a main network's ``forward``, resolved to one tensor per declaration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import check_shape, type_error, value_error
from .ledger import TensorLedger, TensorRecord

__all__ = ["resolve", "wrong_count"]


def resolve(ledger: TensorLedger, weights: Any) -> list[Tensor]:
    """Return one tensor per record, from ``weights`` (None, a list or a dict by label) and internal parameters.

    A list has one tensor per entry of ``ledger.learned`` (if there are any) or of ``ledger.records``. A dict may leave
    out internal parameters.
    """
    records, learned = ledger.records, ledger.learned
    if weights is None:
        if learned:
            raise value_error(
                "weights",
                expected=f"{len(learned)} tensors of shapes hyper_shapes_learned",
                got=None,
                hint="This network does not keep all of its weights.",
            )
        return [r.live for r in records]
    if isinstance(weights, Mapping):
        unknown = sorted(set(weights) - {r.label for r in records})
        if unknown:
            raise value_error("weights", expected="a dict by names of weight_spec", found=f"unknown names {unknown}")
        tensors = [weights[r.label] if r.label in weights else r.live for r in records]  # noqa: SIM401 (live may raise)
    elif not isinstance(weights, (Sequence, nn.ParameterList)):
        raise type_error(
            "weights", expected="a list or dict of tensors", got=weights, hint="Use weight_spec.split(flat)."
        )
    elif learned and len(weights) == len(learned):
        rest = iter(weights)
        tensors = [next(rest) if r.home is None else r.live for r in records]
    elif len(weights) == len(records):
        tensors = list(weights)
    else:
        raise wrong_count(ledger, len(weights))
    for record, tensor in zip(records, tensors, strict=True):
        if not isinstance(tensor, Tensor) or tensor.shape != record.shape:
            _check_weight(record, tensor)
    return tensors


def wrong_count(ledger: TensorLedger, found: int) -> ValueError:
    """Build the error for a list ``weights`` of a wrong length."""
    counts = sorted({len(ledger.learned) or len(ledger.records), len(ledger.records)})
    return value_error("weights", expected=f"{' or '.join(map(str, counts))} tensors", found=f"{found}")


def _check_weight(record: TensorRecord, tensor: Tensor) -> None:
    """Refuse a tensor of a wrong shape; context modulation may have leading batch dimensions."""
    per_sample = record.name in ("cm_scale", "cm_shift")
    check_shape(f"weights[{record.label!r}]", tensor, (-1, *record.shape) if per_sample else record.shape)
