"""Data of figures: weights of the first layer as images, and the true values of a regression."""

import pytest
import torch
from torch import nn

from bayeshnet.builders import MLPNetwork, PointWeights
from bayeshnet.continual import Separate, Training
from bayeshnet.data import from_arrays
from bayeshnet.runs.results.figure_data import make_figure_data
from bayeshnet.runs.results.ood import predict_all

TRAINING = Training(steps=2, batch_size=4)


def stream_of(shape, kind="classification"):
    torch.manual_seed(0)
    tasks = []
    for _ in range(2):
        y = torch.arange(8) % 2 if kind == "classification" else torch.randn(8, 1)
        tasks.append((torch.randn(8, *shape), y, torch.randn(8, *shape), y))
    return from_arrays(tasks, kind=kind)


def data_of(network, stream):
    learner, state = Separate(network, PointWeights(), training=TRAINING, num_samples=3), None
    for task in stream:
        state = learner.learn(state, task, seed=1)
    return state, make_figure_data(learner, state, stream, predict_all(learner, state, stream, 0))


@pytest.mark.parametrize("kind", ["rows", "filters"])
def test_weights_of_the_first_layer_are_its_images(kind):
    """Rows as squares, filters as means over their channels; no more than sixteen."""
    network = (
        MLPNetwork((20,)) if kind == "rows" else nn.Sequential(nn.Conv2d(2, 20, 3), nn.Flatten(), nn.Linear(80, 2))
    )
    stream = stream_of((9,) if kind == "rows" else (2, 4, 4))
    state, data = data_of(network, stream)
    assert list(data.weights) == [task.name for task in stream]
    for number, image in enumerate(data.weights.values()):
        w = state.net.weight_spec.unflatten(state.posterior(number).draw(1).w[0])
        first = next(value for value in w.values() if value.ndim > 1)
        wanted = first[:16].reshape(16, 3, 3) if kind == "rows" else first[:16].mean(1)
        torch.testing.assert_close(image, wanted.detach())


def test_rows_that_are_no_squares_are_no_images():
    assert data_of(MLPNetwork((4,)), stream_of((7,)))[1].weights == {}


def test_without_a_known_function_the_truth_is_the_test_examples_in_order():
    stream = stream_of((1,), "regression")
    bands = data_of(MLPNetwork((4,)), stream)[1].bands
    for task, (x, y) in zip(stream, bands.truth, strict=True):
        order = task.test.x[:, 0].argsort()
        assert torch.equal(x, task.test.x[order, 0])
        assert torch.equal(y, task.test.y[order, 0])
