"""Public objects of runs, streams and reports show their settings."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch

from bayeshnet import metrics, reports, runs
from bayeshnet.data import STREAMS, StreamEntry, modes2d
from bayeshnet.reports import RunResult
from bayeshnet.representation import settings_of
from bayeshnet.runs.curves import Curves
from bayeshnet.runs.results.records import Seconds
from bayeshnet.tasks import Split, Task, TaskStream
from tests.reports.test_records import record
from tests.runs.test_experiment import make_experiment

STREAM = modes2d()
SCORES = runs.RegressionScores((0.1,), (0.9,), (0.2,))
MATRIX = torch.tensor([[1.0, 0.0], [0.5, 1.0]])
SHOWN = [
    make_experiment(),
    runs.RunFolder("runs/a"),
    runs.CSVLogger("logs"),
    runs.TensorBoardLogger("logs"),
    runs.TrainedRun(make_experiment(), torch.nn.Linear(1, 1), (), None, runs.RunFolder("runs/a")),
    SCORES,
    runs.ClassificationScores((0.1,), (0.1,), (0.1,), 0.1, {}),
    runs.Assessment(0, "regression", (0.1,), {}, SCORES, {}, {}, (1.0,), None, Seconds(1.0, 2.0)),
    Curves(7),
    STREAM,
    STREAM[0],
    STREAM[0].train,
    STREAMS["modes2d"],
    RunResult.of(record()),
    reports.KLRecord(1.0),
    reports.DriftRecord(0.1),
    reports.InformationRecord(1.0, 0.9, 1.1),
    reports.Cell(1.0),
    reports.Column("a", "%"),
    reports.Table("t", (), ()),
    reports.ReportFigure("name", "caption", b""),
    reports.FigureData(),
    reports.Planes(torch.zeros(1, 2, 2), (0.0, 1.0), [], []),
    reports.Bands(torch.zeros(2), torch.zeros(1, 2), torch.zeros(1, 2), [], []),
    metrics.summarize(MATRIX),
    metrics.compare_samples(torch.randn(9, 2), torch.randn(9, 2)),
    metrics.classifier_test(torch.randn(40, 2), torch.randn(40, 2)),
    metrics.pareto_smoothing(torch.randn(40)),
    metrics.reliability_bins(torch.eye(2), torch.tensor([0, 1])),
]
# Large, or an old name of another argument.
HIDDEN = {"state", "assessments", "result", "entropy_foreign"}


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: type(shown).__name__)
def test_settings_are_shown(shown):
    text = repr(shown)
    assert text.startswith(f"{type(shown).__name__}(")
    names = set(inspect.signature(type(shown)).parameters) - HIDDEN
    assert names
    for name in names:
        assert f"{name}=" in text
    if not dataclasses.is_dataclass(shown) and not isinstance(shown, tuple):
        assert set(settings_of(shown)) == names


def test_no_public_class_is_forgotten():
    public = {getattr(m, name) for m in (runs, reports, metrics) for name in m.__all__} | {Split, Task, TaskStream}
    classes = {cls for cls in public if inspect.isclass(cls)} - {runs.Listener, runs.MetricLogger}
    assert classes | {Curves, StreamEntry} == {type(shown) for shown in SHOWN}
