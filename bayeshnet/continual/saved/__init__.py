"""States of learners in folders: the description of a learner as JSON, writing, and loading."""

from ...saving import Description, describe
from .shape import TaskShape
from .writing import write_state

__all__ = ["Description", "TaskShape", "describe", "write_state"]
