"""The execution of a run: a learner learns a stream, is assessed after each task, and its results are written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..checks import check_path
from ..continual import LearnerState
from ..continual.learner import check_widths
from ..data.own import is_own
from ..deprecation import warn
from ..errors import check_instance, check_int, type_error, value_error
from ..mnets.inputs import device_of
from ..parallel import Alone, processes, using
from ..reports import RunResult, write_report
from ..rng import derive_seed
from ..tasks import TaskStream
from .curves import Curves
from .experiment import Experiment
from .experiment_config import open_folder, recorded_settings
from .folder import RunFolder
from .following import follow
from .kept_steps import drop_step, keeping_steps
from .listener import Listener
from .loading import TrainedRun, restore_state, saved_assessments
from .loggers.protocol import MetricLogger
from .loggers.recording import RunLog, check_logger_list
from .progress import Progress, TaskShape
from .progress_lines import saying
from .results.assessment import assess
from .results.drift import posterior_drift
from .results.figure_data import make_figure_data
from .results.ood import predict_all
from .results.records import Assessment, Seconds
from .results.summary import summarize_run

__all__ = ["conclude", "execute", "learn_stream", "run_experiment", "threads"]


def run_experiment(
    experiment: Experiment,
    folder: RunFolder | str | Path | None = None,
    listener: Listener | None = None,
    *,
    stream: TaskStream | None = None,
    loggers: Sequence[MetricLogger] = (),
    log_every: int = 100,
) -> TrainedRun:
    """Learn a stream, assess the learner after each task, and write the results.

    Args:
        experiment: settings of the learner and the stream.
        folder: where checkpoints, ``metrics.json``, figures and ``report.html`` go. A folder in which the same
            experiment was begun is continued: tasks whose checkpoint is complete are loaded, not learned again. None
            writes nothing.
        listener: receives the progress.
        stream: the experiment's stream, if it has been built already.
        loggers: where numbers go while the run goes on: means of the parts of the loss, and results after each task. A
            run that is continued continues their tables, without rows that come twice.
        log_every: number of steps of which means are taken, in which a device is read once.

    Returns:
        The state of the learner with all results; :func:`~bayeshnet.runs.load_run` loads the same from the folder.
        Of several processes (:mod:`bayeshnet.parallel`) the first one alone assesses, writes and has results; all of
        them must see the folder.
    """
    check_instance("experiment", experiment, Experiment, "an Experiment")
    if listener is not None:
        _check_listener(listener)
    check_logger_list(loggers), check_int("log_every", log_every, 1)
    if folder is not None and not isinstance(folder, RunFolder):
        folder = RunFolder(check_path("folder", folder, "the folder of a run, or None"))
    stream = experiment.stream() if stream is None else check_instance("stream", stream, TaskStream, "a TaskStream")
    if processes().rank:
        with threads(experiment.threads):
            return follow(experiment, stream)
    wanted = (list(loggers), log_every)
    if folder is None:
        # Checkpoints are needed to measure how far posteriors moved.
        with tempfile.TemporaryDirectory() as path:
            return replace(_run(experiment, RunFolder(path), stream, listener, wanted, write=False), folder=None)
    open_folder(folder, experiment)
    return _run(experiment, folder, stream, listener, wanted, write=True)


def _check_listener(listener: Any) -> None:
    """Refuse what lacks the methods of a :class:`Listener`."""
    methods = ("callbacks", "task_done", "stream_done")
    if isinstance(listener, type) or not all(callable(getattr(listener, name, None)) for name in methods):
        raise type_error("listener", expected=f"an object with the methods {', '.join(methods)}", got=listener)


def _run(
    experiment: Experiment,
    folder: RunFolder,
    stream: TaskStream,
    listener: Listener | None,
    logs: tuple[list[MetricLogger], int],
    *,
    write: bool,
) -> TrainedRun:
    with folder.locked(), threads(experiment.threads):
        if write:
            folder.begin(stream, own=is_own(experiment.data))
        processes().tell(str(folder.path))
        head = f"{experiment.method} on {experiment.data}, seed {experiment.seed}, bayeshnet {__version__}"
        with saying(folder.path, head, listener) if write else nullcontext(listener) as heard:
            with _logged(experiment, folder, heard, *logs) as logged:
                state, assessments = _learn(experiment, folder, stream, logged, keeps=write)
            if heard is not None:
                heard.stream_done(stream)
            with using(Alone()):
                result = _conclude(experiment, folder, stream, state, assessments, write=write)
    return TrainedRun(experiment, state, tuple(assessments), result, folder)


@contextmanager
def _logged(
    experiment: Experiment, folder: RunFolder, listener: Listener | None, loggers: list[MetricLogger], every: int
) -> Iterator[Listener | None]:
    """Let loggers hear what the listener hears, if there are any, and close them at the end."""
    if not loggers:
        yield listener
        return
    settings, known = recorded_settings(experiment), saved_assessments(folder)
    log = RunLog(loggers, settings, known, every=every, split=experiment.judge_on, listener=listener)
    with closing(log):
        yield log


def learn_stream(
    experiment: Experiment, folder: RunFolder, stream: TaskStream, listener: Listener | None = None
) -> list[Assessment]:
    """Learn a stream and assess the learner after each task, as :func:`run_experiment` does; no results are written.

    Args:
        experiment: settings of the learner and the stream.
        folder: where checkpoints go, of a run that was begun with the same experiment or a new one.
        stream: the experiment's stream.
        listener: receives the progress; what it raises ends the learning.
    """
    with folder.locked(), threads(experiment.threads):
        return _learn(experiment, folder, stream, listener)[1]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` CPU threads inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _learn(
    experiment: Experiment, folder: RunFolder, stream: TaskStream, listener: Listener | None, *, keeps: bool = True
) -> tuple[LearnerState, list[Assessment]]:
    """Learn the tasks that have no checkpoint yet, saving after each, and let the learner finish.

    The step of the task that is being learned is kept where ``keeps`` is true, when a signal ends the process.
    """
    check_widths(experiment.learner, stream)
    restored = restore_state(experiment, folder, stream[0])
    state, assessments = (None, []) if restored is None else (restored[0], list(restored[1].assessments))
    device = device_of(stream[0].train.x)
    processes().tell("all have read")
    for number in range(len(assessments), len(stream)):
        with keeping_steps(folder if keeps else None, number + 1) as seconds_so_far:
            state, record = _learn_task(experiment, folder, stream, listener, state, seconds_so_far)
        state, begin = state.to(device), time.perf_counter()
        try:
            with using(Alone()):
                assessment = assess(experiment.learner, state, stream, seed=derive_seed(experiment.seed, number, 1))
        except (Exception, KeyboardInterrupt):
            folder.save_learned(number + 1, state, record)
            raise
        seconds = Seconds(record["train"], time.perf_counter() - begin)
        assessments.append(replace(assessment, seconds=seconds, curves=record["curves"]))
        folder.save_task(number + 1, state, _progress(state, stream, assessments))
        drop_step(folder)
        if listener is not None:
            listener.task_done(number, stream, assessments[-1])
    if state is None:
        raise value_error("stream", expected="at least one task", found="none")
    if folder.is_finished():
        return state, assessments
    with keeping_steps(folder if keeps else None, len(stream) + 1) as seconds_so_far:
        return _finish(experiment, folder, stream, state, assessments, seconds_so_far)


def _learn_task(
    experiment: Experiment,
    folder: RunFolder,
    stream: TaskStream,
    listener: Listener | None,
    state: LearnerState | None,
    seconds_so_far: Callable[[], float],
) -> tuple[LearnerState, dict[str, Any]]:
    """Learn one more task, unless the folder has what was learned of it; return seconds and learning curves as well."""
    number = 0 if state is None else state.num_tasks
    known = folder.load_learned(number + 1)
    if known is not None:
        learned = experiment.learner.restore(stream[0], number + 1)
        folder.load_learned(number + 1, learned)
        return learned, {"train": known["train"], "curves": known["curves"]}
    curves = Curves()
    callbacks = [*(listener.callbacks(number, stream) if listener is not None else ()), curves]
    seed = derive_seed(experiment.seed, number)
    learned = experiment.learner.learn(state, stream[number], seed=seed, callbacks=callbacks)
    return learned, {"train": seconds_so_far(), "curves": curves.record}


def _finish(
    experiment: Experiment,
    folder: RunFolder,
    stream: TaskStream,
    state: LearnerState,
    assessments: Sequence[Assessment],
    seconds_so_far: Callable[[], float],
) -> tuple[LearnerState, list[Assessment]]:
    """Let the learner do its work after the last task; if it has any, assess it and replace the last assessment."""
    number = len(stream)
    finished = experiment.learner.finish(state, seed=derive_seed(experiment.seed, number, 4))
    *others, last = assessments
    if finished is state:
        return state, [*others, last]
    trained = seconds_so_far()
    with using(Alone()):
        assessment = assess(experiment.learner, finished, stream, seed=derive_seed(experiment.seed, number - 1, 1))
    seconds = replace(last.seconds, train=last.seconds.train + trained)
    others.append(replace(assessment, seconds=seconds, curves=last.curves))
    folder.save_finished(finished, _progress(finished, stream, others))
    drop_step(folder)
    return finished, others


def _progress(state: LearnerState, stream: TaskStream, assessments: Sequence[Assessment]) -> dict[str, Any]:
    return Progress(tuple(assessments), tuple(state.labels), TaskShape.of(stream[0])).to_dict()


def _conclude(
    experiment: Experiment,
    folder: RunFolder,
    stream: TaskStream,
    state: LearnerState,
    assessments: Sequence[Assessment],
    *,
    write: bool,
) -> RunResult:
    """Compute the results after the last task; write ``metrics.json``, the figures and ``report.html`` if wanted."""
    learner, last = experiment.learner, len(stream)
    predictions = predict_all(learner, state, stream, derive_seed(experiment.seed, last, 2))
    drift = posterior_drift(learner, state, stream, folder, derive_seed(experiment.seed, last, 5))
    result = summarize_run(experiment, stream, state, assessments, predictions, drift)
    if write:
        data = make_figure_data(learner, state, stream, predictions, derive_seed(experiment.seed, last, 3))
        data = replace(data, training=tuple(a.curves for a in assessments))
        noise = float(stream[0].info.get("noise_std", 0.0))
        with folder.writing_results():
            result.save(folder.metrics)
            write_report(folder.path, result, data, config=folder.open(), noise_std=noise)
    return result


def execute(
    experiment: Experiment, folder: RunFolder, stream: TaskStream, listener: Listener | None = None
) -> tuple[LearnerState, list[dict[str, Any]]]:
    """Learn the rest of the stream; deprecated: :func:`run_experiment` does this and writes the results."""
    warn("bayeshnet.runs.execute", "bayeshnet.runs.run_experiment")
    with folder.locked():
        folder.begin(stream)
        state, assessments = _learn(experiment, folder, stream, listener)
    return state, [assessment.to_dict() for assessment in assessments]


def conclude(
    experiment: Experiment,
    folder: RunFolder,
    stream: TaskStream,
    state: LearnerState,
    records: Sequence[Mapping[str, Any]],
) -> RunResult:
    """Write the results after :func:`execute`; deprecated: :func:`run_experiment` does both."""
    warn("bayeshnet.runs.conclusion.conclude", "bayeshnet.runs.run_experiment")
    assessments = [Assessment.from_dict(record) for record in records]
    with folder.locked():
        return _conclude(experiment, folder, stream, state, assessments, write=True)
