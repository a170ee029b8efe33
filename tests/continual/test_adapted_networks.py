"""Learners of adapters: a trained network stays as it is, and a few numbers of it are random for each task."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MeanFieldGenerator, MeanFieldWeights
from bayeshnet.continual import EWC, PosteriorReplay, Separate, SharedHead, Split, Task, Training, load_state
from bayeshnet.functional import batched_forward
from bayeshnet.mnets import ModuleMainNet, adapt
from tests.support.tasks import learn, same_state


def task(number):
    """The class is the sign of one input, another one for each task."""
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(number))
    y = (x[:, number] > 0).long()
    return Task(f"sign {number}", Split(x[:60], y[:60]), Split(x[60:], y[60:]), 2, labels=(2 * number, 2 * number + 1))


TASKS = [task(0), task(1)]
BRIEF = Training(steps=6, batch_size=20)


def body(seed=0):
    """A network that was trained for something near: the sign of the sum of the inputs."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    x = torch.randn(200, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), (x.sum(1) > 0).long()).backward()
        optimizer.step()
    return net.eval()


class Own(nn.Module):
    """A network of a class of one's own, which files cannot describe."""

    def __init__(self):
        super().__init__()
        self.layers = body()

    def forward(self, x):
        return self.layers(x)


def accuracy(learner, state, number):
    test = TASKS[number].test
    return float((learner.predict(state, test.x, number).label == test.y).float().mean())


KINDS = {
    "lora": lambda net: adapt(net, "lora", rank=2),
    "film": lambda net: adapt(net, "film"),
    "bias": lambda net: adapt(net, "bias", select="2.weight"),
    "last_layer": lambda net: adapt(net, "last_layer"),
}


def generator(**options):
    return ImplicitGenerator(latent_size=2, embedding_size=4, hidden_layers=(16,), **options)


def test_one_hypernetwork_adapts_a_trained_network_to_each_task():
    training = Training(steps=120, batch_size=60, lr=5e-2, num_particles=2, beta=0.01)
    trained = body()
    assert [float((trained(t.test.x).argmax(1) == t.test.y).float().mean()) < 0.8 for t in TASKS] == [True, True]
    replay = PosteriorReplay(adapt(trained, "lora", rank=2), generator(), training=training, num_samples=10)
    state = learn(replay, TASKS)
    assert [accuracy(replay, state, t) > 0.85 for t in range(2)] == [True, True]
    separate = Separate(adapt(trained, "lora", rank=2), MeanFieldWeights(), training=training, num_samples=10)
    state = learn(separate, TASKS)
    assert [accuracy(separate, state, t) > 0.85 for t in range(2)] == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_saved_and_draws_are_exported(kind, tmp_path):
    trained = body()
    before = copy.deepcopy(trained.state_dict())
    net = KINDS[kind](trained)
    replay = PosteriorReplay(net, generator(), training=BRIEF, num_samples=10)
    state = learn(replay, TASKS)
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())
    kept = dict(net.named_parameters())
    assert [key for key, value in state.net.named_parameters() if not torch.equal(value, kept[key])] == []
    again = load_state(state.save(tmp_path))
    assert same_state(again, state)
    x = TASKS[1].test.x
    assert torch.equal(again.learner.predict(again, x).means, replay.predict(state, x).means)
    weights = state.posterior(1).draw(4, torch.Generator().manual_seed(0)).w.detach()
    plain = body(seed=1)  # a network as the user has it, with other values
    outputs = []
    for w in weights:
        plain.load_state_dict(state.net.to_module(w).state_dict())
        outputs.append(plain(x))
    torch.testing.assert_close(torch.stack(outputs), batched_forward(state.net, weights, x))


def test_other_learners_take_adapters_as_any_weights():
    """Generated posteriors that are explicit, and gradients of each example."""
    net = adapt(body(), "lora", rank=2)
    for learner in (
        PosteriorReplay(net, MeanFieldGenerator(embedding_size=4, hidden_layers=(16,)), training=BRIEF, num_samples=3),
        EWC(net, heads=SharedHead(), training=BRIEF, num_samples=1),
    ):
        state = learn(learner, TASKS)
        assert learner.predict(state, TASKS[0].test.x).means.isfinite().all()


class Product(nn.Module):
    """Logits of embedded tokens times a linear map of numbers: two inputs, one of them integers."""

    def __init__(self):
        super().__init__()
        self.words, self.numbers, self.out = nn.Embedding(9, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, tokens, x):
        return self.out(torch.tanh(self.words(tokens).mean(1)) * torch.tanh(self.numbers(x)))


def test_tokens_and_several_inputs_reach_the_adapted_layers():
    torch.manual_seed(0)
    module = Product()
    x = torch.randint(9, (40, 5)), torch.randn(40, 3)
    y = (x[1][:, 0] > 0).long()
    made = Task("two inputs", Split(x, y), Split(x, y), 2)
    learner = Separate(adapt(module, "lora", rank=2), MeanFieldWeights(), training=BRIEF, num_samples=3)
    state = learner.learn(None, made)
    weights = state.posterior(0).draw(3, torch.Generator().manual_seed(0)).w.detach()
    merged = torch.stack([state.net.to_module(w)(*x) for w in weights])
    torch.testing.assert_close(batched_forward(state.net, weights, x), merged)
    assert learner.predict(state, x, 0).mean.shape == (40, 2)


def test_a_network_of_ones_own_is_loaded_with_its_learner(tmp_path):
    def make():
        return Separate(adapt(Own(), "lora", rank=2), MeanFieldWeights(), training=Training(steps=5), num_samples=3)

    learner = make()
    state = learner.learn(None, TASKS[0])
    folder = state.save(tmp_path)
    with pytest.raises(ValueError, match=r"learner: expected the learner .* The files cannot describe .*Own"):
        load_state(folder)
    again = load_state(folder, learner=make())
    assert same_state(again, state)
    assert isinstance(again.net, ModuleMainNet)
