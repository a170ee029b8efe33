"""Pyro distributions over flat weights: any torch distribution of event shape ``(P,)`` as a sample site."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..deprecation import moved_names
from ..errors import type_error, value_error

__all__ = ["WeightPrior", "as_pyro", "unwrapped"]

__getattr__ = moved_names(
    __name__,
    {
        "bare": "guides.sites.unwrapped",
    },
)


class WeightPrior(TorchDistribution):
    """A torch distribution over flat weights as a Pyro distribution with independent draws for each entry of a batch.

    Args:
        base: distribution of event shape ``(P,)`` without a batch shape.
        batch_shape: of the site, as plates ask for it.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the name and kind are torch's)

    def __init__(self, base: Distribution, batch_shape: torch.Size | tuple[int, ...] = torch.Size()) -> None:
        self.base = base
        self.has_rsample = bool(base.has_rsample)
        super().__init__(torch.Size(batch_shape), base.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint | None:
        """Support of the wrapped distribution."""
        return self.base.support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> WeightPrior:
        """Return the same distribution with another batch shape."""
        return WeightPrior(self.base, torch.Size(batch_shape))

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draw weights ``(*sample_shape, *batch_shape, P)``."""
        return self.base.sample(torch.Size(sample_shape) + self.batch_shape)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draw reparameterized weights ``(*sample_shape, *batch_shape, P)``."""
        return self.base.rsample(torch.Size(sample_shape) + self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density of weights ``(*B, P)``: ``(*B,)`` broadcast against the batch shape, in nats."""
        log_prob = self.base.log_prob(value)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))


def as_pyro(prior: Distribution | nn.Module, num_weights: int) -> TorchDistributionMixin:
    """Return ``prior`` as a Pyro distribution over ``num_weights`` weights; a module is called for its distribution."""
    expected = "a torch or Pyro distribution, or a module that returns one"
    try:
        dist = prior() if isinstance(prior, nn.Module) else prior
    except TypeError as error:
        raise type_error("prior", expected=expected, found=f"{type(prior).__name__} ({error})") from error
    if not isinstance(dist, Distribution):
        raise type_error("prior", expected=expected, got=dist, hint="For example FanInGaussian(net.weight_spec).")
    if dist.batch_shape or dist.event_shape != (num_weights,):
        got = f"batch shape {tuple(dist.batch_shape)} and event shape {tuple(dist.event_shape)}"
        advice = "Weights are one flat vector: for example Normal(0., 1.).expand([P]).to_event(1)."
        raise value_error("prior", expected=f"batch shape () and event shape ({num_weights},)", found=got, hint=advice)
    return dist if isinstance(dist, TorchDistributionMixin) else WeightPrior(dist)


def unwrapped(site_fn: Any) -> Any:
    """Return the distribution of a site without the wrappers of :func:`as_pyro` and of plates."""
    while True:
        if isinstance(site_fn, WeightPrior):
            site_fn = site_fn.base
        elif type(site_fn).__name__ == "ExpandedDistribution":
            site_fn = site_fn.base_dist
        else:
            return site_fn


@contextmanager
def continuous_named() -> Iterator[None]:
    """Name the model where Pyro finds no unknowns in it, or discrete ones, with its error as the cause."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        text = str(error).split(". ")[0]
        if "discrete sample site" not in text and "no latent variables" not in text:
            raise
        advice = "Sum discrete unknowns out in the model."
        raise value_error("model", expected="one with continuous unknowns", found=text, hint=advice) from error
