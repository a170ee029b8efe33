"""Whether a module computes each sample by itself and without noise, which a density needs."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..errors import value_error
from ..layers import BatchNormLayer

__all__ = ["refuse_noise"]


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
                "geometry", "a hypernetwork that maps each latent by itself and without noise",
                f"an active {type(part).__name__}", "Call eval() first.", said=True,
            )  # fmt: skip
