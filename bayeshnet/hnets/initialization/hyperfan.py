r"""Hyperfan initialization: variances of a hypernetwork's weights that give those of a well-initialized main network.

A weight :math:`w = \sum_{k=1}^{d} H_k a_k` that is generated from :math:`d` activations of variance :math:`v` has
variance :math:`d v \operatorname{Var}(H)`. With :math:`n_{in}, n_{out}` the fans of the main network's layer,
:math:`c` = 1 (Xavier) or 2 (Kaiming) and :math:`b` = 2 if the layer has a bias, else 1,

.. math::
    \operatorname{Var}_{in}(H) = \frac{c}{b\, n_{in}\, d v}, \qquad
    \operatorname{Var}_{out}(H) = \frac{c}{n_{out}\, d v},

for a weight, and :math:`c / (2 d v)` and :math:`\max(0, c (1 - n_{in} / n_{out}) / (d v))` for a bias.

References:
    Chang, Flokas, Lipson, "Principled weight initialization for hypernetworks", 2020.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ...errors import check_choice, check_number, type_error, value_error
from ...layers.initializers import calc_fan_in_and_out, xavier_fan_in_
from ...mnets.mnet_interface import MainNetInterface

__all__ = ["Target", "apply_chunked_hyperfan", "apply_hyperfan", "describe_targets"]

_LOG = logging.getLogger(__name__)

METHODS = ("in", "out", "harmonic")


@dataclass(frozen=True)
class Target:
    """A tensor of the main network: its name, shape, fans (those of its layer's weight for a bias) and biasedness."""

    name: str
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    has_bias: bool


def describe_targets(shapes: Sequence[Sequence[int]], mnet: Any) -> list[Target]:
    """What the tensors of ``shapes`` are, by the meta information of ``mnet``, or by their dimensions alone.

    Without ``mnet`` one-dimensional tensors are biases, of the layer whose weight comes right before.
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


def _combine(method: str, var_in: float, var_out: float) -> float:
    """One variance from both: the harmonic mean vanishes with either."""
    if method == "harmonic":
        return 2.0 / (1.0 / var_in + 1.0 / var_out) if var_in and var_out else 0.0
    return var_in if method == "in" else var_out


def _of_user(argument: str, given: Any, i: int, targets: Sequence[Target]) -> float | None:
    """What the user says about target ``i``: by position, by name, or nothing."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        value = given.get(targets[i].name)
    elif isinstance(given, (list, tuple)):
        if len(given) != len(targets):
            raise value_error(argument, expected=f"a list of {len(targets)} entries", found=f"{len(given)}")
        value = given[i]
    else:
        raise type_error(argument, expected="a list or a dict", got=given)
    minimum = 0.0 if argument.endswith(("var", "vars")) else None
    return None if value is None else check_number(argument, value, minimum)


def input_variance(uncond: int, cond: int, uncond_var: float, cond_var: float) -> float:
    """The variance of an input that consists of two parts."""
    return (uncond * uncond_var + cond * cond_var) / max(1, uncond + cond)


def init_hidden(
    weights: Sequence[Tensor], biases: Sequence[Tensor | None], xavier: bool, gen: Generator | None
) -> None:
    """Fan-in initialization of layers, biases zero, which preserves the variance of their input."""
    for weight in weights:
        if xavier:
            xavier_fan_in_(weight, gen)
        else:
            nn.init.kaiming_uniform_(weight, mode="fan_in", nonlinearity="relu", generator=gen)
    for bias in biases:
        if bias is not None:
            nn.init.zeros_(bias)


def _fill(tensor: Tensor, mean: float, var: float, gen: Generator | None) -> None:
    """Fill ``tensor`` uniformly with the given mean and variance, in place."""
    bound = math.sqrt(3.0 * var)
    nn.init.uniform_(tensor, mean - bound, mean + bound, generator=gen) if var else nn.init.constant_(tensor, mean)


def apply_hyperfan(
    head: tuple[Tensor, Tensor | None],
    level: float,
    targets: Sequence[Target],
    options: tuple[str, bool],
    user: Mapping[str, Any],
    gen: Generator | None,
) -> None:
    """Initialize an output head, one target tensor after the other.

    Args:
        head: matrix ``(P, H)`` and bias ``(P,)`` or None.
        level: sum of the variances of the ``H`` activations.
        targets: the target tensors.
        options: method, and whether Xavier's rule is used.
        user: ``w_val``, ``w_var``, ``b_val`` and ``b_var`` as the user gave them.
        gen: source of randomness.
    """
    method, xavier = check_choice("method", options[0], METHODS), options[1]
    weight, bias, start = *head, 0
    for i, target in enumerate(targets):
        said = {name: _of_user(name, values, i, targets) for name, values in user.items()}
        defaults = _defaults(target, method, 1.0 if xavier else 2.0, level)
        chosen = {name: defaults[name] if value is None else value for name, value in said.items()}
        rows = slice(start, start + math.prod(target.shape))
        start = rows.stop
        with torch.no_grad():
            _fill(weight[rows], chosen["w_val"], chosen["w_var"], gen)
            if bias is not None:
                _fill(bias[rows], chosen["b_val"], chosen["b_var"], gen)
            elif chosen["b_val"] or chosen["b_var"]:
                raise value_error(
                    "use_bias",
                    expected=f"True, to give {target.name!r} tensors their initial values",
                    got=False,
                    hint="Or set b_val and b_var of them to 0.",
                )


def _defaults(target: Target, method: str, gain: float, level: float) -> dict[str, float]:
    """Means and variances of the head's weights and biases that make ``target``."""
    if target.name == "weight":
        var_in = gain / ((2 if target.has_bias else 1) * target.fan_in * level)
        var = _combine(method, var_in, gain / (target.fan_out * level))
    elif target.name == "bias":
        var_out = max(0.0, gain * (1 - target.fan_in / target.fan_out) / level)
        var = _combine(method, gain / (2 * level), var_out)
    else:
        var = 0.0
    mean = 1.0 if target.name in ("bn_scale", "cm_scale") else 0.0
    return {"w_val": 0.0, "w_var": var, "b_val": mean, "b_var": 1.0 if target.name == "embedding" else 0.0}


def apply_chunked_hyperfan(
    embeddings: Sequence[Tensor],
    sizes: tuple[int, int],
    inputs: tuple[int, float],
    targets: Sequence[Target],
    options: Mapping[str, Any],
    gen: Generator | None,
) -> None:
    r"""Initialize chunk embeddings ``(C, e)`` such that each chunk of weights has its wanted variance :math:`v`.

    With :math:`n` other inputs of variance :math:`u` and a fan-in initialized hypernetwork the output has variance
    :math:`(n u + e c) / (n + e)`, so the embedding gets :math:`c = ((n + e) v - n u) / e`, at least ``eps``.

    Args:
        embeddings: all sets of chunk embeddings.
        sizes: chunk size and number of target weights.
        inputs: number and variance of the other inputs.
        targets: the target tensors.
        options: ``method``, ``use_xavier``, ``eps``, ``cemb_normal_init`` and ``target_vars``.
        gen: source of randomness.
    """
    check_choice("method", options["method"], METHODS)
    wanted = torch.cat(
        [
            torch.full((math.prod(t.shape),), _wanted(i, targets, options), dtype=torch.float64)
            for i, t in enumerate(targets)
        ]
    )
    rest = -sizes[1] % sizes[0]
    per_chunk = torch.cat([wanted, wanted[-1].expand(rest)]).view(-1, sizes[0]).mean(1).tolist()
    num, width, eps = inputs[0], embeddings[0].shape[1], check_number("eps", options["eps"], 0.0)
    if num:
        largest = (num + width) / num * min(per_chunk)
        _LOG.info(
            "Chunked hyperfan: inputs should have a variance below %g (standard deviation %g).", largest, largest**0.5
        )
    variances = [((num + width) * v - num * inputs[1]) / width for v in per_chunk]
    clipped = sum(v < eps for v in variances)
    if clipped:
        _LOG.warning(
            "Chunked hyperfan: the variance of %d of %d chunk embeddings was raised to eps = %g; the other "
            "inputs vary too much.",
            clipped,
            len(variances),
            eps,
        )
    with torch.no_grad():
        for embedding in embeddings:
            for row, variance in zip(embedding, variances, strict=True):
                var = max(eps, variance)
                if options["cemb_normal_init"]:
                    nn.init.normal_(row, std=math.sqrt(var), generator=gen)
                else:
                    _fill(row, 0.0, var, gen)


def _wanted(i: int, targets: Sequence[Target], options: Mapping[str, Any]) -> float:
    """The variance that weights of target ``i`` should have."""
    said, target = _of_user("target_vars", options["target_vars"], i, targets), targets[i]
    if said is not None:
        return said
    if target.name == "weight":
        gain = 1.0 if options["use_xavier"] else 2.0
        return _combine(options["method"], gain / target.fan_in, gain / target.fan_out)
    return 1.0 / (3.0 * target.fan_in) if target.name == "bias" else 1.0
