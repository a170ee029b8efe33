"""Declarations of the tensors of main networks, layer by layer, and the end of their construction."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor, nn

from ...errors import check_number, value_error
from ...layers import BatchNormLayer, init_params
from ..mnet_interface import MainNetInterface

__all__ = ["add_batch_norm", "add_layer", "check_dropout", "finish"]

_LOG = logging.getLogger(__name__)


def add_batch_norm(
    net: MainNetInterface,
    sizes: Sequence[int],
    layers: Sequence[int],
    *,
    no_weights: bool,
    track: bool,
    distill: bool,
) -> None:
    """Add one batch-norm layer per entry of ``sizes``, with the layer numbers ``layers``."""
    if distill and not track:
        raise value_error("distill_bn_stats", expected="False where bn_track_stats is False", got=True)
    net._batchnorm_layers = nn.ModuleList()
    for size, number in zip(sizes, layers, strict=True):
        layer = BatchNormLayer(size, affine=not no_weights, track_running_stats=track)
        net._batchnorm_layers.append(layer)
        for key, name in (("scale", "bn_scale"), ("bias", "bn_shift")):
            home = None if no_weights else (layer, key)
            net._declare([size], name, number, internal=not no_weights, home=home)
    if distill:
        net._hyper_shapes_distilled = [[size] for size in sizes for _ in range(2)]


def add_layer(
    net: MainNetInterface, shape: Sequence[int], number: int, *, bias: bool, no_weights: bool, label: str | None = None
) -> None:
    """Add the weight (and bias) of a linear or convolutional layer, with PyTorch's initialization."""
    weight = net._declare(shape, "weight", number, internal=not no_weights, label=label)
    shift = net._declare([shape[0]], "bias", number, internal=not no_weights) if bias else None
    if weight is not None:
        init_params(weight, shift)


def check_dropout(rate: float, maximum: float = 1.0) -> float | None:
    """Return the dropout rate, or None for no dropout (-1, or 1 as in hypernetworks)."""
    if check_number("dropout_rate", rate) in (-1, 1):
        return None
    return check_number("dropout_rate", rate, 0.0, maximum, "Use -1 for no dropout.")


def finish(net: MainNetInterface, init_weights: Sequence[Tensor] | None, verbose: bool) -> None:
    """Set the internal parameters to ``init_weights`` unless it is None, and log the size of the network."""
    if init_weights is not None:
        if net.internal_params is None:
            raise value_error("init_weights", expected="None for a network that keeps no weights", found="a list")
        net._overwrite("init_weights", init_weights)
    if verbose:
        _LOG.info(
            "%s with %d weights, %d of them internal.", type(net).__name__, net.num_params, net.num_internal_params
        )
