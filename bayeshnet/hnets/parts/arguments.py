"""What the arguments of a hypernetwork's ``forward`` mean: weights, conditions and the common batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import check_shape, type_error, value_error
from ...mnets.parts.ledger import TensorLedger, TensorRecord

__all__ = ["Given", "check_batch", "check_ids", "check_input", "one_row", "resolve_weights", "select"]

WEIGHT_KEYS = ("uncond_weights", "cond_weights")


@dataclass(frozen=True, eq=False)
class Given:
    """The tensors with which a hypernetwork is to work: one per declared tensor, None where a conditional one lacks.

    Shape:
        ``uncond`` in the order of ``unconditional_param_shapes``, ``cond`` in that of ``conditional_param_shapes``.
    """

    uncond: list[Tensor]
    cond: list[Tensor | None]
    extra: dict[str, Any] = field(default_factory=dict)


def resolve_weights(ledger: TensorLedger, weights: Any, extra_keys: Sequence[str] = ()) -> Given:
    """Tensors for all declarations, from the argument ``weights`` and what the hypernetwork keeps.

    ``weights`` is None, a list (of the tensors that are not kept, or of all), a dict with the keys
    ``uncond_weights``, ``cond_weights`` and ``extra_keys``, or a dict by names of the weight specification.
    Conditional tensors that are neither kept nor given are None.
    """
    if weights is None:
        return Given([_kept(r) for r in ledger.unconditional], [_kept_or_none(r) for r in ledger.conditional])
    if isinstance(weights, Mapping):
        labels = {r.label for r in ledger.records}
        keys = {*WEIGHT_KEYS, *extra_keys}
        if set(weights) <= keys:
            return _from_keys(ledger, weights, extra_keys)
        if not set(weights) <= labels:
            wrong = sorted(str(key) for key in set(weights) - labels - keys)
            raise value_error(
                "weights",
                expected=f"a dict with keys {sorted(keys)} or with names of weight_spec",
                found=f"the keys {wrong or sorted(weights)}",
            )
        return _given(ledger, {r: _checked(r, weights[r.label]) for r in ledger.records if r.label in weights})
    if not isinstance(weights, (Sequence, nn.ParameterList)):
        raise type_error(
            "weights", expected="a list or dict of tensors", got=weights, hint="Use weight_spec.split(flat)."
        )
    learned = ledger.learned
    for records in (learned, ledger.records) if learned else (ledger.records,):
        if len(weights) == len(records):
            return _given(ledger, {r: _checked(r, w) for r, w in zip(records, weights, strict=True)})
    counts = " or ".join(str(n) for n in sorted({len(learned) or len(ledger.records), len(ledger.records)}))
    raise value_error("weights", expected=f"{counts} tensors", found=f"{len(weights)}")


def _from_keys(ledger: TensorLedger, weights: Mapping[str, Any], extra_keys: Sequence[str]) -> Given:
    found: dict[TensorRecord, Tensor] = {}
    for key, records in zip(WEIGHT_KEYS, (ledger.unconditional, ledger.conditional), strict=True):
        if key not in weights:
            continue
        tensors = weights[key]
        if not isinstance(tensors, (Sequence, nn.ParameterList)):
            raise type_error(f"weights[{key!r}]", expected="a list of tensors", got=tensors)
        if len(tensors) != len(records):
            raise value_error(f"weights[{key!r}]", expected=f"{len(records)} tensors", found=f"{len(tensors)}")
        found.update({r: _checked(r, w) for r, w in zip(records, tensors, strict=True)})
    given = _given(ledger, found)
    return Given(given.uncond, given.cond, {key: weights[key] for key in extra_keys if key in weights})


def _given(ledger: TensorLedger, found: Mapping[TensorRecord, Tensor]) -> Given:
    uncond = [found[r] if r in found else _kept(r) for r in ledger.unconditional]
    return Given(uncond, [found[r] if r in found else _kept_or_none(r) for r in ledger.conditional])


def _kept(record: TensorRecord) -> Tensor:
    if record.home is None:
        raise value_error(
            "weights",
            expected=f"a tensor for {record.label!r}",
            got=None,
            hint="This hypernetwork does not keep all of its weights.",
        )
    return record.live


def _kept_or_none(record: TensorRecord) -> Tensor | None:
    return None if record.home is None else record.live


def _checked(record: TensorRecord, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.shape != record.shape:
        check_shape(f"weights[{record.label!r}]", tensor, record.shape)
    return tensor


def check_input(name: str, value: Any, size: int, owner: str) -> Tensor | None:
    """Return the input ``(B, size)``; refuse one where ``size`` is 0 and its absence where it is not."""
    if value is None:
        if size:
            raise value_error(name, expected=f"a tensor of shape (batch, {size})", got=None, hint=f"{owner} is {size}.")
        return None
    if not size:
        raise value_error(name, expected="None", got=value, hint=f"{owner} is 0.")
    return check_shape(name, value, (None, size), f"{owner} is {size}; inputs have a batch dimension.")


def check_ids(cond_id: Any, num_conds: int) -> list[int] | Tensor:
    """Condition identifiers as a list of ints within ``[0, num_conds)``; a tensor stays one while being compiled."""
    if isinstance(cond_id, Tensor):
        if cond_id.dtype.is_floating_point or cond_id.dtype == torch.bool or cond_id.ndim > 1:
            raise type_error("cond_id", expected="an integer, or a list or 1-d tensor of integers", got=cond_id)
        if torch.compiler.is_compiling():
            return cond_id.reshape(-1)
        ids = cond_id.reshape(-1).tolist()
    else:
        plain = cond_id.tolist() if hasattr(cond_id, "tolist") else cond_id  # an array
        ids = list(plain) if isinstance(plain, (list, tuple, range)) else [plain]
    for i in ids:
        if isinstance(i, bool) or not hasattr(i, "__index__"):
            raise type_error("cond_id", expected="an integer, or a list or 1-d tensor of integers", got=cond_id)
        if not 0 <= i < num_conds:
            known = f"between 0 and {num_conds - 1}" if num_conds else "none: the hypernetwork knows no conditions"
            raise value_error(
                "cond_id", expected=f"condition identifiers {known}", got=cond_id, hint="See add_conditions()."
            )
    if not ids:
        raise value_error("cond_id", expected="at least one condition", got=cond_id)
    return [int(i) for i in ids]


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
    """The input of a single condition, ``(m,)`` or ``(1, m)``, as ``(1, m)``."""
    if x is None:
        return None
    row = x.unsqueeze(0) if isinstance(x, Tensor) and x.ndim == 1 else x
    return check_shape("cond_input", row, (1, None), "A geometry belongs to one condition.")


def check_batch(**inputs: Tensor | None) -> int:
    """The common batch size of ``inputs``; a batch of one fits any other."""
    sizes = {name: x.shape[0] for name, x in inputs.items() if x is not None}
    for name, size in sizes.items():
        if size == 0:
            raise value_error(name, expected="at least one sample", got=inputs[name])
    larger = {size for size in sizes.values() if size != 1}
    if len(larger) > 1:
        got = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise value_error(" and ".join(sizes), expected="one batch size (or batches of one)", found=got)
    return larger.pop() if larger else 1
