"""The default geometry of a hypernetwork, by Jacobians, and the conditions under which there is a geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ...errors import value_error
from ...geometry.jacobian import JacobianGeometry
from ...layers import BatchNormLayer, SpectralNorm
from .arguments import like_tensor

__all__ = ["jacobian_geometry", "refuse_noise"]


def jacobian_geometry(hnet: Any, where: dict[str, Any]) -> JacobianGeometry:
    """Return the geometry of a hypernetwork by automatic differentiation of its forward pass.

    Args:
        hnet: the hypernetwork.
        where: the arguments of its ``forward`` besides ``uncond_input`` and ``ret_format``.
    """

    def fn(z: Tensor) -> Tensor:
        found: Tensor = hnet(z, ret_format="flattened", **where)
        return found

    like = like_tensor(hnet, where["weights"], where["cond_input"])
    fixed = _with_fixed_spectral_norms(hnet, fn, like.new_zeros(1, hnet.uncond_in_size))
    generate = getattr(hnet, "generate_part", None)
    if generate is None or fixed is not fn:
        return JacobianGeometry(fixed, hnet.uncond_in_size, hnet.num_outputs, like=like)
    part = partial(generate, **where)
    return JacobianGeometry(fn, hnet.uncond_in_size, hnet.num_outputs, like=like, part=part, unit=hnet.chunk_size)


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


def _with_fixed_spectral_norms(
    module: nn.Module, fn: Callable[[Tensor], Tensor], example: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the function ``fn`` of latents, which calls ``module``, with spectral norms that do not change.

    In training mode their estimates are refined once, by a call at the latent ``example``, instead of at each call.
    """
    norms = [part for part in module.modules() if isinstance(part, SpectralNorm) and part.training]
    if not norms:
        return fn
    with torch.no_grad():
        fn(example)

    def fixed(z: Tensor) -> Tensor:
        with _evaluation_mode(norms):
            return fn(z)

    return fixed


@contextmanager
def _evaluation_mode(modules: list[SpectralNorm]) -> Iterator[None]:
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True
