"""DrawnPosterior: a posterior given by weight vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...distributions import WeightDistribution, WeightDraw, WeightPosterior
from ...errors import check_finite, check_floating, check_instance, check_shape, value_error
from ...weights import WeightSpec

__all__ = ["Drawn", "DrawnPosterior", "check_samples"]


class DrawnPosterior(WeightPosterior):
    """A posterior given by samples of the weights, such as those of MCMC or of an ensemble.

    Args:
        samples: ``(S, P)``.
        spec: names and shapes of the weights.
    """

    def __init__(self, samples: Tensor, spec: WeightSpec) -> None:
        super().__init__()
        self.samples: Tensor
        self.register_buffer("samples", check_samples(samples, spec))
        self.weight_spec = spec

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the arguments that build a posterior of the same structure, for :func:`bayeshnet.save`."""
        return {"samples": self.samples, "spec": self.weight_spec}

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """Return the distribution, whatever the condition."""
        return Drawn(self.samples, self.weight_spec)


class Drawn(WeightDistribution):
    """The empirical distribution of samples; it has no density.

    Args:
        samples: ``(S, P)``.
        weight_spec: names and shapes of the weights.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (the name and kind are torch's)
    has_rsample = True

    def __init__(self, samples: Tensor, weight_spec: WeightSpec) -> None:
        self.samples, self.weight_spec = samples, weight_spec
        super().__init__(torch.Size(), samples.shape[1:], validate_args=False)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` of the samples, without repetition if there are enough."""
        total = len(self.samples)
        rounds = -(-num // total)
        device = None if generator is None else generator.device
        order = torch.cat([torch.randperm(total, generator=generator, device=device) for _ in range(rounds)])
        return WeightDraw(self.samples[order[:num].to(self.samples.device)])

    def spaced(self, num: int | None = None) -> Tensor:
        """Return at most ``num`` of the samples, evenly spaced; all if None."""
        count = len(self.samples) if num is None else min(len(self.samples), num)
        places = torch.linspace(0, len(self.samples) - 1, count).round().long()
        return self.samples[places.to(self.samples.device)]


def check_samples(samples: Tensor, spec: WeightSpec) -> Tensor:
    """Return the argument ``samples`` if these are at least one finite weight vector of the specification."""
    check_instance("spec", spec, WeightSpec, "a WeightSpec", "For example WeightSpec.of(net).")
    check_shape("samples", check_floating("samples", samples), (None, spec.numel))
    if not len(samples):
        raise value_error("samples", expected="at least one weight vector", found="none")
    return check_finite("samples", samples)
