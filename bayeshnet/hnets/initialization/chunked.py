"""Hyperfan initialization of chunk embeddings."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ...errors import check_choice, check_number
from .hyperfan import fill
from .targets import METHODS, Target, combine, user_value

__all__ = ["apply_chunked_hyperfan"]

_LOG = logging.getLogger(__name__)


def apply_chunked_hyperfan(
    embeddings: Sequence[Tensor],
    sizes: tuple[int, int],
    inputs: tuple[int, float],
    targets: Sequence[Target],
    options: Mapping[str, Any],
    gen: Generator | None,
) -> None:
    r"""Initialize chunk embeddings ``(C, e)`` such that each chunk of weights has its target variance :math:`v`.

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
    per_weight = torch.cat(
        [
            torch.full((math.prod(t.shape),), _target_variance(i, targets, options), dtype=torch.float64)
            for i, t in enumerate(targets)
        ]
    )
    rest = -sizes[1] % sizes[0]
    per_chunk = torch.cat([per_weight, per_weight[-1].expand(rest)]).view(-1, sizes[0]).mean(1).tolist()
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
                    fill(row, 0.0, var, gen)


def _target_variance(i: int, targets: Sequence[Target], options: Mapping[str, Any]) -> float:
    """Return the variance that weights of target ``i`` should have."""
    value, target = user_value("target_vars", options["target_vars"], i, targets), targets[i]
    if value is not None:
        return value
    if target.name == "weight":
        gain = 1.0 if options["use_xavier"] else 2.0
        return combine(options["method"], gain / target.fan_in, gain / target.fan_out)
    return 1.0 / (3.0 * target.fan_in) if target.name == "bias" else 1.0
