r"""Metrics of continual learning computed from a matrix of accuracies.

``matrix[i, j]`` is the accuracy on task ``j`` after learning task ``i``, ``(T, T)``; entries above the diagonal (tasks
not learned yet) may be NaN. Any other number may be used for which larger is better. Results are in the units of the
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..deprecation import moved_names
from ..errors import check_choice, check_int, check_number, check_shape, type_error, value_error
from ._checks import check_no_overflow, check_numbers, check_ordered, check_same_device, check_values

__all__ = [
    "ContinualSummary",
    "average_accuracy",
    "backward_transfer",
    "during_accuracy",
    "final_accuracy",
    "forgetting",
    "forward_transfer",
    "summarize",
    "task_inference_accuracy",
]

__getattr__ = moved_names(
    __name__,
    {
        "summarise": "metrics.summarize",
    },
)


def _checked(matrix: Tensor) -> Tensor:
    matrix = check_values("matrix", matrix, "a floating tensor of accuracies (T, T)")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise value_error("matrix", expected="accuracies (T, T): rows in time, columns of tasks", got=matrix)
    if not bool(matrix.tril().isfinite().all()):
        raise value_error("matrix", expected="numbers on and below the diagonal", found="NaN or infinity among them")
    return matrix


def during_accuracy(matrix: Tensor) -> Tensor:
    r"""Compute the mean accuracy on each task just after learning it, :math:`\frac1T \sum_t A_{tt}`."""
    return check_no_overflow("matrix", _checked(matrix).diagonal().mean())


def final_accuracy(matrix: Tensor) -> Tensor:
    r"""Compute the mean accuracy on all tasks after the last one, :math:`\frac1T \sum_t A_{Tt}`."""
    return check_no_overflow("matrix", _checked(matrix)[-1].mean())


def average_accuracy(matrix: Tensor) -> Tensor:
    r"""Compute the mean accuracy on the tasks so far over time, :math:`\frac1T\sum_i \frac1i \sum_{j\le i} A_{ij}`.

    Example:
        >>> average_accuracy(torch.tensor([[1.0, torch.nan], [0.5, 1.0]]))
        tensor(0.8750)
    """
    matrix = _checked(matrix)
    lower = matrix.tril().nan_to_num(0.0)
    counts = torch.arange(1, len(matrix) + 1, dtype=matrix.dtype, device=matrix.device)
    return check_no_overflow("matrix", (lower.sum(1) / counts).mean())


def backward_transfer(matrix: Tensor) -> Tensor:
    r"""Compute the mean change on earlier tasks, :math:`\frac1{T-1} \sum_{t<T} (A_{Tt} - A_{tt})`; 0 for a single task.

    References:
        Gradient Episodic Memory for Continual Learning (Lopez-Paz, Ranzato; 2017).
    """
    matrix = _checked(matrix)
    change = (matrix[-1] - matrix.diagonal())[:-1]
    return check_no_overflow("matrix", change.mean()) if len(change) else matrix.new_zeros(())


def forward_transfer(matrix: Tensor, baseline: Tensor | float) -> Tensor:
    r"""Compute the gain on each task before it is learned, :math:`\frac1{T-1} \sum_{t>1} (A_{t-1,t} - b_t)`.

    Args:
        matrix: accuracies ``(T, T)``, with numbers just above the diagonal as well.
        baseline: accuracy without any learning: one number, or one per task ``(T,)``.

    References:
        Gradient Episodic Memory for Continual Learning (Lopez-Paz, Ranzato; 2017).
    """
    matrix = _checked(matrix)
    ahead = matrix.diagonal(1)
    if not bool(ahead.isfinite().all()):
        raise value_error(
            "matrix",
            expected="numbers just above the diagonal",
            found="NaN or infinity there",
            hint="Evaluate the next task too.",
        )
    if isinstance(baseline, Tensor):
        baseline = check_numbers("baseline", baseline, "a number, or a floating tensor (T,)", integers=True)
        baseline = check_same_device("baseline", baseline, matrix).to(matrix.dtype)
        if baseline.ndim:
            baseline = check_shape("baseline", baseline, (len(matrix),))[1:]
    else:
        baseline = check_number("baseline", baseline)
    return check_no_overflow("matrix", (ahead - baseline).mean()) if len(ahead) else matrix.new_zeros(())


def forgetting(matrix: Tensor, reference: str = "best") -> Tensor:
    r"""Compute the mean accuracy lost by the end; smaller is better.

    Args:
        matrix: accuracies ``(T, T)``.
        reference: ``"best"``, the definition of the field: best earlier accuracy minus final accuracy, mean of the
            first :math:`T-1` tasks, :math:`\frac1{T-1} \sum_{t<T} (\max_{t \le i < T} A_{it} - A_{Tt})`;
            ``"during"``: accuracy just after learning minus final accuracy, mean of all :math:`T` tasks,
            :math:`\frac1T \sum_t (A_{tt} - A_{Tt})`.

    References:
        Riemannian Walk for Incremental Learning: Understanding Forgetting and Intransigence (Chaudhry, Dokania,
        Ajanthan, Torr; 2018), for ``"best"``.

    Example:
        >>> matrix = torch.tensor([[1.0, torch.nan], [0.5, 1.0]])
        >>> forgetting(matrix), forgetting(matrix, "during")
        (tensor(0.5000), tensor(0.2500))
    """
    check_choice("reference", reference, ("during", "best"))
    if reference == "during":
        return check_no_overflow("matrix", during_accuracy(matrix) - final_accuracy(matrix))
    matrix = _checked(matrix)
    size = len(matrix)
    if size == 1:
        return matrix.new_zeros(())
    later = torch.ones(size, size, dtype=torch.bool, device=matrix.device).tril()
    best = matrix.masked_fill(~later, -torch.inf)[:-1, :-1].amax(0)
    return check_no_overflow("matrix", (best - matrix[-1, :-1]).mean())


def task_inference_accuracy(scores: Tensor, task: Tensor | int, batch_size: int = 1) -> Tensor:
    """Compute the fraction of inputs, or of batches of inputs of one task, whose true task has the highest score.

    Args:
        scores: score of each task for each input ``(N, T)``, such as log-density, negative entropy or log-posterior.
        task: index of the true task: one for all inputs, or ``(N,)``.
        batch_size: number of consecutive inputs that are judged together by the sum of their scores, which requires one
            ``task`` for all. An incomplete batch is left out unless it is the only one.

    Returns:
        Fraction of shape ``()``.

    Example:
        >>> scores = torch.tensor([[-1.0, -2.0], [-3.0, -1.0], [-1.0, -4.0]])
        >>> task_inference_accuracy(scores[:2], 0), task_inference_accuracy(scores, 0, batch_size=3)
        (tensor(0.5000), tensor(1.))
    """
    scores = check_ordered("scores", scores, "a tensor of scores (N, T)")
    check_shape("scores", scores, (None, None))
    index = _task_index(task, scores)
    if check_int("batch_size", batch_size, 1) > 1:
        if index.ndim:
            raise value_error("task", expected="one number for all inputs if they are judged in batches", got=task)
        size = min(batch_size, len(scores))
        sums = scores[: len(scores) // size * size].unflatten(0, (-1, size)).sum(1)
        scores = check_ordered("scores", sums, "scores whose sums can be ordered")
    dtype = scores.dtype if scores.is_floating_point() else torch.get_default_dtype()
    return (scores.argmax(1) == index).to(dtype).mean()


def _task_index(task: Tensor | int, scores: Tensor) -> Tensor:
    """Return the true task as an index ``()`` or ``(N,)`` of the columns of ``scores``."""
    if not isinstance(task, Tensor):
        task = torch.tensor(check_number("task", check_int("task", task), 0, scores.shape[1] - 1))
        return task.long().to(scores.device)
    if task.ndim:
        check_shape("task", task, (len(scores),))
    if task.is_floating_point() or task.dtype == torch.bool:
        raise type_error("task", expected="indices of tasks, integers", got=task)
    task = check_values("task", task, "indices of tasks, integers", integers=True)
    if task.ndim:
        check_same_device("task", task, scores)
    if float(task.double().min()) < 0 or float(task.double().max()) >= scores.shape[1]:
        raise value_error("task", expected=f"indices of tasks from 0 to {scores.shape[1] - 1}", found="others")
    return task.long().to(scores.device)


@dataclass(frozen=True)
class ContinualSummary:
    """Metrics of one accuracy matrix, in its units; see the functions of the same names.

    Args:
        during: mean just after learning.
        final: mean after the last task.
        average: mean over time.
        backward_transfer: mean change on earlier tasks.
        forgetting: from the best earlier accuracy, over the first T - 1 tasks.
        forgetting_from_best: the same number.
        forgetting_during: from the accuracy just after learning, over all T tasks.
    """

    during: float
    final: float
    average: float
    backward_transfer: float
    forgetting: float
    forgetting_from_best: float
    forgetting_during: float = 0.0


def summarize(matrix: Tensor) -> ContinualSummary:
    """Compute all metrics of an accuracy matrix ``(T, T)``.

    Example:
        >>> summarize(torch.tensor([[1.0, torch.nan], [0.5, 1.0]])).final
        0.75
    """
    matrix = _checked(matrix).detach()
    return ContinualSummary(
        during=float(during_accuracy(matrix)),
        final=float(final_accuracy(matrix)),
        average=float(average_accuracy(matrix)),
        backward_transfer=float(backward_transfer(matrix)),
        forgetting=float(forgetting(matrix)),
        forgetting_from_best=float(forgetting(matrix)),
        forgetting_during=float(forgetting(matrix, "during")),
    )
