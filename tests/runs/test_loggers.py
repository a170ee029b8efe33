"""Loggers: means by hand, no row lost and none twice after a kill, the command line, and what is refused."""

import csv
import importlib.util

import pytest
import torch

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.cli import main
from bayeshnet.continual import Separate, Training
from bayeshnet.files import append_text
from bayeshnet.inference import Callback, Run
from bayeshnet.inference.run import PARTS
from bayeshnet.runs import CSVLogger, Experiment, Listener, RunFolder, TensorBoardLogger, run_experiment
from bayeshnet.runs.loggers import RunLog, check_loggers, continued_loggers
from bayeshnet.runs.loggers.recording import task_values
from tests.support.places import PLACES

HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def experiment():
    learner = Separate(MLPNetwork((3,)), MeanFieldWeights(), training=Training(steps=20, batch_size=5), num_samples=4)
    options = {"num_train": 6, "num_test": 4, "num_tasks": 2}
    return Experiment(learner, data="modes2d", data_options=options, device="cpu")


class Rows:
    """A logger that keeps what it gets, and forgets what it is told to forget."""

    def __init__(self):
        self.rows, self.begun, self.closed = [], [], 0

    def begin(self, step, settings):
        self.begun.append((step, dict(settings)))
        self.rows = [row for row in self.rows if row[0] < step]

    def log(self, values, step):
        self.rows.append((step, dict(values)))

    def close(self):
        self.closed += 1


