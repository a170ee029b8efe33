"""Steps that are kept: a task that a signal stops goes on at its step, with the numbers of a run without a stop."""

import json
import math
import os
import signal
import types
from functools import partial

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, MLPNetwork
from bayeshnet.cli import main
from bayeshnet.continual import EWC, Coreset, PosteriorReplay, Separate, Training
from bayeshnet.estimators import AVB
from bayeshnet.inference import Callback
from bayeshnet.inference.resuming import StepKeeper
from bayeshnet.reports import RunResult
from bayeshnet.runs import CSVLogger, Experiment, RunFolder, execution
from bayeshnet.runs.execution import learn_stream
from bayeshnet.runs.experiment_config import open_folder
from bayeshnet.runs.kept_steps import KeptStep, kept_step
from bayeshnet.runs.loading import saved_assessments
from bayeshnet.runs.loggers import RunLog
from bayeshnet.runs.progress_lines import ProgressLines, log_said
from bayeshnet.saving.trees import TensorTree
from tests.support.small_runs import SMALL
from tests.support.stops import Stop, StoppedAt

STEPS = 30
TRAINING = Training(steps=STEPS, batch_size=7, num_particles=2, lr=1e-2)


def batch_norm_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2))


LEARNERS = {
    "replay": lambda: PosteriorReplay(
        MLPNetwork((4,)), ImplicitGenerator(latent_size=2, hidden_layers=(4,)), training=TRAINING, num_samples=5
    ),
    "batch norm": lambda: Separate(batch_norm_network(), MeanFieldWeights(), training=TRAINING, num_samples=5),
    "ewc": lambda: EWC(MLPNetwork((4,)), training=TRAINING),
    "discriminator": lambda: Separate(
        MLPNetwork((4,)), MeanFieldWeights(), estimator=AVB((4,), steps=1), training=TRAINING, num_samples=5
    ),
}


class Counter(StoppedAt):
    """Listener that notes tasks and steps."""

    def __init__(self, task, step):
        super().__init__(task, step)
        self.seen = []

    def callbacks(self, number, stream):
        count = Callback()
        count.on_step = lambda run: self.seen.append((number, run.step))
        return [count]


LONG = {"ewc", "replay"}


def comparable(result):
    """Return a result, or an assessment, without times and versions."""
    known = result.to_dict()
    return {key: value for key, value in known.items() if key not in ("seconds", "versions")}


