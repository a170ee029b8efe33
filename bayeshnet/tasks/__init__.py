"""Tasks: records of the data of one task, and of tasks in the order in which they are learned."""

from .stream import SCENARIOS, TaskStream
from .task import KINDS, LAYOUTS, Split, Task

__all__ = ["KINDS", "LAYOUTS", "SCENARIOS", "Split", "Task", "TaskStream"]
