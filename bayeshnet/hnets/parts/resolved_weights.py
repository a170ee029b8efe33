"""The argument ``weights`` of a hypernetwork's ``forward``, resolved to one tensor per declaration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ...errors import check_shape, type_error, value_error
from ...mnets.parts.ledger import TensorLedger, TensorRecord
from ...mnets.parts.resolve import wrong_count

__all__ = ["ResolvedWeights", "resolve_weights"]

WEIGHT_KEYS = ("uncond_weights", "cond_weights")


@dataclass(frozen=True, eq=False)
class ResolvedWeights:
    """The tensors of one forward pass of a hypernetwork.

    Attributes:
        uncond: tensors of ``unconditional_param_shapes``.
        cond: tensors of ``conditional_param_shapes``; None for those that are neither parameters nor passed in.
        extra: entries of ``weights`` under further keys of the hypernetwork, such as ``chunk_embs``.
    """

    uncond: list[Tensor]
    cond: list[Tensor | None]
    extra: dict[str, Any] = field(default_factory=dict)


def resolve_weights(ledger: TensorLedger, weights: Any, extra_keys: Sequence[str] = ()) -> ResolvedWeights:
    """Resolve the argument ``weights``; parameters of the hypernetwork are used for what it leaves out.

    Args:
        ledger: records of the hypernetwork's tensors.
        weights: None, a list (of the tensors that must be passed in, or of all), a dict with the keys
            ``uncond_weights``, ``cond_weights`` and ``extra_keys``, or a dict by names of the weight specification.
        extra_keys: further keys of the hypernetwork.
    """
    if weights is None:
        return _resolved(ledger, {})
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
        return _resolved(ledger, {r: _checked(r, weights[r.label]) for r in ledger.records if r.label in weights})
    if not isinstance(weights, (Sequence, nn.ParameterList)):
        raise type_error(
            "weights", expected="a list or dict of tensors", got=weights, hint="Use weight_spec.split(flat)."
        )
    learned = ledger.learned
    for records in (learned, ledger.records) if learned else (ledger.records,):
        if len(weights) == len(records):
            return _resolved(ledger, {r: _checked(r, w) for r, w in zip(records, weights, strict=True)})
    raise wrong_count(ledger, len(weights))


def _from_keys(ledger: TensorLedger, weights: Mapping[str, Any], extra_keys: Sequence[str]) -> ResolvedWeights:
    """Resolve a dict with the keys ``uncond_weights``, ``cond_weights`` and ``extra_keys``."""
    passed: dict[TensorRecord, Tensor] = {}
    for key, records in zip(WEIGHT_KEYS, (ledger.unconditional, ledger.conditional), strict=True):
        if key not in weights:
            continue
        tensors = weights[key]
        if not isinstance(tensors, (Sequence, nn.ParameterList)):
            raise type_error(f"weights[{key!r}]", expected="a list of tensors", got=tensors)
        if len(tensors) != len(records):
            raise value_error(f"weights[{key!r}]", expected=f"{len(records)} tensors", found=f"{len(tensors)}")
        passed.update({r: _checked(r, w) for r, w in zip(records, tensors, strict=True)})
    resolved = _resolved(ledger, passed)
    return ResolvedWeights(resolved.uncond, resolved.cond, {key: weights[key] for key in extra_keys if key in weights})


def _resolved(ledger: TensorLedger, passed: Mapping[TensorRecord, Tensor]) -> ResolvedWeights:
    """Complete the tensors that are passed in by parameters of the hypernetwork."""
    uncond = [passed[r] if r in passed else _parameter(r) for r in ledger.unconditional]
    cond = [passed.get(r, None if r.home is None else r.live) for r in ledger.conditional]
    return ResolvedWeights(uncond, cond)


def _parameter(record: TensorRecord) -> Tensor:
    if record.home is None:
        raise value_error(
            "weights",
            expected=f"a tensor for {record.label!r}",
            got=None,
            hint="This hypernetwork does not keep all of its weights.",
        )
    return record.live


def _checked(record: TensorRecord, tensor: Any) -> Tensor:
    # Comparing shapes first keeps the usual case fast.
    if not isinstance(tensor, Tensor) or tensor.shape != record.shape:
        check_shape(f"weights[{record.label!r}]", tensor, record.shape)
    found: Tensor = tensor
    return found
