"""Batch norm in learners: statistics belong to the task, so that later tasks change no earlier one."""

import copy

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, NetworkBuilder, PointWeights
from bayeshnet.continual import (
    EWC,
    Coreset,
    ExperienceReplay,
    FineTuning,
    FixedSoftmax,
    Joint,
    OutputRegularizer,
    PatchOutliers,
    PosteriorReplay,
    PriorFocused,
    Separate,
    SharedHead,
    Training,
)
from bayeshnet.inference import load_checkpoint, save_checkpoint
from bayeshnet.mnets import MLP, ModuleMainNet, ResNet
from bayeshnet.mnets.running_statistics import ConditionStatistics, copy_statistics, holding, running_statistics
from bayeshnet.tasks import Split, Task

# Tasks with inputs of different means and widths, which batch norm has to keep apart.
CENTERS, WIDTHS = (0.0, 6.0, -9.0), (1.0, 3.0, 0.3)


def split(number, num):
    generator = torch.Generator().manual_seed(10 * number + num)
    z = torch.randn(num, 4, generator=generator)
    z[:, number] += 2.0 * z[:, number].sign()  # classes with room between them
    return Split(CENTERS[number] + WIDTHS[number] * z, (z[:, number] > 0).long())


def make_task(number):
    return Task(f"task {number}", split(number, 200), split(number, 101), 2)


TASKS = [make_task(number) for number in range(3)]


def module():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


NETWORKS = {
    "module": module,
    "wrapped": lambda: ModuleMainNet(module(), batch_norm="track"),
    "ours": lambda: MLP(4, 2, (16,), use_batch_norm=True, no_weights=True, verbose=False),
}
QUICK = {"training": Training(steps=100, batch_size=50, lr=2e-2, num_particles=2), "num_samples": 5}
BRIEF = {"training": Training(steps=4, batch_size=20, num_particles=2), "num_samples": 3}


def learn(learner, tasks=TASKS):
    state, states = None, []
    for task in tasks:
        state = learner.learn(state, task)
        states.append(state)
    return states


def accuracy(learner, state, number):
    test = TASKS[number].test
    return (learner.predict(state, test.x, number).label == test.y).float().mean().item()


def sets_of(state):
    return [state.statistics.tensors(t) for t in range(len(state.statistics))]


@pytest.mark.parametrize("name", NETWORKS)
def test_independent_posteriors_predict_the_first_task_as_before_bit_for_bit(name):
    learner = Separate(NETWORKS[name](), PointWeights(), **QUICK)
    states = learn(learner)
    x = TASKS[0].test.x
    first = learner.predict(states[0], x, 0).mean
    assert accuracy(learner, states[0], 0) == 1.0
    for state in states[1:]:
        assert torch.equal(learner.predict(state, x, 0).mean, first)


@pytest.mark.parametrize("name", [pytest.param("module", marks=pytest.mark.slow), "ours"])
def test_posterior_replay_forgets_nothing_over_three_tasks(name):
    learner = PosteriorReplay(
        NETWORKS[name](),
        ImplicitGenerator(latent_size=2, embedding_size=8),
        regularizer=OutputRegularizer(1.0),
        training=Training(steps=150, batch_size=50, lr=2e-2, num_particles=2, beta=0.1),
        num_samples=5,
    )
    states = learn(learner)
    assert [accuracy(learner, state, 0) for state in states] == [1.0, 1.0, 1.0]
    assert [accuracy(learner, states[2], number) for number in range(3)] == [1.0, 1.0, 1.0]
    for name, value in sets_of(states[0])[0].items():
        assert torch.equal(value, sets_of(states[2])[0][name])


def test_one_set_for_all_tasks_forgets():
    accuracies = {}
    for use in ("task", "track"):
        learner = Separate(module(), PointWeights(), batch_norm=use, **QUICK)
        states = learn(learner)
        accuracies[use] = [accuracy(learner, state, 0) for state in states]
    assert accuracies["task"][0] == accuracies["task"][2]
    assert accuracies["track"][2] < accuracies["track"][0] - 0.2


