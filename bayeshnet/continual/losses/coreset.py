"""Coresets: a few stored examples per task, for doubt about other tasks' inputs and for a final fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import check_int, check_number
from ...guides import BayesianModel
from ..memory import ExampleMemory
from ..training import Training

__all__ = ["Coreset", "ForeignTerm"]


@dataclass(frozen=True)
class Coreset:
    """What is stored of each task, and what it is used for.

    Args:
        size: examples stored per task.
        doubt: weight of the uncertainty regularizer while a task is learnt, uniform targets for stored examples of
            old tasks; 0 leaves it off.
        finish: settings of the fine-tuning of each task's posterior when all tasks are learnt; None leaves it out. By
            default its KL has no weight: the output regularizer holds the posterior at what all of the data made of
            it, while the KL to the prior, over so few examples, would undo that.
        finish_doubt: weight of the uniform targets for the other tasks' stored examples in it.

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
        check_number("doubt", self.doubt, minimum=0.0)
        check_number("finish_doubt", self.finish_doubt, minimum=0.0)


class ForeignTerm:
    """Cross-entropy to the uniform distribution on stored examples of other tasks, under the step's weights.

    Args:
        model: runs the network as the task at hand sees it.
        memory: stored examples.
        tasks: those whose examples are foreign.
        weight: of the term in the loss per example.
        generator: of the choice of examples.
    """

    def __init__(
        self,
        model: BayesianModel,
        memory: ExampleMemory,
        tasks: Sequence[int],
        weight: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model, self.memory, self.tasks = model, memory, list(tasks)
        self.weight, self.generator = weight, generator

    def __call__(self, weights: Tensor, x: Tensor, y: Tensor, step: int) -> Tensor:
        """The term, a scalar, for weights ``(S, P)``; as many examples are drawn as the batch ``x`` has."""
        foreign, _, _ = self.memory.draw(len(x), self.generator, self.tasks)
        return -self.weight * self.model.outputs(weights, foreign).log_softmax(dim=-1).mean()
