"""Descriptions of the tensors that a hypernetwork generates, for their initialization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import check_number, type_error, value_error
from ...layers.initializers import calc_fan_in_and_out
from ...mnets.mnet_interface import MainNetInterface

__all__ = ["METHODS", "Target", "combine", "describe_targets", "user_value"]

METHODS = ("in", "out", "harmonic")
"""Choices of the variance: by fan-in, by fan-out, or the harmonic mean of both."""


@dataclass(frozen=True)
class Target:
    """A tensor of the main network.

    Attributes:
        name: its name in ``param_shapes_meta``.
        shape: its shape.
        fan_in: fan-in, for a bias that of its layer's weight.
        fan_out: fan-out.
        has_bias: True if its layer has a bias.
    """

    name: str
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    has_bias: bool


def describe_targets(shapes: Sequence[Sequence[int]], mnet: Any) -> list[Target]:
    """Describe tensors of the given ``shapes`` by the meta information of ``mnet``, or by their dimensions alone.

    Without ``mnet`` one-dimensional tensors are biases, of the layer whose weight precedes them.
    """
    kinds = _meta(shapes, mnet)
    weights = {
        layer: shape for (name, layer), shape in zip(kinds, shapes, strict=True) if name == "weight" and layer != -1
    }
    biased = {layer for name, layer in kinds if name == "bias" and layer != -1}
    targets = []
    for (name, layer), shape in zip(kinds, shapes, strict=True):
        size = tuple(shape)
        if name == "weight" and len(size) > 1:
            fan_in, fan_out = calc_fan_in_and_out(size)
        else:
            fan_out = size[0] if size else 1
            fan_in = calc_fan_in_and_out(weights[layer])[0] if layer in weights else fan_out
        targets.append(Target(name, size, fan_in, fan_out, layer in biased))
    return targets


def _meta(shapes: Sequence[Sequence[int]], mnet: Any) -> list[tuple[str, int]]:
    """Return name and layer number of each tensor."""
    if mnet is not None:
        if not isinstance(mnet, MainNetInterface):
            raise type_error("mnet", expected="a main network (MainNetInterface)", got=mnet, hint="See ModuleMainNet.")
        wanted = [list(shape) for shape in shapes]
        if wanted == mnet.param_shapes:
            meta = mnet.param_shapes_meta
        elif wanted == mnet.hyper_shapes_learned:
            meta = [mnet.param_shapes_meta[i] for i in mnet.hyper_shapes_learned_ref or ()]
        else:
            raise value_error(
                "mnet",
                expected="a network whose param_shapes or hyper_shapes_learned are the target shapes",
                found="another one",
            )
        return [
            (m["name"] or ("weight" if len(s) > 1 else "bias"), m["layer"]) for m, s in zip(meta, shapes, strict=True)
        ]
    kinds: list[tuple[str, int]] = []
    for i, shape in enumerate(shapes):
        if len(shape) > 1:
            kinds.append(("weight", i))
        else:
            follows = bool(kinds) and kinds[-1][0] == "weight"
            kinds.append(("bias", i - 1 if follows else -1))
    return kinds


def combine(method: str, var_in: float, var_out: float) -> float:
    """Return the variance of a method; the harmonic mean is zero if either variance is."""
    if method == "harmonic":
        return 2.0 / (1.0 / var_in + 1.0 / var_out) if var_in and var_out else 0.0
    return var_in if method == "in" else var_out


def user_value(argument: str, values: Any, i: int, targets: Sequence[Target]) -> float | None:
    """Return the entry of an argument for target ``i``, by position or by name, or None."""
    if values is None:
        return None
    if isinstance(values, Mapping):
        value = values.get(targets[i].name)
    elif isinstance(values, (list, tuple)):
        if len(values) != len(targets):
            raise value_error(argument, expected=f"a list of {len(targets)} entries", found=f"{len(values)}")
        value = values[i]
    else:
        raise type_error(argument, expected="a list or a dict", got=values)
    minimum = 0.0 if argument.endswith(("var", "vars")) else None
    return None if value is None else check_number(argument, value, minimum)