def test_statistics_are_those_of_the_inputs_of_the_task():
    """A layer on the inputs: its running mean is a moving average of the means of the batches, here of all data."""
    net = nn.Sequential(nn.BatchNorm1d(4, momentum=0.5), nn.Linear(4, 2))
    learner = Separate(net, PointWeights(), training=Training(steps=60, batch_size=200, num_particles=1))
    state = learn(learner)[-1]
    for number, entries in enumerate(sets_of(state)):
        x = TASKS[number].train.x
        torch.testing.assert_close(entries["module.0.running_mean"], x.mean(0), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(entries["module.0.running_var"], x.var(0), rtol=1e-4, atol=1e-4)
        assert int(entries["module.0.num_batches_tracked"]) == 60
    assert torch.equal(state.net.module[0].running_mean, torch.zeros(4))


def test_inferring_the_task_evaluates_each_candidate_under_its_own_statistics():
    learner = PosteriorReplay(module(), ImplicitGenerator(latent_size=3), **BRIEF)
    state = learn(learner)[-1]
    x = torch.cat([task.test.x[:3] for task in TASKS])
    inferred = learner.predict(state, x)
    for number in range(3):
        given = learner.predict(state, x, number)
        assert torch.equal(inferred.predictions[number].mean, given.mean)
        # By hand: the task's statistics in a copy of the network, and the draws of the task's posterior.
        net = copy.deepcopy(state.net)
        for name, (part, key) in running_statistics(net).items():
            part._buffers[key] = state.statistics.tensors(number)[name].clone()
        w = state.posterior(number).draw(3, torch.Generator().manual_seed(0)).w
        by_hand = torch.stack([net(x, weights=net.weight_spec.split(one)).softmax(-1) for one in w]).mean(0)
        torch.testing.assert_close(given.mean, by_hand)
        # Neighbors have no influence: neither of the same task nor of others.
        torch.testing.assert_close(learner.predict(state, x[4:5], number).mean, given.mean[4:5])


@pytest.mark.parametrize("heads", [SharedHead, lambda: FixedSoftmax(3)])
def test_one_softmax_over_all_classes_takes_each_task_under_its_own_statistics(heads):
    heads = heads()
    width = heads.width(1, 2)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, width))
    learner = FineTuning(net, PointWeights(), heads=heads, **BRIEF)
    state = learn(learner)[-1]
    x = TASKS[1].test.x[:7]
    found = learner.predict(state, x).task_log_prob
    if not heads.joint:
        assert found is None
        return
    for number in range(3):
        probs = learner.predict_with(state, state.net, number, x).mean
        torch.testing.assert_close(found[:, number].exp(), probs[:, 2 * number : 2 * number + 2].sum(1))


