"""The contract of likelihoods: distributions over targets given the outputs of a main network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ...errors import check_int, value_error
from ...representation import ModuleSettings
from .contract import Targets, as_outputs, beside, check_outputs
from .places import AtPlaces

__all__ = ["Likelihood"]


class Likelihood(ModuleSettings, nn.Module, ABC):
    """A map from outputs ``(*B, N, C)`` of a main network to distributions of batch shape ``(*B, N)`` over targets.

    ``B`` are weight draws (none, or one dimension or more on the left), ``N`` are data. Parameters of the likelihood,
    such as a learned noise, are parameters of this module. Answers per pixel or step, with outputs ``(S, N, C, *P)``,
    are taken by :meth:`on`, which sums over these places.

    Attributes:
        kind: ``"classification"``, where uncertainty is measured by entropies (nats), or ``"regression"``, where it is
            measured by variances summed over targets.
        exclusive: for classes, True if one of ``C`` is right, False if each of ``C`` answers is yes or no.
        takes: which targets it takes; None for those of the shape that :meth:`distribution` says.
    """

    kind: ClassVar[str]
    exclusive: ClassVar[bool] = True
    takes: Targets | None = None

    def num_outputs(self, num_targets: int) -> int:
        """Return the number of outputs that a network needs for ``num_targets`` classes or target values."""
        return check_int("num_targets", num_targets, 1)

    def outputs(self, outputs: Any, num_inputs: int) -> Tensor:
        """Return outputs of a network for ``N`` inputs, ``(S, N, C)`` or ``(S, N, C, *P)``; refuse others.

        A subclass that overrides this takes what it returns by its other methods; :meth:`on` then has no effect.
        """
        return as_outputs(outputs, num_inputs)

    def on(self, outputs: Tensor) -> Likelihood | AtPlaces:
        """Return the likelihood of outputs ``(S, N, C)``, which is this one, or ``(S, N, C, *P)``, a sum over places.

        Example:
            >>> import torch
            >>> from bayeshnet.guides import Gaussian
            >>> steps = torch.zeros(4, 2, 1, 7)
            >>> Gaussian().on(steps).log_prob(steps, torch.zeros(2, 1, 7)).shape
            torch.Size([4, 2])
        """
        own = type(self).outputs is not Likelihood.outputs
        return self if own or outputs.ndim <= 3 else AtPlaces(self, outputs.ndim - 3)

    def targets(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return targets as :meth:`distribution` takes them, for outputs ``(*B, N, C)``; refuse others.

        Shapes and types are checked, which costs nothing; values are checked by :meth:`check_targets`.
        """
        check_outputs(outputs)
        if self.takes is not None:
            size = outputs.shape[-1] // self.num_outputs(1)
            return beside(self.takes.convert(y, outputs.shape[-2], size, outputs.dtype), outputs)
        shape = (outputs.shape[-2], *self.distribution(outputs).event_shape)
        if y.shape != shape:
            raise value_error("y", expected=f"targets of shape {shape}", got=y)
        return y

    def check_targets(self, y: Tensor) -> None:
        """Refuse targets whose values have no density; for data on their way in, since it waits for the device."""
        if self.takes is not None:
            self.takes.check(y)

    def observed(self, outputs: Tensor, y: Tensor) -> tuple[TorchDistribution, Tensor]:
        """Return distribution and targets for an observed site of a Pyro program; ignored targets are masked."""
        targets, distribution = self.targets(outputs, y), self.distribution(outputs)
        ignored = getattr(self.takes, "ignore_index", None)
        if ignored is None:
            return distribution, targets
        known = targets != ignored
        return distribution.mask(known), targets.where(known, 0)

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
