"""The state of a learner: one module that is saved, loaded and moved as a whole."""

from __future__ import annotations

from torch import nn

from ..errors import check_instance, value_error
from ..guides import Likelihood
from ..mnets import MainNetInterface
from ..tasks import Task
from .task_inference.density import TaskDensity
from .task_posterior import TaskPosterior

__all__ = ["LearnerState"]


class LearnerState(nn.Module):
    """Everything that a learner has learned.

    Args:
        net: main network.
        likelihood: likelihood of the targets given the network's outputs; may have learned parameters.
        posterior: weight posterior, called with the number of a task.
        task: any task of the stream; all have its kind, input shape and number of outputs.

    Attributes:
        memory: module with what a learner keeps of old tasks besides posteriors and densities, such as stored examples;
            or None.
        labels: global labels of the classes, one tuple per task learned (empty for regression).
        kind: ``"classification"`` or ``"regression"``.
        input_shape: shape of one input.
        num_outputs: number of classes or of target values of each task.
    """

    net: MainNetInterface
    likelihood: Likelihood
    posterior: TaskPosterior

    def __init__(self, net: MainNetInterface, likelihood: Likelihood, posterior: TaskPosterior, task: Task) -> None:
        super().__init__()
        check_instance("net", net, nn.Module, "a main network")
        check_instance("likelihood", likelihood, Likelihood, "a Likelihood")
        check_instance("posterior", posterior, nn.Module, "a posterior of tasks")
        check_instance("task", task, Task, "a Task")
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
        """Densities of the inputs, one per task learned."""
        return [density for density in self._densities if isinstance(density, TaskDensity)]

    @property
    def num_tasks(self) -> int:
        """Number of tasks learned so far."""
        return len(self._densities)

    def check(self, task: Task) -> None:
        """Check that ``task`` has the kind and the shapes of the tasks learned before."""
        for what in ("kind", "input_shape", "num_outputs"):
            if getattr(task, what) != getattr(self, what):
                raise value_error(
                    f"task {task.name!r}", expected=f"{what} {getattr(self, what)} as before", got=getattr(task, what)
                )

    def record_task(self, task: Task, density: TaskDensity) -> None:
        """Record that ``task`` has been learned, with the density of its inputs."""
        self._densities.append(density)
        self.labels.append(task.labels or ())

    def extra_repr(self) -> str:
        """Show the number of tasks and their common shapes."""
        return f"num_tasks={self.num_tasks}, {self.kind}, {self.input_shape} -> {self.num_outputs}"
