"""Tasks: records of the data of one task, and of tasks in the order in which they are learned."""

from .reading import DatasetInputs
from .split import Split
from .stream import SCENARIOS, TaskStream
from .task import KINDS, LAYOUTS, Task

__all__ = ["KINDS", "LAYOUTS", "SCENARIOS", "DatasetInputs", "Split", "Task", "TaskStream"]
