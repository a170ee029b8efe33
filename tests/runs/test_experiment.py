"""A run as a whole: results, resumption after a kill, checks of the posteriors."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, MLPNetwork
from bayeshnet.continual import EWC, Coreset, ExperienceReplay, GrowingSoftmax, PosteriorReplay, Training
from bayeshnet.data import from_arrays, modes2d
from bayeshnet.distributions import Dirac, FanInGaussian, HypernetPosterior, MeanFieldGaussian
from bayeshnet.estimators import ClosedForm
from bayeshnet.hnets import HMLP
from bayeshnet.reports import RunResult
from bayeshnet.reports.repetitions import find_repetitions
from bayeshnet.runs import Experiment, Listener, RunFolder, configuration, execute, run_experiment
from bayeshnet.runs.configuration import available, merge, named_configuration
from bayeshnet.runs.execution import conclude
from bayeshnet.runs.results.posterior_checks import check_posterior
from bayeshnet.weights import WeightSpec
from tests.support.small_runs import SMALL

TWO = {"data_options": {"num_tasks": 2}}


def make_experiment(data="modes2d", **changes):
    learner = PosteriorReplay(
        MLPNetwork((8,), "gaussian"),
        ImplicitGenerator(latent_size=2, embedding_size=4, hidden_layers=(8,)),
        training=Training(steps=20, batch_size=10, num_particles=2, num_samples=2),
        num_samples=10,
    )
    return Experiment(learner, data=data, **changes)


def run(folder, experiment, listener=None):
    return run_experiment(experiment, folder, listener).result


class Stop(Listener):
    """Gives up after some tasks, as a killed process would."""

    def __init__(self, after):
        self.after = after

    def task_done(self, number, stream, record):
        if number + 1 == self.after:
            raise KeyboardInterrupt


def comparable(result):
    plain = result.to_dict()
    return {key: value for key, value in plain.items() if key not in ("seconds", "versions")}


@pytest.mark.slow
@pytest.mark.parametrize("data", ["modes2d", "regression1d"])
def test_results_are_complete(tmp_path, data):
    folder = RunFolder(tmp_path / "run")
    folder.create("data: x\n")
    experiment = make_experiment(data)
    before = copy.deepcopy(vars(experiment.learner.training))
    result = run(folder, experiment)
    assert vars(experiment.learner.training) == before, "an experiment is not changed by running"
    loaded = RunResult.load(folder.path)
    assert comparable(loaded) == comparable(result)
    metrics = json.loads(folder.metrics.read_text())
    criteria = {"entropy", "confidence", "agreement", "mutual_information", "density", "combined"}
    if data == "modes2d":
        assert set(metrics["final"]["accuracy_task_inferred"]) >= criteria
        assert {"accuracy_task_given", "forgetting", "nll", "ece", "ood_auroc"} <= set(metrics["final"])
    else:
        assert set(metrics["final"]["mse_task_inferred"]) >= criteria
    assert len(metrics["kl"]) == len(metrics["per_task"]) == 3
    assert [loaded.kl[0].verdict in ("trusted", "not certified"), len(loaded.drift)] == [True, 2]
    assert all(0 <= record.accuracy <= 1 and record.lower <= record.upper for record in loaded.drift)
    assert loaded.per_task[1]["drift"] == loaded.drift[1].mmd
    assert all(task["negative_elbo_prior"] > 0 for task in metrics["per_task"])
    bound = [task["negative_elbo"] for task in metrics["per_task"]]
    assert metrics["final"]["negative_elbo"] == pytest.approx(sum(bound) / 3)
    assert ("elbo" in loaded.alarms) == any(
        task["negative_elbo"] >= task["negative_elbo_prior"] for task in metrics["per_task"]
    )
    assert all(kl["lower"] <= kl["upper"] for kl in metrics["kl"])
    assert folder.report.stat().st_size > 10_000
    assert any(folder.figures.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2])
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, after):
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    for folder in (whole, cut):
        folder.create("data: modes2d\n")
    options = {"data_options": {"num_tasks": after + 1}}
    expected = run(whole, make_experiment(**options))
    with pytest.raises(KeyboardInterrupt):
        run(cut, make_experiment(**options), Stop(after))
    assert cut.last_task() == after
    assert comparable(run(cut, make_experiment(**options))) == comparable(expected)


TINY = Training(steps=3, batch_size=10, num_particles=2, num_samples=2)
NET = MLPNetwork((6,), "gaussian")
KEEPERS = {
    "precision of growing weights": lambda: EWC(NET, heads=GrowingSoftmax(), training=TINY, num_samples=3),
    "examples": lambda: ExperienceReplay(NET, MeanFieldWeights(), memory_size=5, training=TINY, num_samples=3),
    "coreset and a generator": lambda: PosteriorReplay(
        NET,
        ImplicitGenerator(latent_size=2, embedding_size=2, hidden_layers=(4,)),
        coreset=Coreset(4, doubt=0.1, finish=TINY),
        training=TINY,
        num_samples=3,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kept", KEEPERS)
def test_all_that_a_learner_keeps_is_resumed(tmp_path, kept):
    found = []
    for name in ("whole", "cut"):
        folder, experiment = RunFolder(tmp_path / name), Experiment(KEEPERS[kept](), data="modes2d")
        folder.create("data: modes2d\n")
        if name == "cut":
            with pytest.raises(KeyboardInterrupt):
                run_experiment(experiment, folder, Stop(2))
        done = run_experiment(experiment, folder)
        records = [assessment.to_dict() for assessment in done.assessments]
        found.append((done.state.state_dict(), [{k: v for k, v in r.items() if k != "seconds"} for r in records]))
    torch.testing.assert_close(found[1][0], found[0][0], atol=0, rtol=0)
    assert found[1][1] == found[0][1]


COMMAND = [sys.executable, "-m", "bayeshnet", "run"]
OPTIONS = ["--data", "modes2d", "--quick", "--learner.training.steps", "60", "--learner.num_samples", "10", *SMALL]
OPTIONS += ["--output"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "whole"
    subprocess.run([*COMMAND, *OPTIONS, str(folder)], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return RunResult.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["config.yaml", "checkpoints/task-02.safetensors", "checkpoints/task-03.json"], ids=["1", "2", "3"]
)
def test_a_killed_command_is_finished_by_resume(moment, tmp_path, uninterrupted):
    """In the first task, between the two files of a checkpoint or soon after, and when all tasks are learnt."""
    folder = tmp_path / "killed"
    with subprocess.Popen([*COMMAND, *OPTIONS, str(folder)], env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while not (folder / moment).exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (folder / moment).exists()
    assert not (folder / "metrics.json").exists()
    subprocess.run([*COMMAND, "--resume", str(folder)], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    assert comparable(RunResult.load(folder)) == comparable(uninterrupted)


def test_the_check_of_an_implicit_posterior_holds_the_exact_kl():
    spec = WeightSpec.of_shapes([[4, 3], [4]])
    torch.manual_seed(0)
    hnet = HMLP(spec.shapes, uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=(), verbose=False).double()
    posterior = HypernetPosterior(hnet, scale=spec.whitening(dtype=torch.float64), weight_spec=spec)
    prior = FanInGaussian(spec, dtype=torch.float64)
    found = check_posterior(posterior(), prior)
    with torch.no_grad():
        exact = float(ClosedForm().estimate(posterior(), prior).value)
    information = found.mutual_information
    assert information.lower == information.livi == information.upper
    assert found.value == pytest.approx(exact, abs=1e-6)
    assert found.lower <= exact <= found.upper
    assert found.value == pytest.approx(found.analytic - information.livi)
    assert found.verdict == "trusted"


def test_checks_of_explicit_posteriors():
    q, p = MeanFieldGaussian(torch.zeros(3), torch.ones(3)), MeanFieldGaussian(torch.ones(3), torch.ones(3))
    found = check_posterior(q, p)
    assert found.value == found.lower == found.upper == pytest.approx(1.5)
    assert found.verdict == "trusted"
    assert check_posterior(Dirac(torch.zeros(3)), p).value is None


@pytest.mark.slow
def test_a_finished_run_is_not_finished_again(tmp_path, monkeypatch):
    """The examples that are kept are learned from once; a resumed run takes what came of it from the folder."""
    experiment = Experiment(KEEPERS["coreset and a generator"](), data="modes2d")
    first = run_experiment(experiment, tmp_path / "run")
    assert first.folder.is_finished()
    (tmp_path / "run" / "metrics.json").unlink()
    monkeypatch.setattr(PosteriorReplay, "finish", None)
    monkeypatch.setattr(PosteriorReplay, "learn", None)
    again = run_experiment(experiment, tmp_path / "run")
    assert comparable(again.result) == comparable(first.result)
    assert again.assessments == first.assessments
    torch.testing.assert_close(again.state.state_dict(), first.state.state_dict(), atol=0, rtol=0)


@pytest.mark.slow
def test_a_finished_run_is_not_resumed_under_another_configuration(tmp_path):
    experiment = Experiment(KEEPERS["coreset and a generator"](), data="modes2d")
    files = run_experiment(experiment, tmp_path / "run").folder
    files.config.write_text(files.open() + "# changed\n")
    with pytest.raises(ValueError, match="expected the configuration under which task 3 was learnt"):
        run_experiment(experiment, files)


@pytest.mark.slow
def test_the_old_two_calls_do_the_same(tmp_path):
    experiment, folder = make_experiment(**TWO), RunFolder(tmp_path / "old")
    folder.create("data: modes2d\n")
    stream = experiment.stream()
    with pytest.warns(DeprecationWarning, match=r"use bayeshnet\.runs\.run_experiment"):
        state, records = execute(experiment, folder, stream)
    with pytest.warns(DeprecationWarning, match=r"use bayeshnet\.runs\.run_experiment"):
        result = conclude(experiment, folder, stream, state, records)
    assert records[0]["given"]
    assert comparable(result) == comparable(run_experiment(experiment).result)


@pytest.mark.slow
def test_a_run_in_python_belongs_to_its_settings(tmp_path):
    """A folder is created, continued with the same settings, and refused for others."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_experiment(make_experiment(**TWO), folder, Stop(1))
    assert "seed: 0" in (folder / "config.yaml").read_text()
    with pytest.raises(ValueError, match="a run with the same settings"):
        run_experiment(make_experiment(seed=1, **TWO), folder)
    done = run_experiment(make_experiment(threads=2, **TWO), folder)
    assert len(done.assessments) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("precious")
    with pytest.raises(ValueError, match="does not exist yet"):
        run_experiment(make_experiment(), tmp_path / "mine")


