"""The contract of likelihoods: distributions over targets given the outputs of a main network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ...errors import check_int, value_error
from ...representation import ModuleSettings

__all__ = ["Likelihood"]


class Likelihood(ModuleSettings, nn.Module, ABC):
    """A map from outputs ``(*B, N, C)`` of a main network to distributions of batch shape ``(*B, N)`` over targets.

    ``B`` are weight draws (none, or one dimension or more on the left), ``N`` are data. Parameters of the likelihood,
    such as a learned noise, are parameters of this module.

    Attributes:
        kind: ``"classification"``, where uncertainty is measured by entropies (nats), or ``"regression"``, where it is
            measured by variances summed over targets.
    """

    kind: ClassVar[str]

    def num_outputs(self, num_targets: int) -> int:
        """Return the number of outputs that a network needs for ``num_targets`` classes or target values."""
        return check_int("num_targets", num_targets, 1)

    @abstractmethod
    def distribution(self, outputs: Tensor) -> TorchDistribution:
        """Return the distribution over targets given outputs ``(*B, N, C)``, of batch shape ``(*B, N)``."""

    @abstractmethod
    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the log-likelihood ``(*B, N)``, in nats, of targets ``y`` ``(N,)`` or ``(N, C)``."""

    def log_prob_sum(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the sum ``()`` of :meth:`log_prob` over draws and data; subclasses may need fewer operations."""
        return self.log_prob(outputs, y).sum()

    def changes_log_prob(self, kind: type[Likelihood]) -> bool:
        """Return whether :meth:`log_prob` differs from that of ``kind``, so that its sum does as well."""
        return getattr(self.log_prob, "__func__", None) is not kind.log_prob

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """Compute the mean of the targets, probabilities for classes: ``(*B, N, C)``."""

    @abstractmethod
    def noise(self, outputs: Tensor) -> Tensor:
        """Compute the uncertainty under known weights, an entropy or a summed variance: ``(*B, N)``."""

    @abstractmethod
    def total(self, mean: Tensor, between: Tensor, noise: Tensor) -> Tensor:
        """Compute the total uncertainty ``(N,)`` of a mixture over weight draws.

        Args:
            mean: mean over draws of :meth:`mean`, ``(N, C)``.
            between: variance over draws of :meth:`mean`, ``(N, C)``.
            noise: mean over draws of :meth:`noise`, ``(N,)``.
        """


def check_values(outputs: Tensor, y: Tensor, num_targets: int) -> Tensor:
    """Return ``y`` if it is ``(N, C)`` for outputs ``(*B, N, ...)``; ``(N,)`` would be broadcast wrongly."""
    if y.shape != (outputs.shape[-2], num_targets):
        expected = f"targets of shape ({outputs.shape[-2]}, {num_targets})"
        raise value_error(
            "y", expected=expected, got=y, hint="One column per target value: y.unsqueeze(-1) for a single one."
        )
    return y
