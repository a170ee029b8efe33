"""A look at a run before it begins: numbers of parameters, bytes and steps by hand, and the command line."""

import pytest

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.cli import main
from bayeshnet.commands.parser import parse_run
from bayeshnet.continual import PriorFocused, Separate, Training
from bayeshnet.runs import Experiment
from bayeshnet.runs.preview import preview

OPTIONS = {"num_train": 6, "num_test": 4, "num_tasks": 2}


@pytest.mark.parametrize(("learner", "posteriors"), [(Separate, 2), (PriorFocused, 1)])
@pytest.mark.parametrize("steps", [2, 50])
def test_numbers_of_a_run(learner, posteriors, steps):
    made = learner(MLPNetwork((3,)), MeanFieldWeights(), training=Training(steps=steps), num_samples=4)
    experiment = Experiment(made, data="modes2d", data_options=OPTIONS, device="cpu")
    stream = experiment.stream()
    seen = preview(experiment, stream)
    weights = 2 * 3 + 3 + 3 * (2 if learner is Separate else 4) + (2 if learner is Separate else 4)
    assert seen.parameters == {"posterior": 2 * weights * posteriors}
    assert (seen.tasks, seen.steps) == (2, 2 * steps)
    assert seen.examples == sum(len(task.train.x) for task in stream)
    assert 0 < seen.seconds_per_step < 10
    assert seen.seconds == pytest.approx(2 * steps * seen.seconds_per_step)
    state = made.restore(stream[0], 2)
    data = sum(x.numel() * x.element_size() for task in stream for s in task.splits().values() for x in (s.x, s.y))
    buffers = sum(b.numel() * b.element_size() for b in state.buffers())
    assert seen.memory == 4 * 4 * 2 * weights * posteriors + buffers + data


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--data=modes2d", "--method=prior-focused", "--quick"]
    assert main(["run", "--dry-run", *words]) == 0
    said = capsys.readouterr().out
    steps = parse_run(words).experiment.learner.training.steps
    assert said.startswith("PriorFocused(")
    assert "posterior: " in said
    assert f"time: {3 * steps} steps of " in said
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_run_that_was_begun_is_refused(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("data: modes2d\n")
    assert main(["run", "--dry-run", "--resume", str(tmp_path)]) == 2
    assert "--resume: expected no other option" in capsys.readouterr().err
