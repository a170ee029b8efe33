"""Likelihoods of classes: one of C, or C binary targets."""

from __future__ import annotations

from typing import ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import check_int, value_error
from .base import Likelihood
from .contract import Classes, Values, is_answer
from .places import places_summed

__all__ = ["Bernoulli", "Categorical"]

_NONE = torch.iinfo(torch.int64).min
"""Number of no class, where torch would ignore -100 by default."""


class Categorical(Likelihood):
    r"""One of ``C`` classes, outputs are logits: :math:`p(y = c) = \exp(f_c) / \sum_k \exp(f_k)`.

    Args:
        ignore_index: label of examples whose class is unknown, such as -100. They count as data with a log-probability
            of 0: the labeled ones of a batch stand for the labeled ones of the data set. None refuses labels below 0.

    Shape:
        Outputs are ``(*B, N, C)``, targets are class indices ``(N,)``, of any integer type; per pixel or step outputs
        ``(S, N, C, *P)``, as of ``torch.nn.CrossEntropyLoss``, and targets ``(N, *P)``.

    Example:
        >>> import torch
        >>> Categorical().log_prob(torch.zeros(5, 2, 4), torch.tensor([0, 3])).shape
        torch.Size([5, 2])
    """

    kind: ClassVar[str] = "classification"
    takes = Classes()

    def __init__(self, ignore_index: int | None = None) -> None:
        super().__init__()
        if ignore_index is not None:  # an attribute, and shown, only where it is set
            self.ignore_index = check_int("ignore_index", ignore_index)
            if abs(self.ignore_index) >= 2**63:
                raise value_error("ignore_index", expected="a label of 64 bits", got=ignore_index)
            self.takes = Classes(self.ignore_index)

    def distribution(self, outputs: Tensor) -> dist.TorchDistribution:
        """Return the categorical distribution with logits ``outputs``."""
        return dist.Categorical(logits=outputs)

    @places_summed
    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the log-probability of the classes ``y`` ``(N,)``: ``(*B, N)``, in nats."""
        return -self._cross_entropy(outputs, y, "none").reshape(outputs.shape[:-1])

    @places_summed
    def log_prob_sum(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the sum ``()`` of :meth:`log_prob`, in one operation."""
        if self.changes_log_prob(Categorical):
            return super().log_prob_sum(outputs, y)
        return -self._cross_entropy(outputs, y, "sum")

    def _cross_entropy(self, outputs: Tensor, y: Tensor, reduction: str) -> Tensor:
        index = self.targets(outputs, y).expand(outputs.shape[:-1]).reshape(-1)
        logits, ignored = outputs.reshape(-1, outputs.shape[-1]), self.takes.ignore_index
        try:
            return F.cross_entropy(
                logits, index, reduction=reduction, ignore_index=_NONE if ignored is None else ignored
            )
        except IndexError as error:
            expected = f"class indices from 0 to {outputs.shape[-1] - 1}, one for each output"
            raise value_error("y", expected=expected, found=f"another one ({error})", hint=self.takes.hint) from error

    def mean(self, outputs: Tensor) -> Tensor:
        """Compute class probabilities ``(*B, N, C)``."""
        return outputs.softmax(-1)

    def noise(self, outputs: Tensor) -> Tensor:
        """Compute the entropy of the class probabilities, in nats: ``(*B, N)``."""
        log_probs = outputs.log_softmax(-1)
        # 0 log 0 = 0: an impossible class adds nothing.
        return -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(-1)

    def total(self, mean: Tensor, between: Tensor, noise: Tensor) -> Tensor:
        """Compute the entropy of the mean class probabilities, in nats: ``(N,)``."""
        return -mean.xlogy(mean).sum(-1)


class Bernoulli(Likelihood):
    r"""``C`` independent binary targets, outputs are logits: :math:`p(y_c = 1) = 1 / (1 + \exp(-f_c))`.

    Shape:
        Outputs are ``(*B, N, C)``, targets are 0 or 1 of shape ``(N, C)``, or ``(N,)`` for a single one; per pixel or
        step outputs ``(S, N, C, *P)``, targets ``(N, C, *P)``, or ``(N, *P)`` for a single one.

    Example:
        >>> import torch
        >>> Bernoulli().log_prob(torch.zeros(1, 1), torch.ones(1, 1))
        tensor([-0.6931])
    """

    kind: ClassVar[str] = "classification"
    exclusive: ClassVar[bool] = False
    takes = Values(is_answer, "targets 0 or 1", same_type=True)

    def distribution(self, outputs: Tensor) -> dist.TorchDistribution:
        """Return Bernoulli distributions with logits ``outputs``, with the last dimension as the event."""
        found: dist.TorchDistribution = dist.Bernoulli(logits=outputs).to_event(1)
        return found

    @places_summed
    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the log-probability of ``y`` ``(N, C)``, summed over targets: ``(*B, N)``, in nats."""
        target = self.targets(outputs, y).expand(outputs.shape)
        return -F.binary_cross_entropy_with_logits(outputs, target, reduction="none").sum(-1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Compute the probabilities of 1, ``(*B, N, C)``."""
        return outputs.sigmoid()

    def noise(self, outputs: Tensor) -> Tensor:
        """Compute the entropy of the targets, summed, in nats: ``(*B, N)``."""
        # 0 log 0 = 0, also where the logit is infinite.
        least = torch.finfo(outputs.dtype).min
        one, zero = F.logsigmoid(outputs), F.logsigmoid(-outputs)
        return -(one.exp() * one.clamp(min=least) + zero.exp() * zero.clamp(min=least)).sum(-1)

    def total(self, mean: Tensor, between: Tensor, noise: Tensor) -> Tensor:
        """Compute the entropy of the mean probabilities, summed over targets, in nats: ``(N,)``."""
        rest = 1 - mean
        return -(mean.xlogy(mean) + rest.xlogy(rest)).sum(-1)
