"""Old names of figures and OOD inputs keep working, with a warning that gives the new one."""

from __future__ import annotations

import pytest
import torch

import bayeshnet.reports as reports
from tests.reports.test_records import record


@pytest.mark.parametrize(
    ("old", "new"),
    [("RunArrays", "FigureData"), ("comparison_pictures", "comparison_figures"), ("foreign_table", "ood_table")],
)
def test_names(old, new):
    with pytest.warns(DeprecationWarning, match=f"use bayeshnet.reports.{new}"):
        assert getattr(reports, old) is getattr(reports, new)


def test_arguments(tmp_path):
    entropy = {"noise": torch.rand(4)}
    with pytest.warns(DeprecationWarning, match="entropy_foreign is deprecated: use entropy_ood"):
        data = reports.FigureData(entropy_own=torch.rand(5), entropy_foreign=entropy)
    assert vars(data) == vars(reports.FigureData(entropy_own=data.entropy_own, entropy_ood=entropy))
    with pytest.warns(DeprecationWarning, match="foreign is deprecated: use ood"):
        old = reports.png(reports.entropy_histograms(data.entropy_own, foreign=entropy))
    assert old == reports.png(reports.entropy_histograms(data.entropy_own, ood=entropy))
    figures = [("name", "caption", b"png")]
    with pytest.warns(DeprecationWarning, match="pictures is deprecated: use figures"):
        assert reports.report_html("t", [], pictures=figures) == reports.report_html("t", [], figures)
    result = reports.RunResult.of(record(matrix={}))
    with pytest.warns(DeprecationWarning, match="arrays is deprecated: use data"):
        reports.write_report(tmp_path, result, arrays=data)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["entropy.png"]
