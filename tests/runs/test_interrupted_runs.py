"""Runs that the disk, a signal or another run interrupts: what was reported as saved stays, and all are resumed."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import threading
import time

import pytest
import torch
from torch import nn

from bayeshnet.cli import main
from bayeshnet.data import modes2d
from bayeshnet.files import check_file, is_transient, read_manifest, write_bytes, write_text
from bayeshnet.reports import RunResult
from bayeshnet.runs import RunFolder
from tests.support.small_runs import SMALL

CONFIG = "data: modes2d\nseed: 0\n"
CALLS = ("open", "write", "fsync", "replace", "mkdir")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT)
TASKS = 3


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Flushing takes most of the time here, and only a power cut would tell."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def module(number):
    """A state of a fixed content."""
    made = nn.Linear(3, 4)
    with torch.no_grad():
        for position, parameter in enumerate(made.parameters()):
            parameter.fill_(number + position / 8)
    return made


def work(path, reported):
    """Write a folder as a run does, or the rest of one, and report what is saved."""
    folder = RunFolder(path)
    if not folder.config.exists():
        folder.create(CONFIG)
    with folder.locked():
        folder.begin(modes2d(num_tasks=TASKS))
        for number in range(folder.last_task() + 1, TASKS + 1):
            folder.save_task(number, module(number), {"records": [{"n": n / 3} for n in range(number)]})
            reported.append(number)
        with folder.writing_results():
            write_text(folder.metrics, json.dumps({"tasks": TASKS}))
            for name in ("a", "b"):
                write_bytes(folder.figures / f"{name}.png", name.encode() * 99)
            write_text(folder.report, "<html>")
        reported.append("results")


def contents(path):
    """Contents of all files, by name."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def check_saved(path, reported):
    """Check that all that was reported is there and undamaged."""
    folder = RunFolder(path)
    for number in (n for n in reported if n != "results"):
        state = nn.Linear(3, 4)
        assert len(folder.load_task(number, state)["records"]) == number
        assert torch.equal(state.weight, module(number).weight)
    assert folder.last_task() >= max((n for n in reported if n != "results"), default=0)
    known = read_manifest(path) if path.exists() else None
    for name in known.files if known is not None else ():
        check_file(path, name, known)
    assert "results" not in reported or folder.has_results()


@pytest.fixture
def whole(tmp_path):
    work(tmp_path / "whole", [])
    return contents(tmp_path / "whole")


def failing(monkeypatch, calls, first, code, last=None):
    """Let the calls of the system from number ``first`` to ``last`` fail; return the list of all that were made."""
    made = []
    for name in calls:
        real = getattr(os, name)

        def call(*args, _real=real, _name=name, **options):
            made.append(_name)
            if first <= len(made) <= (first if last is None else last):
                raise OSError(code, os.strerror(code), *args[: _name in ("open", "mkdir", "replace")])
            return _real(*args, **options)

        monkeypatch.setattr(os, name, call)
    return made


def count_calls(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        made = failing(patch, CALLS, 10**9, errno.EIO)
        work(tmp_path / "counted", [])
    return len(made)


@pytest.mark.parametrize("lasting", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["once", "from then on"])
def test_at_every_point_at_which_the_disk_fails_nothing_is_lost(tmp_path, monkeypatch, whole, lasting):
    total = count_calls(tmp_path, monkeypatch)
    assert total > 50
    told = 0
    for point in range(1, total + 1):
        path, reported = tmp_path / f"run{point}", []
        with monkeypatch.context() as patch:
            failing(patch, CALLS, point, ERRORS[point % len(ERRORS)], 10**9 if lasting else None)
            try:
                work(path, reported)
            except OSError as error:
                assert str(path) in str(error), point  # noqa: PT017
                assert "\n" not in str(error)  # noqa: PT017
                told += 1
        check_saved(path, reported)
        if path.exists() and not lasting:
            assert not [p for p in path.rglob("*") if is_transient(p)]
        again = []
        work(path, again)
        assert set(again).isdisjoint({n for n in reported if n != "results"}), "a task was learned twice"
        assert contents(path) == whole, point
    assert told > 0.8 * total


def in_a_process(action, *args):
    """Run a function in a forked process whose standard output goes nowhere; return its number."""
    number = os.fork()
    if number == 0:
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            code = action(*args) or 0
        finally:
            os._exit(code)
    return number


class Reports:
    """A list of reports that outlives the process that writes it."""

    def __init__(self, path):
        self.path = path

    def append(self, entry):
        with self.path.open("a") as file:
            file.write(f"{entry}\n")

    def read(self):
        words = self.path.read_text().split() if self.path.exists() else []
        return [int(word) if word.isdigit() else word for word in words]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGKILL, id="kill"), pytest.param(signal.SIGTERM, id="term", marks=pytest.mark.slow)]
)
def test_processes_that_are_killed_while_they_write_lose_nothing(tmp_path, whole, number):
    rng = random.Random(int(number))
    begin = time.monotonic()
    work(tmp_path / "timed", [])
    duration = time.monotonic() - begin
    for trial in range(25):
        path, reports = tmp_path / f"run{trial}", Reports(tmp_path / f"reports{trial}")
        process = in_a_process(work, path, reports)
        time.sleep(rng.uniform(0, 1.2 * duration))
        os.kill(process, number)
        os.waitpid(process, 0)
        check_saved(path, reports.read())
        work(path, [])
        assert contents(path) == whole, trial


