"""Heads: the assignment of the outputs of one network to the tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..deprecation import renamed_arguments
from ..errors import check_int, value_error
from ..representation import Settings

__all__ = ["FixedSoftmax", "GrowingSoftmax", "Heads", "SharedHead", "SplitHeads"]


class Heads(Settings, ABC):
    """An assignment of the outputs of one network to tasks of ``size`` outputs each.

    Attributes:
        joint: True if the classes of all tasks compete in one softmax, which then gives the probability of each task.
    """

    joint: bool = False

    @abstractmethod
    def width(self, num_tasks: int, size: int) -> int:
        """Return the number of outputs of the network after ``num_tasks`` tasks."""

    @abstractmethod
    @renamed_arguments(number="task_id")
    def block(self, task_id: int, size: int) -> tuple[int, int]:
        """Return the range ``(start, stop)`` of the outputs of task ``task_id``."""

    @renamed_arguments(number="task_id")
    def offset(self, task_id: int, size: int) -> int:
        """Return the index of the task's first class among the outputs that compete in its training."""
        return self.block(task_id, size)[0] if self.joint else 0

    @renamed_arguments(number="task_id")
    def competing(self, task_id: int, num_tasks: int, size: int) -> tuple[int, int]:
        """Return the range of the outputs that compete in training: the task's own, or all in a joint softmax."""
        return (0, self.width(num_tasks, size)) if self.joint else self.block(task_id, size)


class _OwnOutputs(Heads):
    """Heads that give each task outputs of its own, one task after the other."""

    @renamed_arguments(number="task_id")
    def block(self, task_id: int, size: int) -> tuple[int, int]:
        """Return the range of the task's own outputs."""
        return task_id * size, (task_id + 1) * size


class SharedHead(Heads):
    """The same outputs for all tasks: domain-incremental learning, with new inputs but the same classes."""

    def width(self, num_tasks: int, size: int) -> int:
        """Return ``size``, whatever the number of tasks."""
        return size

    @renamed_arguments(number="task_id")
    def block(self, task_id: int, size: int) -> tuple[int, int]:
        """Return the range of all outputs."""
        return 0, size


class SplitHeads(_OwnOutputs):
    """Outputs and a softmax for each task; the network grows with the number of tasks."""

    def width(self, num_tasks: int, size: int) -> int:
        """Return the number of outputs of all tasks so far."""
        return num_tasks * size


class GrowingSoftmax(_OwnOutputs):
    """One softmax over the classes of all tasks so far: class-incremental learning without task inference."""

    joint = True

    def width(self, num_tasks: int, size: int) -> int:
        """Return the number of classes of all tasks so far."""
        return num_tasks * size


class FixedSoftmax(_OwnOutputs):
    """One softmax over the classes of all tasks, whose number is known in advance.

    Args:
        num_tasks: number of tasks.
    """

    joint = True

    def __init__(self, num_tasks: int = 5) -> None:
        self.num_tasks = check_int("num_tasks", num_tasks, 1)

    def width(self, num_tasks: int, size: int) -> int:
        """Return the number of classes of all tasks, past and future; raise an error if there are more tasks."""
        if num_tasks > self.num_tasks:
            raise value_error(
                "task",
                expected=f"one of the {self.num_tasks} that FixedSoftmax has room for",
                found=f"number {num_tasks}",
                hint="Give it more room, or use GrowingSoftmax.",
            )
        return self.num_tasks * size
