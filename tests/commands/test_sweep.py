"""Sweeps: the space, what trials are judged on, pruning, going on after a kill, and the best configuration."""

import csv
import signal
import subprocess
import sys
import time

import pytest

from bayeshnet.cli import main
from bayeshnet.commands.parser import parse_run
from bayeshnet.commands.sweeping.records import best_first, draw_trials
from bayeshnet.commands.sweeping.space import Setting, read_space, words_of
from bayeshnet.commands.sweeping.trials import Judged, judged_words
from bayeshnet.runs import RunFolder
from bayeshnet.runs.execution import learn_stream
from bayeshnet.runs.results.records import Assessment

WORDS = [
    *("--data=modes2d", "--method=prior-focused", "--data-options.num_validation=7"),
    *("--learner.training.steps=2", "--learner.num_samples=4", "--data-options.num_tasks=2"),
]
SPACE = "learner.training.lr: {low: 0.001, high: 0.1, log: true}\nlearner.training.beta: {choices: [0.1, 1.0]}\n"


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="needs Optuna: pip install 'bayeshnet[sweep]'")


@pytest.fixture
def space(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    return file


def sweep(space, folder, trials, *more):
    return main(["sweep", f"--space={space}", f"--trials={trials}", f"--output={folder}", *WORDS, *more])


def table(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_ranges_and_choices(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "learner.init_args.training.lr: {low: 1.0e-4, high: 1, log: true}\n"
        "learner.training.num-particles: {low: 2, high: 8}\nestimator: {choices: [LIVI, null, true, 3]}\n"
    )
    assert read_space(file) == (
        Setting("learner.training.lr", 1e-4, 1, log=True),
        Setting("learner.training.num_particles", 2, 8),
        Setting("estimator", choices=("LIVI", None, True, 3)),
    )
    assert words_of({"a": None, "b": True, "c": 1e-05, "d": "x"}) == ["--a=null", "--b=true", "--c=1e-05", "--d=x"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected 1 to 50 settings by name"),
        ("[1, 2]", "expected 1 to 50 settings by name"),
        ("seed: {low: 0, high: 3}", "expected a setting of the learner, such as learner.training.lr, got 'seed'"),
        ("data_options.num_train: {low: 1, high: 3}", "expected a setting of the learner"),
        ("learner.training.lr: 3", "learner.training.lr in file"),
        ("learner.training.lr: {low: 3}", "learner.training.lr in file"),
        ("learner.training.lr: {low: 3, high: 2}", "expected low < high"),
        ("learner.training.lr: {low: 0, high: 2, log: true}", "expected low < high, above 0"),
        ("learner.training.lr: {low: .nan, high: 2}", "learner.training.lr in file"),
        ("learner.training.lr: {low: a, high: 2}", "learner.training.lr in file"),
        ("learner.training.lr: {low: 1, high: 2, log: yes please}", "log: expected"),
        ("learner.training.lr: {choices: []}", "a list of 1 to 100 choices"),
        ("learner.training.lr: {choices: abc}", "a list of 1 to 100 choices"),
        ("learner.posterior: {choices: [{class_path: os.system}]}", "choices that are numbers, words"),
        ("learner.training.lr: {choices: [1]}\nlearner.init_args.training.lr: {choices: [2]}", "each setting once"),
    ],
)
def test_spaces_that_are_none_are_refused_by_name(tmp_path, text, says):
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises((ValueError, TypeError), match=says):
        read_space(file)


def test_trials_are_judged_on_validation_examples():
    words, request = judged_words(["--data=split-digits"])
    judged, plain = parse_run(words).experiment, request.experiment
    assert (judged.judge_on, plain.judge_on) == ("validation", "test")
    assert plain.data_options == {}
    assert judged.data_options == {"validation_fraction": 0.2}
    stream, all_data = judged.stream(), plain.stream()
    test = {tuple(x.tolist()) for x in all_data[0].test.x}
    assert not test & {tuple(x.tolist()) for x in stream[0].test.x}, "none of the test examples"
    assert len(stream[0].train) + len(stream[0].test) == len(all_data[0].train), "split off the training examples"
    own, _ = judged_words(["--data=split-digits", "--data-options.validation_fraction=0.5"])
    assert parse_run(own).experiment.data_options == {"validation_fraction": 0.5}
    with pytest.raises(ValueError, match=r"data: expected a stream with validation examples.*num_validation"):
        judged_words(["--data=modes2d", "--method=separate"])
    with pytest.raises(ValueError, match="--judge-on: expected no such option"):
        judged_words(["--judge-on=test"])


class Trial:
    """A trial that the pruner would end."""

    def __init__(self):
        self.values = {}

    def report(self, value, step):
        self.values[step] = value

    def should_prune(self):
        return True


def test_a_trial_reports_after_each_task_and_may_end(optuna):
    trial = Trial()
    with pytest.raises(optuna.TrialPruned):
        Judged(trial).task_done(0, [None, None], assessment(0.5))
    Judged(trial).task_done(1, [None, None], assessment(0.5, 1.0))  # nothing is saved by ending after the last task
    assert trial.values == {1: 0.5, 2: 0.75}


def assessment(*given):
    return Assessment(len(given), "classification", given, {}, None, {}, {}, {}, None, None, {})


@pytest.mark.slow
def test_a_sweep_goes_on_and_leaves_table_figure_and_best_configuration(optuna, space, tmp_path, capsys):
    folder = tmp_path / "sweep"
    assert sweep(space, folder, 2) == 0
    begun = table(folder)
    assert sweep(space, folder, 3) == 0
    rows = table(folder)
    assert (len(begun), len(rows)) == (2, 3)
    assert rows[:2] == begun
    assert all(0.001 <= float(row["learner.training.lr"]) <= 0.1 for row in rows)
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    best = best_first([{**row, "value": float(row["value"])} for row in rows], largest=True)[0]
    experiment = parse_run([f"--config={folder / 'best.yaml'}"]).experiment
    assert experiment.judge_on == "test"
    assert experiment.learner.training.lr == pytest.approx(float(best["learner.training.lr"]))
    assert experiment.learner.training.steps == 2
    words, _ = judged_words([f"--config={folder / 'best.yaml'}", "--data-options.num_validation=7"])
    judged = parse_run(words).experiment
    (tmp_path / "run").mkdir()
    given = learn_stream(judged, RunFolder(tmp_path / "run"), judged.stream())[-1].given
    assert best["value"] == pytest.approx(sum(given) / len(given)), "the value is the mean on validation examples"
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "trial 2:" in capsys.readouterr().out
    space.write_text(SPACE.replace("0.001", "0.002"))
    assert sweep(space, folder, 4) == 2
    assert "space: expected the space and the options with which the sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("learner.training.nothing: {low: 1, high: 2}", "nothing"),
        ("learner.training.lr: {low: -1, high: 2}", "lr: expected"),
        ("learner.posterior: {choices: [os.system]}", "allow it with --allow os"),
        ("learner.posterior: {choices: ['{class_path: subprocess.Popen}']}", "allow it with --allow subprocess"),
    ],
)
def test_settings_are_judged_as_those_of_a_run_before_the_first_trial(optuna, tmp_path, capsys, line, says):
    file = tmp_path / "space.yaml"
    file.write_text(line)
    assert sweep(file, tmp_path / "sweep", 1) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_bad_options_are_refused_by_name(optuna, space, tmp_path, capsys):
    for words, says in (
        (["--trials=3"], "--space: expected a value"),
        ([f"--space={space}"], "--trials: expected a value"),
        ([f"--space={space}", "--trials=0", *WORDS], "trials: expected an integer >= 1"),
        ([f"--space={tmp_path / 'none'}", "--trials=1", *WORDS], "none"),
        ([f"--space={space}", "--trials=1", "--storage=nowhere:/x", f"--output={tmp_path / 'o'}", *WORDS], "storage"),
        ([f"--space={space}", "--trials=1", "--resume=x"], "--resume: expected no such option"),
    ):
        assert main(["sweep", *words]) == 2
        assert says in capsys.readouterr().err