class StopIn(Listener):
    """Ends the run at a step of a task, or after its assessment is saved."""

    def __init__(self, task, step=None):
        self.task, self.step, self.histories = task, step, []

    def callbacks(self, number, stream):
        outer = self

        class Look(Callback):
            def on_step(self, run):
                if number == outer.task and run.step == outer.step:
                    raise KeyboardInterrupt

            def on_end(self, run):
                outer.histories.append(run.history())

        return [Look()]

    def task_done(self, number, stream, record):
        if number == self.task and self.step is None:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that is not stopped: the rows that a logger gets, the histories of its tasks, and the folder."""
    rows, watch, path = Rows(), StopIn(-1), tmp_path_factory.mktemp("whole") / "run"
    trained = run_experiment(experiment(), path, watch, loggers=[rows, CSVLogger(path / "l")], log_every=8)
    return rows, watch.histories, trained, path


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rows_are_means_of_blocks_of_steps(whole):
    rows, histories, trained, path = whole
    train = [(step, values) for step, values in rows.rows if "train/loss" in values]
    assert [step for step, _ in train] == [7, 15, 19, 27, 35, 39]
    for task, history in enumerate(histories):
        for position, (start, stop) in enumerate([(0, 8), (8, 16), (16, 20)]):
            values = dict(train[3 * task + position][1])
            assert values.pop("train/task") == task + 1
            known = {f"train/{name}" for name in PARTS if not history[name].isnan().any()}
            assert set(values) == known
            for name in known:
                mean = history[name.removeprefix("train/")][start:stop].double().mean().item()
                assert values[name] == pytest.approx(mean, rel=1e-12)
    results = [(step, values) for step, values in rows.rows if "test/task" in values]
    assert [step for step, _ in results] == [20, 40]
    assert results[1][1] == task_values(trained.assessments[1])
    given = trained.assessments[1].given
    assert results[1][1]["test/mse" if "test/mse" in results[1][1] else "test/accuracy"] == sum(given) / 2
    assert (rows.begun[0][0], rows.closed) == (0, 1)
    assert rows.begun[0][1]["learner.training.steps"] == "20"
    written = table(path / "l" / "train.csv")
    assert [int(row["step"]) for row in written] == [7, 15, 19, 27, 35, 39]
    assert [float(row["loss"]) for row in written] == [values["train/loss"] for _, values in train]
    last = table(path / "l" / "test.csv")
    assert all(float(value) == results[1][1][f"test/{name}"] for name, value in last[1].items() if name != "step")
    assert last[0][next(name for name in last[0] if name.endswith("task_2"))] == ""


_SLOW = [pytest.param(stop, marks=pytest.mark.slow) for stop in ((0, None), (0, 11), (1, None))]


@pytest.mark.parametrize("stop", [(1, 11), *_SLOW])
def test_a_run_that_goes_on_has_the_rows_of_one_that_was_not_stopped(tmp_path, whole, stop):
    rows, path = Rows(), tmp_path / "run"
    loggers = [rows, CSVLogger(path / "l")]
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment(), path, StopIn(*stop), loggers=loggers, log_every=8)
    assert rows.closed == 1
    before = len(rows.rows)
    run_experiment(experiment(), path, loggers=[rows, CSVLogger(path / "l")], log_every=8)

    def without_times(found):
        return [(step, {n: v for n, v in values.items() if "seconds" not in n}) for step, values in found]

    assert without_times(rows.rows) == without_times(whole[0].rows)
    assert before > 0
    for name in ("train.csv", "test.csv"):
        found, wanted = table(path / "l" / name), table(whole[3] / "l" / name)
        assert len(found) == len(wanted)
        for row, other in zip(found, wanted, strict=True):
            assert {n: v for n, v in row.items() if "seconds" not in n} == {
                n: v for n, v in other.items() if "seconds" not in n
            }


def test_a_table_gets_columns_as_they_come_and_loses_a_half_line(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.begin(0, {})
    logger.log({"a/x": 1 / 3, "b/c/y": 2.0}, 1)
    logger.log({"a/x": 5.0}, 2)
    logger.log({"a/z": 1e-300}, 3)
    assert (tmp_path / "a.csv").read_text() == f"step,x,z\n1,{1 / 3!r},\n2,5.0,\n3,,1e-300\n"
    assert (tmp_path / "b-c.csv").read_text() == "step,y\n1,2.0\n"
    append_text(tmp_path / "a.csv", "4,0.12")
    again = CSVLogger(tmp_path)
    again.begin(3, {})
    assert (tmp_path / "a.csv").read_text() == f"step,x,z\n1,{1 / 3!r},\n2,5.0,\n"
    again.log({"a/x": 7.0, "a/z": 8.0}, 3)
    assert (tmp_path / "a.csv").read_text().endswith("\n3,7.0,8.0\n")
    (tmp_path / "c.csv").write_text("name,age\nx,3\n")
    with pytest.raises(ValueError, match=r"c\.csv'.*expected a table of numbers by step"):
        CSVLogger(tmp_path).begin(0, {})


def test_means_of_the_last_steps_over_blocks_that_are_kept():
    run = Run(None, None, 5000, None)
    torch.manual_seed(0)
    values = torch.randn(2500, len(PARTS), dtype=torch.float64)
    values[:, 3] = float("nan")
    for row in values.tolist():
        run.record(row)
    for steps in (1, 30, 452, 453, 1500, 2500, 9999):
        found = run.means(steps)
        assert set(found) == set(PARTS) - {PARTS[3]}
        for place, name in enumerate(PARTS):
            if place != 3:
                assert found[name] == pytest.approx(values[-steps:, place].mean().item(), rel=1e-12)
    assert Run(None, None, 5, None).means(3) == {}


@pytest.mark.parametrize("place", PLACES)
def test_a_device_is_read_once_in_a_block_of_steps(place):
    with place() as there:
        run = Run(None, None, 100, None)
        log = RunLog([rows := Rows()], {}, every=10)
        (callback,) = log.callbacks(0, None)
        callback.on_start(run)
        counted = lambda: sum(there.reads.values()) if hasattr(there, "reads") else 0  # noqa: E731
        before = counted()
        for number in range(25):
            run.record(torch.full((len(PARTS),), float(number), device=there.name))
            callback.on_step(run)
        callback.on_end(run)
        assert counted() - before <= 3
        assert [step for step, _ in rows.rows] == [9, 19, 24]
        assert [values["train/loss"] for _, values in rows.rows] == [4.5, 14.5, 22.0]


WORDS = ["run", "--data=modes2d", "--method=prior-focused", "--quick", "--data-options.num_tasks=2"]
WORDS += ["--learner.training.steps=4", "--learner.num_samples=4"]


@pytest.mark.slow
def test_the_command_line_logs_and_a_resumed_run_goes_on_logging(tmp_path):
    path = tmp_path / "run"
    words = [*WORDS, f"--output={path}", "--logger=csv", "--log-every=2"]
    assert main(words) == 0
    assert [int(row["step"]) for row in table(path / "logs" / "train.csv")] == [1, 3, 5, 7]
    assert continued_loggers(path) == ["csv"]
    wanted = {name: table(path / "logs" / f"{name}.csv") for name in ("train", "test")}
    for file in path.glob("checkpoints/task-02.*"):
        file.unlink()
    assert main(["run", f"--resume={path}", "--log-every=2"]) == 0
    assert table(path / "logs" / "train.csv") == wanted["train"]
    assert [row["step"] for row in table(path / "logs" / "test.csv")] == ["4", "8"]


def test_the_command_line_refuses_unknown_loggers(capsys):
    assert main([*WORDS, "--logger=paper"]) == 2
    assert "logger: expected one of 'csv', 'tensorboard', got 'paper'" in capsys.readouterr().err
    assert main([*WORDS, "--logger=csv", "--log-every=0"]) == 2
    assert "--log-every: expected an integer >= 1, got 0" in capsys.readouterr().err


@pytest.mark.skipif(HAS_TENSORBOARD, reason="TensorBoard is installed")
def test_a_missing_extra_is_named_before_the_run_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--logger=tensorboard"]) == 2
    assert "pip install 'bayeshnet[tensorboard]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ImportError, match=r"bayeshnet\[tensorboard\]"):
        TensorBoardLogger(tmp_path).begin(0, {})


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="needs TensorBoard: pip install 'bayeshnet[tensorboard]'")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_of_a_run_that_was_stopped(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = tmp_path / "run"
    loggers = [TensorBoardLogger(path / "logs")]
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment(), path, StopIn(1, 11), loggers=loggers, log_every=8)
    assert continued_loggers(path) == ["tensorboard"]
    rows = Rows()
    loggers = [TensorBoardLogger(path / "logs"), rows]
    run_experiment(experiment(), path, loggers=loggers, log_every=8)
    events = EventAccumulator(str(path / "logs")).Reload()
    found = events.Scalars("train/loss")
    assert [event.step for event in found] == [7, 15, 19, 27, 35, 39]
    last = [values["train/loss"] for step, values in rows.rows if "train/loss" in values]
    assert [event.value for event in found][3:] == pytest.approx(last[-3:], rel=1e-6)
    assert [event.step for event in events.Scalars("test/task")] == [20, 40]
    assert "training.steps" in str(events.Tensors("settings/text_summary")[0])


def test_names_and_objects_that_are_no_loggers(tmp_path):
    assert check_loggers(["csv", "csv"]) == ["csv"]
    for bad in (["x"], [CSVLogger], "csv"):
        with pytest.raises(TypeError, match="loggers: expected a list of objects with the methods begin, log, close"):
            run_experiment(experiment(), tmp_path / "a", loggers=bad)
    assert not RunFolder(tmp_path / "a").path.exists()
    with pytest.raises(ValueError, match="log_every: expected an integer >= 1, got 0"):
        run_experiment(experiment(), tmp_path / "a", log_every=0)
