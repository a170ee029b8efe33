"""Runs are loaded in a line, in a new process and without the data."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bayeshnet
from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.cli import main
from bayeshnet.commands.parser import parse_run
from bayeshnet.continual import Coreset, Separate, Training
from bayeshnet.data import modes2d, regression1d
from bayeshnet.runs import Experiment, TrainedRun, available, load_run, run_experiment
from bayeshnet.runs.execution import threads
from bayeshnet.runs.progress import TaskShape
from tests.support.small_runs import SMALL

TINY = ["--quick", "--learner.training.steps", "5", "--learner.num_samples", "5", *SMALL]
STREAMS = {"modes2d": modes2d(scale=5.0), "regression1d": regression1d()}

PREDICT = """
import sys
import torch
import bayeshnet.data.registry
from bayeshnet.runs import load_run

bayeshnet.data.registry.STREAMS.clear()  # the data are not needed
torch.set_num_threads(1)
run = load_run(sys.argv[1])
prediction = run.learner.predict(run.state, torch.load(sys.argv[2]))
torch.save([prediction.means, prediction.scores(), torch.tensor(run.state.labels)], sys.argv[3])
"""


@pytest.fixture(scope="module", params=["modes2d", pytest.param("regression1d", marks=pytest.mark.slow)])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / request.param
    assert main(["run", "--data", request.param, *TINY, "--output", str(path)]) == 0
    return path


def predictions_in_a_new_process(folder, x, tmp_path):
    torch.save(x, tmp_path / "x.pt")
    words = [str(folder), str(tmp_path / "x.pt"), str(tmp_path / "out.pt")]
    root = str(Path(bayeshnet.__file__).parents[1])
    subprocess.run([sys.executable, "-c", PREDICT, *words], check=True, cwd=root)
    return torch.load(tmp_path / "out.pt")


def test_a_run_predicts_in_a_new_process_what_it_predicted(folder, tmp_path):
    """The state that the run ended with, learned here once more, gives the same numbers to the last bit."""
    stream = STREAMS[folder.name]
    loaded = load_run(folder)
    trained = run_experiment(loaded.experiment, stream=loaded.stream())
    torch.testing.assert_close(loaded.state.state_dict(), trained.state.state_dict(), atol=0, rtol=0)
    assert loaded.result.final == trained.result.final
    x = torch.cat([task.test.x[:5] for task in stream])
    with threads(1):
        expected = trained.learner.predict(trained.state, x)
    means, scores, labels = predictions_in_a_new_process(folder, x, tmp_path)
    assert torch.equal(means, expected.means)
    assert torch.equal(scores, expected.scores())
    assert labels.tolist() == [list(task.labels or ()) for task in stream]


def test_what_is_loaded_is_complete(folder):
    run = load_run(folder)
    assert isinstance(run, TrainedRun)
    assert run.experiment.data == folder.name
    assert run.learner is run.experiment.learner
    assert (run.folder.path, run.experiment.device) == (folder, "cpu")
    assert len(run.assessments) == run.state.num_tasks == 3
    assert run.result.method == "posterior-replay"
    assert [task.name for task in run.stream()] == list(run.result.tasks)
    assert folder.name in repr(run)
    assert "tensor" not in repr(run)


def test_an_older_folder_takes_its_shapes_from_the_stream(folder, tmp_path):
    """Folders without the shape of the tasks are loaded too, and give the same state."""
    shutil.copytree(folder, tmp_path / "old")
    (tmp_path / "old" / "manifest.json").unlink()
    digest = hashlib.blake2b((folder / "config.yaml").read_bytes(), digest_size=16).hexdigest()
    for file in (tmp_path / "old" / "checkpoints").glob("*.json"):
        content = json.loads(file.read_text())
        content["format"], content["record"]["config"] = 1, digest
        del content["record"]["shape"], content["checksum"]
        file.write_text(json.dumps(content))
    old, new = load_run(tmp_path / "old"), load_run(folder)
    torch.testing.assert_close(old.state.state_dict(), new.state.state_dict(), atol=0, rtol=0)
    assert (old.state.labels, old.assessments, old.result) == (new.state.labels, new.assessments, new.result)


def test_an_interrupted_run_is_loaded_as_far_as_it_came(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "cut")
    (tmp_path / "cut" / "metrics.json").unlink()
    for file in (tmp_path / "cut" / "checkpoints").glob("task-03.*"):
        file.unlink()
    run = load_run(tmp_path / "cut")
    assert run.result is None
    assert run.state.num_tasks == len(run.assessments) == 2
    for file in (tmp_path / "cut" / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="folder: expected a run with at least one complete task"):
        load_run(tmp_path / "cut")
    with pytest.raises(ValueError, match="expected the folder of a run"):
        load_run(tmp_path)


@pytest.mark.slow
def test_the_state_after_the_last_work_of_a_learner_is_loaded(tmp_path):
    words = ["run", "--data", "modes2d", "--method", "posterior-replay-coreset", *TINY]
    assert main([*words, "--learner.coreset.finish.steps", "5", "--output", str(tmp_path / "run")]) == 0
    run = load_run(tmp_path / "run")
    assert isinstance(run.learner.coreset, Coreset)
    assert run.folder.is_finished()
    before = run.learner.restore(run.stream()[0], 3)
    run.folder.load_task(3, before)
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), run.state.parameters(), strict=True))
    assert len(run.state.memory.draw(4, torch.Generator(), [0])) == 3


def test_a_run_made_in_python_is_loaded_with_its_experiment(tmp_path):
    learner = Separate(MLPNetwork((4,)), MeanFieldWeights(), training=Training(steps=3), num_samples=4)
    experiment = Experiment(learner, data="modes2d", data_options={"num_tasks": 2})
    trained = run_experiment(experiment, tmp_path / "run")
    with pytest.raises(ValueError, match="Pass the experiment that was given to run_experiment"):
        load_run(tmp_path / "run")
    loaded = load_run(tmp_path / "run", experiment=experiment)
    torch.testing.assert_close(loaded.state.state_dict(), trained.state.state_dict(), atol=0, rtol=0)
    assert loaded.state.labels == trained.state.labels == [(0, 1), (2, 3)]


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_the_shape_of_a_task_makes_a_task_of_the_same_shape(stream):
    task = stream.to(dtype=torch.float64)[0]
    shape = TaskShape.of(task)
    placeholder = shape.placeholder()
    for name in ("kind", "input_shape", "num_outputs"):
        assert getattr(placeholder, name) == getattr(task, name)
    assert (placeholder.train.x.dtype, placeholder.train.y.dtype) == (torch.float64, task.train.y.dtype)
    assert placeholder.info.get("noise_std") == task.info.get("noise_std")
    assert TaskShape.of(placeholder) == shape


@pytest.mark.parametrize(("data", "method"), [(data, method) for data in STREAMS for method in available()[data]])
def test_every_learner_is_restored_from_a_placeholder(data, method):
    """No learner takes more from a task than its shape."""
    learner = parse_run(["--data", data, "--method", method, "--quick"]).experiment.learner
    task = STREAMS[data][0]
    state, other = (learner.restore(t, 2).state_dict() for t in (task, TaskShape.of(task).placeholder()))
    assert {name: (v.shape, v.dtype) for name, v in state.items()} == {n: (v.shape, v.dtype) for n, v in other.items()}
