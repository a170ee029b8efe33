"""A run of the command line on a device, stopped after a task and finished on the CPU."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bayeshnet.cli import main
from bayeshnet.commands.parser import parse_run
from bayeshnet.rng import generator_on
from bayeshnet.runs import Listener, RunFolder, load_run, run_experiment
from bayeshnet.runs.execution import learn_stream
from bayeshnet.runs.experiment import resolve_device
from bayeshnet.runs.kept_steps import KeptStep, kept_step
from tests.support.places import PLACES, WAITS
from tests.support.pretended_device import PretendedDevice
from tests.support.stops import StoppedAt

WORDS = ["--data=regression1d", "--method=posterior-replay-mean-field", "--quick", "--learner.training.steps=5"]


class StoppedAfter(Listener):
    """Ends the run after a number of tasks, as Ctrl-C does."""

    def __init__(self, tasks):
        self.tasks = tasks

    def task_done(self, number, stream, record):
        if number + 1 == self.tasks:
            raise KeyboardInterrupt


def begin(device, folder, tasks):
    """Begin a run on a device, and stop it."""
    request = parse_run([*WORDS, f"--device={device}"])
    files = RunFolder(folder)
    files.create(request.config)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(request.experiment, files, StoppedAfter(tasks), stream=request.stream())
    return load_file(folder / "checkpoints" / f"task-{tasks:02d}.safetensors")


@pytest.mark.parametrize("place", PLACES)
def test_a_run_on_a_device_saves_what_one_on_the_cpu_does(place, tmp_path):
    with place() as there:
        found = begin(there.name, tmp_path / "there", 1)
    wanted = begin("cpu", tmp_path / "here", 1)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.device.type == "cpu"
        if place is PretendedDevice:  # CUDA draws other numbers
            torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-4)


def learned(device, folder, listener=None, words=WORDS):
    """Learn the tasks of a run on a device that have not been learned; return what is saved of the last one."""
    request = parse_run([*words, f"--device={device}"])
    files = RunFolder(folder)
    if not files.config.exists():
        files.create(request.config)
    learn_stream(request.experiment, files, request.stream(), listener)
    return load_file(folder / "checkpoints" / "task-03.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_task_that_was_stopped_goes_on_on_its_device_and_begins_anew_on_another(place, tmp_path):
    with place() as there:
        whole = learned(there.name, tmp_path / "whole")
        for name in ("run", "moved"):
            with pytest.raises(KeyboardInterrupt):
                learned(there.name, tmp_path / name, StoppedAt(1, 3))
            assert kept_step(RunFolder(tmp_path / name)) == KeptStep(2, 3, 5)
        again = learned(there.name, tmp_path / "run")
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name
    moved = learned("cpu", tmp_path / "moved")
    assert moved.keys() == whole.keys()
    assert kept_step(RunFolder(tmp_path / "moved")) is None


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_choices_on_the_cpu_go_on_with_the_step(place, tmp_path):
    """Stored examples are chosen by a generator on the CPU, which comes from that of the device."""
    words = ["--data=modes2d", "--method=experience-replay", "--quick", "--learner.training.steps=5"]
    with place() as there:
        whole = learned(there.name, tmp_path / "whole", words=words)
        with pytest.raises(KeyboardInterrupt):
            learned(there.name, tmp_path / "run", StoppedAt(1, 3), words)
        again = learned(there.name, tmp_path / "run", words=words)
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


@pytest.mark.parametrize("place", PLACES)
def test_generators_made_of_one_draw_other_numbers_and_the_same_ones_of_an_equal_one(place):
    with place() as there:
        sources = [torch.Generator(there.name).manual_seed(1) for _ in range(2)]
        made = [[torch.rand(3, generator=generator_on("cpu", source)) for _ in range(2)] for source in sources]
        assert torch.equal(made[0][0], made[1][0])
        assert torch.equal(made[0][1], made[1][1])
        assert not torch.equal(made[0][0], made[0][1])


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_run_goes_on_on_another_device(place, tmp_path, capsys):
    with place() as there:
        begin(there.name, tmp_path / "run", 1)
    assert main(["run", "--resume", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert "metrics, checkpoints, figures and report.html" in capsys.readouterr().out
    run = load_run(tmp_path / "run", device="cpu")
    assert run.result is not None
    assert [len(record.given) for record in run.assessments] == [1, 2, 3]
    with place() as there:
        moved = load_run(tmp_path / "run", device=there.name)
        assert {p.device.type for p in moved.state.parameters()} == {there.device.type}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_whole_run_on_a_device(place, tmp_path, capsys):
    """Learning, assessment, figures and the report: tensors of two devices never meet."""
    with place() as there:
        assert main(["run", *WORDS, f"--device={there.name}", f"--output={tmp_path / 'run'}"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_device_that_holds_no_data_is_refused():
    with pytest.raises(ValueError, match="Tensors on it hold no data"):
        resolve_device("meta")
    with PretendedDevice() as there:
        assert resolve_device(there.name) == there.device


def test_the_documentation_lists_where_the_host_waits():
    page = (Path(__file__).parents[2] / "docs" / "devices.rst").read_text(encoding="utf-8")
    rows = dict(re.findall(r"   \* - ``([\w/.]+:\w+)``\n     - (.+)\n", page))
    assert rows == WAITS
