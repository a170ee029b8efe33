"""Distributions over flat weight vectors, and draws from them together with the noise that produced them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..errors import (
    check_finite,
    check_flags,
    check_floating,
    check_instance,
    check_positive,
    check_shape,
    type_error,
    value_error,
)
from ..representation import Settings
from ..rng import sample_seeded
from ..weights import WeightSpec

__all__ = [
    "WeightDistribution",
    "WeightDraw",
    "check_parameters",
    "check_spec",
    "check_value",
    "draw_from",
    "filled",
    "has_log_prob",
]


@dataclass(frozen=True)
class WeightDraw:
    """Draws from a weight distribution, with the noise that produced them.

    Attributes:
        w: weights ``(S, P)``.
        z: latents ``(S, n)``, or None for a distribution without latents.
        eps: standard normal output noise ``(S, P)``, or None for a distribution without it.
        u: the weights in whitened coordinates ``(S, P)``, or None if they are to be computed from ``w``.
    """

    w: Tensor
    z: Tensor | None = None
    eps: Tensor | None = None
    u: Tensor | None = None

    def first(self, num: int) -> WeightDraw:
        """Return the first ``num`` draws."""
        if num == self.w.shape[0]:
            return self
        w, *rest = (None if t is None else t[:num] for t in (self.w, self.z, self.eps, self.u))
        return WeightDraw(w, *rest)  # type: ignore[arg-type]


class WeightDistribution(Settings, Distribution, ABC):
    """A distribution over flat weight vectors: empty batch shape, event shape ``(P,)``, stateless.

    Subclasses implement :meth:`draw`; ``log_prob`` if the density is known, else estimators work with the noise of the
    draws; and ``mean``, ``variance`` and ``entropy`` where these have closed forms.

    Attributes:
        weight_spec: names and shapes of the weights, or None if unknown.
    """

    weight_spec: WeightSpec | None = None

    @abstractmethod
    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` reparameterized weight vectors, together with the noise that produced them."""

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:
        """Draw reparameterized weights: ``(*sample_shape, P)``."""
        shape = torch.Size(sample_shape)
        return self.draw(shape.numel()).w.reshape(*shape, self.event_shape[0])


def draw_from(q: Distribution, num: int, generator: torch.Generator | None = None) -> WeightDraw:
    """Draw ``num`` reparameterized weight vectors from a weight distribution, or any with ``rsample``.

    Example:
        >>> normal = torch.distributions.Normal(torch.zeros(3), 1.0)
        >>> draw_from(torch.distributions.Independent(normal, 1), 5).w.shape
        torch.Size([5, 3])
    """
    own = getattr(q, "draw", None)
    if callable(own):
        draw = own(num, generator)
    elif q.has_rsample and type(q).rsample is not Distribution.rsample:
        draw = WeightDraw(sample_seeded(q, num, generator))
    else:
        advice = "Write its method rsample(sample_shape) and set has_rsample = True, or derive from WeightDistribution."
        raise value_error("q", expected="a distribution with rsample", found=type(q).__name__, hint=advice)
    shape = (num, *getattr(q, "event_shape", draw.w.shape[1:] if isinstance(draw, WeightDraw) else ()))
    if not isinstance(draw, WeightDraw) or draw.w.shape != shape:
        where, got = "draw" if callable(own) else "rsample", draw.w if isinstance(draw, WeightDraw) else draw
        expected = f"a WeightDraw with weights of shape {shape}"
        raise type_error(f"{type(q).__name__}.{where}", expected=expected, got=got)
    return draw


def has_log_prob(q: Distribution) -> bool:
    """Return whether the class of a distribution has a ``log_prob`` of its own."""
    return type(q).log_prob is not Distribution.log_prob


def check_spec(weight_spec: Any, num: int | None = None) -> WeightSpec:
    """Return the argument ``weight_spec`` if it is a specification, of ``num`` weights unless that is None."""
    hint = "Take WeightSpec.of(network), or the network's weight_spec."
    spec: WeightSpec = check_instance("weight_spec", weight_spec, WeightSpec, "a WeightSpec", hint)
    if num is not None and spec.numel != num:
        raise value_error("weight_spec", expected=f"{num} weights", found=str(spec.numel))
    return spec


def check_parameters(validate: bool | None, positive: dict[str, Tensor], **others: Tensor) -> None:
    """Check values of parameters, where the argument ``validate_args`` of a distribution asks for it.

    Args:
        validate: the argument ``validate_args``; torch's default if None.
        positive: parameters whose entries must be greater than zero.
        others: parameters whose entries must be finite.
    """
    if validate is None:
        validate = Distribution._validate_args
    check_flags(validate_args=validate)
    if not validate:
        return
    for name, value in (*positive.items(), *others.items()):
        if value.is_meta:
            raise value_error(name, expected="values that are known, or validate_args=False", got=value)
    for name, value in positive.items():
        if not bool((value > 0).all()):
            raise value_error(name, expected="values > 0", found="others, or NaN, among its entries")
    for name, value in others.items():
        check_finite(name, value)


def check_value(value: Any, num: int, like: Tensor) -> Tensor:
    """Return the argument ``value`` of a density if it is a floating tensor ``(*B, num)`` on the device of ``like``."""
    if not isinstance(value, Tensor) or value.ndim == 0 or value.shape[-1] != num:
        check_shape("value", value, (-1, num))
    check_floating("value", value)
    if value.device != like.device:
        raise value_error("value", expected=f"a tensor on {like.device}", got=value)
    found: Tensor = value
    return found


def filled(argument: str, number: Any, like: Tensor, hint: str = "") -> Tensor:
    """Return a number > 0 as a tensor ``()`` with dtype and device of ``like``; refuse what that cannot hold."""
    value, limits = check_positive(argument, number, hint), torch.finfo(like.dtype)
    if not limits.tiny <= value <= limits.max:
        raise value_error(argument, expected=f"a number that {like.dtype} can hold", got=number, hint=hint)
    return torch.full((), value, dtype=like.dtype, device=like.device)
