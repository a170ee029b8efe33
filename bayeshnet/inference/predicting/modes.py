"""The mode of a network while it predicts: evaluation mode, with dropout on request, restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ...layers import BatchNormLayer, SpectralNorm

__all__ = ["predicting"]

_KEPT = (nn.modules.batchnorm._NormBase, nn.utils.parametrizations._SpectralNorm, BatchNormLayer, SpectralNorm)


@contextmanager
def predicting(net: nn.Module, mc_dropout: bool = False) -> Iterator[None]:
    """Put all parts of a network into evaluation mode, and back into their own mode afterwards.

    Args:
        net: the network.
        mc_dropout: True for training mode, but for norms whose statistics a prediction must not change.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> with predicting(net):
        ...     net[1].training
        False
        >>> net[1].training
        True
    """
    modes = [(part, part.training) for part in net.modules()]
    for part, _ in modes:
        part.training = mc_dropout and not isinstance(part, _KEPT)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
