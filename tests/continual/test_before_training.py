"""Networks and inputs that do not fit are refused before training; what fits is learned, integers included."""

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, MLPNetwork
from bayeshnet.continual import (
    EWC,
    ExperienceReplay,
    NoiseOutliers,
    PosteriorReplay,
    PriorFocused,
    SharedHead,
    Training,
    diagonal_fisher,
)
from bayeshnet.continual.learner import check_before_training
from bayeshnet.data import from_arrays, from_datasets, split_by_class
from bayeshnet.guides import Categorical
from bayeshnet.inference import Callback
from bayeshnet.mnets import ModuleMainNet
from bayeshnet.tasks import Split, Task, TaskStream

D = torch.float64
SHORT = Training(steps=3)


class Gate(nn.Module):
    """A network that looks at a value in its forward pass, which cannot be vectorized."""

    def __init__(self, looks=True):
        super().__init__()
        self.a, self.b, self.looks = nn.Linear(4, 4), nn.Linear(4, 2), looks

    def forward(self, x):
        h = self.a(x)
        up = h.sum() > -100
        return self.b(torch.tanh(2 * h if up.item() else h) if self.looks else torch.tanh(2 * h))


class Double(torch.autograd.Function):
    """Twice the input, without a batching rule."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


class Custom(Gate):
    def forward(self, x):
        return self.b(torch.tanh(Double.apply(self.a(x))))


def data(n=20):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=generator), torch.arange(n) % 2


def task(x=None, y=None):
    x, y = (data()[0] if x is None else x), (data()[1] if y is None else y)
    return Task("a", Split(x, y), Split(x, y), 2)


def text(width=3):
    return nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(4 * width, 2))


@pytest.mark.parametrize("kind", [Gate, Custom])
def test_the_looped_fisher_matrix_equals_the_vectorized_one_and_the_formula(kind):
    x, y = data()
    x = x.to(D)
    torch.manual_seed(0)
    nets = [ModuleMainNet(made().to(D)) for made in (kind, lambda: Gate(looks=False))]
    flat = torch.randn(nets[0].weight_spec.numel, dtype=D)
    looped, mapped = (diagonal_fisher(net, Categorical(), flat, x, y, batch_size=8) for net in nets)
    torch.testing.assert_close(looped, mapped, rtol=1e-12, atol=1e-12)
    a, a0, b, b0 = (part.requires_grad_() for part in flat.split((16, 4, 8, 2)))
    total = torch.zeros_like(flat)
    for one, label in zip(x, y, strict=True):
        logits = torch.tanh(2 * (a.view(4, 4) @ one + a0)) @ b.view(2, 4).T + b0
        rows = torch.autograd.grad(logits.log_softmax(-1)[label], (a, a0, b, b0))
        total += torch.cat(rows).square()
    torch.testing.assert_close(looped, total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [Gate, Custom])
def test_ewc_learns_with_networks_that_cannot_be_vectorized(kind):
    state = EWC(kind(), heads=SharedHead(), training=SHORT).learn(None, task())
    assert bool((state.memory.precision >= 0).all())
    assert state.num_tasks == 1


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_batch_statistics_are_refused_before_training(norm):
    if norm == "batch":
        module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        net = ModuleMainNet(module, batch_norm="batch")
    else:
        module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 2))
        net = ModuleMainNet(module)
    seen = []

    class Note:
        def on_start(self, run):
            seen.append(run)

        def on_step(self, run): ...

        def on_end(self, run): ...

    with pytest.raises(ValueError, match="net: expected a network that treats each example independently"):
        EWC(net, heads=SharedHead(), training=SHORT).learn(None, task(), callbacks=[Note()])
    assert not seen
    tracked = ModuleMainNet(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)), batch_norm="track")
    assert EWC(tracked, heads=SharedHead(), training=SHORT).learn(None, task()).num_tasks == 1
    instance = nn.Sequential(nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2), nn.Flatten(), nn.Linear(4, 2))
    assert EWC(instance, heads=SharedHead(), training=SHORT).learn(None, task()).num_tasks == 1


def test_inputs_that_the_network_does_not_take_are_refused_with_the_cause():
    with pytest.raises(ValueError, match=r"network: expected one that takes .*RuntimeError: ") as caught:
        PriorFocused(nn.Linear(3, 2), MeanFieldWeights(), heads=SharedHead(), training=SHORT).learn(None, task())
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "tokens" not in str(caught.value)  # the inputs are no integers, and the network has no embedding
    floating = from_arrays([(torch.randint(50, (40, 3)), data(40)[1])])[0]
    with pytest.raises(ValueError, match=r"network: expected one that takes .* from_arrays\(tokens=True\)"):
        PriorFocused(text(), MeanFieldWeights(), heads=SharedHead(), training=SHORT).learn(None, floating)


def test_the_check_leaves_networks_and_generators_alone():
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    net = ModuleMainNet(module, batch_norm="track")
    learner = EWC(net, heads=SharedHead(), training=SHORT)
    state = learner.initial_state(task())
    before = {name: value.clone() for name, value in state.net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    check_before_training(state, state.net, data()[0], learner.needs_example_gradients)
    assert torch.equal(torch.get_rng_state(), expected)
    assert all(torch.equal(value, before[name]) for name, value in state.net.state_dict().items())


LEARNERS = {
    "posterior replay": lambda: PosteriorReplay(text(), ImplicitGenerator(latent_size=3), training=SHORT),
    "prior focused": lambda: PriorFocused(text(), MeanFieldWeights(), heads=SharedHead(), training=SHORT),
    "ewc": lambda: EWC(text(), heads=SharedHead(), training=SHORT),
    "replay": lambda: ExperienceReplay(text(), MeanFieldWeights(), heads=SharedHead(), training=SHORT),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_tokens_are_learned_saved_and_predicted(name):
    torch.manual_seed(0)
    learner = LEARNERS[name]()
    stream = from_arrays([(torch.randint(50, (40, 3)), data(40)[1]) for _ in range(2)], tokens=True)
    assert stream[0].train.x.dtype == torch.int64
    state = None
    for one in stream:
        state = learner.learn(state, one)
    x = stream[0].test.x
    given = learner.predict(state, x, 1)
    assert given.mean.shape == (10, 2)
    restored = learner.restore(stream[0], 2)
    if hasattr(restored.memory, "resize_like"):
        restored.memory.resize_like({k.removeprefix("memory."): v for k, v in state.state_dict().items()})
    restored.load_state_dict(state.state_dict())
    assert torch.equal(learner.predict(restored, x, 1).mean, given.mean)
    inferred = learner.predict(state, x)
    assert "entropy" in inferred.criteria
    assert not {"density", "combined"} & set(inferred.criteria)
    assert inferred.label("entropy").shape == (10,)
    for criterion in ("density", "combined"):
        with pytest.raises(ValueError, match=r"criterion: expected .* Integer inputs have no density"):
            inferred.task(criterion)


def test_tokens_come_from_data_sets_and_must_be_integers():
    pairs = torch.utils.data.TensorDataset(torch.randint(50, (8, 3)), torch.arange(8) % 2)
    assert from_datasets([pairs], tokens=True)[0].train.x.dtype == torch.int64
    assert from_datasets([pairs])[0].train.x.dtype == torch.float32
    with pytest.raises(ValueError, match=r"x of tasks\[0\]: expected an array of integers"):
        from_arrays([data()], tokens=True)
    stream = from_arrays([([[1, 2], [3, 4]] * 4, [0, 1] * 4)], tokens=True, outliers={"o": torch.ones(2, 2).long()})
    moved = stream.to(dtype=D)
    assert (moved[0].train.x.dtype, moved.outliers["o"].dtype) == (torch.int64, torch.int64)
    assert isinstance(moved, TaskStream)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.int8, torch.bool])
def test_targets_of_other_integer_types_are_learned_as_int64(dtype):
    x, y = data()
    split = Split(x, y.to(dtype))
    assert split.y.dtype == torch.int64
    assert torch.equal(split.y, y)
    learner = EWC(MLPNetwork((4,)), training=SHORT)
    states = [learner.learn(None, task(x, t)) for t in (y, y.to(dtype))]
    for name, value in states[0].state_dict().items():
        assert torch.equal(value, states[1].state_dict()[name]), name
    stream = from_arrays([(x, y.to(dtype))])
    assert stream[0].train.y.dtype == torch.int64


def test_splits_refuse_what_is_no_data():
    x, y = data()
    with pytest.raises(TypeError, match="x"):
        Split((x, "text"), y)
    with pytest.raises(ValueError, match="x"):
        Split((x, x[1:]), y)
    with pytest.raises(TypeError, match="x and y: expected real tensors"):
        Split(x.to(torch.complex64), y)
    with pytest.raises(ValueError, match="x and y: expected one row per example"):
        Split(torch.tensor(1.0), torch.tensor(1))


def test_tokens_can_be_split_by_class():
    x, y = torch.randint(50, (40, 3)), torch.arange(40) % 4
    stream = split_by_class(x, y, tokens=True)
    assert [one.train.x.dtype for one in stream] == [torch.int64] * 2
    rows = {tuple(row) for row in x[y < 2].tolist()}
    assert {tuple(row) for part in stream[0].splits().values() for row in part.x.tolist()} == rows
    assert split_by_class(x, y)[0].train.x.dtype == torch.float32


def test_outlier_exposure_refuses_tokens():
    learner = PriorFocused(text(), MeanFieldWeights(), heads=SharedHead(), training=SHORT, outliers=NoiseOutliers())
    with pytest.raises(TypeError, match="outliers: expected None, or floating inputs in one tensor"):
        learner.learn(None, task(torch.randint(50, (20, 3))))


@pytest.mark.parametrize("change", [lambda x: x.half(), lambda x: x.bfloat16(), lambda x: 1e30 * x])
def test_inputs_without_a_density_are_refused_before_training(change):
    steps = []

    class Count(Callback):
        def on_step(self, run):
            steps.append(run.step)

    learner = PriorFocused(MLPNetwork((4,)), MeanFieldWeights(), training=SHORT)
    with pytest.raises(ValueError, match=r"x: expected inputs (of torch\.float32|whose squares do not overflow)"):
        learner.learn(None, task(change(data()[0])), callbacks=[Count()])
    assert steps == []
    learner.learn(None, task(1e3 * data()[0]), callbacks=[Count()])
    assert len(steps) == SHORT.steps


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_networks_that_cannot_be_copied_are_refused():
    x, y = torch.randn(20, 4), torch.arange(20) % 2
    task = Task("a", Split(x, y), Split(x, y), 2)
    hooked = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(4, 2)))
    empty = nn.Linear(4, 2, device="meta")
    with pytest.raises(ValueError, match="module: expected parameters that no hook recomputes"):
        EWC(hooked, training=Training(steps=1)).learn(None, task)
    with pytest.raises(ValueError, match="network: expected one whose parameters have values"):
        EWC(empty, training=Training(steps=1)).learn(None, task)
