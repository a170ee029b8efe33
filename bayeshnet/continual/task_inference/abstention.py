"""Abstention: rejecting inputs of no known task, at a given rate of false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...checks import check_data, check_items
from ...deprecation import warn
from ...errors import check_floating, check_number, check_shape, value_error

__all__ = ["Abstention"]


@dataclass(frozen=True)
class Abstention:
    r"""A rule that rejects an input if its scores are below the thresholds of all known tasks.

    The threshold of task :math:`t` is the :math:`k`-th smallest of its scores :math:`s_t` for :math:`n` calibration
    inputs of that task, :math:`k = \lfloor \alpha (n + 1) \rfloor`. A new input of the task that is exchangeable with
    them falls below it with a probability of at most :math:`\alpha`, whatever the score and its distribution, so that
    the rate of false alarms is at most :math:`\alpha`. Training inputs have higher scores than new ones: calibrate on a
    validation split where the rate matters.

    Args:
        thresholds: one per task, ``(T,)``; minus infinity accepts everything.
        false_alarm: the rate :math:`\alpha`.

    References:
        Algorithmic Learning in a Random World (Vovk, Gammerman, Shafer; 2005).

    Example:
        >>> rule = Abstention.calibrate([torch.arange(19.0)], false_alarm=0.1)
        >>> rule.thresholds, rule.refused(torch.tensor([[0.5], [7.0]]))
        (tensor([1.]), tensor([ True, False]))
    """

    thresholds: Tensor
    false_alarm: float

    def __post_init__(self) -> None:
        """Check the rate, and that there is a threshold for each task."""
        check_number("false_alarm", self.false_alarm, 0.0, 1.0)
        check_shape("thresholds", check_floating("thresholds", self.thresholds), (None,))

    @classmethod
    def calibrate(cls, scores: Sequence[Tensor], false_alarm: float = 0.05) -> Abstention:
        """Choose the thresholds.

        Args:
            scores: scores ``(N_t,)`` of each task for calibration inputs of that task, a column of
                :meth:`StreamPrediction.scores <bayeshnet.continual.StreamPrediction.scores>`.
            false_alarm: largest rate at which inputs of the known tasks may be rejected, in (0, 1).
        """
        rate = check_number("false_alarm", false_alarm, 0.0, 1.0)
        each = check_items("scores", scores, "a list of scores (N,), one tensor per task")
        if not 0 < rate < 1 or not each:
            raise value_error(
                "false_alarm, scores", expected="a rate between 0 and 1 and the scores of a task", got=false_alarm
            )
        thresholds = []
        for t, own in enumerate(each):
            check_shape(f"scores[{t}]", check_data(f"scores[{t}]", check_floating(f"scores[{t}]", own)), (None,))
            if bool(own.isnan().any()):
                raise value_error(f"scores[{t}]", expected="scores that can be ordered", found="NaN among them")
            k = int(rate * (len(own) + 1) + 1e-9)
            thresholds.append(own.kthvalue(k).values if k else own.new_tensor(-torch.inf))
        return cls(torch.stack(thresholds), rate)

    def ood_score(self, scores: Tensor) -> Tensor:
        """Compute the smallest distance of the scores below their thresholds, ``(N,)``; above 0 an input is rejected.

        Args:
            scores: score of each task, ``(N, T)``.
        """
        check_shape("scores", check_floating("scores", scores), (None, len(self.thresholds)))
        if scores.device != self.thresholds.device:
            raise value_error("scores", expected=f"scores on {self.thresholds.device}, like the thresholds", got=scores)
        return (self.thresholds - scores).amin(dim=-1)

    def foreignness(self, scores: Tensor) -> Tensor:
        """Compute :meth:`ood_score`, whose former name this is."""
        warn("Abstention.foreignness", "Abstention.ood_score")
        return self.ood_score(scores)

    def refused(self, scores: Tensor) -> Tensor:
        """Return True for inputs that belong to none of the known tasks, ``(N,)``."""
        return self.ood_score(scores) > 0
