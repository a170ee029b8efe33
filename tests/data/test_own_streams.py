"""Streams of one's own, by module and function: built, judged before anything is imported, and written down."""

import sys

import pytest

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.cli import main
from bayeshnet.commands.parser import parse_run
from bayeshnet.continual import Separate
from bayeshnet.data import drawn_options, get_stream, stream_options
from bayeshnet.data.own import find_builder, is_own, split_name
from bayeshnet.files import fingerprint
from bayeshnet.reports import RunResult
from bayeshnet.runs import Experiment, RunFolder, load_run, named_configuration
from bayeshnet.runs.experiment_config import open_folder, read_experiment
from bayeshnet.runs.fingerprints import data_fingerprints
from bayeshnet.runs.judged_settings import check_own_stream
from bayeshnet.runs.results.summary import _name_of
from bayeshnet.tasks import TaskStream

SOURCE = """
import torch
from pathlib import Path
from bayeshnet.tasks import Split, Task, TaskStream

Path("imported").write_text("yes")


def birds(num_tasks=2, data_seed=0):
    generator = torch.Generator().manual_seed(data_seed)
    tasks = []
    for number in range(num_tasks):
        x = torch.randn(24, 3, generator=generator) + 2 * torch.eye(3)[number]
        split = Split(x, (x[:, 2] > 0).long())
        tasks.append(Task(f"birds {number}", split, split, 2))
    return TaskStream(tasks, "birds of mine")


def flocks(size, **others):
    return birds(size, **others)


def nothing():
    return 3


value = 7
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with a module in it."""
    (tmp_path / "my_streams_of_birds.py").write_text(SOURCE)
    (tmp_path / "lacking_birds.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("my_streams_of_birds", "lacking_birds"):
        sys.modules.pop(name, None)


NAME = "my_streams_of_birds:birds"


def test_a_file_of_the_current_folder_is_imported_without_the_folder_on_the_path(here):
    before = list(sys.path)
    assert get_stream(NAME, num_tasks=1).name == "birds of mine"
    assert sys.path == before
    assert sys.modules["my_streams_of_birds"].value == 7
    assert stream_options(NAME) == {"num_tasks": 2, "data_seed": 0}
    assert drawn_options(NAME, 5) == {"data_seed": 5}
    assert find_builder("bayeshnet.data.toy:modes2d") is get_stream.__globals__["modes2d"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a:b:c", ValueError, "data: expected module:function, such as my_data:birds, got 'a:b:c'"),
        ("../x:f", ValueError, "data: expected module:function"),
        ("x" * 300 + ":f", ValueError, "data: expected module:function"),
        ("no_such_module_of_birds:f", ValueError, "It is neither installed nor a file no_such_module_of_birds.py in"),
        ("my_streams_of_birds:bees", ValueError, "data: expected a function of the module my_streams_of_birds, got"),
        ("my_streams_of_birds:value", ValueError, "data: expected a function of the module my_streams_of_birds, got"),
        ("my_streams_of_birds:nothing", TypeError, "data: expected a function that returns a TaskStream"),
        ("lacking_birds:f", ModuleNotFoundError, "a_package_that_is_not_there"),
    ],
)
def test_what_is_no_stream_is_named(here, name, error, message):
    with pytest.raises(error) as caught:
        get_stream(name)
    assert message in str(caught.value)


def test_names_are_told_apart_without_an_import(here):
    assert is_own(NAME)
    assert not is_own("split-digits")
    assert split_name("a.b:c") == ("a.b", "c")
    assert not (here / "imported").exists()


def test_a_text_may_not_name_a_stream_of_its_own_unless_its_module_is_allowed(here):
    text = named_configuration(NAME, "separate")
    with pytest.raises(ValueError, match="If you trust the module, allow it with --allow my_streams_of_birds"):
        read_experiment(text)
    (here / "c.yaml").write_text(f"data: {NAME}\n")
    assert main(["run", "--config", "c.yaml"]) == 2
    with pytest.raises(ValueError, match="expected a stream of the library"):
        check_own_stream("os.path:join", ["o", "os.pathology"])
    check_own_stream("os.path:join", ["os"])
    assert not (here / "imported").exists()
    assert "my_streams_of_birds" not in sys.modules
    assert read_experiment(text, ["my_streams_of_birds"]).stream().num_outputs == 2
    assert (here / "imported").exists()


def test_a_name_on_the_command_line_allows_its_module(here):
    request = parse_run(["--data", NAME, "--method", "separate", "--data-options.num_tasks", "1"])
    assert request.allow == ("my_streams_of_birds",)
    assert not (here / "imported").exists()
    assert len(request.stream()) == 1
    with pytest.raises(ValueError, match="method: expected"):
        parse_run(["--data", NAME, "--method", "no-such-method"])


@pytest.mark.slow
def test_a_run_writes_down_module_function_and_a_digest_of_the_data(here, capsys):
    words = ["run", "--data", NAME, "--method", "separate", "--quick", "--learner.training.steps", "5", "--seed", "2"]
    assert main([*words, "--learner.num_samples", "4"]) == 0
    folder = here / "runs" / "my_streams_of_birds.birds-separate-seed2"
    result = RunResult.load(folder)
    digest = fingerprint(*data_fingerprints(get_stream(NAME, data_seed=2)).values())[:8]
    known = {name: result.settings[name] for name in ("data.module", "data.function", "examples")}
    assert known == {"data.module": "my_streams_of_birds", "data.function": "birds", "examples": digest}
    assert result.data == "birds of mine"
    unnamed = TaskStream(get_stream(NAME, data_seed=2).tasks)
    assert _name_of(load_run(folder, allow=["my_streams_of_birds"]).experiment, unnamed) == NAME.replace(":", ".")
    assert f"{NAME}, digest {digest}" in (folder / "report.html").read_text()
    assert main(["run", "--resume", str(folder)]) == 2
    assert "allow it with --allow my_streams_of_birds" in capsys.readouterr().err
    assert main(["run", "--resume", str(folder), "--allow", "my_streams_of_birds"]) == 0
    loaded = load_run(folder, allow=["my_streams_of_birds"])
    assert len(loaded.stream()) == 2
    with pytest.raises(ValueError, match="allow it with --allow my_streams_of_birds"):
        load_run(folder)


def test_other_data_of_a_function_are_refused_whatever_their_name(here):
    """A stream of the library that a function changes keeps its name, and is the caller's all the same."""
    folder = RunFolder(here / "run")
    experiment = Experiment(Separate(MLPNetwork((4,)), MeanFieldWeights()), data="modes2d", device="cpu")
    open_folder(folder, experiment)
    first, other = (get_stream("modes2d", data_seed=seed) for seed in (0, 1))
    with folder.locked():
        folder.begin(first, own=True)
        folder.begin(first, own=True)
        with pytest.raises(ValueError, match="other examples in task 1"):
            folder.begin(other, own=True)
        folder.begin(other)


def test_arguments_that_a_function_needs_are_asked_for_by_name(here):
    with pytest.raises(
        ValueError, match=r"options of 'my_streams_of_birds:flocks': expected size, got none. Give it as"
    ):
        get_stream("my_streams_of_birds:flocks")
    assert len(get_stream("my_streams_of_birds:flocks", size=3)) == 3
    assert list(stream_options("my_streams_of_birds:flocks")) == ["size"]