def race(creators, path, barrier, results):
    """Create a folder at the same moment as others do."""
    barrier.wait()
    try:
        RunFolder(path).create(f"data: {creators}\n")
        results.append(creators)
    except ValueError as error:
        text = str(error)
        assert "\n" not in text
        assert "one run at a time" in text or "does not exist yet" in text


def test_of_two_threads_that_create_a_folder_at_once_one_succeeds(tmp_path):
    for trial in range(250):
        path, barrier, results = tmp_path / str(trial), threading.Barrier(2), []
        if trial % 2:
            path.mkdir()
        workers = [threading.Thread(target=race, args=(name, path, barrier, results)) for name in "ab"]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(results) == 1
        assert (path / "config.yaml").read_text() == f"data: {results[0]}\n"
        assert not [p for p in path.rglob("*") if is_transient(p)]


def test_of_two_processes_that_create_a_folder_at_once_one_succeeds(tmp_path):
    barrier = multiprocessing.get_context("fork").Barrier(2)

    def all_races(name):
        for trial in range(250):
            results = []
            race(name, tmp_path / str(trial), barrier, results)
            if results:
                (tmp_path / f"{trial}-{name}").touch()

    workers = [in_a_process(all_races, name) for name in "ab"]
    assert [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers] == [0, 0]
    for trial in range(250):
        winners = [name for name in "ab" if (tmp_path / f"{trial}-{name}").exists()]
        assert len(winners) == 1
        assert (tmp_path / str(trial) / "config.yaml").read_text() == f"data: {winners[0]}\n"
        assert not [p for p in (tmp_path / str(trial)).rglob("*") if is_transient(p)]


def test_a_run_is_not_resumed_while_it_goes_on(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    with folder.locked():
        folder.save_task(1, module(1), {"records": [1]})
        with pytest.raises(ValueError, match=rf"one run at a time, got process {os.getpid()} on"):
            work(folder.path, [])
        with pytest.raises(ValueError, match="does not exist yet"):
            RunFolder(folder.path).create(CONFIG)
    work(folder.path, [])


def test_a_folder_of_other_files_is_not_touched(tmp_path):
    for name in ("letter.txt", "lock.json", ".bayeshnet-temporary-0123"):
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path), tmp_path.stat().st_mtime_ns
    with pytest.raises(ValueError, match="does not exist yet"):
        RunFolder(tmp_path).create(CONFIG)
    assert (contents(tmp_path), tmp_path.stat().st_mtime_ns) == before


def test_a_folder_without_configuration_is_begun_again_and_resume_says_so(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "lock.json").write_text("{}")
    (path / ".bayeshnet-temporary-0123").write_text("dat")
    with pytest.raises(ValueError, match=r"stopped before it had one; begin it again with: --output"):
        RunFolder(path).open()
    RunFolder(path).create(CONFIG)
    assert not [p for p in path.iterdir() if is_transient(p)]


@pytest.mark.parametrize("year", [0, 10**9, 4 * 10**9])
def test_a_clock_that_goes_back_changes_nothing(tmp_path, whole, monkeypatch, year):
    path = tmp_path / "run"
    folder = RunFolder(path)
    folder.create(CONFIG)
    for number in (1, 2):
        folder.save_task(number, module(number), {"records": [{"n": n / 3} for n in range(number)]})
    for position, file in enumerate(sorted(p for p in path.rglob("*") if p.is_file())):
        os.utime(file, (year - position if year else 0, year - position if year else 0))
    monkeypatch.setattr(time, "time", lambda: float(year))
    reported = []
    work(path, reported)
    assert reported == [3, "results"]
    assert contents(path) == whole


