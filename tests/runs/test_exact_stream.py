"""A run of the learner of exact heads: no steps, results and figures, resumed from its folder; its configurations."""

from __future__ import annotations

import torch
import yaml
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from bayeshnet.continual import DensitySettings, ExactStream
from bayeshnet.data import split_digits
from bayeshnet.features import Frozen, PatchFilters, RandomFourier
from bayeshnet.runs import Experiment, RunFolder, load_run, run_experiment
from bayeshnet.runs.configuration import available, default_method, named_configuration
from bayeshnet.runs.results.ood import measure_abstention, predict_all


def test_a_run_is_complete_and_resumed(tmp_path):
    learner = ExactStream(RandomFourier(40), density=DensitySettings(num_parts=1))
    experiment = Experiment(learner, data="modes2d", method="exact-stream", device="cpu")
    whole = run_experiment(experiment, tmp_path / "run")
    assert whole.result is not None
    final = whole.result.final
    assert final["accuracy_task_given"] > 99
    assert final["labels"]["accuracy"] > 95
    assert final["accuracy_task_inferred"]["combined"] > 95
    loaded = load_run(tmp_path / "run", experiment=experiment)
    x = torch.randn(20, 2)
    assert torch.equal(
        loaded.learner.predict(loaded.state, x).label_probs(), learner.predict(whole.state, x).label_probs()
    )
    for stale in (tmp_path / "run" / "checkpoints").glob("task-03*"):
        stale.unlink()
    again = run_experiment(experiment, RunFolder(tmp_path / "run"))
    assert again.result is not None
    assert again.result.final["labels"] == final["labels"]


def test_the_rate_of_false_alarms_is_what_was_asked_for():
    """Digits, without validation examples: at most 5 % of test inputs are refused, but for 2.5 points of chance."""
    stream = split_digits(data_seed=0)
    features = PatchFilters(20, patch_size=4, grid=2, mirror=False, image_shape=(1, 8, 8))
    learner, state = ExactStream(features, density=DensitySettings(num_parts=1, grid=2)), None
    for number, task in enumerate(stream):
        state = learner.learn(state, task, seed=number)
    found = predict_all(learner, state, stream, 0)
    assert found.calibrated_on == "training"
    rates = measure_abstention(found, 0.05).scores["combined"]
    assert 0.5 < rates.false_alarm < 7.5
    assert min(rates.refused.values()) > 90


def test_configurations_have_features_and_no_training():
    for data, methods in available().items():
        if "exact-stream" not in methods:
            assert data == "regression1d"
            continue
        for quick in (False, True):
            settings = yaml.safe_load(named_configuration(data, "exact-stream", quick=quick))
            assert settings["learner"]["class_path"] == "ExactStream"
            assert "features" in settings["learner"]["init_args"]
            assert set(settings["learner"]["init_args"]) <= {"features", "density"}


def test_streams_without_a_method_of_their_own_have_the_usual_one():
    assert default_method("split-digits") == default_method("unknown") == "posterior-replay"
    assert default_method("split-fashion-mnist") == "exact-stream"


def test_the_quick_form_has_fewer_features():
    read = [yaml.safe_load(named_configuration("split-fashion-mnist", "exact-stream", quick=q)) for q in (False, True)]
    whole, quick = (settings["learner"]["init_args"]["features"]["init_args"] for settings in read)
    assert quick.pop("num_filters") < whole.pop("num_filters") / 4
    assert quick == whole
    other = yaml.safe_load(named_configuration("split-fashion-mnist", "posterior-replay", quick=True))
    assert "features" not in other["learner"]["init_args"]


def test_baselines_in_closed_form_keep_their_own_features():
    for quick in (False, True):
        read = {
            method: yaml.safe_load(named_configuration("split-fashion-mnist", method, quick=quick))["learner"]
            for method in ("pixel-lda", "fourier-ridge")
        }
        assert {learner["class_path"] for learner in read.values()} == {"ExactStream"}
        own = {method: learner["init_args"] for method, learner in read.items()}
        assert own["pixel-lda"]["head"] == "gaussian"
        assert own["pixel-lda"]["features"] == {"class_path": "Frozen", "init_args": {"module": "torch.nn.Flatten"}}
        assert own["fourier-ridge"]["features"]["init_args"] == {"num_features": 2000}


def test_pixel_lda_is_linear_discriminant_analysis():
    """All classes of the stream together, as by another program; the amounts of shrinkage differ."""
    stream = split_digits()
    settings = yaml.safe_load(named_configuration("split-digits", "pixel-lda"))["learner"]["init_args"]
    learner = ExactStream(Frozen(torch.nn.Flatten()), head=settings["head"], density=DensitySettings(num_parts=1))
    state = None
    for task in stream:
        state = learner.learn(state, task)
    train, test = (
        (
            torch.cat([getattr(t, part).x for t in stream]).flatten(1),
            torch.cat([torch.tensor(t.labels)[getattr(t, part).y] for t in stream]),
        )
        for part in ("train", "test")
    )
    other = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(train[0].numpy(), train[1].numpy())
    agree = learner.predict(state, test[0]).label().numpy() == other.predict(test[0].numpy())
    assert agree.mean() > 0.97
