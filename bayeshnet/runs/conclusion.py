"""The end of a run: metrics, figures and the report are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..continual import LearnerState
from ..reports import RunResult, write_report
from ..rng import derive_seed
from ..tasks import TaskStream
from .experiment import Experiment
from .figure_data import make_arrays
from .folder import RunFolder
from .ood import predict_all
from .posterior_checks import posterior_drift
from .summary import summarize_run

__all__ = ["conclude"]


def conclude(
    experiment: Experiment, folder: RunFolder, stream: TaskStream, state: LearnerState, records: list[dict[str, Any]]
) -> RunResult:
    """Sum up a run whose tasks are all learnt, and write ``metrics.json``, the figures and ``report.html``."""
    learner, last = experiment.learner, len(stream)
    predictions = predict_all(learner, state, stream, derive_seed(experiment.seed, last, 2))
    drift = posterior_drift(learner, state, stream, folder, derive_seed(experiment.seed, last, 5))
    result = RunResult.of(summarize_run(experiment, stream, state, records, predictions, drift))
    arrays = make_arrays(learner, state, stream, predictions, derive_seed(experiment.seed, last, 3))
    arrays = replace(arrays, training=tuple(record["curves"] for record in records))
    result.save(folder.metrics)
    noise = float(stream[0].info.get("noise_std", 0.0))
    write_report(folder.path, result, arrays, config=folder.open(), noise_std=noise)
    return result
