"""Noise of a posterior in weight space: fixed, learned or generated from the condition; if learned, above a floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...checks import check_dtype
from ...deprecation import renamed_arguments
from ...errors import check_choice, check_floating, check_instance, check_positive, check_shape, value_error
from ...hnets.hnet_interface import HyperNetInterface
from ...representation import ModuleSettings
from ...weights import WeightSpec
from ..base import check_spec, filled

__all__ = ["FixedSigma", "GeneratedSigma", "LearnedSigma", "ModuleSigma", "ParameterSigma", "resolve_sigma"]

_SIGMA_ADVICE = (
    "It is a standard deviation in units of scale: a number > 0, one value per tensor, one per weight, 'learned', a "
    "torch.nn.Parameter, or a module of the condition."
)


class FixedSigma(ModuleSettings, nn.Module):
    """A constant standard deviation.

    Args:
        value: the standard deviation, ``()`` or ``(P,)``.
    """

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        _check_positive("value", value)
        self.value: Tensor
        self.register_buffer("value", value.detach().clone())

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Tensor:
        """Return the standard deviation, the same for every condition."""
        return self.value


class LearnedSigma(ModuleSettings, nn.Module):
    r"""A learned standard deviation :math:`\sigma = floor + \exp(\rho)`.

    Args:
        weight_spec: names and shapes of the weights.
        init: initial value.
        size: ``"scalar"``, ``"tensor"`` (one value per weight tensor) or ``"weight"``.
        floor: lower bound, since the gradient of LIVI needs noise that does not vanish.
        dtype: dtype of the parameter.
    """

    @renamed_arguments(spec="weight_spec")
    def __init__(
        self,
        weight_spec: WeightSpec,
        init: float = 0.1,
        size: str = "tensor",
        floor: float = 1e-4,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_spec(weight_spec)
        check_dtype("dtype", dtype)
        check_choice("size", size, ("scalar", "tensor", "weight"))
        if check_positive("init", init) <= check_positive("floor", floor):
            raise value_error("init", expected=f"a number above the floor {floor}", got=init)
        shape = {"scalar": (), "tensor": (len(weight_spec.entries),), "weight": (weight_spec.numel,)}[size]
        self.rho = nn.Parameter(torch.full(shape, math.log(init - floor), dtype=dtype))
        self.weight_spec, self.init, self.size, self.floor = weight_spec, init, size, floor

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Tensor:
        """Return the standard deviation ``()`` or ``(P,)``, the same for every condition."""
        sigma = self.floor + self.rho.exp()
        return self.weight_spec.spread(sigma) if self.size == "tensor" else sigma


class ParameterSigma(ModuleSettings, nn.Module):
    r"""A given parameter as standard deviation, :math:`\sigma = \sqrt{parameter^2 + floor^2}`.

    Args:
        parameter: the parameter, ``()``, one value per weight tensor or ``(P,)``.
        weight_spec: names and shapes of the weights.
        floor: lower bound.
    """

    @renamed_arguments(spec="weight_spec")
    def __init__(self, parameter: nn.Parameter, weight_spec: WeightSpec, floor: float = 1e-4) -> None:
        super().__init__()
        self.weight_spec = check_spec(weight_spec)
        self.floor = check_positive("floor", floor)
        check_floating("parameter", check_instance("parameter", parameter, nn.Parameter, "a torch.nn.Parameter"))
        self.parameter = parameter
        self._per_tensor = _is_per_tensor(parameter, weight_spec)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Tensor:
        """Return the standard deviation ``()`` or ``(P,)``, the same for every condition."""
        sigma = (self.parameter**2 + self.floor**2).sqrt()
        return self.weight_spec.spread(sigma) if self._per_tensor else sigma


class GeneratedSigma(ModuleSettings, nn.Module):
    r"""Standard deviations of all weights, generated from the condition by a separate hypernetwork.

    With the hypernetwork's outputs :math:`g(e)`

    .. math:: \sigma = floor + \exp(\log(init - floor) + g(e)) .

    Args:
        hnet: hypernetwork that maps a condition to ``P`` outputs.
        init: value at an output of zero.
        floor: lower bound.
    """

    def __init__(self, hnet: nn.Module, init: float = 0.1, floor: float = 1e-4) -> None:
        super().__init__()
        if check_positive("init", init) <= check_positive("floor", floor):
            raise value_error("init", expected=f"a number above the floor {floor}", got=init)
        self.hnet = check_instance("hnet", hnet, nn.Module, "a hypernetwork, a torch.nn.Module")
        self.init, self.floor = init, floor
        self._offset = math.log(init - floor)

    def forward(self, cond_id: int | Sequence[int] | None = None, cond_input: Tensor | None = None) -> Tensor:
        """Return the standard deviations at one condition, ``(P,)``, or at ``T`` conditions in one pass, ``(T, P)``.

        Example:
            >>> from bayeshnet.hnets import HMLP
            >>> sigma = GeneratedSigma(HMLP([[3, 2]], cond_in_size=4, num_cond_embs=2, layers=[8], verbose=False))
            >>> bool(torch.isclose(sigma([1, 0])[0], sigma(1)).all())
            True
        """
        several = isinstance(cond_id, Sequence)
        flat: Tensor = self.hnet(cond_id=cond_id, cond_input=cond_input, ret_format="flattened")
        return self.floor + ((flat if several else flat.reshape(-1)) + self._offset).exp()


class ModuleSigma(ModuleSettings, nn.Module):
    r"""The output of a module as standard deviation, :math:`\sigma = \sqrt{module(e)^2 + floor^2}`.

    Args:
        module: called with the condition, as a number or as a vector.
        weight_spec: names and shapes of the weights.
        floor: lower bound.
    """

    @renamed_arguments(spec="weight_spec")
    def __init__(self, module: nn.Module, weight_spec: WeightSpec, floor: float = 1e-4) -> None:
        super().__init__()
        self.floor = check_positive("floor", floor)
        self.module = check_instance("module", module, nn.Module, "a torch.nn.Module")
        self.weight_spec = check_spec(weight_spec)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Tensor:
        """Return the standard deviation ``()`` or ``(P,)`` at the condition."""
        value = (self.module(cond_id if cond_input is None else cond_input) ** 2 + self.floor**2).sqrt()
        per_tensor = _is_per_tensor(value, self.weight_spec)
        return self.weight_spec.spread(value) if per_tensor else value.reshape(value.shape[-1:])


def resolve_sigma(sigma: Any, spec: WeightSpec, init: float, floor: float, like: Tensor) -> nn.Module:
    """Return a module for any value of the argument ``sigma`` of :class:`HypernetPosterior`.

    Args:
        sigma: None (``init``), a number, a tensor, ``"learned"``, a parameter, a hypernetwork or another module.
        spec: names and shapes of the weights.
        init: default value, and initial value if it is learned.
        floor: lower bound if it is learned.
        like: a tensor of the wanted dtype and device.
    """
    if isinstance(sigma, (FixedSigma, LearnedSigma, ParameterSigma, GeneratedSigma, ModuleSigma)):
        return sigma
    if isinstance(sigma, str):
        check_choice("sigma", sigma, ("learned",), _SIGMA_ADVICE)
        return LearnedSigma(spec, init, floor=floor, dtype=like.dtype).to(like.device)
    if isinstance(sigma, nn.Parameter):
        return ParameterSigma(sigma, spec, floor)
    if isinstance(sigma, HyperNetInterface):
        if sigma.num_outputs != spec.numel:
            raise value_error("sigma", expected=f"a hypernetwork of {spec.numel} outputs", found=str(sigma.num_outputs))
        return GeneratedSigma(sigma, init, floor)
    if isinstance(sigma, nn.Module):
        return ModuleSigma(sigma, spec, floor)
    if isinstance(sigma, Tensor):
        value = _check_positive("sigma", sigma).detach().to(like)
        return FixedSigma(spec.spread(value) if _is_per_tensor(value, spec) else value)
    return FixedSigma(filled("sigma", init if sigma is None else sigma, like, _SIGMA_ADVICE))


def _is_per_tensor(value: Tensor, spec: WeightSpec) -> bool:
    """Return whether ``value`` has one entry per tensor; refuse shapes other than (), (len(entries),) and (P,)."""
    if value.ndim == 0:
        return False
    if value.ndim == 1 and value.shape[0] == len(spec.entries) != spec.numel:
        return True
    return check_shape("sigma", value, (-1, spec.numel), _SIGMA_ADVICE) is None


def _check_positive(argument: str, value: Tensor) -> Tensor:
    """Return a floating tensor ``()`` or ``(n,)`` of finite values > 0."""
    if check_floating(argument, value, _SIGMA_ADVICE).ndim > 1 or value.is_meta:
        raise value_error(argument, expected="a tensor () or (P,) of known values", got=value, hint=_SIGMA_ADVICE)
    if not bool(((value > 0) & torch.isfinite(value)).all()):
        raise value_error(argument, expected="finite values > 0", got=value, hint=_SIGMA_ADVICE)
    return value
