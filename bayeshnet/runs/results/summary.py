"""The result of a run, put together from the assessments of its tasks and the checks at its end."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ... import __version__
from ...continual import LearnerState
from ...data import STREAMS
from ...files import fingerprint
from ...reports import RunResult
from ...rng import derive_seed
from ...tasks import TaskStream
from ..experiment import Experiment
from ..experiment_config import recorded_settings
from ..fingerprints import data_fingerprints
from .final_numbers import accuracy_matrices, final_numbers, mean, task_numbers
from .ood import AbstentionRates, DetectionRates, FinalPredictions, measure_abstention, measure_detection
from .posterior_checks import check_posterior
from .records import Assessment

__all__ = ["summarize_run"]


def summarize_run(
    experiment: Experiment,
    stream: TaskStream,
    state: LearnerState,
    assessments: Sequence[Assessment],
    predictions: FinalPredictions,
    drift: Sequence[float] = (),
) -> RunResult:
    """Compute all results of a run.

    Args:
        experiment: settings of the run.
        stream: its tasks.
        state: state after the last task.
        assessments: one after each task.
        predictions: predictions after the last task.
        drift: drift of the posterior of each task, if known.
    """
    detection, abstention = measure_detection(predictions), measure_abstention(predictions)
    final, per_task = final_numbers(assessments, stream), task_numbers(assessments)
    final.update(_ood_numbers(detection, abstention))
    if drift:
        final["drift"] = mean(drift[:-1]) if len(drift) > 1 else 0.0
        per_task = [{**numbers, "drift": value} for numbers, value in zip(per_task, drift, strict=True)]
    seed = derive_seed(experiment.seed, len(stream), 2)
    prior = state.posterior.prior(stream[0].train.x)
    train = [a.seconds.train for a in assessments]
    return RunResult(
        data=stream.name if _is_own(stream) else experiment.data,
        method=experiment.method,
        seed=experiment.seed,
        tasks=tuple(task.name for task in stream),
        final=final,
        per_task=tuple(per_task),
        matrix=accuracy_matrices(assessments),
        kl=tuple(check_posterior(state.posterior(t), prior, seed=derive_seed(seed, t)) for t in range(state.num_tasks)),
        kind=stream.kind,
        ood=detection.auroc,
        ood_fpr95=detection.fpr95,
        abstention={} if abstention is None else abstention.to_dict(),
        seconds={"train": sum(train), "assess": sum(a.seconds.assess for a in assessments), "per_task": train},
        versions={"bayeshnet": __version__, "torch": torch.__version__, "python": platform.python_version()},
        judged_on=experiment.judge_on,
        settings=recorded_settings(experiment) | _examples(stream),
    )


def _is_own(stream: TaskStream) -> bool:
    """Return whether the stream is the caller's, which the settings of the experiment do not describe."""
    return stream.name not in STREAMS


def _examples(stream: TaskStream) -> dict[str, str]:
    """Return a digest of the examples of a stream of the caller's as a setting: runs on others are no repetitions."""
    return {"examples": fingerprint(*data_fingerprints(stream).values())[:8]} if _is_own(stream) else {}


def _ood_numbers(detection: DetectionRates, abstention: AbstentionRates | None) -> dict[str, Any]:
    """Return means over the sets of OOD inputs; None if there are no sets."""

    def over_sets(rates: Mapping[str, Mapping[str, float]], score: str) -> float | None:
        return mean([scores[score] for scores in rates.values()]) if rates else None

    numbers = {
        "ood_auroc": over_sets(detection.auroc, "entropy"),
        "ood_auroc_density": over_sets(detection.auroc, "density"),
        "ood_fpr95": over_sets(detection.fpr95, "entropy"),
    }
    if abstention is not None:
        combined = abstention.scores["combined"]
        known = [value for value in combined.auroc.values() if value is not None]
        numbers["abstention_auroc"] = mean(known) if known else None
        numbers["abstention_false_alarm"] = combined.false_alarm
    return numbers
