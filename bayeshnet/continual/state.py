"""What a learner knows: one module that saves, loads and moves as a whole."""

from __future__ import annotations

from torch import nn

from ..errors import value_error
from ..guides import Likelihood
from ..mnets import MainNetInterface
from ..tasks import Task
from .task_inference.density import TaskDensity
from .task_posterior import TaskPosterior

__all__ = ["LearnerState"]


class LearnerState(nn.Module):
    """Everything that a learner knows after some tasks.

    Args:
        net: the main network.
        likelihood: how outputs become a distribution over targets; may hold learned parameters.
        posterior: weight posterior, called with a task's number.
        task: gives kind, input shape and outputs, which all tasks share.

    Attributes:
        memory: what a learner keeps of old tasks besides posteriors and densities, such as stored examples; or None.
        labels: global labels of each task's classes, one tuple per task learnt (empty for regression).
    """

    net: MainNetInterface
    likelihood: Likelihood
    posterior: TaskPosterior

    def __init__(self, net: MainNetInterface, likelihood: Likelihood, posterior: TaskPosterior, task: Task) -> None:
        super().__init__()
        self.net = net
        self.likelihood = likelihood
        self.posterior = posterior
        self.memory: nn.Module | None = None
        self._densities = nn.ModuleList()
        self.labels: list[tuple[int, ...]] = []
        self.kind = task.kind
        self.input_shape = task.input_shape
        self.num_outputs = task.num_outputs

    @property
    def densities(self) -> list[TaskDensity]:
        """Compact density of the inputs, one per task learnt."""
        return [density for density in self._densities if isinstance(density, TaskDensity)]

    @property
    def num_tasks(self) -> int:
        """Number of tasks learnt so far."""
        return len(self._densities)

    def check(self, task: Task) -> None:
        """Refuse a task that does not fit those learnt before."""
        for what in ("kind", "input_shape", "num_outputs"):
            if getattr(task, what) != getattr(self, what):
                raise value_error(
                    f"task {task.name!r}", expected=f"{what} {getattr(self, what)} as before", got=getattr(task, what)
                )

    def close_task(self, task: Task, density: TaskDensity) -> None:
        """Record that ``task`` has been learnt."""
        self._densities.append(density)
        self.labels.append(task.labels or ())
