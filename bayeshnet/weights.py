"""WeightSpec: names, shapes and roles of a network's weights, and the map between them and flat vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .checks import check_all, check_device, check_dtype, check_texts, refusing
from .errors import check_choice, check_instance, check_number, check_shape, check_sizes, value_error
from .whitening import Whitening

__all__ = ["ROLES", "WeightEntry", "WeightSpec", "Whitening"]

ROLES = ("weight", "bias", "norm_scale", "norm_shift", "embedding")
"""Roles of a tensor in its network."""


@dataclass(frozen=True)
class WeightEntry:
    """One tensor of a network: name, shape, role, fan-in, and True if it belongs to the last layer."""

    name: str
    shape: tuple[int, ...]
    role: str = "weight"
    fan_in: int = 1
    last: bool = False

    def __post_init__(self) -> None:
        """Refuse names that are no text, sizes that are no numbers of weights and unknown roles."""
        check_instance("name", self.name, str, "a string")
        object.__setattr__(self, "shape", tuple(check_sizes("shape", self.shape, 0)))
        if not isinstance(self.role, str) or self.role not in ROLES:
            raise value_error(f"role of {self.name!r}", expected="one of " + ", ".join(ROLES), got=self.role)
        check_sizes("fan_in", (self.fan_in,))
        check_choice("last", self.last, (False, True))

    @property
    def numel(self) -> int:
        """Number of weights in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class WeightSpec:
    """Names and shapes of ``P`` weights and the map ``names <-> flat (*batch, P)``.

    Args:
        entries: one :class:`WeightEntry` per tensor, in the order in which they are flattened.

    Example:
        >>> spec = WeightSpec.of(nn.Linear(3, 2))
        >>> spec.names, spec.numel
        (('weight', 'bias'), 8)
        >>> {name: tuple(t.shape) for name, t in spec.unflatten(torch.zeros(5, 8)).items()}
        {'weight': (5, 2, 3), 'bias': (5, 2)}
    """

    entries: tuple[WeightEntry, ...]
    _offsets: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse empty specifications, repeated names and unknown roles."""
        if not check_all("entries", self.entries, WeightEntry, "a tuple of entries"):
            raise value_error("entries", expected="at least one weight tensor", found="none")
        object.__setattr__(self, "entries", tuple(self.entries))
        names = [e.name for e in self.entries]
        repeated = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
        if repeated:
            raise value_error("entries", expected="distinct names", found=f"{repeated} more than once")
        offsets = [0]
        for entry in self.entries:
            offsets.append(offsets[-1] + entry.numel)
        object.__setattr__(self, "_offsets", tuple(offsets))

    @classmethod
    def of(cls, module: nn.Module, predicate: Callable[[str, nn.Parameter], bool] | None = None) -> WeightSpec:
        """Build the specification of the parameters of ``module`` for which ``predicate(name, p)`` is true.

        Tied parameters are listed once. A module may say the roles of its own tensors by name, in an attribute
        ``weight_roles``, where they do not follow from shapes: a matrix that begins at zero has the role of a bias.
        """
        check_instance("module", module, nn.Module, "a torch.nn.Module")
        expected = "a function of a name and a parameter, or None"
        chosen = None if predicate is None else refusing("predicate", predicate, expected)
        entries, owners = [], dict(module.named_modules())
        for name, parameter in module.named_parameters():
            if nn.parameter.is_lazy(parameter):
                advice = "Call the module on one batch first."
                expected = "a module whose shapes are known"
                raise value_error("module", expected=expected, found=f"the lazy parameter {name!r}", hint=advice)
            if chosen is None or chosen(name, parameter):
                prefix, _, leaf = name.rpartition(".")
                entries.append(_entry(name, leaf, tuple(parameter.shape), owners[prefix]))
        if not entries:
            raise value_error(
                "module", expected="a module with parameters that are selected", found=type(module).__name__
            )
        return cls(_mark_last(_bias_fan_ins(entries)))

    @classmethod
    def of_shapes(
        cls,
        shapes: Sequence[Sequence[int]],
        names: Sequence[str] | None = None,
        roles: Sequence[str] | None = None,
    ) -> WeightSpec:
        """Build a specification from shapes alone; without ``roles`` a one-dimensional tensor is taken to be a bias.

        Args:
            shapes: of the tensors, in flattening order.
            names: of the tensors, distinct; ``w0``, ``w1``, ... if None.
            roles: of the tensors, among :data:`ROLES`.
        """
        if not check_instance("shapes", shapes, Sequence, "a list of at least one shape"):
            raise value_error("shapes", expected="a list of at least one shape", got=shapes)
        sizes = [tuple(check_sizes("shapes", shape, 0)) for shape in shapes]
        labels = check_texts("names", names, len(sizes)) or [f"w{i}" for i in range(len(sizes))]
        kinds = check_texts("roles", roles, len(sizes)) or ["bias" if len(s) <= 1 else "weight" for s in sizes]
        if len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
            raise value_error("names", expected="distinct names with at least one letter each", got=names)
        entries = [
            WeightEntry(label, size, check_choice("roles", kind, ROLES), _fan_in(size))
            for label, size, kind in zip(labels, sizes, kinds, strict=True)
        ]
        return cls(_mark_last(_bias_fan_ins(entries)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names in flattening order."""
        return tuple(e.name for e in self.entries)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes in flattening order."""
        return tuple(e.shape for e in self.entries)

    @property
    def numel(self) -> int:
        """The number ``P`` of weights."""
        return self._offsets[-1]

    def slice(self, name: str) -> slice:
        """Return the slice of the flat vector that holds the tensor ``name``."""
        try:
            i = self.names.index(name)
        except ValueError:
            raise value_error("name", expected="one of " + ", ".join(self.names), got=name) from None
        return slice(self._offsets[i], self._offsets[i + 1])

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Return views of ``flat`` ``(*batch, P)`` by name, each ``(*batch, *shape)``."""
        if not isinstance(flat, Tensor) or flat.ndim == 0 or flat.shape[-1] != self.numel:
            check_shape("flat", flat, (-1, self.numel))
        parts = flat.split([e.numel for e in self.entries], dim=-1)
        return {e.name: _in_shape(p, e.shape) for e, p in zip(self.entries, parts, strict=True)}

    def split(self, flat: Tensor) -> list[Tensor]:
        """Return the views of :meth:`unflatten` as a list, the argument ``weights`` of main networks."""
        return list(self.unflatten(flat).values())

    def flatten(self, tensors: Mapping[str, Tensor] | Iterable[Tensor]) -> Tensor:
        """Join tensors ``(*batch, *shape)``, by name or in order, into one ``(*batch, P)``."""
        if isinstance(tensors, Mapping):
            missing = [n for n in self.names if n not in tensors]
            if missing:
                raise value_error("tensors", expected="a tensor for each name", found=f"none for {missing}")
            tensors = [tensors[n] for n in self.names]
        parts = list(check_instance("tensors", tensors, (Sequence, Iterator, nn.ParameterList), "several tensors"))
        if len(parts) != len(self.entries):
            raise value_error("tensors", expected=f"{len(self.entries)} tensors", found=f"{len(parts)}")
        flat = []
        for entry, part in zip(self.entries, parts, strict=True):
            check_shape(f"tensors, tensor {entry.name!r}", part, (-1, *entry.shape))
            flat.append(part.reshape(*part.shape[: part.ndim - len(entry.shape)], entry.numel))
        try:
            return torch.cat(flat, dim=-1)
        except RuntimeError as error:
            raise value_error("tensors", expected="tensors that can be joined", found=str(error)) from error

    def select(self, predicate: Callable[[WeightEntry], bool]) -> WeightSpec:
        """Return the specification of the tensors for which ``predicate(entry)`` is true."""
        return WeightSpec(tuple(e for e in self.entries if predicate(e)))

    def mask(self, predicate: Callable[[WeightEntry], bool]) -> Tensor:
        """Return a mask ``(P,)``, True for the weights of tensors for which ``predicate(entry)`` is true."""
        return self.spread(torch.tensor([bool(predicate(e)) for e in self.entries]))

    def merge(self, other: WeightSpec) -> WeightSpec:
        """Return the specification of the tensors of both, those of ``self`` first."""
        return WeightSpec(self.entries + other.entries)

    def places_in(self, wider: WeightSpec) -> Tensor:
        """Return the positions ``(P,)`` of these weights in the flat vector of a network with more outputs.

        Tensors correspond by name; each is the first part of its wider counterpart along the first dimension.

        Example:
            >>> small, wide = (WeightSpec.of_shapes([[n, 3], [n]]) for n in (1, 2))
            >>> small.places_in(wide)
            tensor([0, 1, 2, 6])
        """
        numbered, parts = wider.unflatten(torch.arange(wider.numel)), []
        for entry in self.entries:
            place = numbered.get(entry.name)
            if place is None or place.shape[1:] != entry.shape[1:] or place.shape[:1] < entry.shape[:1]:
                expected = f"a specification with a tensor {entry.name!r} of shape {entry.shape} or longer"
                raise value_error(
                    "wider", expected=expected, found="none" if place is None else str(tuple(place.shape))
                )
            parts.append(place[: entry.shape[0]].flatten() if entry.shape else place.reshape(1))
        return torch.cat(parts)

    def spread(self, values: Tensor) -> Tensor:
        """Repeat one value per tensor ``(*batch, len(entries))`` over its weights: ``(*batch, P)``."""
        check_shape("values", values, (-1, len(self.entries)))
        counts = torch.tensor([e.numel for e in self.entries]).to(values.device, non_blocking=True)
        return values.repeat_interleave(counts, dim=-1, output_size=self.numel)

    def whitening(
        self,
        gain: float = math.sqrt(2.0),
        last_gain: float = 1.0,
        bias: float = 0.1,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Whitening:
        """Return the fan-in scales under which ``u ~ N(0, I)`` is a Kaiming-initialized network.

        The scale is ``gain / sqrt(fan_in)`` for weights, ``last_gain / sqrt(fan_in)`` in the last layer and ``bias``
        for biases and norm shifts; norm scales are ``1 + bias * u``.

        References:
            He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.
        """
        gain, last_gain = check_number("gain", gain, 0.0), check_number("last_gain", last_gain, 0.0)
        bias = check_number("bias", bias, 0.0)
        dtype, device = check_dtype("dtype", dtype), check_device("device", device)
        scales, locs = [], []
        for e in self.entries:
            weight = (last_gain if e.last else gain) / math.sqrt(e.fan_in)
            scales.append({"weight": weight, "embedding": 1.0}.get(e.role, bias))
            locs.append(1.0 if e.role == "norm_scale" else 0.0)
        dtype = dtype or torch.get_default_dtype()
        return Whitening(
            self.spread(torch.tensor(locs, dtype=dtype, device=device)),
            self.spread(torch.tensor(scales, dtype=dtype, device=device)),
        )


def _in_shape(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshape entries ``(*batch, n)`` to ``(*batch, *shape)``."""
    if len(shape) == 1:
        return part
    return part.unflatten(-1, shape) if shape else part.squeeze(-1)


def _fan_in(shape: tuple[int, ...]) -> int:
    return max(1, math.prod(shape[1:])) if len(shape) > 1 else max(1, math.prod(shape))


def _entry(name: str, leaf: str, shape: tuple[int, ...], owner: nn.Module) -> WeightEntry:
    norms = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    if isinstance(owner, norms):
        role = "norm_scale" if leaf == "weight" else "norm_shift"
    elif isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        role = "embedding"
    elif leaf in (said := getattr(owner, "weight_roles", {})):
        role = said[leaf]
    else:
        role = "bias" if len(shape) <= 1 or "bias" in leaf else "weight"
    fan_in = _fan_in(shape)
    if isinstance(owner, nn.modules.conv._ConvTransposeNd) and len(shape) > 1:
        fan_in = max(1, shape[0] // owner.groups * math.prod(shape[2:]))
    return WeightEntry(name, shape, role, fan_in)


def _bias_fan_ins(entries: list[WeightEntry]) -> list[WeightEntry]:
    """Give each bias the fan-in of the preceding weight."""
    fan_in, out = 1, []
    for e in entries:
        if e.role == "weight":
            fan_in = e.fan_in
        out.append(WeightEntry(e.name, e.shape, e.role, fan_in if e.role == "bias" else e.fan_in, e.last))
    return out


def _mark_last(entries: list[WeightEntry]) -> tuple[WeightEntry, ...]:
    """Mark the last weight tensor and all tensors after it as the last layer."""
    weights = [i for i, e in enumerate(entries) if e.role == "weight"]
    start = weights[-1] if weights else len(entries)
    return tuple(WeightEntry(e.name, e.shape, e.role, e.fan_in, i >= start) for i, e in enumerate(entries))
