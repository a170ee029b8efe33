"""Loading a run from its folder: the learner, its state and the settings of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..checks import check_path
from ..continual import Learner, LearnerState
from ..errors import check_instance, value_error
from ..mnets.inputs import device_of
from ..reports import RunResult
from ..tasks import Task, TaskStream
from .experiment import Experiment, resolve_device
from .experiment_config import lacks_learner, read_experiment
from .folder import RunFolder
from .progress import Progress
from .results.records import Assessment

__all__ = ["TrainedRun", "load_run", "restore_state"]


@dataclass(frozen=True)
class TrainedRun:
    """A learner that has learned a stream, or the tasks of it that were saved.

    Args:
        experiment: settings of the learner and the stream.
        state: state of the learner after the last task learned.
        assessments: one after each task.
        result: all results; None if the run has not been completed.
        folder: files of the run; None if nothing was written.
    """

    experiment: Experiment
    state: LearnerState = field(repr=False)
    assessments: tuple[Assessment, ...] = field(repr=False)
    result: RunResult | None = field(repr=False, default=None)
    folder: RunFolder | None = None

    @property
    def learner(self) -> Learner:
        """The learner; it predicts by ``run.learner.predict(run.state, x)``."""
        return self.experiment.learner

    def stream(self) -> TaskStream:
        """Build the stream; this reads the data."""
        return self.experiment.stream()


def load_run(
    folder: str | Path, *, experiment: Experiment | None = None, device: str = "cpu", allow: Sequence[str] = ()
) -> TrainedRun:
    """Load what ``bayeshnet run`` or :func:`~bayeshnet.runs.run_experiment` trained.

    The data set is read only if :meth:`TrainedRun.stream` is called, or if the folder was written by an earlier version
    that did not save the shape of the tasks.

    Args:
        folder: folder of a run of which at least one task is complete.
        experiment: settings of the run, where its ``config.yaml`` lacks those of the learner: after
            ``run_experiment(experiment, folder)``.
        device: device of the state and the stream: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        allow: names of modules whose classes ``config.yaml`` may name, beside those of the library and the layers of
            torch. Name only modules that you trust: their code is run.

    Raises:
        ValueError: if the folder does not hold a run, or its learner has to be given by ``experiment``.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from bayeshnet.builders import MeanFieldWeights, MLPNetwork
        >>> from bayeshnet.continual import Separate, Training
        >>> from bayeshnet.runs import Experiment, run_experiment
        >>> learner = Separate(MLPNetwork((4,)), MeanFieldWeights(), training=Training(steps=5), num_samples=5)
        >>> experiment = Experiment(learner, data="modes2d")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trained = run_experiment(experiment, folder)
        ...     run = load_run(folder, experiment=experiment)
        >>> run.learner.predict(run.state, torch.zeros(2, 2), task_id=0).mean.shape
        torch.Size([2, 2])
    """
    if experiment is not None:
        check_instance("experiment", experiment, Experiment, "an Experiment, or None")
    resolve_device(device)
    files = RunFolder(check_path("folder", folder, "the folder of a run"))
    if not files.config.is_file():
        expected = "the folder of a run, with a config.yaml"
        raise value_error("folder", expected=expected, got=str(files.path))
    config = files.open()
    if experiment is None and lacks_learner(config):
        raise value_error(
            "experiment",
            expected=f"the settings of the run in {files.path}, whose config.yaml lacks those of the learner",
            got=None,
            hint="Pass the experiment that was given to run_experiment.",
        )
    if experiment is None:
        experiment = read_experiment(config, allow, f"file {str(files.config)!r}", device=device)
    experiment = replace(experiment, device=device)
    restored = restore_state(experiment, files)
    if restored is None:
        raise value_error("folder", expected="a run with at least one complete task", got=str(files.path))
    state, progress = restored
    result = RunResult.load(files.path) if files.has_results() else None
    return TrainedRun(experiment, state, progress.assessments, result, files)


def restore_state(
    experiment: Experiment, folder: RunFolder, task: Task | None = None
) -> tuple[LearnerState, Progress] | None:
    """Load the newest state in the folder of a run, and the record saved with it; None if there is none.

    Args:
        experiment: settings of the run.
        folder: with checkpoints.
        task: a task of the stream, from which the learner takes shapes, dtype and device; by default a placeholder of
            the saved shape.
    """
    number = folder.last_task()
    if number == 0:
        return None
    load = folder.load_finished if folder.is_finished() else partial(folder.load_task, number)
    progress = _progress(folder, number, load())
    if task is None:
        known = progress.shape
        task = experiment.stream()[0] if known is None else known.placeholder().to(resolve_device(experiment.device))
    state = experiment.learner.restore(task, number)
    load(state)
    state.labels = list(progress.labels)
    return state.to(device_of(task.train.x)), progress


def saved_assessments(folder: RunFolder) -> tuple[Assessment, ...]:
    """Return the assessments of the tasks whose checkpoint is complete."""
    number = folder.last_task()
    return _progress(folder, number, folder.load_task(number)).assessments if number else ()


def _progress(folder: RunFolder, number: int, record: dict[str, Any]) -> Progress:
    """Return the record of a checkpoint, if it is one of ``number`` tasks."""
    where = f"checkpoint of task {number} in {str(folder.path)!r}"
    try:
        progress = Progress.from_dict(record)
        counts = {len(progress.assessments), len(progress.labels)}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        found = f"a record that is none ({type(error).__name__}: {error})"
        raise value_error(where, expected="the record of a run", found=found) from error
    if counts != {number}:
        found = f"one of {', '.join(map(str, sorted(counts)))}"
        raise value_error(where, expected=f"a record of {number} tasks", found=found)
    return progress
