"""Costs of a run: stored examples and bytes, gradient steps and passes, with the scenario and the temperature."""

from __future__ import annotations

from typing import Any

from ...continual import ExampleMemory, Learner, LearnerState, Training
from ...tasks import TaskStream

__all__ = ["measure_costs"]


def measure_costs(learner: Learner, state: LearnerState, stream: TaskStream) -> dict[str, Any]:
    r"""Compute what a learner used and keeps after the tasks in ``state``.

    A learner without the settings ``training`` takes no gradient step, and looks at each example once.

    Args:
        learner: with its settings.
        state: after some tasks.
        stream: the tasks.

    Returns:
        ``scenario``; ``examples_stored``; ``bytes_stored``, those of all parameters and buffers of the state, stored
        examples and densities among them; ``gradient_steps`` of all tasks together, those after the last task included;
        ``passes`` through a task's training examples, :math:`\frac1T \sum_t S_t B_t / N_t` with :math:`S_t` steps on
        :math:`B_t` of :math:`N_t` examples; and the temperature ``beta`` of the KL, None where there is no KL.
    """
    sizes = [len(task.train) for task in stream[: state.num_tasks]]
    memory = state.memory
    training = getattr(learner, "training", None)
    steps, passes, beta = 0, 1.0, None
    if isinstance(training, Training):
        steps = training.steps * len(sizes)
        passes = sum(training.steps * min(training.batch_size, size) / size for size in sizes) / len(sizes)
        beta = training.beta
    finish = getattr(getattr(learner, "coreset", None), "finish", None)
    if isinstance(finish, Training) and len(sizes) > 1:
        steps += finish.steps * len(sizes)
    return {
        "scenario": stream.scenario,
        "examples_stored": memory.num_examples if isinstance(memory, ExampleMemory) else 0,
        "bytes_stored": sum(t.numel() * t.element_size() for t in (*state.parameters(), *state.buffers())),
        "gradient_steps": steps,
        "passes": passes,
        "beta": beta,
    }
