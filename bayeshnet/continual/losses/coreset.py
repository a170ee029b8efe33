"""Coresets: a few stored examples per task, for uncertainty on other tasks' inputs and a final fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import check_instance, check_int, check_number
from ...inference import AddedLoss, StepContext
from ...mnets.inputs import num_examples
from ...rng import generator_on
from ..memory import ExampleMemory
from ..training import Training
from .outlier_exposure import uniform_cross_entropy

__all__ = ["Coreset", "OtherTasksExposure"]


@dataclass(frozen=True)
class Coreset:
    """Settings of the stored examples of each task and of their uses.

    Args:
        size: examples stored per task.
        doubt: weight of uniform targets for the stored examples of old tasks while a new task is learned; 0 turns them
            off.
        finish: settings of the fine-tuning of each task's posterior after all tasks have been learned; None leaves it
            out. By default its KL has no weight: the output regularizer keeps the posterior near the one learned from
            all data, while the KL to the prior, over so few examples, would undo that.
        finish_doubt: weight of uniform targets for the stored examples of other tasks during fine-tuning.

    References:
        Henning, Cervera, et al., "Posterior meta-replay for continual learning", 2021.
    """

    size: int = 50
    doubt: float = 0.3
    finish: Training | None = field(
        default_factory=lambda: Training(steps=100, batch_size=32, lr=1e-3, num_particles=4, beta=0.0)
    )
    finish_doubt: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_int("size", self.size, 1)
        if self.finish is not None:
            check_instance("finish", self.finish, Training, "a Training, or None")
        check_number("doubt", self.doubt, minimum=0.0)
        check_number("finish_doubt", self.finish_doubt, minimum=0.0)


class OtherTasksExposure(AddedLoss):
    """Cross-entropy to the uniform distribution on stored examples of other tasks, under the step's weights.

    Args:
        memory: stored examples.
        tasks: the other tasks.
        weight: factor of the loss per example.
        generator: of the choice of examples.
    """

    def __init__(
        self,
        memory: ExampleMemory,
        tasks: Sequence[int],
        weight: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.memory, self.tasks = memory, list(tasks)
        self.weight, self.generator = weight, generator
        self._chooser = generator_on("cpu", generator)
        self.generators = () if self._chooser is None else (self._chooser,)

    def __call__(self, context: StepContext) -> Tensor:
        """Compute the loss, a scalar in nats per example, on as many stored examples as the batch has inputs."""
        inputs, _, _ = self.memory.draw(num_examples(context.whole_x), self._chooser, self.tasks)
        return self.weight * context.weight * uniform_cross_entropy(context.outputs(context.own(inputs)))