def learn(experiment, path, listener=None):
    """Learn the stream in a folder, with tables of the parts of the loss."""
    folder, stream = RunFolder(path), experiment.stream()
    open_folder(folder, experiment)
    with folder.locked():
        folder.begin(stream)
    log = RunLog([CSVLogger(path / "logs")], {}, saved_assessments(folder), every=8, listener=listener)
    return learn_stream(experiment, folder, stream, log)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in ("ewc", "replay"))) for k in LEARNERS]
)
def test_a_task_that_was_stopped_ends_with_the_numbers_of_one_that_was_not(kind, tmp_path):
    experiment = Experiment(LEARNERS[kind](), data="modes2d", data_options={"num_train": 10})
    whole = learn(experiment, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learn(experiment, tmp_path / "run", StoppedAt(1, 19))
    kept = kept_step(RunFolder(tmp_path / "run"))
    assert (kept is None) == (kind == "discriminator")
    assert kept is None or (kept.task, kept.step, kept.steps) == (2, 19, STEPS)
    steps = Counter(9, 0)
    again = learn(experiment, tmp_path / "run", steps)
    assert steps.seen[0] == (1, 1 if kept is None else 20)
    assert [comparable(a) for a in again] == [comparable(a) for a in whole]
    names = [f"checkpoints/task-0{number}.safetensors" for number in (1, 2, 3)]
    for name in [*names, "logs/train.csv"]:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name
    assert not list((tmp_path / "run").glob("checkpoints/step.*"))


def stopped_in_assessment(patch, number):
    """Let the assessment after task ``number`` (from 1) be stopped."""
    calls, real = [], execution.assess

    def assess(*args, **options):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return real(*args, **options)

    patch.setattr("bayeshnet.runs.execution.assess", assess)


def test_a_task_that_was_learned_and_not_assessed_is_not_learned_again(tmp_path, monkeypatch):
    experiment = Experiment(LEARNERS["batch norm"](), data="modes2d", data_options={"num_train": 10})
    whole = learn(experiment, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopped_in_assessment(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            learn(experiment, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert (folder.last_task(), kept_step(folder)) == (1, None)
    assert folder.load_learned(2) is not None
    steps = Counter(9, 0)
    again = learn(experiment, tmp_path / "run", steps)
    assert steps.seen == [(2, step + 1) for step in range(STEPS)]
    assert [comparable(a) for a in again] == [comparable(a) for a in whole]
    names = [f"checkpoints/task-0{number}.safetensors" for number in (1, 2, 3)]
    assert all((folder.path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)


@pytest.mark.slow
def test_the_command_says_that_a_task_is_learned_and_not_assessed(tmp_path, monkeypatch, capsys):
    words = ["run", "--data", "modes2d", "--quick", "--learner.training.steps", "5", *SMALL]
    with monkeypatch.context() as patch:
        stopped_in_assessment(patch, 2)
        assert main([*words, "--learner.num_samples", "4", "--output", str(tmp_path / "run")]) == 130
    says = f"1 of 3 tasks and task 2, learned but not assessed, are saved in {tmp_path / 'run' / 'checkpoints'}; "
    assert says in capsys.readouterr().err
    assert main(["run", "--resume", str(tmp_path / "run")]) == 0


@pytest.mark.slow
def test_a_step_is_kept_now_and_then_for_a_process_that_is_killed(tmp_path, monkeypatch):
    """Here after each step; the process fails in one, before it is kept."""
    experiment = Experiment(LEARNERS["batch norm"](), data="modes2d", data_options={"num_train": 10})

    class Failing(Counter):
        def callbacks(self, number, stream):
            count = Callback()
            count.on_step = lambda run: 1 / ((number, run.step) != (1, 9))
            return [count]

    with monkeypatch.context() as patch:
        patch.setattr("bayeshnet.runs.kept_steps.StepKeeper", partial(StepKeeper, interval=0.0))
        with pytest.raises(ZeroDivisionError):
            learn(experiment, tmp_path / "run", Failing(1, 9))
    assert kept_step(RunFolder(tmp_path / "run")) == KeptStep(2, 8, STEPS)
    again, whole = learn(experiment, tmp_path / "run"), learn(experiment, tmp_path / "whole")
    assert [comparable(a) for a in again] == [comparable(a) for a in whole]


@pytest.mark.slow
def test_the_work_after_the_last_task_is_kept_too(tmp_path):
    """Two fits on stored examples, the second of which is stopped: the first is made anew, the second goes on.

    A second stop, while the first is made anew, leaves the step of the second where it is.
    """
    calls, stops = [], [STEPS + 11]  # in the second fit; there is one more call, of its first batch, for each fit

    def shifted(x):
        calls.append(1)
        if len(calls) in stops:
            os.kill(os.getpid(), signal.SIGINT)
        return x + 0.01 * torch.randn_like(x)

    finish = Training(steps=STEPS, batch_size=3, augmentation=shifted)
    generator = ImplicitGenerator(latent_size=2, hidden_layers=(4,))
    coreset = Coreset(4, finish=finish)
    learner = PosteriorReplay(MLPNetwork((4,)), generator, coreset=coreset, training=TRAINING, num_samples=5)
    experiment = Experiment(learner, data="modes2d", data_options={"num_train": 10, "num_tasks": 2})
    with pytest.raises(KeyboardInterrupt):
        learn(experiment, tmp_path / "run")
    kept = kept_step(RunFolder(tmp_path / "run"))
    assert (kept.task, kept.steps) == (3, STEPS)
    assert 5 < kept.step < 15
    stops.append(len(calls) + 7)
    with pytest.raises(KeyboardInterrupt):
        learn(experiment, tmp_path / "run")
    assert len(calls) <= stops[-1] + 2
    assert kept_step(RunFolder(tmp_path / "run")) == kept
    before = len(calls)
    again = learn(experiment, tmp_path / "run")
    assert 2 * STEPS - kept.step <= len(calls) - before <= 2 * STEPS - kept.step + 3
    whole = learn(experiment, tmp_path / "whole")
    assert [comparable(a) for a in again] == [comparable(a) for a in whole]
    read = [(tmp_path / name / "checkpoints" / "finished.safetensors").read_bytes() for name in ("run", "whole")]
    assert read[0] == read[1]
    assert kept_step(RunFolder(tmp_path / "run")) is None


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_says_where_the_step_is_and_how_to_go_on(number, code, tmp_path, monkeypatch, capsys):
    words = ["run", "--data", "modes2d", "--quick", "--learner.training.steps", "20", *SMALL]
    words += ["--learner.num_samples", "4", "--output"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(ProgressLines, "callbacks", lambda self, task, stream: [Stop(11, number)] if task == 2 else [])
        assert main([*words, str(tmp_path / "run")]) == code
    error = capsys.readouterr().err
    assert error.strip().count("\n") == 0
    assert f"2 of 3 tasks and step 11 of 20 of task 3 are saved in {tmp_path / 'run' / 'checkpoints'}; " in error
    assert f"finish with: bayeshnet run --resume {tmp_path / 'run'}" in error
    assert main(["run", "--resume", str(tmp_path / "run")]) == 0
    log = (tmp_path / "run" / "log.txt").read_text()
    lines = [line.split("  ", 1)[1] for line in log.splitlines() if "  " in line]
    assert len([line for line in lines if line.startswith("posterior-replay on modes2d, seed 0, bayeshnet")]) == 2
    assert any(error.strip() == line for line in lines)
    assert "task 3/3 modes 4 / 5: goes on after step 11 of 20" in lines
    assert lines[-1].endswith(f"report.html in {tmp_path / 'run'}")
    results = [comparable(RunResult.load(tmp_path / name)) for name in ("whole", "run")]
    assert results[0] == results[1]


def test_a_tree_of_tensors_comes_back_as_it_was():
    tree = TensorTree()
    value = {"a": [torch.arange(3), None, (1, 2.5)], 3: {"b": True, "c": "x"}}
    form = tree.pack(value)
    again = TensorTree()
    again.resize_like(tree.state_dict())
    again.load_state_dict(tree.state_dict())
    found = again.unpack(form)
    assert torch.equal(found["a"][0], torch.arange(3))
    assert found["a"][1:] == [None, (1, 2.5)]
    assert found[3] == {"b": True, "c": "x"}
    with pytest.raises(TypeError, match=r"value: expected tensors and plain values in mappings and lists, got"):
        tree.pack({"a": object()})


def test_a_second_signal_does_not_wait():
    from bayeshnet.inference.resuming import deferred_signals

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with deferred_signals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.have_come
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signals.release()
            assert not signals.have_come
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt), deferred_signals():
            signal.raise_signal(signal.SIGINT)  # passed on at the end
    finally:
        signal.signal(signal.SIGINT, before)


def test_numbers_that_are_none_come_back():
    tree = TensorTree()
    form = json.loads(json.dumps(tree.pack({"best": math.inf, "worst": -math.inf, "mean": math.nan}), allow_nan=False))
    found = tree.unpack(form)
    assert (found["best"], found["worst"]) == (math.inf, -math.inf)
    assert math.isnan(found["mean"])


GOOD = {"step": 3, "steps": 9, "seconds": 1.0, "state": {"mapping": []}}


@pytest.mark.parametrize(
    "record",
    [
        {**GOOD, "seconds": "soon"},
        {name: value for name, value in GOOD.items() if name != "seconds"},
        {**GOOD, "state": {}},
        {**GOOD, "state": {"tensor": "a"}},
        {**GOOD, "state": {"tensor": 5}},
        {**GOOD, "state": {"mapping": [[[1], 2]]}},
        {**GOOD, "state": {"mapping": [["fit", 0], ["device", "cpu"]]}},
    ],
)
def test_a_record_that_is_no_step_is_named(record, tmp_path):
    experiment = Experiment(LEARNERS["batch norm"](), data="modes2d", data_options={"num_train": 10})
    folder = RunFolder(tmp_path)
    open_folder(folder, experiment)
    with folder.locked():
        folder.begin(experiment.stream())
        folder.save_learned(1, TensorTree(), record, stem="step")
    with pytest.raises(ValueError, match=r"step.*: expected a step .* Remove checkpoints/step\.\*"):
        learn(experiment, tmp_path)


def test_a_record_with_a_text_for_its_step_is_no_step(tmp_path):
    folder = RunFolder(tmp_path)
    open_folder(folder, Experiment(LEARNERS["batch norm"](), data="modes2d"))
    with folder.locked():
        folder.save_learned(1, TensorTree(), {**GOOD, "step": "\x1b]0;owned\x07"}, stem="step")
    with pytest.raises(ValueError, match=r"step\.json: expected a step") as caught:
        kept_step(folder)
    assert "\x1b" not in str(caught.value)


def fits(keeper, numbers, step=1):
    """Make fits of one step each, which ends with the keeper's interval, and return the state of each loop."""
    found = []
    for _ in range(numbers):
        run = types.SimpleNamespace(step=step, num_steps=9, seconds=0.0, table=lambda: torch.zeros(1))
        run.resume = lambda step, history, seconds, run=run: setattr(run, "step", step)
        loop = types.SimpleNamespace(device=None, can_resume=lambda: True, snapshot=lambda step: {"at": step})
        loop.resume = found.append
        with keeper.watching(loop, run) as after_step:
            after_step()
    return found


def test_a_step_of_an_earlier_fit_that_is_made_anew_does_not_replace_a_later_one():
    saved = []
    fits(StepKeeper(saved.append, interval=0.0), 3, step=5)
    assert [(state["fit"], state["step"]) for state in saved] == [(0, 5), (1, 5), (2, 5)]
    again = []
    resumed = fits(StepKeeper(again.append, saved[1], interval=0.0), 3, step=2)
    assert resumed == [{"at": 5}]
    assert [(state["fit"], state["step"]) for state in again] == [(1, 5), (2, 2)]
    other = []
    resumed = fits(StepKeeper(other.append, {**saved[1], "device": "cuda"}, interval=0.0), 2, step=2)
    assert resumed == []  # on another device the fits are made anew, and are what goes on from there
    assert [(state["fit"], state["step"]) for state in other] == [(0, 2), (1, 2)]


def test_a_step_that_cannot_be_kept_does_not_end_the_training(caplog):
    def save(state):
        raise OSError("the disk is full")

    run, loop = types.SimpleNamespace(step=1, num_steps=2, seconds=0.0, table=dict), types.SimpleNamespace(device=None)
    loop.can_resume, loop.snapshot = (lambda: True), (lambda step: {})
    with StepKeeper(save, interval=0.0).watching(loop, run) as after_step:
        after_step()
    assert "the step is not kept: the disk is full" in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_no_log(tmp_path):
    os.mkfifo(tmp_path / "log.txt")
    with pytest.raises(OSError, match=r"log\.txt"):
        log_said(tmp_path, "x")
