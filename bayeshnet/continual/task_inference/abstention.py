"""None of the known tasks: a threshold on the evidence that true inputs pass at a stated rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import check_number, check_shape, value_error

__all__ = ["Abstention"]


@dataclass(frozen=True)
class Abstention:
    r"""Says of an input that it belongs to none of the known tasks when no task's evidence reaches its threshold.

    The threshold of task :math:`t` is the :math:`k`-th smallest score :math:`s_t` over :math:`n` calibration inputs of
    that task, :math:`k = \lfloor \alpha (n + 1) \rfloor`: an input of the task that is exchangeable with them falls
    below it with a probability of at most :math:`\alpha`, whatever the score and its distribution. An input is refused
    if it falls below all thresholds, so that the rate of false alarms is at most :math:`\alpha` too. Inputs that the
    learner was fitted to score better than new ones: calibrate on a validation split where the rate matters.

    Args:
        thresholds: one per task, ``(T,)``; minus infinity accepts everything.
        false_alarm: the rate :math:`\alpha` that was asked for.

    References:
        Algorithmic Learning in a Random World (Vovk, Gammerman, Shafer; 2005).

    Example:
        >>> rule = Abstention.calibrate([torch.arange(19.0)], false_alarm=0.1)
        >>> rule.thresholds, rule.refused(torch.tensor([[0.5], [7.0]]))
        (tensor([1.]), tensor([ True, False]))
    """

    thresholds: Tensor
    false_alarm: float

    @classmethod
    def calibrate(cls, scores: Sequence[Tensor], false_alarm: float = 0.05) -> Abstention:
        """Choose the thresholds.

        Args:
            scores: evidence ``(N_t,)`` of each task for calibration inputs of its own, a column of
                :meth:`StreamPrediction.scores <bayeshnet.continual.StreamPrediction.scores>`.
            false_alarm: share of true inputs that may be refused, in (0, 1).
        """
        rate = check_number("false_alarm", false_alarm, 0.0, 1.0)
        if not 0 < rate < 1 or not scores:
            raise value_error(
                "false_alarm, scores", expected="a rate between 0 and 1 and the scores of a task", got=false_alarm
            )
        found = []
        for t, own in enumerate(scores):
            check_shape(f"scores[{t}]", own, (None,))
            k = int(rate * (len(own) + 1) + 1e-9)
            found.append(own.kthvalue(k).values if k else own.new_tensor(-torch.inf))
        return cls(torch.stack(found), rate)

    def foreignness(self, scores: Tensor) -> Tensor:
        """How far the best task stays below its threshold, ``(N,)``; what is above 0 is refused.

        Args:
            scores: evidence for each task ``(N, T)``.
        """
        check_shape("scores", scores, (None, len(self.thresholds)))
        return (self.thresholds - scores).amin(dim=-1)

    def refused(self, scores: Tensor) -> Tensor:
        """Which inputs belong to none of the known tasks, ``(N,)``."""
        return self.foreignness(scores) > 0
