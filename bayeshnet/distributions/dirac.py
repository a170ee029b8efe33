"""A deterministic weight vector as a degenerate weight distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from ..errors import check_floating, check_shape
from ..weights import WeightSpec
from .base import WeightDistribution, WeightDraw, check_spec

__all__ = ["Dirac"]


class Dirac(WeightDistribution):
    """A point mass at ``loc``, for maximum a-posteriori learning.

    It has no density, so its KL to a prior has no value; estimators return the gradient of ``-log p(loc)``.

    Args:
        loc: the weights ``(P,)``.
        weight_spec: names and shapes of the weights.

    Example:
        >>> Dirac(torch.ones(3)).rsample((2,)).shape
        torch.Size([2, 3])
    """

    arg_constraints = {"loc": constraints.real_vector}  # noqa: RUF012 (the name and kind are torch's)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, weight_spec: WeightSpec | None = None) -> None:
        self.loc = check_shape("loc", loc, (None,), "Weights are flat vectors; see WeightSpec.flatten.")
        check_floating("loc", loc)
        self.weight_spec = None if weight_spec is None else check_spec(weight_spec, loc.shape[0])
        super().__init__(torch.Size(), loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The weights ``(P,)``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Zeros ``(P,)``."""
        return torch.zeros_like(self.loc)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Repeat the weights ``num`` times; ``generator`` is not used."""
        return WeightDraw(self.loc.expand(num, *self.loc.shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Raise ValueError: a point mass has no density."""
        raise ValueError(
            "Dirac.log_prob: expected a distribution with a density, got a point mass. Its KL has no value; use "
            "ClosedForm, which gives the gradient of -log p(loc)."
        )