@pytest.mark.parametrize("edit", ["# why\n" + CONFIG, "seed:   0\ndata: 'modes2d'\n", "seed: 1\ndata: modes2d\n", ""])
def test_an_edit_of_the_configuration_while_the_run_goes_on_loses_nothing(tmp_path, whole, edit):
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    with folder.locked():
        folder.begin(modes2d(num_tasks=TASKS))
        folder.save_task(1, module(1), {"records": [{"n": 0.0}]})
        folder.config.write_text(edit)
        folder.save_task(2, module(2), {"records": [{"n": n / 3} for n in range(2)]})
        folder.load_task(1)
        assert folder.open() == CONFIG
    if "0" in edit:
        work(folder.path, [])
    else:
        with pytest.raises(ValueError, match=r"a changed .*config\.yaml. Restore it from .*checkpoints/config\.yaml"):
            work(folder.path, [])
        folder.config.write_text((folder.path / "checkpoints" / "config.yaml").read_text())
        work(folder.path, [])
    folder.config.write_text(CONFIG)
    assert contents(folder.path) == whole


def test_data_that_were_replaced_are_told(tmp_path, caplog):
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    stream, other = modes2d(num_tasks=TASKS), modes2d(num_tasks=TASKS, data_seed=1)
    with folder.locked():
        folder.begin(stream)
        folder.begin(stream)
        assert caplog.text == ""
        folder.begin(other)
        assert "expected the data with which the run was begun, got other examples in task 1, 2, 3" in caplog.text
        stream.name = other.name = "mine"
        with pytest.raises(ValueError, match="other examples in task 1, 2, 3"):
            folder.begin(other)
        other.tasks = (*stream.tasks[:1], *other.tasks[1:2], *stream.tasks[2:])
        with pytest.raises(ValueError, match=r"other examples in task 2\. Restore the data"):
            folder.begin(other)
        folder.begin(stream)


WORDS = ["run", "--data", "modes2d", "--method", "separate", "--quick", "--learner.training.steps", "20", *SMALL]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """A whole run of the command, and the time it took."""
    path = tmp_path_factory.mktemp("command") / "whole"
    begin = time.monotonic()
    assert main([*WORDS, "--learner.num_samples", "4", "--output", str(path)]) == 0
    return comparable(path), time.monotonic() - begin


def comparable(path):
    known = RunResult.load(path).to_dict()
    return {key: value for key, value in known.items() if key not in ("seconds", "versions")}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_commands_that_are_stopped_at_random_moments_are_resumed(tmp_path, command, number):
    rng = random.Random(int(number))
    expected, duration = command
    for trial in range(20 if number == signal.SIGKILL else 5):
        path = tmp_path / f"run{trial}"
        words = [*WORDS, "--learner.num_samples", "4", "--output", str(path)]
        process = in_a_process(main, words)
        time.sleep(rng.uniform(0, duration))
        os.kill(process, number)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (-number, 130, 143, 0), code
        known = read_manifest(path) if path.exists() else None
        before = dict(known.files) if known is not None else {}
        for name in before:
            check_file(path, name, known)
        begun = (path / "config.yaml").exists()
        assert main(["run", "--resume", str(path)] if begun else words) == 0
        after = read_manifest(path).files
        assert all(after[name] == entry for name, entry in before.items() if "checkpoints/t" in name)
        assert comparable(path) == expected
        assert not [p for p in path.rglob("*") if is_transient(p)]


@pytest.mark.slow
def test_a_full_disk_ends_the_command_with_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    path, real = tmp_path / "run", os.write

    def write(handle, content):
        if len(content) > 2000 and (path / "checkpoints" / "task-01.json").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, content)

    monkeypatch.setattr(os, "write", write)
    words = [*WORDS, "--data-options.num_tasks=2", "--learner.num_samples", "4", "--output", str(path)]
    assert main(words) == 2
    _, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "No space left on device: '" in err
    assert f"1 of 2 tasks are saved in {path / 'checkpoints'}; finish with: bayeshnet run --resume {path}" in err
    monkeypatch.undo()
    assert main(["run", "--resume", str(path)]) == 0
