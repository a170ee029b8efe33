"""The command line: what it makes of words, and one line for each mistake."""

from __future__ import annotations

import json
import re
import signal
import struct
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bayeshnet import estimators
from bayeshnet.builders import ImplicitGenerator
from bayeshnet.cli import main
from bayeshnet.commands.compare import _layout_for
from bayeshnet.commands.parser import parse_run
from bayeshnet.continual import CRITERIA, PosteriorReplay
from bayeshnet.data import STREAMS
from bayeshnet.data.idx import FILES
from bayeshnet.estimators import LIVI, SSGE, KLEstimator
from bayeshnet.reports import Cell, Column, Table
from bayeshnet.runs import RunFolder
from bayeshnet.runs.configuration import available
from tests.support.small_runs import SMALL

FAST = ["--learner.training.steps", "10", "--learner.training.num_particles", "2", "--learner.num_samples", "5", *SMALL]


def test_no_words_are_the_main_job():
    request = parse_run([])
    experiment = request.experiment
    assert experiment.data == "split-digits"
    assert isinstance(experiment.learner, PosteriorReplay)
    assert isinstance(experiment.learner.posterior, ImplicitGenerator)
    assert isinstance(experiment.learner.estimator, LIVI)


def test_words_lie_over_files_over_the_named_configuration(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("learner: {init_args: {training: {lr: 0.5, beta: 0.25}}}\nseed: 7\n")
    learner = parse_run(["--config", str(file), "--learner.training.beta", "0.75"]).experiment.learner
    assert (learner.training.lr, learner.training.beta, learner.training.num_samples) == (0.5, 0.75, 6)
    assert parse_run(["--config", str(file)]).experiment.seed == 7


def test_short_words():
    assert isinstance(parse_run(["--estimator", "SSGE"]).experiment.learner.estimator, SSGE)
    assert parse_run(["--quick"]).experiment.learner.training.steps < parse_run([]).experiment.learner.training.steps
    request = parse_run(["--data", "split-fashion-mnist", "--data-dir", "somewhere"])
    assert str(request.experiment.data_dir) == "somewhere"
    words = ["--judge-on", "validation", "--data-options.validation_fraction", "0.2"]
    assert len(parse_run(words).experiment.stream()[0].test) < len(parse_run([]).experiment.stream()[0].test)
    options = parse_run(["--data", "modes2d", "--data-options.num-validation", "7"]).experiment.data_options
    assert options == {"scale": 5.0, "num_validation": 7}


def test_parts_of_the_learner_can_be_set_to_null():
    learner = parse_run(["--learner.regularizer.max_tasks", "null", "--learner.training.steps", "5"]).experiment.learner
    assert (learner.regularizer.max_tasks, learner.regularizer.strength, learner.training.steps) == (None, 0.02, 5)
    words = ["--method", "posterior-replay-coreset", "--learner.coreset.finish=null"]
    coreset = parse_run(words).experiment.learner.coreset
    assert (coreset.finish, coreset.size) == (None, 50)


def test_the_configuration_that_is_written_makes_the_same_experiment(tmp_path):
    request = parse_run(["--seed", "3", "--learner.training.beta", "0.3"])
    file = tmp_path / "config.yaml"
    file.write_text(request.config)
    again = parse_run(["--resume", str(tmp_path)])
    assert again.config == request.config
    assert (again.experiment.seed, again.experiment.learner.training) == (3, request.experiment.learner.training)


PAIRS = [(d, m) for d, methods in available().items() for m in methods]
SOME = [pair for pair in PAIRS if "split-digits" in pair or "posterior-replay" in pair]


@pytest.mark.parametrize(
    ("data", "method"), [pytest.param(*pair, marks=() if pair in SOME else pytest.mark.slow) for pair in PAIRS]
)
def test_every_named_configuration_is_understood(data, method):
    quick = method != "posterior-replay"
    request = parse_run(["--data", data, "--method", method, *(["--quick"] if quick else [])])
    assert (request.experiment.data, request.experiment.method) == (data, method)


@pytest.mark.slow
def test_run_compare_and_list(tmp_path, capsys):
    words = ["run", "--data", "modes2d", *FAST, "--output"]
    assert main([*words, str(tmp_path / "a")]) == 0
    assert main([*words, str(tmp_path / "b"), "--seed", "1"]) == 0
    assert "report.html" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert metrics["data"] == "modes2d"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--format", "markdown"]) == 0
    assert re.search(r"\| posterior-replay +\| 2 +\|", capsys.readouterr().out)
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["settings"] == metrics["settings"]
    assert metrics["settings"]["data_options.data_seed"] == "drawn by seed"
    beta = metrics["settings"]["learner.training.beta"]
    assert main([*words, str(tmp_path / "c"), "--learner.training.beta", "0.3"]) == 0
    capsys.readouterr()
    assert main(["compare", *(str(tmp_path / name) for name in "aabc"), "--format", "json"]) == 0
    table, accounts = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in accounts["rows"]] == [row["method"] for row in table["rows"]]
    rows = {row["method"]: row["runs"] for row in table["rows"]}
    assert rows == {f"posterior-replay (training.beta={beta})": "2", "posterior-replay (training.beta=0.3)": "1"}
    assert (
        f"Counted once, since the seed is no other: posterior-replay (training.beta={beta}), seed 0." in table["note"]
    )
    page, figures = tmp_path / "page.html", tmp_path / "figures"
    words = ["compare", str(tmp_path / "a"), "--format", "html", "--output", str(page), "--figures", str(figures)]
    assert main(words) == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert sorted(f.name for f in figures.iterdir()) == ["modes2d-comparison.png", "modes2d-curves.png"]
    before = page.read_bytes()
    assert main(words) == 2
    assert page.read_bytes() == before
    assert main(["compare", str(tmp_path / "a"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["rows"][0]["runs"] == "1"
    assert main(["list"]) == 0
    assert "ImportanceSandwich" in capsys.readouterr().out


def test_the_list_names_all_that_the_command_line_knows(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    public = {name for name in estimators.__all__ if isinstance(getattr(estimators, name), type)}
    concrete = {name for name in public if issubclass(getattr(estimators, name), KLEstimator)} - {
        name for name in public if getattr(getattr(estimators, name), "__abstractmethods__", None)
    }
    methods = {method for found in available().values() for method in found}
    words = set(re.findall(r"[\w-]+", out))
    assert words >= {
        *STREAMS,
        *CRITERIA,
        *concrete,
        "PosteriorReplay",
        "ImplicitGenerator",
        "MLPNetwork",
        "NoiseOutliers",
    }
    assert all(method in out.replace("\n", "") or method in words for method in methods if len(method) < 12)
    assert not words & {"KLEstimator", "Learner", "PosteriorBuilder"}


LAYER = ("--learner.network=torch.nn.Linear", "--learner.network.out_features=2")
MISTAKES = {
    "unknown data": (["run", "--data", "nonsense"], "data: expected one of"),
    "unknown method": (["run", "--method", "nonsense"], "method: expected one of"),
    "misspelt option": (["run", "--data-dri", "x"], "did you mean --data-dir?"),
    "unknown key": (["run", "--learner.nonsense", "1"], "nonsense"),
    "unknown key to null": (["run", "--learner.coreset.nonsense", "null"], "nonsense"),
    "unknown estimator": (["run", "--estimator", "Nonsense"], "Nonsense"),
    "no estimator": (
        ["run", "--estimator", "torch.nn.Linear"],
        "learner.estimator: Import path",
    ),
    "bad value": (["run", "--learner.training.steps", "0"], "steps: expected an integer >= 1"),
    "nothing to judge on": (["run", "--judge-on", "validation"], "Set some aside"),
    "no split": (["run", "--judge-on", "train"], "judge_on: expected one of"),
    "a layer of no size": (
        ["run", *LAYER, "--learner.network.in_features=-3"],
        "learner: expected settings of which it can be built, got Trying to create tensor with negative dimension -3",
    ),
    "a text for a number": (
        ["run", *LAYER, "--learner.network.in_features=a"],
        "learner.network.in_features: expected int",
    ),
    "a text for a number or nothing": (
        ["run", "--learner.posterior.block_size", "x"],
        "learner.posterior.block_size: expected int, got x",
    ),
    "no such setting": (
        ["run", "--learner.training.stepss", "3"],
        "learner.training.stepss: expected a setting of that object, got an unknown one; bayeshnet run --help lists",
    ),
    "a setting of another learner": (
        ["run", "--method", "exact-stream", "--learner.training.steps", "3"],
        "learner.training.steps: expected a setting of that object, got an unknown one; bayeshnet run --help lists",
    ),
    "no such class": (["run", "--learner.network", "Nope"], "learner.network: expected the name of a class, got Nope"),
    "no name of a folder": (["run", "--output", ""], "--output: expected a folder, got an empty name"),
    "no configuration file": (["run", "--config", "nowhere.yaml"], "nowhere.yaml"),
    "no such device": (["run", "--device", "nowhere"], "device: expected 'auto', or a device of this machine"),
    "device without data": (["run", "--device", "meta"], "Tensors on it hold no data"),
    "no data folder": (["run", "--data", "split-fashion-mnist", "--data-dir", "nowhere"], "nowhere"),
    "no run to resume": (["run", "--resume", "nowhere"], "resume: expected the folder of a run"),
    "no run to compare": (["compare", "nowhere"], "nowhere"),
    "words for list": (["list", "nonsense"], "nonsense"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_exit_code_two(mistake, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, said = MISTAKES[mistake]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not re.search("Parser key|Union|Namespace|<class", error)
    assert list(tmp_path.iterdir()) == []


FAULTY = {
    "a tab": ("seed:\t1\n", "cannot be read"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "cannot be read"),
    "nothing": ("", "holds nothing"),
    "a list": ("- 1\n", "holds a list"),
    "a path": ("/etc/hostname\n", "holds a str"),
    "brackets": ("[" * 5000, "cannot be read"),
    "bytes": (b"\xff\xfe\x00", "cannot be read"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_configuration_files_that_are_none_are_named(name, tmp_path, capsys):
    content, said = FAULTY[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["run", "--config", str(path), "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_is_resumed_on_another_device(tmp_path, capsys):
    """Device and threads belong to the machine and may change."""
    words = ["--data", "modes2d", "--method", "posterior-replay-mean-field", "--quick", "--learner.training.steps", "2"]
    assert main(["run", *words, "--output", str(tmp_path / "run")]) == 0
    for name in ("task-02", "task-03"):
        for file in (tmp_path / "run" / "checkpoints").glob(f"{name}*"):
            file.unlink()
    before = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert main(["run", "--resume", str(tmp_path / "run"), "--device", "cpu", "--threads", "2"]) == 0
    after = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert after["final"]["nll"] == pytest.approx(
        before["final"]["nll"], abs=1e-5
    )  # sums by two threads are rounded anew
    assert (tmp_path / "run" / "checkpoints" / "task-03.json").is_file()
    capsys.readouterr()


def test_an_existing_folder_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "mine").write_text("precious")
    assert main(["run", "--data", "modes2d", "--output", str(tmp_path)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["mine"]


def test_options_beside_resume_are_refused(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(parse_run([]).config)
    assert main(["run", "--resume", str(tmp_path), "--seed", "5"]) == 2
    assert "expected no other option" in capsys.readouterr().err


def test_a_changed_configuration_is_not_resumed(tmp_path, capsys):
    folder = tmp_path / "r"
    run = RunFolder(folder)
    run.create(parse_run(["--data", "modes2d", *FAST]).config)
    run.save_task(1, torch.nn.Linear(1, 1), {"records": [], "labels": []})
    run.config.write_text(run.config.read_text().replace("steps: 10", "steps: 11"))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(["run", "--resume", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bayeshnet run: resume: expected the configuration")
    assert error.count("\n") == 1
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("missing", [False, True])
def test_a_torn_or_missing_data_file_is_named(missing, tmp_path, capsys):
    for name in FILES.values():
        content = struct.pack(
            ">IIII" if "images" in name else ">II", *((0x803, 4, 28, 28) if "images" in name else (0x801, 4))
        )
        (tmp_path / name).write_bytes(content + bytes(4 * 784 if "images" in name else 4))
    file = tmp_path / FILES["y_test"]
    if missing:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-2])
    words = ["run", "--data", "split-fashion-mnist", "--data-dir", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert FILES["y_test"] in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


class ToyEstimator(LIVI):
    """A new estimator is one class: the command line and the training loop take it as it is."""


@pytest.mark.slow
def test_a_new_estimator_needs_nothing_else(tmp_path):
    assert issubclass(ToyEstimator, KLEstimator)
    request = parse_run(["--data", "modes2d", *FAST, "--estimator", "ToyEstimator"])
    assert type(request.experiment.learner.estimator) is ToyEstimator
    assert (
        main(["run", "--data", "modes2d", *FAST, "--estimator", "ToyEstimator", "--output", str(tmp_path / "r")]) == 0
    )


def test_a_comparison_is_turned_where_it_does_not_fit_and_is_narrower_so():
    few = Table("t", (Column("method"), *(Column(f"measure {i}") for i in range(9))), (("a", *[Cell(1.0)] * 9),))
    many = Table("t", (Column("method"), Column("x")), tuple((f"method {i}", Cell(1.0)) for i in range(40)))
    heads = [str(_layout_for(few, Console(width=width)).columns[0].header) for width in (200, 60)]
    assert heads == ["method", "measure"]
    assert str(_layout_for(many, Console(width=20)).columns[0].header) == "method"


def test_ctrl_c_while_modules_are_imported_ends_the_process_in_one_line(monkeypatch, capfd):
    """Exceptions are lost where C code imports, so a handler ends the process; afterwards the old one is back."""

    def import_slowly(*_):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still running")

    def leave(code):
        raise SystemExit(code)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr("sys.argv", ["bayeshnet", "list"])
        monkeypatch.setattr("bayeshnet.cli.import_module", import_slowly)
        monkeypatch.setattr("os._exit", leave)
        with pytest.raises(SystemExit, match="130"):
            main()
        assert capfd.readouterr().err == "bayeshnet list: interrupted\n"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(
    "place", ["bayeshnet.commands.parser.make_experiment_parser", "bayeshnet.commands.run.parse_run"]
)
def test_ctrl_c_while_arguments_are_parsed_is_one_line(place, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    assert main(["run", "--data", "modes2d"]) == 130
    assert capsys.readouterr().err == "bayeshnet run: interrupted\n"


def test_help_shows_the_examples_and_the_settings_of_the_chosen_learner(capsys):
    """README's commands, each option, and each setting with its value; no list of classes of torch."""
    from bayeshnet.commands.help import EXAMPLES

    readme = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    assert main(["run", "--method", "ewc", "--learner.training.steps", "77", "--help"]) == 0
    shown = capsys.readouterr().out
    for command, text in EXAMPLES:
        assert command in shown
        assert re.search(rf"^{re.escape(command)} +# {re.escape(text)}$", readme, flags=re.M)
    for line in ("--learner EWC", "--learner.training.steps 77", "--learner.network MLPNetwork", "--data-dir"):
        assert line in shown
    assert "settings of the method ewc on split-digits" in shown
    assert "torch.nn" not in shown
    assert "known subclasses" not in shown
    assert "--learner.posterior.latent_size" not in shown
    assert max(map(len, shown.splitlines())) <= 112
    assert len(shown.splitlines()) < 120


def test_help_of_the_list(capsys):
    assert main(["list", "--help"]) == 0
    assert "bayeshnet list" in capsys.readouterr().out
