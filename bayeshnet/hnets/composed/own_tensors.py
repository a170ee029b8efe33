"""Tensors of a container besides those of its hypernetworks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ...errors import check_choice, check_sizes, type_error, value_error
from ...mnets.parts.ledger import NAMES
from ..parts.conditions import new_embedding

__all__ = ["OwnTensors", "named_shapes"]

INIT_STD = 0.02

NamedShapes = tuple[tuple[tuple[int, ...], str | None], ...]


@dataclass(frozen=True)
class OwnTensors:
    """Shapes and names of the tensors of a container.

    Attributes:
        uncond: tensors common to all conditions.
        cond: tensors of each condition.
        no_uncond_weights: True if the former are passed in.
        no_cond_weights: True if the latter are passed in.
    """

    uncond: NamedShapes
    cond: NamedShapes
    no_uncond_weights: bool
    no_cond_weights: bool

    @property
    def shapes(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Shapes of the tensors common to all conditions, and of those of each condition."""
        return [shape for shape, _ in self.uncond], [shape for shape, _ in self.cond]

    def declare(self, net: Any, num_conds: int) -> list[nn.Parameter]:
        """Declare the tensors of ``num_conds`` conditions in the container; initialize and return new parameters."""
        new = [
            _declare(net, shape, name, f"uncond{j}", "uncond", not self.no_uncond_weights)
            for j, (shape, name) in enumerate(self.uncond)
        ]
        new += [
            _declare(net, shape, name, f"cond{cond}.own{j}", f"cond{cond}", not self.no_cond_weights)
            for cond in range(num_conds)
            for j, (shape, name) in enumerate(self.cond)
        ]
        return [new_embedding(p, net, INIT_STD) for p in new if p is not None]


def _declare(
    net: Any, shape: tuple[int, ...], name: str | None, label: str, group: str, internal: bool
) -> nn.Parameter | None:
    """Declare a tensor of the container; return its parameter if it is new."""
    key = label.replace(".", "_")
    home = (net.params, key) if key in net.params else None
    parameter = net._declare(shape, name, internal=internal, label=label, group=group, home=home)
    return parameter if home is None else None


def named_shapes(kind: str, shapes: Any, names: Any) -> NamedShapes:
    """Check shapes and names of tensors; by default names are ``weight`` and ``bias``, by the number of dimensions.

    Args:
        kind: prefix of the arguments' names, ``uncond`` or ``cond``.
        shapes: a list of lists of positive integers, or None.
        names: a list of names, or None.
    """
    if shapes is not None and not isinstance(shapes, (list, tuple)):
        raise type_error(f"{kind}_param_shapes", expected="a list of shapes, or None", got=shapes)
    sizes = [tuple(check_sizes(f"{kind}_param_shapes", shape, 1)) for shape in shapes or ()]
    if names is None:
        return tuple((size, "weight" if len(size) > 1 else "bias") for size in sizes)
    argument = f"{kind}_param_names"
    if not isinstance(names, (list, tuple)):
        raise type_error(argument, expected="a list of names, or None", got=names)
    if len(names) != len(sizes):
        raise value_error(argument, expected=f"{len(sizes)} names, one for each shape", found=f"{len(names)}")
    checked: Sequence[str | None] = [check_choice(argument, name, NAMES) for name in names]
    return tuple(zip(sizes, checked, strict=True))
