"""Finite mixtures of weight distributions: multimodal distributions with a known density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from ..checks import check_all
from ..errors import check_floating, check_shape, value_error
from ..rng import uniform_like
from .base import WeightDistribution, WeightDraw

__all__ = ["Mixture"]


class Mixture(WeightDistribution):
    r"""Mixture :math:`\sum_k \pi_k q_k` with :math:`\pi = \mathrm{softmax}(logits)` of distributions with densities.

    Draws are reparameterized within their component. No gradient with respect to ``logits`` passes through a draw, so
    drawing with logits that require grad raises ValueError.

    Args:
        logits: ``(K,)``.
        components: ``K`` distributions of the same event shape ``(P,)``.

    Example:
        >>> from bayeshnet.distributions import MeanFieldGaussian
        >>> parts = [MeanFieldGaussian(torch.full((1,), m), torch.ones(1)) for m in (-1.0, 1.0)]
        >>> round(float(Mixture(torch.zeros(2), parts).log_prob(torch.zeros(1))), 4)
        -1.4189
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 (the name and kind are torch's)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, logits: Tensor, components: Sequence[Distribution]) -> None:
        self.components = list(check_all("components", components, Distribution, "a list of distributions"))
        if not self.components:
            raise value_error("components", expected="at least one distribution", found="none")
        self.logits = check_shape("logits", logits, (len(self.components),), "One logit per component.")
        check_floating("logits", logits)
        shapes = {tuple(c.event_shape) for c in self.components}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1 or any(c.batch_shape for c in self.components):
            raise value_error("components", expected="one event shape (P,) and no batch shape", found=str(shapes))
        self.weight_spec = getattr(self.components[0], "weight_spec", None)
        super().__init__(torch.Size(), self.components[0].event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Means ``(P,)``."""
        return self.logits.softmax(-1) @ torch.stack([c.mean for c in self.components])

    @property
    def variance(self) -> Tensor:
        """Variances ``(P,)``."""
        second = torch.stack([c.variance + c.mean**2 for c in self.components])
        return self.logits.softmax(-1) @ second - self.mean**2

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors."""
        if self.logits.requires_grad and torch.is_grad_enabled():
            raise value_error(
                "logits",
                expected="constant mixture weights",
                found="a tensor that requires grad",
                hint="No gradient reaches them through a draw: detach them, or draw under torch.no_grad().",
            )
        edges = self.logits.detach().softmax(-1).cumsum(-1)[:-1].contiguous()
        index = torch.searchsorted(edges, uniform_like(self.logits, (num,), generator))
        drawn = torch.stack([_draw(c, num, generator) for c in self.components])
        return WeightDraw(drawn[index, torch.arange(num, device=index.device)])

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density ``(*B,)`` of ``value`` ``(*B, P)``, in nats."""
        each = torch.stack([c.log_prob(value) for c in self.components], dim=-1)
        return torch.logsumexp(each + self.logits.log_softmax(-1), dim=-1)


def _draw(component: Distribution, num: int, generator: torch.Generator | None) -> Tensor:
    if isinstance(component, WeightDistribution):
        return component.draw(num, generator).w
    if generator is not None:
        raise value_error(
            "generator",
            expected="None with components of torch",
            found="a generator",
            hint="Use components that take one, such as MeanFieldGaussian.",
        )
    return component.rsample(torch.Size((num,)))
