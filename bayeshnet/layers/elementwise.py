"""Elementwise activations and their derivatives, for Jacobians of multilayer perceptrons in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..functional import vectorized_or_not
from .activations import GaussianBump

__all__ = ["Activation", "elementwise", "pull_slope", "push_slope", "value_and_slope"]

Activation = Callable[[Tensor], Tensor] | None


def _relu(_: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    return x.relu(), (x > 0).to(x.dtype)


def _leaky_relu(act: nn.LeakyReLU, x: Tensor) -> tuple[Tensor, Tensor]:
    slope = torch.where(x > 0, torch.ones_like(x), act.negative_slope)
    return x * slope, slope


def _elu(act: nn.ELU, x: Tensor) -> tuple[Tensor, Tensor]:
    value = F.elu(x, act.alpha)
    return value, torch.where(x > 0, torch.ones_like(x), value + act.alpha)


def _tanh(_: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    value = x.tanh()
    return value, 1 - value * value


def _sigmoid(_: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    value = x.sigmoid()
    return value, value * (1 - value)


def _softplus(act: nn.Softplus, x: Tensor) -> tuple[Tensor, Tensor]:
    slope = torch.where(x * act.beta > act.threshold, torch.ones_like(x), torch.sigmoid(x * act.beta))
    return F.softplus(x, act.beta, act.threshold), slope


def _silu(_: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    gate = x.sigmoid()
    return x * gate, gate * (1 + x * (1 - gate))


def _gelu(act: nn.GELU, x: Tensor) -> tuple[Tensor, Tensor]:
    if act.approximate != "none":
        return _by_jvp(act, x)
    below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    return x * below, below + x * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _bump(_: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.exp(-x * x)
    return value, -2 * x * value


def _by_jvp(act: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return value and derivative of any elementwise function, as its derivative along a tangent of ones."""
    return torch.func.jvp(act, (x,), (torch.ones_like(x),))  # type: ignore[return-value]


_CLOSED: dict[type, Callable[[Any, Tensor], tuple[Tensor, Tensor]]] = {
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.ELU: _elu,
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    nn.Softplus: _softplus,
    nn.SiLU: _silu,
    nn.GELU: _gelu,
    GaussianBump: _bump,
}
_ELEMENTWISE_TYPES = {
    nn.CELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Identity,
    nn.LogSigmoid,
    nn.Mish,
    nn.ReLU6,
    nn.SELU,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanhshrink,
    *_CLOSED,
}
_FUNCTIONS: dict[Any, nn.Module] = {
    torch.relu: nn.ReLU(),
    F.relu: nn.ReLU(),
    torch.tanh: nn.Tanh(),
    F.tanh: nn.Tanh(),
    torch.sigmoid: nn.Sigmoid(),
    F.sigmoid: nn.Sigmoid(),
    F.elu: nn.ELU(),
    F.leaky_relu: nn.LeakyReLU(),
    F.softplus: nn.Softplus(),
    F.silu: nn.SiLU(),
    F.gelu: nn.GELU(),
}
_ELEMENTWISE_FUNCTIONS = {torch.sin, torch.cos, torch.exp, torch.erf, torch.atan, F.mish, F.selu, F.softsign}


def elementwise(act: Activation) -> bool:
    """Return True if ``act`` is known to be elementwise, or has an attribute ``elementwise`` that is True."""
    if act is None or type(act) in _ELEMENTWISE_TYPES or getattr(act, "elementwise", False) is True:
        return True
    return isinstance(act, Hashable) and (act in _FUNCTIONS or act in _ELEMENTWISE_FUNCTIONS)


def value_and_slope(act: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return ``act(x)`` and its derivative, both of the shape of ``x``; None unless ``act`` is elementwise."""
    known = _FUNCTIONS.get(act, act) if isinstance(act, Hashable) and not isinstance(act, nn.Module) else act
    closed = _CLOSED.get(type(known))
    if closed is not None:
        return closed(known, x)
    return _by_jvp(act, x) if elementwise(act) else None


def push_slope(act: Callable[[Tensor], Tensor], x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value of any ``act`` and its derivative along tangents.

    Shape:
        ``x`` ``(*B, H)``, ``tangents`` ``(m, *B, H)``; results alike. ``act`` is called on matrices ``(N, H)``.
    """
    rows = x.reshape(-1, x.shape[-1])

    def along(tangent: Tensor) -> Tensor:
        found: Tensor = torch.func.jvp(act, (rows,), (tangent,))[1]
        return found

    flat = tangents.expand(-1, *x.shape).reshape(tangents.shape[0], *rows.shape)
    pushed = vectorized_or_not(
        lambda: torch.func.vmap(along)(flat), lambda: torch.stack([along(tangent) for tangent in flat])
    )
    return act(rows).reshape(x.shape), pushed.reshape(-1, *x.shape)


def pull_slope(act: Callable[[Tensor], Tensor], x: Tensor, cotangent: Tensor) -> Tensor:
    """Pull a cotangent ``(*B, H)`` of the value of any ``act`` back to its input ``x`` ``(*B, H)``."""
    rows = x.reshape(-1, x.shape[-1])
    pulled = torch.func.vjp(act, rows)[1](cotangent.expand(x.shape).reshape(rows.shape))[0]
    found: Tensor = pulled.reshape(x.shape)
    return found
