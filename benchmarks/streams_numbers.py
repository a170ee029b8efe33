"""The numbers of a run alone: learning and its assessments, without foreign inputs, checks of posteriors and figures.

``python benchmarks/streams_numbers.py FOLDER --data split-digits --method ewc --seed 0`` takes the options of
``bayeshnet run`` and writes FOLDER/metrics.json. The numbers that it has are those of ``bayeshnet run``.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bayeshnet import __version__
from bayeshnet.commands.parser import parse_run
from bayeshnet.reports import RunResult
from bayeshnet.runs import RunFolder
from bayeshnet.runs.execution import learn_stream
from bayeshnet.runs.experiment_config import recorded_settings
from bayeshnet.runs.loading import restore_state
from bayeshnet.runs.results.costs import measure_costs
from bayeshnet.runs.results.final_numbers import accuracy_matrices, final_numbers, task_numbers


def numbers(words: Sequence[str]) -> RunResult:
    """Learn the stream of a named data set and return what is known without the checks at the end of a run."""
    request = parse_run(words)
    experiment, stream = request.experiment, request.stream()
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(path)
        assessments = learn_stream(experiment, folder, stream)
        state, _ = restore_state(experiment, folder, stream[0])
    train = [a.seconds.train for a in assessments]
    chosen = None if state.evidence is None else state.evidence.weights.chosen(range(len(stream)))
    final = final_numbers(assessments, stream) | measure_costs(experiment.learner, state, stream)
    if chosen is not None:
        final["combination"] = {"tied": int(chosen.tied), "own": int(bool(chosen.task_weights))}
    return RunResult(
        data=experiment.data,
        method=experiment.method,
        seed=experiment.seed,
        tasks=tuple(task.name for task in stream),
        final=final,
        per_task=tuple(task_numbers(assessments)),
        matrix=accuracy_matrices(assessments),
        kind=stream.kind,
        seconds={"train": sum(train), "assess": sum(a.seconds.assess for a in assessments), "per_task": train},
        versions={"bayeshnet": __version__, "torch": torch.__version__, "python": platform.python_version()},
        judged_on=experiment.judge_on,
        settings=recorded_settings(experiment),
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    numbers(sys.argv[2:]).save(target / "metrics.json")
