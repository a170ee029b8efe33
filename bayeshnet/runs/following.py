"""Processes of a run besides the first: they learn as it does, and neither assess nor write."""

from __future__ import annotations

from ..continual import LearnerState
from ..errors import value_error
from ..mnets.inputs import device_of
from ..parallel import processes
from ..rng import derive_seed
from ..tasks import TaskStream
from .experiment import Experiment
from .folder import RunFolder
from .loading import TrainedRun, restore_state

__all__ = ["follow"]


def follow(experiment: Experiment, stream: TaskStream) -> TrainedRun:
    """Learn what the first process learns, from the newest checkpoint of its folder on.

    Returns:
        The state, without assessments and results.
    """
    folder = RunFolder(processes().tell(None))
    state, learned, is_finished = _restored(experiment, folder, stream)
    processes().tell(None)  # from here on the first process writes
    device = device_of(stream[0].train.x)
    for number in range(0 if state is None else state.num_tasks, len(stream)):
        if learned is not None:
            state, learned = learned, None
        else:
            state = experiment.learner.learn(state, stream[number], seed=derive_seed(experiment.seed, number))
        state = state.to(device)
    if state is None:
        raise value_error("stream", expected="at least one task", found="none")
    if not is_finished:
        state = experiment.learner.finish(state, seed=derive_seed(experiment.seed, len(stream), 4))
    return TrainedRun(experiment, state, (), None, folder)


def _restored(
    experiment: Experiment, folder: RunFolder, stream: TaskStream
) -> tuple[LearnerState | None, LearnerState | None, bool]:
    """Read the newest state, that of a task that was learned and not assessed, and whether the run had its end."""
    restored = restore_state(experiment, folder, stream[0])
    state = None if restored is None else restored[0]
    number = (0 if state is None else state.num_tasks) + 1
    if number > len(stream) or folder.load_learned(number) is None:
        return state, None, folder.is_finished()
    learned = experiment.learner.restore(stream[0], number)
    folder.load_learned(number, learned)
    return state, learned, folder.is_finished()