@pytest.mark.slow
def test_threads_are_those_of_the_experiment_while_it_runs_only(tmp_path):
    seen, before = [], torch.get_num_threads()

    class Threads(Listener):
        def stream_done(self, stream):
            seen.append(torch.get_num_threads())

    run_experiment(make_experiment(threads=before + 1, **TWO), listener=Threads())
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


def test_configurations_are_complete_and_quick_ones_lie_over_them():
    for data, methods in available().items():
        for method in methods:
            whole, quick = named_configuration(data, method), named_configuration(data, method, quick=True)
            assert f"data: {data}" in whole
            assert "quick" not in whole
            assert whole != quick
    own, stream = (
        yaml.safe_load(named_configuration("modes2d", m))["learner"]["init_args"]["posterior"]["init_args"]
        for m in ("posterior-replay-ssge", "posterior-replay")
    )
    assert (own["sigma"], stream["sigma"]) == (0.1, "generated"), "a method's own arguments lie over the stream's"
    assert own["latent_size"] == stream["latent_size"] == 16
    assert merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}
    first, second = (
        {"features": {"class_path": name, "init_args": {size: 1}}} for name, size in (("A", "b"), ("C", "d"))
    )
    assert merge(first, second) == second, "arguments of another class are not kept"
    assert merge(first, {"features": {"init_args": {"e": 2}}})["features"]["init_args"] == {"b": 1, "e": 2}


