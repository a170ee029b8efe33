"""Heads: where the answers to each task are among the outputs of one network for all tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..errors import check_int, value_error

__all__ = ["FixedSoftmax", "GrowingSoftmax", "Heads", "SharedHead", "SplitHeads"]


class Heads(ABC):
    """Shares out the outputs of one network among tasks of ``C`` outputs each.

    Attributes:
        joint: whether the classes of all tasks compete in one softmax, so that it says which task an input belongs to.
    """

    joint: bool = False

    @abstractmethod
    def width(self, num_tasks: int, size: int) -> int:
        """Outputs that the network has after ``num_tasks`` tasks of ``size`` outputs."""

    @abstractmethod
    def block(self, number: int, size: int) -> tuple[int, int]:
        """First output of task ``number`` and the first one after it; they answer when the task is given."""

    def offset(self, number: int, size: int) -> int:
        """Index of the task's first class among the outputs that compete in training."""
        return self.block(number, size)[0] if self.joint else 0

    def competing(self, number: int, num_tasks: int, size: int) -> tuple[int, int]:
        """Range of the outputs that compete in training of task ``number``: its own, or all in a joint softmax."""
        return (0, self.width(num_tasks, size)) if self.joint else self.block(number, size)


class SharedHead(Heads):
    """The same outputs for all tasks: domain-incremental learning, the same classes on other inputs."""

    def width(self, num_tasks: int, size: int) -> int:
        """Always ``size``."""
        return size

    def block(self, number: int, size: int) -> tuple[int, int]:
        """All outputs."""
        return 0, size


class SplitHeads(Heads):
    """Outputs of its own for each task, with a softmax among them alone; the network grows with the tasks."""

    def width(self, num_tasks: int, size: int) -> int:
        """The outputs of all tasks so far."""
        return num_tasks * size

    def block(self, number: int, size: int) -> tuple[int, int]:
        """The task's own outputs."""
        return number * size, (number + 1) * size


class GrowingSoftmax(SplitHeads):
    """One softmax over the classes of all tasks so far: class-incremental learning without a question of the task."""

    joint = True


class FixedSoftmax(GrowingSoftmax):
    """One softmax over the classes of all tasks that will come, whose number is known beforehand.

    Args:
        num_tasks: how many there will be.
    """

    def __init__(self, num_tasks: int = 5) -> None:
        self.num_tasks = check_int("num_tasks", num_tasks, 1)

    def width(self, num_tasks: int, size: int) -> int:
        """The outputs of all tasks that will come; more tasks than that are refused."""
        if num_tasks > self.num_tasks:
            raise value_error(
                "task",
                expected=f"one of the {self.num_tasks} that FixedSoftmax has room for",
                found=f"number {num_tasks}",
                hint="Give it more room, or use GrowingSoftmax.",
            )
        return self.num_tasks * size