def test_the_figure_shows_each_trial_and_the_best_so_far():
    settings = (Setting("learner.training.lr", 0.1, 1.0, log=True), Setting("learner.a", choices=("x", None)))
    rows = [
        {
            "trial": n,
            "state": state,
            "value": value,
            "learner.training.lr": 0.2 + n / 10,
            "learner.a": "x" if n else None,
        }
        for n, (state, value) in enumerate((("complete", 0.5), ("pruned", 0.1), ("complete", 0.4), ("running", None)))
    ]
    figure = draw_trials(rows, settings, largest=True)
    first, lr, choice = figure.axes
    assert first.lines[0].get_ydata().tolist() == [0.5, 0.5]
    assert first.lines[0].get_xdata().tolist() == [0, 2]
    assert draw_trials(rows, settings, largest=False).axes[0].lines[0].get_ydata().tolist() == [0.5, 0.4]
    complete, others = (points.get_offsets().tolist() for points in lr.collections)
    assert complete == [pytest.approx([0.2, 0.5]), pytest.approx([0.4, 0.4])]
    assert others == [pytest.approx([0.3, 0.1])]
    assert lr.get_xscale() == "log"
    assert [label.get_text() for label in choice.get_xticklabels()] == ["x", "None"]


@pytest.mark.slow
def test_a_killed_sweep_goes_on(optuna, space, tmp_path):
    """The process is killed while it learns; the trial that it was at is left, and the others are kept."""
    command = ["sweep", f"--space={space}", "--trials=3", f"--output={tmp_path / 'sweep'}", *WORDS]
    process = subprocess.Popen(
        [sys.executable, "-m", "bayeshnet", *command], stdout=subprocess.PIPE, text=True, env=None
    )
    while not process.stdout.readline().startswith("trial 0"):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert main(command) == 0
    rows = table(tmp_path / "sweep")
    assert sum(row["state"] in ("complete", "pruned") for row in rows) == 3
    assert rows[0]["state"] == "complete"
