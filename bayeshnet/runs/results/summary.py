"""The result of a run, put together from the assessments of its tasks and the checks at its end."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ... import __version__
from ...continual import LearnerState
from ...data.own import is_own
from ...files import fingerprint
from ...reports import DriftRecord, RunResult
from ...rng import derive_seed
from ...tasks import TaskStream
from ..experiment import Experiment
from ..experiment_config import recorded_settings
from ..fingerprints import data_fingerprints
from .alarms import find_alarms
from .bounds import negative_elbos
from .costs import measure_costs
from .final_numbers import accuracy_matrices, final_numbers, mean, task_numbers
from .ood import AbstentionRates, DetectionRates, FinalPredictions, measure_abstention, measure_detection
from .posterior_checks import audit_posterior, kl_record
from .records import Assessment

__all__ = ["summarize_run"]

_UNNAMED = inspect.signature(TaskStream).parameters["name"].default


def summarize_run(
    experiment: Experiment,
    stream: TaskStream,
    state: LearnerState,
    assessments: Sequence[Assessment],
    predictions: FinalPredictions,
    drift: Sequence[DriftRecord] = (),
) -> RunResult:
    """Compute all results of a run.

    Args:
        experiment: settings of the run.
        stream: its tasks.
        state: state after the last task.
        assessments: one after each task.
        predictions: predictions after the last task.
        drift: drift of the posterior of each task but the last.
    """
    detection, abstention = measure_detection(predictions), measure_abstention(predictions)
    final, per_task = final_numbers(assessments, stream), task_numbers(assessments)
    final.update(_ood_numbers(detection, abstention))
    final.update(_combination(predictions))
    seed = derive_seed(experiment.seed, len(stream), 2)
    prior = state.posterior.prior(stream[0].train.x)
    audits = [audit_posterior(state.posterior(t), prior, seed=derive_seed(seed, t)) for t in range(state.num_tasks)]
    kl = tuple(kl_record(audit) for audit in audits)
    bounds = negative_elbos(experiment.learner, state, stream, kl, derive_seed(seed, state.num_tasks))
    more = [{**d, **b} for d, b in zip(_drift_numbers(drift, state.num_tasks), bounds, strict=True)]
    per_task = [{**numbers, **others} for numbers, others in zip(per_task, more, strict=True)]
    final.update(_means(more, drift))
    final.update(measure_costs(experiment.learner, state, stream))
    train = [a.seconds.train for a in assessments]
    return RunResult(
        data=_name_of(experiment, stream),
        method=experiment.method,
        seed=experiment.seed,
        tasks=tuple(task.name for task in stream),
        final=final,
        per_task=tuple(per_task),
        matrix=accuracy_matrices(assessments),
        kl=kl,
        kind=stream.kind,
        ood=detection.auroc,
        ood_fpr95=detection.fpr95,
        abstention={} if abstention is None else abstention.to_dict(),
        seconds={"train": sum(train), "assess": sum(a.seconds.assess for a in assessments), "per_task": train},
        versions={"bayeshnet": __version__, "torch": torch.__version__, "python": platform.python_version()},
        judged_on=experiment.judge_on,
        settings=_settings(experiment, stream),
        drift=tuple(drift),
        alarms=find_alarms(stream, assessments, audits, bounds, drift),
    )


def _combination(predictions: FinalPredictions) -> dict[str, Any]:
    """Return the weights of the combined score and what decided for one kind of densities, if they were learned."""
    found = predictions.known.combination
    if found is None:
        return {}
    tied, per_task = found.log_evidence
    names = ("evidence_weight", "entropy_weight")
    shared = {name: getattr(found, name) for name in names}
    logs = {"log_tied": tied, "log_per_task": per_task}
    logs |= dict(zip(("log_left_out_shared", "log_left_out_own"), found.log_left_out, strict=True))
    own = {str(t): dict(zip(names, pair, strict=True)) for t, pair in enumerate(found.task_weights, 1)}
    return {"combination": {"tied": int(found.tied), **shared, **logs, **({"own": own} if own else {})}}


def _drift_numbers(drift: Sequence[DriftRecord], num_tasks: int) -> list[dict[str, Any]]:
    """Return the discrepancy of each task, 0 for the last; nothing if it was not measured."""
    if len(drift) != num_tasks - 1:
        return [{} for _ in range(num_tasks)]
    return [*({"drift": record.mmd} for record in drift), {"drift": 0.0}]


def _means(per_task: Sequence[Mapping[str, Any]], drift: Sequence[DriftRecord]) -> dict[str, Any]:
    """Return means over tasks, that of the drift without the last task."""
    found: dict[str, Any] = {}
    for key in per_task[0]:
        values = [numbers[key] for numbers in (per_task[: len(drift) or 1] if key == "drift" else per_task)]
        found[key] = None if None in values else mean(values)
    return found


def _is_callers(experiment: Experiment, stream: TaskStream) -> bool:
    """Return whether the stream is the caller's, whose examples the settings of the experiment do not describe."""
    return is_own(experiment.data) or stream.name != experiment.data


def _name_of(experiment: Experiment, stream: TaskStream) -> str:
    """Return the name of the data: that of the stream, or of module and function where it has none of its own."""
    unnamed = is_own(experiment.data) and stream.name == _UNNAMED
    return experiment.data.replace(":", ".") if unnamed else stream.name


def _settings(experiment: Experiment, stream: TaskStream) -> dict[str, str]:
    """Return the settings for the record; of a stream of the caller's a digest of the examples is one.

    So runs on others are no repetitions. Options of the experiment's data describe no stream but that.
    """
    settings = recorded_settings(experiment)
    if not _is_callers(experiment, stream):
        return settings
    if not is_own(experiment.data):
        settings = {name: value for name, value in settings.items() if not name.startswith("data_options.")}
    return settings | {"examples": fingerprint(*data_fingerprints(stream).values())[:8]}


def _ood_numbers(detection: DetectionRates, abstention: AbstentionRates | None) -> dict[str, Any]:
    """Return means over the sets of OOD inputs; None if there are no sets."""

    def over_sets(rates: Mapping[str, Mapping[str, float]], score: str) -> float | None:
        known = [scores[score] for scores in rates.values() if score in scores]
        return mean(known) if known else None

    numbers = {
        "ood_auroc": over_sets(detection.auroc, "entropy"),
        "ood_auroc_density": over_sets(detection.auroc, "density"),
        "ood_fpr95": over_sets(detection.fpr95, "entropy"),
    }
    if abstention is not None and "combined" in abstention.scores:
        combined = abstention.scores["combined"]
        known = [value for value in combined.auroc.values() if value is not None]
        numbers["abstention_auroc"] = mean(known) if known else None
        numbers["abstention_false_alarm"] = combined.false_alarm
    return numbers
