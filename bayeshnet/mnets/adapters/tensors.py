"""Parametrizations of one tensor of a layer by the numbers of an adapter, and their removal."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["AdaptedTensor", "LowRankChange", "RowScale", "RowShift", "merge_adapters"]

_FIRST = ("weight", "bias")


class AdaptedTensor(nn.Module, ABC):
    """A parametrization whose own parameters are those of an adapter; it is the identity when it is made."""

    @abstractmethod
    def forward(self, tensor: Tensor) -> Tensor:
        """Return the changed tensor, of the same shape."""


class LowRankChange(AdaptedTensor):
    r"""The matrix :math:`W + s B A` of a tensor :math:`W`, where :math:`A` is ``down`` and :math:`B` is ``up``.

    A tensor of more dimensions is a matrix with a row for each of its first indices.

    Args:
        tensor: the tensor that is changed.
        rank: number of rows of :math:`A`.
        scaling: the number :math:`s`.
    """

    weight_roles: ClassVar[dict[str, str]] = {"up": "bias"}  # it begins at zero and has the small scale of biases

    def __init__(self, tensor: Tensor, rank: int, scaling: float) -> None:
        super().__init__()
        rows, columns = len(tensor), math.prod(tensor.shape[1:])
        self.scaling = scaling
        self.down = nn.Parameter(torch.randn_like(tensor.detach().new_empty(rank, columns)) / math.sqrt(columns))
        self.up = nn.Parameter(tensor.detach().new_zeros(rows, rank))

    def forward(self, tensor: Tensor) -> Tensor:
        """Add the change."""
        return tensor + self.scaling * (self.up @ self.down).reshape(tensor.shape)


class RowScale(AdaptedTensor):
    r"""The tensor :math:`(1 + g_i) W_{i \cdot}` with a number :math:`g_i` for each of its first indices.

    Args:
        tensor: the tensor that is changed.
    """

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.gain = nn.Parameter(tensor.detach().new_zeros(len(tensor)))

    def forward(self, tensor: Tensor) -> Tensor:
        """Scale the rows."""
        return tensor * (1 + self.gain).reshape(-1, *[1] * (tensor.ndim - 1))


class RowShift(AdaptedTensor):
    r"""The vector :math:`b + \beta`, or :math:`(1 + g) \odot b + \beta` with the numbers :math:`g` of a scale.

    Args:
        tensor: the vector that is changed.
        scale: the parametrization of the layer's weight, which owns :math:`g`; None for none.
    """

    def __init__(self, tensor: Tensor, scale: RowScale | None = None) -> None:
        super().__init__()
        self.shift = nn.Parameter(tensor.detach().new_zeros(tensor.shape))
        self._scale = () if scale is None else (scale,)  # no submodule: its gain has one name

    def forward(self, tensor: Tensor) -> Tensor:
        """Scale and shift the vector."""
        for scale in self._scale:
            tensor = scale(tensor)
        return tensor + self.shift


@torch.no_grad()
def merge_adapters(module: nn.Module, *, keep: bool = True) -> None:
    """Remove all adapters of a module, in place.

    Args:
        module: a module, which then has parameters of its own names again, in their order.
        keep: True to leave the tensors as the adapters change them, False for those from before.
    """
    layers = [part for part in module.modules() if parametrize.is_parametrized(part) and _is_adapted(part)]
    values = [{name: getattr(layer, name).clone() for name in _lists(layer)} for layer in layers]
    for layer, found in zip(layers, values, strict=True):
        own: dict[str, nn.Parameter | None] = {
            name: cast(nn.Parameter, part.original) for name, part in _lists(layer).items()
        }
        # The class with the properties of the parametrization may be that of copies of the layer as well.
        layer.__class__ = type(layer).__bases__[0]
        del layer.parametrizations
        own.update(layer._parameters)
        order = [*(name for name in _FIRST if name in own), *(name for name in own if name not in _FIRST)]
        layer._parameters = {name: own[name] for name in order}
        for name in found if keep else ():
            layer.get_parameter(name).copy_(found[name])


def _is_adapted(layer: nn.Module) -> bool:
    """Return whether a parametrized layer is so by an adapter, which registers on plain layers alone."""
    return all(isinstance(part[0], AdaptedTensor) for part in _lists(layer).values())  # type: ignore[index]


def _lists(layer: nn.Module) -> dict[str, nn.Module]:
    """Return the parametrizations of a layer by the names of its tensors."""
    return dict(cast(nn.ModuleDict, layer.parametrizations).items())
