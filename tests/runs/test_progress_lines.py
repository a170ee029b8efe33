"""Lines of text that a run says, on a pipe and in its log."""

import io
import logging
import re

import pytest
from rich.console import Console

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.commands.display import Display, LoggedConsole, make_display
from bayeshnet.continual import Separate, Training
from bayeshnet.data import modes2d
from bayeshnet.files import append_text
from bayeshnet.runs import Experiment, RunFolder
from bayeshnet.runs.execution import learn_stream
from bayeshnet.runs.experiment_config import open_folder
from bayeshnet.runs.progress_lines import ProgressLines, log_said, saying


def learn(path, listener):
    learner = Separate(MLPNetwork((4,)), MeanFieldWeights(), training=Training(steps=3), num_samples=5)
    experiment = Experiment(learner, data="modes2d")
    folder = RunFolder(path)
    open_folder(folder, experiment)
    return learn_stream(experiment, folder, modes2d(), listener)


@pytest.mark.parametrize(("interval", "each"), [(60.0, 0), (0.0, 3)])
def test_there_is_a_line_for_each_task_and_one_for_each_interval(interval, each, tmp_path):
    lines = []
    records = learn(tmp_path / "run", ProgressLines(lines.append, interval=interval))
    steps = [line for line in lines if re.fullmatch(r"task \d/3 modes . / .: step \d of 3, \d+ steps/s, .*", line)]
    assert len(steps) == 3 * each
    done = [line for line in lines if "of training" in line]
    assert len(done) == 3
    assert len(lines) == 3 + 3 * each
    for line, record in zip(done, records, strict=True):
        number = record.task + 1
        mean = 100 * sum(record.given) / number
        assert line.startswith(f"task {number}/3 modes {2 * number - 2} / {2 * number - 1}: accuracy {mean:.1f} %")
        assert f"NLL {sum(record.curves['nll']) / 3:.4g}, KL " in line


def test_there_is_a_line_before_results_are_written():
    """So that one knows, on a pipe too, what a run does after its last task."""
    lines, inner = [], []
    ProgressLines(inner.append, listener=ProgressLines(lines.append)).stream_done(modes2d())
    assert inner == lines == ["all tasks are learned; results, figures and the report are written"]


def test_the_log_has_times_warnings_and_the_reason_of_the_end_and_is_continued(tmp_path):
    with saying(tmp_path, "first", None) as heard:
        heard.say("a line")
        logging.getLogger("bayeshnet.anything").warning("careful: %d", 3)
    with pytest.raises(ValueError, match="no more"), saying(tmp_path, "second", None):
        raise ValueError("no more")
    logging.getLogger("bayeshnet.anything").warning("after the end")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in lines)
    said = [line[21:] for line in lines]
    assert said == ["first", "a line", "warning: careful: 3", "second", "stopped by ValueError: no more"]


def test_a_console_also_writes_to_the_log(tmp_path, capsys):
    LoggedConsole(Console(width=40), tmp_path).print("[bold]two[/bold]\nlines")
    assert capsys.readouterr().out == "two\nlines\n"
    assert [line[21:] for line in (tmp_path / "log.txt").read_text().splitlines()] == ["two", "lines"]


def test_bars_are_for_terminals_alone():
    assert isinstance(make_display(Console(force_terminal=True)), Display)
    with make_display(Console(force_terminal=False)) as lines:
        assert isinstance(lines, ProgressLines)


@pytest.mark.parametrize("name", ["log.txt", "logs"])
def test_a_log_that_is_a_link_is_refused(name, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create("data: modes2d\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "other")
    kind = "file" if name == "log.txt" else "folder"
    with pytest.raises(ValueError, match=f"{kind} .*: expected a {kind}, got a link"), folder.locked():
        pass
    target = tmp_path / "target.txt"
    (tmp_path / "link.txt").symlink_to(target)
    with pytest.raises(OSError, match=r"link\.txt"):
        append_text(tmp_path / "link.txt", "x\n")
    assert not target.exists()
    log_said(tmp_path, "")
    assert (tmp_path / "log.txt").read_text().endswith("\n")


def test_bars_end_with_the_steps_and_the_result_of_each_task(tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=140, color_system=None)
    with make_display(console) as display:
        records = learn(tmp_path / "run", display)
        display.stream_done(modes2d())
    rows = [
        line for line in out.getvalue().replace("\r", "\n").splitlines() if "task 3/3" in line or "task 1/3" in line
    ]
    for number, last in ((1, rows[-2]), (3, rows[-1])):
        mean = 100 * sum(records[number - 1].given) / number
        assert f"task {number}/3  modes {2 * number - 2} / {2 * number - 1}" in last
        assert re.search(rf"3/3 NLL [\d.]+  KL \d+  accuracy {mean:.1f} %", last)
    assert "assessing, drawing, writing" in out.getvalue()
