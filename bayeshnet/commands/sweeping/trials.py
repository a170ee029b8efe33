"""The trials of a sweep: a learner learns the stream with the settings of a trial, judged on validation examples."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from ...data import stream_options
from ...errors import MissingExtraError, value_error
from ...files import fingerprint
from ...inference import Callback
from ...runs.execution import learn_stream
from ...runs.folder import RunFolder
from ...runs.results.records import Assessment
from ...tasks import TaskStream
from ..parser import RunRequest, parse_run
from .space import Setting, words_of

__all__ = ["Judged", "import_optuna", "judged_words", "open_study", "run_trials"]

_SHARE = 0.2
"""Share of the training examples on which trials are judged, unless the words say another."""
_KEPT = "bayeshnet"


@final
class Judged:
    """Listener that reports the mean over the tasks learned so far, and ends trials that are worse than most.

    The mean is that of the accuracy, or of the squared error, with the task given, on the examples of ``judge_on``.

    Args:
        trial: the Optuna trial.
    """

    def __init__(self, trial: Any) -> None:
        self.trial = trial

    def callbacks(self, number: int, stream: TaskStream) -> Sequence[Callback]:
        """Return none."""
        return ()

    def stream_done(self, stream: TaskStream) -> None:
        """Do nothing: the value of the trial is that of the last task."""

    def task_done(self, number: int, stream: TaskStream, record: Assessment) -> None:
        """Report the mean; raise ``TrialPruned`` if the study's pruner says so."""
        self.trial.report(mean_of(record), number + 1)
        if number + 1 < len(stream) and self.trial.should_prune():
            raise import_optuna().TrialPruned


def mean_of(record: Assessment) -> float:
    """Return the mean over tasks of accuracy or squared error with the task given."""
    return sum(record.given) / len(record.given)


@dataclass(frozen=True)
class _Trial:
    """The objective of a study: words of the command line, over which those of a trial come."""

    words: tuple[str, ...]
    space: tuple[Setting, ...]

    def __call__(self, trial: Any) -> float:
        values = {setting.name: setting.suggest(trial) for setting in self.space}
        request = parse_run([*self.words, *words_of(values)])
        with tempfile.TemporaryDirectory() as path:
            folder = RunFolder(path)
            assessments = learn_stream(request.experiment, folder, request.stream(), Judged(trial))
        return mean_of(assessments[-1])


def judged_words(words: Sequence[str]) -> tuple[list[str], RunRequest]:
    """Return words of ``bayeshnet run`` that judge on validation examples, and the request without these.

    Raises:
        ValueError: if the words are not valid, or say on which examples to judge.
    """
    for word in words:
        name = word.partition("=")[0].replace("-", "_")
        if name in ("__judge_on", "__resume"):
            found = "a sweep judges on validation examples" if name == "__judge_on" else "a sweep begins new runs"
            raise value_error(word.partition("=")[0], expected="no such option", found=found)
    request = parse_run(words)
    experiment = request.experiment
    judged = [*words, "--judge_on=validation"]
    given = experiment.data_options or {}
    if given.get("validation_fraction") or given.get("num_validation"):
        return judged, request
    if "validation_fraction" in stream_options(experiment.data):
        return [*judged, f"--data_options.validation_fraction={_SHARE}"], request
    hint = "Give --data-options.num_validation, a number of examples of each task."
    raise value_error("data", expected="a stream with validation examples", got=experiment.data, hint=hint)


def open_study(name: str, storage: str, kind: str, words: Sequence[str], space: Sequence[Setting], seed: int) -> Any:
    """Open the Optuna study of that name, or begin it.

    Args:
        name: name of the study in its storage.
        storage: URL of a data base, such as ``sqlite:///sweep.db``.
        kind: ``"classification"``, whose accuracy is maximized, or ``"regression"``, whose error is minimized.
        words: of the command line of each trial.
        space: settings that are tried.
        seed: of the choices.

    Raises:
        ValueError: if the storage cannot be used, or the study was begun with another space or other words.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "maximize" if kind == "classification" else "minimize"
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction=direction,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )
        # What has been tried decides where the choices go on, so that a sweep that goes on does not repeat them.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        record = {setting.name: setting.to_dict() for setting in space}
        begun = fingerprint(json.dumps(record, sort_keys=True), *sorted(words))
        known = study.user_attrs.get(_KEPT)
        if known is None:
            study.set_user_attr(_KEPT, begun)
    except Exception as error:  # whose kind depends on the data base
        cause = " ".join(str(error).split())[:200]
        expected = "the URL of a data base, such as sqlite:///sweep.db"
        raise value_error("storage", expected=expected, got=storage, hint=f"Its use fails: {cause}.") from error
    if known not in (None, begun):
        expected = f"the space and the options with which the sweep {name!r} was begun"
        raise value_error("space", expected=expected, found="others", hint="Give another --name or --storage.")
    return study


def run_trials(
    study: Any, words: Sequence[str], space: Sequence[Setting], trials: int, report: Callable[[Any, Any], None]
) -> None:
    """Run trials until ``trials`` of the study are finished or pruned; those that were killed do not count.

    A trial whose loss or whose settings are refused fails, and counts.

    Args:
        study: of :func:`open_study`.
        words: of the command line of each trial.
        space: settings that are tried.
        trials: number in all, by all processes that share the storage.
        report: called with study and trial after each.
    """
    optuna = import_optuna()
    states = optuna.trial.TrialState
    ended = (states.COMPLETE, states.PRUNED, states.FAIL)
    objective = _Trial(tuple(words), tuple(space))
    while len(study.get_trials(deepcopy=False, states=ended)) < trials:
        study.optimize(objective, n_trials=1, catch=(ValueError, TypeError), callbacks=[report])


def import_optuna() -> Any:
    """Import Optuna, or say how to install it."""
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("optuna", "sweep", "bayeshnet sweep") from None
    return optuna
