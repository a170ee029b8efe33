"""The page of many tasks, from rows worked out by hand."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import many_tasks


def rows(times):
    return [{"ms": ms, "state": 1.0 + t, "process": 300.0 + 2 * t} for t, ms in enumerate(times)]


def test_the_page_has_the_growth_from_the_second_task_on(tmp_path):
    (tmp_path / "results").mkdir()
    flat, growing = rows([99.0, *[5.0] * 11]), rows([99.0, 4.0, 4.0, 4.0, 4.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    assert many_tasks.ratio(flat) == 1.0
    assert many_tasks.ratio(growing) == 2.0
    many_tasks.write_page(tmp_path, flat, growing, 40)
    text = " ".join((tmp_path / "results" / "many-tasks.rst").read_text().split())
    assert "1.00 times as long as in that of tasks 2 to 6 (with all old tasks 2.00 times)" in text
    assert "From task 2 to task 12 the process grows by 20 MB." in text
    assert "* - 10 - 5.0 - 8.0 - 10.00 - 318" in text
    assert (tmp_path / "results" / "many-tasks.png").exists()
