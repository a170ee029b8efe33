r"""Hyperfan initialization: an output head whose outputs have the variances of a well-initialized main network.

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

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ...errors import check_choice, value_error
from ...layers.initializers import xavier_fan_in_
from .targets import METHODS, Target, combine, user_value

__all__ = ["apply_hyperfan", "fill", "init_hidden", "input_variance"]


def input_variance(uncond: int, cond: int, uncond_var: float, cond_var: float) -> float:
    """Return the variance of an input that consists of two parts."""
    return (uncond * uncond_var + cond * cond_var) / max(1, uncond + cond)


def init_hidden(
    weights: Sequence[Tensor], biases: Sequence[Tensor | None], xavier: bool, gen: Generator | None
) -> None:
    """Initialize layers by their fan-in, which preserves the variance of their input; set biases to zero."""
    for weight in weights:
        if xavier:
            xavier_fan_in_(weight, gen)
        else:
            nn.init.kaiming_uniform_(weight, mode="fan_in", nonlinearity="relu", generator=gen)
    for bias in biases:
        if bias is not None:
            nn.init.zeros_(bias)


def fill(tensor: Tensor, mean: float, var: float, gen: Generator | None) -> None:
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
        options: method, and True for Xavier's rule.
        user: the arguments ``w_val``, ``w_var``, ``b_val`` and ``b_var``.
        gen: source of randomness.
    """
    method, xavier = check_choice("method", options[0], METHODS), options[1]
    weight, bias, start = *head, 0
    for i, target in enumerate(targets):
        values = {name: user_value(name, value, i, targets) for name, value in user.items()}
        defaults = _defaults(target, method, 1.0 if xavier else 2.0, level)
        chosen = {name: defaults[name] if value is None else value for name, value in values.items()}
        rows = slice(start, start + math.prod(target.shape))
        start = rows.stop
        with torch.no_grad():
            fill(weight[rows], chosen["w_val"], chosen["w_var"], gen)
            if bias is not None:
                fill(bias[rows], chosen["b_val"], chosen["b_var"], gen)
            elif chosen["b_val"] or chosen["b_var"]:
                raise value_error(
                    "use_bias",
                    expected=f"True, to give {target.name!r} tensors their initial values",
                    got=False,
                    hint="Or set b_val and b_var of them to 0.",
                )


def _defaults(target: Target, method: str, gain: float, level: float) -> dict[str, float]:
    """Return means and variances of the head's weights and biases for ``target``."""
    if target.name == "weight":
        var_in = gain / ((2 if target.has_bias else 1) * target.fan_in * level)
        var = combine(method, var_in, gain / (target.fan_out * level))
    elif target.name == "bias":
        var_out = max(0.0, gain * (1 - target.fan_in / target.fan_out) / level)
        var = combine(method, gain / (2 * level), var_out)
    else:
        var = 0.0
    mean = 1.0 if target.name in ("bn_scale", "cm_scale") else 0.0
    return {"w_val": 0.0, "w_var": var, "b_val": mean, "b_var": 1.0 if target.name == "embedding" else 0.0}
