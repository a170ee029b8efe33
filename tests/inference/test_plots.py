"""Small figures and representations of runs and predictions."""

import sys

import matplotlib as mpl
import pytest
import torch
from torch import nn

from bayeshnet import BayesianModel, FanInGaussian, Predictive, fit
from bayeshnet.errors import MissingExtraError
from bayeshnet.guides import Categorical, Gaussian, MeanFieldGuide
from bayeshnet.inference import FitResult

mpl.use("agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def result(**parts):
    history = {"loss": torch.arange(200.0), "nll": torch.full((200,), torch.nan), **parts}
    return FitResult(history, 200, 1.25, "finished", {"secret": torch.zeros(10**6)}, {"elbo": "is below the prior's"})


def predicted(likelihood, n_out=1, **options):
    net = nn.Linear(1, n_out)
    x = torch.tensor([[2.0], [0.0], [1.0]])
    return x, Predictive(MeanFieldGuide(net), net, likelihood, 20)(x, **options)


def test_a_result_shows_the_means_of_its_last_steps():
    assert result().final(100) == {"loss": pytest.approx(149.5)}
    assert result().final(1) == {"loss": pytest.approx(199.0)}
    shown = repr(result())
    assert shown == "FitResult(steps=200, seconds=1.2, stopped='finished', loss=149.5, alarms=['elbo'])"
    table = result()._repr_html_()
    assert "<th>loss</th><td>149.5</td>" in table
    assert "is below the prior&#x27;s" in table


def test_a_result_is_drawn_with_its_running_mean():
    ax = result().plot()
    mean = ax.lines[1]
    assert mean.get_xdata()[0] == 49
    assert mean.get_ydata()[0] == pytest.approx(24.5)
    assert mean.get_label() == "negative ELBO per example"
    assert result().plot(ax) is ax


def test_a_short_run_is_drawn():
    net = nn.Linear(1, 1)
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(0.3))
    found = fit(model, guide, (torch.randn(8, 1), torch.randn(8, 1)), num_steps=2)
    assert len(found.plot().lines) == 4
    assert "kl=" in repr(found)


def test_a_prediction_shows_sizes_and_no_tensors():
    x, prediction = predicted(Categorical(), 3, keep_samples=True)
    text = repr(prediction)
    assert text.startswith("Prediction(kind='classification', mean=tensor(3, 3), num_samples=20, total=")
    assert "samples=tensor(20, 3, 3)" in text
    assert f"{prediction.total.double().mean().item():.4g} (nats, mean of {len(x)})" in prediction._repr_html_()


def test_bands_are_two_standard_deviations_of_networks_and_targets():
    x, prediction = predicted(Gaussian(0.3))
    ax = prediction.plot(x)
    assert ax.lines[0].get_xdata().tolist() == [0.0, 1.0, 2.0]
    order = x[:, 0].argsort()
    for band, variance in zip(ax.collections, (prediction.total, prediction.epistemic), strict=True):
        top = torch.from_numpy(band.get_paths()[0].vertices[:, 1]).max().item()
        expected = (prediction.mean[order, 0] + 2 * variance[order].sqrt()).max().item()
        assert top == pytest.approx(expected, rel=1e-5)


def test_probabilities_are_stacked_to_one():
    _, prediction = predicted(Categorical(), 3)
    bars = prediction.plot().containers
    heights = torch.tensor([[bar.get_height() for bar in bars_of_class] for bars_of_class in bars])
    torch.testing.assert_close(heights, prediction.mean.T, check_dtype=False)
    assert bars[2][0].get_y() == pytest.approx(prediction.mean[0, :2].sum().item())


def test_what_cannot_be_drawn_is_refused():
    x, prediction = predicted(Gaussian(0.3), 2)
    with pytest.raises(ValueError, match="prediction: expected one value for each input"):
        prediction.plot(x)
    with pytest.raises(ValueError, match="x: expected"):
        predicted(Gaussian(0.3))[1].plot(torch.zeros(5))
    net = nn.Conv2d(1, 3, 1)
    maps = Predictive(MeanFieldGuide(net), net, Categorical(), 2)(torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="prediction: expected classes of inputs, not of places in them"):
        maps.plot()


def test_a_run_without_any_number_is_drawn_all_the_same():
    ax = result(loss=torch.full((200,), torch.inf)).plot()
    assert len(ax.lines) == 4
    assert ax.get_xlabel() == "step"


def test_matplotlib_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"bayeshnet\[app\]"):
        result().plot()