def test_a_method_has_settings_of_its_own_in_a_stream(monkeypatch):
    """They lie over those of the stream, of its classes and of the method, and under the quick ones."""
    read = configuration._read
    training = {"steps": 7, "beta": 0.7}
    own = {"learner": {"init_args": {"training": training, "posterior": {"init_args": {"sigma": 0.7}}}}}

    def with_own(folder, name):
        found = read(folder, name)
        return {**found, "for_method": {"posterior-replay-tempered": own}} if folder == "streams" else found

    def settings(method, quick=False):
        learner = yaml.safe_load(named_configuration("modes2d", method, quick=quick))["learner"]["init_args"]
        return learner["training"]["steps"], learner["training"]["beta"], learner["posterior"]["init_args"]["sigma"]

    before = settings("posterior-replay")
    assert settings("posterior-replay-tempered") == (1500, 0.1, 0.1)
    monkeypatch.setattr(configuration, "_read", with_own)
    assert settings("posterior-replay-tempered") == (7, 0.7, 0.7)
    assert settings("posterior-replay-tempered", quick=True) == (300, 0.7, 0.7)
    assert settings("posterior-replay") == before


def test_settings_for_a_method_lie_over_those_for_its_classes():
    def settings(method, **options):
        return yaml.safe_load(named_configuration("split-digits", method, **options))["learner"]["init_args"]

    whole, quick = settings("posterior-replay"), settings("posterior-replay", quick=True)
    narrow = settings("posterior-replay-tempered")
    for found in (whole, quick, settings("posterior-replay-mean-field")):
        assert found["training"]["beta"] == 1.0
        assert found["posterior"]["init_args"]["last_gain"] == 50.0
    assert (whole["posterior"]["init_args"]["sigma"], quick["posterior"]["init_args"]["sigma"]) == 2 * ("generated",)
    assert quick["training"]["steps"] == 200
    assert (narrow["training"]["beta"], narrow["posterior"]["init_args"]["sigma"]) == (0.1, 0.1)
    assert "last_gain" not in narrow["posterior"]["init_args"]
    for data, methods in available().items():
        assert set(configuration._read("streams", data).get("for_method", {})) <= set(methods)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="seed"):
        make_experiment(seed=-1)
    with pytest.raises(ValueError, match="device: expected 'auto'"):
        make_experiment(device="nonsense")
    with pytest.raises(ValueError, match="data: expected one of"):
        make_experiment("nonsense").stream()


def test_runs_on_other_data_of_the_caller_are_no_repetitions():
    def result(shift, seed):
        x, y = torch.arange(48.0).reshape(24, 2) / 48 + shift, torch.arange(24) % 2
        learner = EWC(MLPNetwork((4,)), training=Training(steps=2), num_samples=3)
        return run_experiment(Experiment(learner, seed=seed), stream=from_arrays([(x, y)], name="own")).result

    first, again, other = result(0.0, 1), result(0.0, 2), result(1.0, 3)
    assert first.data == "own"
    assert not any(name.startswith("data_options") for name in first.settings)  # which are those of split-digits
    assert first.settings == again.settings != other.settings
    found = find_repetitions([first, again, other, first])
    assert [len(runs) for runs in found.rows.values()] == [2, 1]
    assert len(found.repeated) == 1


def test_results_name_the_stream_that_was_learned_though_the_experiment_names_another():
    learner = EWC(MLPNetwork((4,)), training=Training(steps=2), num_samples=3)
    result = run_experiment(Experiment(learner), stream=modes2d()).result
    assert result.data == "modes2d"
    assert "examples" in result.settings