BRIEFLY = Coreset(size=10, finish=Training(steps=4, batch_size=10, num_particles=2))
LEARNERS = {
    "replay": lambda net: PosteriorReplay(net, ImplicitGenerator(latent_size=2), coreset=BRIEFLY, **BRIEF),
    "outliers": lambda net: Separate(net, PointWeights(), outliers=PatchOutliers(), **BRIEF),
    "prior": lambda net: PriorFocused(net, MeanFieldWeights(), heads=SharedHead(), **BRIEF),
    "ewc": lambda net: EWC(net, heads=SharedHead(), **BRIEF),
    "examples": lambda net: ExperienceReplay(net, MeanFieldWeights(), heads=SharedHead(), memory_size=1, **BRIEF),
    "joint": lambda net: Joint(net, MeanFieldWeights(), heads=SharedHead(), **BRIEF),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_no_learner_changes_the_statistics_of_an_earlier_task_and_states_are_restored(name, tmp_path):
    learner = LEARNERS[name](module())
    states = learn(learner)
    last = learner.finish(states[-1])
    for number in range(3):
        for key, value in sets_of(states[number])[number].items():
            assert torch.equal(sets_of(last)[number][key], value), (number, key)
    assert not torch.equal(sets_of(last)[0]["module.1.running_mean"], sets_of(last)[1]["module.1.running_mean"])
    save_checkpoint(tmp_path / "state", last)
    restored = learner.restore(TASKS[0], 3)
    load_checkpoint(tmp_path / "state", restored)
    for number in range(3):
        x = TASKS[number].test.x
        assert torch.equal(learner.predict(restored, x, number).mean, learner.predict(last, x, number).mean)


def test_pseudo_outliers_and_stored_examples_do_not_enter_the_statistics():
    made = {}
    for outliers in (None, PatchOutliers(weight=0.0)):
        net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
        learner = Separate(net, PointWeights(), outliers=outliers, training=Training(steps=5, num_particles=1))
        made[outliers is None] = sets_of(learner.learn(None, TASKS[1]))[0]
    torch.testing.assert_close(made[True]["module.0.running_mean"], made[False]["module.0.running_mean"])
    assert int(made[False]["module.0.num_batches_tracked"]) == 5


@pytest.mark.parametrize("with_prefix", [False, True])
def test_states_saved_with_one_set_for_all_tasks_are_loaded(with_prefix, tmp_path):
    old = Separate(module(), PointWeights(), batch_norm="track", **BRIEF)
    state = learn(old)[-1]
    assert state.statistics is None
    learner = Separate(module(), PointWeights(), **BRIEF)
    restored = learner.restore(TASKS[0], 3)
    if with_prefix:
        nn.ModuleDict({"state": restored}).load_state_dict({f"state.{k}": v for k, v in state.state_dict().items()})
    else:
        save_checkpoint(tmp_path / "old", state)
        load_checkpoint(tmp_path / "old", restored)
    x = TASKS[1].test.x
    for number in range(3):
        assert torch.equal(learner.predict(restored, x, number).mean, old.predict(state, x, number).mean)


def test_networks_without_statistics_have_none_in_their_state():
    for net in (nn.Linear(4, 2), ModuleMainNet(module(), batch_norm="batch")):
        state = Separate(net, PointWeights(), **BRIEF).learn(None, TASKS[0])
        assert state.statistics is None
        assert not any("statistics" in name for name in state.state_dict())


def test_batch_statistics_on_request():
    learner = Separate(module(), PointWeights(), batch_norm="batch", **BRIEF)
    state = learn(learner)[-1]
    x = TASKS[0].test.x
    w = state.posterior(0).draw(3, torch.Generator().manual_seed(0)).w
    torch.testing.assert_close(learner.predict(state, x, 0).mean, _of_batch(state.net, w, x))
    ours = Separate(NETWORKS["ours"](), PointWeights(), batch_norm="batch", **BRIEF)
    ours_state = ours.learn(None, TASKS[0])
    assert ours_state.statistics is None
    assert not torch.allclose(ours.predict(ours_state, x, 0).mean[:3], ours.predict(ours_state, x[:3], 0).mean)


def _of_batch(net, w, x):
    total = torch.zeros(len(x), 2)
    for one in w:
        a, a0, scale, shift, b, b0 = net.weight_spec.split(one)
        h = x @ a.T + a0
        h = (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt() * scale + shift
        total += (h.relu() @ b.T + b0).softmax(-1) / len(w)
    return total


@pytest.mark.parametrize("name", NETWORKS)
def test_frozen_statistics_on_request(name):
    learner = Separate(NETWORKS[name](), PointWeights(), batch_norm="eval", **BRIEF)
    state = learn(learner, TASKS[:2])[-1]
    assert state.statistics is None
    for key, value in state.net.named_buffers():
        if "mean" in key:
            assert torch.equal(value, torch.zeros(16))
        if "var" in key:
            assert torch.equal(value, torch.ones(16))


def test_the_choice_is_one_of_four():
    with pytest.raises(ValueError, match="batch_norm: expected one of 'task', 'track', 'batch', 'eval', got 'freeze'"):
        Separate(module(), PointWeights(), batch_norm="freeze")


def test_frozen_layers_of_a_trained_network_keep_its_statistics():
    net = module()
    net[1].running_mean += 3.0
    learner = Separate(ModuleMainNet(net, select="3.*"), PointWeights(), **BRIEF)
    state = learn(learner)[-1]
    for entries in sets_of(state):
        assert torch.equal(entries["module.1.running_mean"], torch.full((16,), 3.0))


class Normed(NetworkBuilder):
    """A builder of perceptrons with batch norm."""

    def build(self, input_shape, num_outputs):
        return MLP(4, num_outputs, (8,), use_batch_norm=True, no_weights=True, verbose=False)


def test_last_layers_of_a_trained_network_over_three_tasks():
    """The body is trained on all tasks together, by plain torch; each task then gets a head of its own."""
    torch.manual_seed(0)
    x, y = torch.cat([task.train.x for task in TASKS]), torch.cat([task.train.y for task in TASKS])
    net = module()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    training = Training(steps=150, batch_size=100, lr=3e-2, num_particles=2)
    learner = Separate(ModuleMainNet(net, select="3.*"), MeanFieldWeights(), training=training, num_samples=50)
    state = learn(learner)[-1]
    net.eval()
    for number, task in enumerate(TASKS):
        plain = (net(task.test.x).argmax(-1) == task.test.y).float().mean().item()
        assert accuracy(learner, state, number) >= max(0.95, plain - 0.03)
    for name, value in state.net.module.state_dict().items():
        if not name.startswith("3."):
            assert torch.equal(value, before[name]), name


def test_a_network_in_evaluation_mode_keeps_its_statistics():
    net = module()
    net[1].running_mean += 3.0
    state = learn(Separate(net.eval(), PointWeights(), **BRIEF))[-1]
    for entries in sets_of(state):
        assert torch.equal(entries["module.1.running_mean"], torch.full((16,), 3.0))


def test_the_fisher_matrix_of_a_task_is_taken_under_its_statistics():
    learner = EWC(module(), heads=SharedHead(), **BRIEF)
    state = learner.learn(None, TASKS[1])
    plain = module().double().eval()
    for name, value in sets_of(state)[0].items():
        plain.get_buffer(name.removeprefix("module.")).copy_(value)
    nn.utils.vector_to_parameters(state.posterior(0).mean.detach().double(), plain.parameters())
    total = torch.zeros(state.net.weight_spec.numel, dtype=torch.float64)
    for x, y in zip(TASKS[1].train.x.double(), TASKS[1].train.y, strict=True):
        log_prob = plain(x[None]).log_softmax(-1)[0, y]
        rows = torch.autograd.grad(log_prob, list(plain.parameters()))
        total += torch.cat([row.flatten() for row in rows]).square()
    precision = learner.restore(TASKS[1], 0).posterior.prior(torch.zeros(1)).scale.double() ** -2
    torch.testing.assert_close(state.memory.precision.double() - precision, total, rtol=1e-3, atol=1e-3)


def test_wider_networks_keep_the_statistics_that_they_had():
    for use in ("track", "task"):
        states = learn(PriorFocused(Normed(), MeanFieldWeights(), batch_norm=use, **BRIEF), TASKS[:2])
        assert states[1].net.weight_spec != states[0].net.weight_spec
        if use == "task":
            before, after = (sets_of(state)[0]["_batchnorm_layers.0.mean_0"] for state in states)
            assert torch.equal(before, after)
        else:
            moved = states[1].net._batchnorm_layers[0].mean_0
            fresh = PriorFocused(Normed(), MeanFieldWeights(), batch_norm=use, **BRIEF).learn(None, TASKS[1])
            assert not torch.allclose(moved, fresh.net._batchnorm_layers[0].mean_0, rtol=1e-2)


def test_the_residual_network_does_not_share_statistics_between_tasks():
    """Bright and dark images, with the brighter half as the class."""

    def images(number, num):
        generator = torch.Generator().manual_seed(100 * number + num)
        y = torch.arange(num) % 2
        x = 0.3 * torch.randn(num, 1, 6, 6, generator=generator)
        x[y == 0, :, :3] += 1.0
        x[y == 1, :, 3:] += 1.0
        return Split((x + (-4.0, 5.0, 0.0)[number]) * (1.0, 4.0, 0.2)[number], y)

    torch.manual_seed(0)
    tasks = [Task(f"task {t}", images(t, 64), images(t, 50), 2) for t in range(3)]
    net = ResNet((6, 6, 1), 2, n=1, num_feature_maps=(4, 4, 4, 4), no_weights=True, verbose=False)
    training = Training(steps=60, batch_size=32, lr=2e-2, num_particles=1)
    learner = Separate(net, PointWeights(), training=training, num_samples=1)
    states = learn(learner, tasks)
    means = [state.statistics.tensors(0)["_batchnorm_layers.0.mean_0"] for state in states]
    assert torch.equal(means[0], means[1])
    assert torch.equal(means[0], means[2])
    for number, task in enumerate(tasks):
        found = learner.predict(states[2], task.test.x, number)
        assert (found.label == task.test.y).float().mean() > 0.95
        assert torch.equal(found.mean, learner.predict(states[number], task.test.x, number).mean)


def test_sets_use_and_update_the_buffers_of_a_network_in_place():
    net, sets, x = nn.BatchNorm1d(3, momentum=None), ConditionStatistics(), torch.randn(8, 3)
    sets.grow(net, 2)
    with sets.of(net, 0):
        net(x)
    with sets.of(net, 1):
        net(2 * x)
        net(4 * x)
    torch.testing.assert_close(sets.tensors(0)["running_mean"], x.mean(0))
    torch.testing.assert_close(sets.tensors(1)["running_mean"], 3 * x.mean(0))
    assert [int(sets.tensors(i)["num_batches_tracked"]) for i in range(2)] == [1, 2]
    assert torch.equal(net.running_mean, torch.zeros(3))
    with pytest.raises(ZeroDivisionError), sets.of(net, 0):
        raise ZeroDivisionError
    assert torch.equal(net.running_mean, torch.zeros(3))
    with sets.of(net, 5):
        assert torch.equal(net.running_mean, torch.zeros(3))


class Average(nn.Module):
    """A layer that replaces its buffer rather than changing it in place."""

    updates_stats = True

    def __init__(self):
        super().__init__()
        self.register_buffer("center", torch.zeros(3))

    def forward(self, x):
        if self.training:
            self.center = 0.5 * self.center + 0.5 * x.mean(0)
        return x - self.center


def test_layers_of_ones_own_that_replace_their_buffers():
    net, sets, x = nn.Sequential(Average()), ConditionStatistics(), torch.randn(8, 3)
    sets.grow(net, 1)
    with sets.of(net, 0):
        net(x)
    torch.testing.assert_close(sets.tensors(0)["0.center"], 0.5 * x.mean(0))
    assert torch.equal(net[0].center, torch.zeros(3))


def test_gradients_under_statistics_that_are_held_are_those_of_the_formula():
    """A later pass in training mode does not change what the gradient of an earlier one needs."""
    net = nn.BatchNorm1d(3).double()
    net.running_var *= 4.0
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    with holding(net):
        y = net(x)
    net(5 * x.detach())
    (y.square().sum() / 2).backward()
    torch.testing.assert_close(x.grad, x.detach() / (4.0 + net.eps))
    assert net.training


def test_spectral_norm_is_kept_by_task():
    net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 2))
    learner = Separate(net, PointWeights(), **BRIEF)
    states = learn(learner)
    x = TASKS[0].test.x
    assert torch.equal(learner.predict(states[2], x, 0).mean, learner.predict(states[0], x, 0).mean)


@pytest.mark.parametrize("name", NETWORKS)
def test_batches_of_one_example_are_refused_in_one_sentence(name):
    learner = Separate(NETWORKS[name](), PointWeights(), training=Training(steps=2, batch_size=1, num_particles=1))
    with pytest.raises(ValueError, match=r"expected several .*, of which batch norm takes"):
        learner.learn(None, TASKS[0])


def test_statistics_are_copied_where_names_and_shapes_agree():
    source, target = (nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(size)) for size in (3, 4))
    for part in source:
        part.running_mean += 2.0
    copy_statistics(source, target)
    assert torch.equal(target[0].running_mean, torch.full((2,), 2.0))
    assert torch.equal(target[1].running_mean, torch.zeros(4))
