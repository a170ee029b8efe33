"""The ledger of a main network's tensors; all index lists of the interface are derived here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import value_error
from ...weights import WeightEntry, WeightSpec

__all__ = ["NAMES", "TensorLedger", "TensorRecord"]

NAMES = ("weight", "bias", "bn_scale", "bn_shift", "cm_scale", "cm_shift", "embedding", None)
"""What ``param_shapes_meta`` may call a tensor."""

_ROLES = {
    "bias": "bias",
    "bn_scale": "norm_scale",
    "bn_shift": "norm_shift",
    "cm_scale": "norm_scale",
    "cm_shift": "norm_shift",
    "embedding": "embedding",
}


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """One declared tensor: its shape, what it is, and the module and key under which its parameter lives (if any)."""

    shape: tuple[int, ...]
    name: str | None
    layer: int
    label: str
    role: str
    fan_in: int | None
    group: str | None
    home: tuple[nn.Module, str] | None

    @property
    def conditional(self) -> bool:
        """Whether a hypernetwork's tensor belongs to a condition (its group is ``cond0``, ``cond1``, ...)."""
        return self.group is not None and self.group.startswith("cond")

    @property
    def live(self) -> Tensor:
        """The parameter as it is now (after ``.to``, inside ``functional_call``, ...)."""
        if self.home is None:
            raise value_error(
                "weights", expected=f"a tensor for {self.label!r}", found="none, and the network holds none"
            )
        module, key = self.home
        return module._parameters[key]  # type: ignore[return-value]


class TensorLedger:
    """The ordered records of a network, and the lists that the interface derives from them."""

    def __init__(self) -> None:
        self.records: list[TensorRecord] = []
        self._cache: dict[str, Any] = {}

    def add(self, record: TensorRecord, position: int | None = None) -> None:
        """Insert ``record`` at ``position`` (at the end if None); its label must be new."""
        if any(r.label == record.label for r in self.records):
            raise value_error("label", expected="a label that no other tensor has", got=record.label)
        self.records.insert(len(self.records) if position is None else position, record)
        self._cache.clear()

    def free_label(self, wanted: str) -> str:
        """Return ``wanted``, numbered if it is taken."""
        taken, label, count = {r.label for r in self.records}, wanted, 1
        while label in taken:
            count += 1
            label = f"{wanted}_{count}"
        return label

    def _cached(self, key: str, value: Any) -> Any:
        self._cache[key] = value
        return value

    @property
    def internal(self) -> list[TensorRecord]:
        """The records whose parameter the network holds."""
        found = self._cache.get("internal")
        return self._cached("internal", [r for r in self.records if r.home is not None]) if found is None else found

    @property
    def learned(self) -> list[TensorRecord]:
        """The records whose tensor is given from outside."""
        found = self._cache.get("learned")
        return self._cached("learned", [r for r in self.records if r.home is None]) if found is None else found

    @property
    def unconditional(self) -> list[TensorRecord]:
        """The records of a hypernetwork that belong to no condition: those whose group is not ``cond...``."""
        found = self._cache.get("uncond")
        return self._cached("uncond", [r for r in self.records if not r.conditional]) if found is None else found

    @property
    def conditional(self) -> list[TensorRecord]:
        """The records of a hypernetwork that belong to a condition: those whose group is ``cond0``, ``cond1``, ..."""
        found = self._cache.get("cond")
        return self._cached("cond", [r for r in self.records if r.conditional]) if found is None else found

    def refs(self, records: Iterable[TensorRecord]) -> list[int]:
        """Positions of ``records`` among all records."""
        places = {id(r): i for i, r in enumerate(self.records)}
        return [places[id(r)] for r in records]

    def of_group(self, group: str) -> list[TensorRecord]:
        """The records that a subclass marked as ``group``."""
        return [r for r in self.records if r.group == group]

    @property
    def meta(self) -> list[dict[str, Any]]:
        """Name, index among the internal parameters (or -1) and layer of each tensor."""
        places = {id(r): i for i, r in enumerate(self.internal)}
        return [{"name": r.name, "index": places.get(id(r), -1), "layer": r.layer} for r in self.records]

    @property
    def spec(self) -> WeightSpec:
        """The specification of the tensors given from outside, or of all where the network holds them all."""
        found = self._cache.get("spec")
        if found is not None:
            return found
        entries = _entries(self.records)
        wanted = {r.label for r in self.learned} or {r.label for r in self.records}
        return self._cached("spec", WeightSpec(tuple(e for e in entries if e.name in wanted)))


def shape_of(shape: Sequence[int] | int) -> tuple[int, ...]:
    """Return ``shape`` as a tuple of ints."""
    return (int(shape),) if isinstance(shape, int) else tuple(int(s) for s in shape)


def role_of(name: str | None, shape: tuple[int, ...]) -> str:
    """The role a tensor called ``name`` plays in a :class:`bayeshnet.WeightSpec`."""
    return _ROLES.get(name or "", "weight" if name == "weight" or len(shape) > 1 else "bias")


def pair_biases(records: Sequence[TensorRecord]) -> list[tuple[TensorRecord, TensorRecord | None]]:
    """Each weight with the bias of its layer: the k-th of a layer with the k-th, otherwise the one that follows it."""
    weights = [(i, r) for i, r in enumerate(records) if r.name == "weight"]
    pairs: list[tuple[TensorRecord, TensorRecord | None]] = []
    for i, weight in weights:
        if weight.layer < 0:
            following = records[i + 1] if i + 1 < len(records) else None
            pairs.append((weight, following if following is not None and following.name == "bias" else None))
            continue
        rank = sum(r.layer == weight.layer for _, r in weights if r is not weight and records.index(r) < i)
        biases = [r for r in records if r.name == "bias" and r.layer == weight.layer]
        pairs.append((weight, biases[rank] if rank < len(biases) else None))
    return pairs


def _entries(records: Sequence[TensorRecord]) -> list[WeightEntry]:
    """Entries with fan-ins (a bias has that of its weight) and the last layer marked."""
    spec = WeightSpec.of_shapes([r.shape for r in records], [r.label for r in records], [r.role for r in records])
    fans = {r.label: r.fan_in for r in records}
    fans.update({b.label: b.fan_in or w.fan_in for w, b in pair_biases(records) if b is not None})
    return [WeightEntry(e.name, e.shape, e.role, fans[e.name] or e.fan_in, e.last) for e in spec.entries]
