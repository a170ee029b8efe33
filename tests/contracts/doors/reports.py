"""Doors of :mod:`bayeshnet.reports`."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bayeshnet import reports
from bayeshnet.reports import Bands, Cell, Column, DriftRecord, FigureData, KLRecord, Planes, RunResult, Table
from tests.support.doors import Door

_NAMES = ["a", "b"]
_LINE = torch.linspace(-1, 1, 5)
_COLUMNS = (Column("method"), Column("accuracy", "%"))
_TABLE = Table("runs", _COLUMNS, (("x", Cell(1.0)), ("y", Cell(2.0))))
_FOLDER = tempfile.TemporaryDirectory()
_RESULT: dict[str, Any] = {
    "data": "toy",
    "method": "m",
    "seed": 0,
    "tasks": ("a", "b"),
    "final": {"accuracy_task_given": 90.0, "accuracy_task_inferred": {"entropy": 50.0}},
    "per_task": ({"nll": 1.0}, {"nll": 2.0}),
    "matrix": {"given": ((90.0,), (80.0, 90.0)), "entropy": ((90.0,), (80.0, 90.0))},
    "kl": (KLRecord(1.0), KLRecord(2.0)),
    "drift": (DriftRecord(0.1),),
    "alarms": {"drift": "task 1: moved."},
    "kind": "classification",
    "ood": {"noise": {"entropy": 90.0}},
    "ood_fpr95": {"noise": {"entropy": 9.0}},
    "abstention": {},
    "seconds": {"per_task": [1.0, 2.0]},
    "versions": {},
    "judged_on": "test",
    "settings": {},
}
_ONE = RunResult(**_RESULT)
_EMPTY = RunResult("toy", "m", 0, ("a",), {})
_BANDS: dict[str, Any] = {
    "x": _LINE,
    "mean": torch.zeros(2, 5),
    "std": torch.ones(2, 5),
    "inputs": [_LINE, _LINE],
    "targets": [_LINE, _LINE],
    "truth": [(_LINE, _LINE)],
}
_PLANES: dict[str, Any] = {
    "entropy": torch.rand(2, 3, 3),
    "extent": (-1.0, 1.0),
    "inputs": [torch.randn(4, 2)] * 2,
    "targets": [torch.arange(4) % 2] * 2,
    "task": torch.zeros(3, 3),
}
_DATA: dict[str, Any] = {
    "probs": torch.full((4, 2), 0.5),
    "targets": torch.arange(4) % 2,
    "entropy_own": torch.rand(4),
    "entropy_other": torch.rand(4),
    "entropy_ood": {},
    "weights": {},
    "planes": None,
    "bands": None,
    "training": (),
    "entropy_foreign": None,
}


@cache
def _figure() -> Any:
    return reports.learning_curves(_ONE, ["given"])


def _saved() -> dict[str, Any]:
    return {"paths": [str(_ONE.save(Path(_FOLDER.name) / "metrics.json"))]}


_OF_RESULT = Door({"result": _ONE})
_OF_RESULTS = Door({"results": [_ONE]})

DOORS: dict[str, Door] = {
    "Bands": Door(_BANDS),
    "Cell": Door({"value": 1.0, "std": 0.5, "best": False, "decimals": 2}),
    "Column": Door({"name": "accuracy", "unit": "%", "decimals": 1}),
    "FigureData": Door(_DATA),
    "DriftRecord": Door(
        {
            "mmd": 0.1,
            "kl": 1.0,
            "lower": 0.5,
            "upper": 1.5,
            "verdict": "trusted",
            "accuracy": 0.6,
            "p_value": 0.01,
            "predictions": 0.1,
            "at_least": 0.5,
        }
    ),
    "InformationRecord": Door({"livi": 1.0, "lower": 0.5, "upper": 1.5, "ess": None}),
    "KLRecord": Door(
        {
            "value": 1.0,
            "lower": 0.5,
            "upper": 1.5,
            "analytic": 2.0,
            "mutual_information": None,
            "verdict": "trusted",
        }
    ),
    "Planes": Door(_PLANES),
    "ReportFigure": Door({"name": "figure", "caption": "A figure.", "png": b"0"}),
    "RunResult": Door(_RESULT),
    "RunResult.of": Door({"record": _RESULT}, random=True, read=lambda result: ()),
    "Table": Door({"title": "runs", "columns": _COLUMNS, "rows": (("x", Cell(1.0)),), "note": ""}),
    "alarm_table": Door({"result": _ONE}, read=lambda table: ()),
    "accuracy_matrices": Door({"result": _ONE, "criteria": ["given"]}),
    "comparison_chart": Door({"table": _TABLE, "columns": ["accuracy"]}),
    "comparison_curves": _OF_RESULTS,
    "comparison_figures": _OF_RESULTS,
    "comparison_page": _OF_RESULTS,
    "account_table": Door({"results": [_ONE], "label": lambda result: result.method}, read=lambda table: ()),
    "comparison_table": Door({"results": [_ONE], "label": lambda result: result.method}, read=lambda table: ()),
    "comparison_tables": Door({"results": [_ONE]}, read=lambda tables: ()),
    "criterion_table": Door({"result": _ONE}, read=lambda table: ()),
    "entropy_histograms": Door(
        {
            "own": torch.rand(5),
            "other": None,
            "ood": None,
            "num_classes": 2,
            "num_bins": 3,
            "foreign": None,
        }
    ),
    "drift_table": Door({"result": _ONE}, read=lambda table: ()),
    "kl_table": Door({"result": _ONE}, read=lambda table: ()),
    "learning_curves": Door({"result": _ONE, "criteria": ["given"]}),
    "load_results": Door(_saved, also=(FileNotFoundError,), read=lambda results: ()),
    "matrix_table": Door({"result": _ONE, "criterion": "given"}, read=lambda table: ()),
    "ood_table": Door({"result": _ONE}, read=lambda table: ()),
    "png": Door(lambda: {"figure": _figure(), "dpi": 30}),
    "regression_bands": Door({"bands": Bands(**_BANDS), "names": _NAMES, "noise_std": 0.1}),
    "reliability_diagram": Door({"probs": torch.full((4, 2), 0.5), "y": torch.arange(4) % 2, "num_bins": 3}),
    "report_html": Door(
        {
            "title": "runs",
            "tables": [_TABLE],
            "figures": [("name", "caption", b"0")],
            "about": "",
            "config": "",
            "pictures": None,
        }
    ),
    "run_figures": Door({"result": _EMPTY, "data": FigureData(), "noise_std": 0.1}),
    "run_tables": Door({"result": _ONE}, read=lambda tables: ()),
    "save_figure": Door(lambda: {"figure": _figure(), "path": "figure.png", "dpi": 30}),
    "summary_table": Door({"result": _ONE}, read=lambda table: ()),
    "task_table": Door({"result": _ONE}, read=lambda table: ()),
    "training_curves": Door({"curves": [{"step": [1.0, 2.0], "nll": [2.0, 1.0]}] * 2, "names": _NAMES}),
    "uncertainty_maps": Door({"planes": Planes(**_PLANES), "names": _NAMES, "num_classes": 2}),
    "weight_images": Door({"weights": {"a": torch.randn(3, 2, 2)}, "most": 2}),
    "write_report": Door(
        {
            "folder": "run",
            "result": _EMPTY,
            "data": None,
            "config": "",
            "noise_std": 0.0,
            "arrays": None,
        },
    ),
}
