"""Whether a module computes each sample by itself and without noise, which a density needs, and always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ...errors import value_error
from ...layers import BatchNormLayer, SpectralNorm

__all__ = ["refuse_noise", "settled"]


def refuse_noise(module: nn.Module) -> None:
    """Refuse batch norm that uses the batch's own statistics, and active dropout, anywhere in ``module``."""
    for part in module.modules():
        if isinstance(part, (_DropoutNd, nn.RReLU)):
            noisy = part.training and getattr(part, "p", 1.0) > 0
        elif isinstance(part, BatchNormLayer):
            noisy = part.uses_batch
        elif isinstance(part, _BatchNorm):
            noisy = part.training or part.running_mean is None
        else:
            noisy = False
        if noisy:
            raise value_error(
                "geometry",
                expected="a hypernetwork that maps each latent by itself and without noise",
                found=f"an active {type(part).__name__}",
                hint="Call eval() first.",
            )


def settled(module: nn.Module, fn: Callable[[Tensor], Tensor], like: Tensor) -> Callable[[Tensor], Tensor]:
    """The function ``fn`` of latents, which calls ``module``, with spectral norms that stay as they are.

    In training mode they are refined once, at the latent ``like``, and not at each call.
    """
    norms = [part for part in module.modules() if isinstance(part, SpectralNorm) and part.training]
    if not norms:
        return fn
    with torch.no_grad():
        fn(like)

    def held(z: Tensor) -> Tensor:
        with _evaluating(norms):
            return fn(z)

    return held


@contextmanager
def _evaluating(modules: list[SpectralNorm]) -> Iterator[None]:
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True
