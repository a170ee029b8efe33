"""Stored examples and their uses: replay, outlier exposure, final fine-tuning."""

import pytest
import torch

from bayeshnet.builders import HyperHypernetwork, ImplicitGenerator, MeanFieldGenerator, MeanFieldWeights, MLPNetwork
from bayeshnet.continual import (
    Coreset,
    ExampleMemory,
    ExperienceReplay,
    GrowingSoftmax,
    Joint,
    PosteriorReplay,
    SharedHead,
    SplitHeads,
    Training,
)
from bayeshnet.continual.losses.coreset import OtherTasksExposure
from bayeshnet.guides import BayesianModel, Categorical
from bayeshnet.inference import load_checkpoint, save_checkpoint
from tests.support.steps import step_with
from tests.support.tasks import make_task

NET = MLPNetwork((6,), "tanh")
FAST = Training(steps=3, batch_size=8)


def test_a_memory_keeps_some_examples_of_each_task():
    memory = ExampleMemory()
    for number in range(3):
        x = torch.arange(20.0).reshape(20, 1) + 100 * number
        memory.store(x, x[:, 0].long() % 2, 5 + number, torch.Generator().manual_seed(number))
    assert [len(memory.of(t)[0]) for t in range(3)] == [5, 6, 7]
    x, y, task = memory.draw(200, torch.Generator().manual_seed(0))
    assert torch.equal((x[:, 0] // 100).long(), task), "examples and task numbers belong together"
    assert torch.equal(x[:, 0].long() % 2, y)
    assert set(task.tolist()) == {0, 1, 2}
    assert set(memory.draw(50, torch.Generator().manual_seed(0), [1])[2].tolist()) == {1}
    x, _, task = memory.draw(50, torch.Generator().manual_seed(0), [2, 0])
    assert torch.equal((x[:, 0] // 100).long(), task), "in any order of the tasks"
    seen = {float(v) for v in memory.draw(2000, torch.Generator().manual_seed(0))[0]}
    assert len(seen) == 18, "each of them is drawn"
    with pytest.raises(ValueError, match="task: expected a number below the 3 tasks stored, got 3"):
        memory.of(3)


def test_a_memory_without_examples_has_none_to_draw():
    memory = ExampleMemory()
    with pytest.raises(ValueError, match="tasks: expected tasks with stored examples, got none"):
        memory.draw(3)
    memory.store(torch.arange(4.0), torch.arange(4))
    memory.store(torch.zeros(0), torch.zeros(0).long())
    with pytest.raises(ValueError, match="tasks: expected tasks with stored examples, got none"):
        memory.draw(3, tasks=[1])
    x, y, task = memory.draw(50, torch.Generator().manual_seed(0))
    assert torch.equal(x, y.to(x))
    assert not task.any()


@pytest.mark.parametrize("heads", [SplitHeads(), SharedHead(), GrowingSoftmax()], ids=lambda h: type(h).__name__)
def test_rehearsal_is_the_likelihood_of_what_is_stored(heads):
    learner = ExperienceReplay(NET, MeanFieldWeights(), heads=heads, memory_size=9, replay_size=11, training=FAST)
    state = None
    for number in range(3):
        previous, state = state, learner.learn(state, make_task(number), seed=number)
    weights = torch.randn(4, state.net.weight_spec.numel, requires_grad=True)
    net, _ = learner.training_problem(state, make_task(2), 2)
    model = BayesianModel(net, state.posterior.prior(weights), state.likelihood, num_data=40)
    (term,) = learner.terms(state, previous, model, torch.Generator().manual_seed(5))
    value = term(step_with(model, weights))
    x, y, task = previous.memory.draw(11, torch.Generator().manual_seed(5))
    expected = 0.0
    for w in weights:
        for i in range(11):
            logits = state.net(x[i : i + 1], weights=state.net.weight_spec.split(w))[0]
            t = int(task[i])
            if isinstance(heads, GrowingSoftmax):
                expected -= logits.log_softmax(0)[2 * t + y[i]]
            else:
                start = 0 if isinstance(heads, SharedHead) else 2 * t
                expected -= logits[start : start + 2].log_softmax(0)[y[i]]
    torch.testing.assert_close(value, expected * 2 / (11 * 4))  # two old tasks
    value.backward()
    assert weights.grad.abs().sum() > 0


def test_a_checkpoint_that_does_not_fit_changes_no_memory(tmp_path):
    def holder(width, size):
        module = torch.nn.ModuleDict({"net": torch.nn.Linear(2, width), "memory": ExampleMemory()})
        module["memory"].store(torch.rand(9, 2), torch.arange(9), size)
        return module

    saved, other, same = holder(3, 5), holder(4, 6), holder(3, 6)
    save_checkpoint(tmp_path / "state", saved)
    with pytest.raises(ValueError, match=r"module: expected the structure .* of another shape: net.weight, net.bias"):
        load_checkpoint(tmp_path / "state", other)
    assert len(other["memory"].of(0)[0]) == 6
    load_checkpoint(tmp_path / "state", same)
    assert torch.equal(same["memory"].of(0)[0], saved["memory"].of(0)[0])


def test_joint_training_keeps_everything_and_counts_each_example_alike():
    learner = Joint(NET, MeanFieldWeights(), replay_size=8, training=FAST)
    state = learner.learn(learner.learn(None, make_task(0)), make_task(1, size=20))
    assert [len(state.memory.of(t)[0]) for t in range(2)] == [40, 20]
    new = make_task(2, size=10)
    after = learner.learn(state, new)
    model = BayesianModel(after.net, after.posterior.prior(new.train.x), after.likelihood, num_data=10)
    (term,) = learner.terms(after, state, model, torch.Generator().manual_seed(3))
    weights = torch.randn(1, after.net.weight_spec.numel)
    x, y, task = state.memory.draw(8, torch.Generator().manual_seed(3))
    logits = after.net(x, weights=after.net.weight_spec.split(weights[0]))
    nll = -torch.stack([logits[i, 2 * t : 2 * t + 2].log_softmax(0)[y[i]] for i, t in enumerate(task)])
    torch.testing.assert_close(term(step_with(model, weights)), nll.mean() * 60 / 10)


def test_doubt_is_the_cross_entropy_to_the_uniform_distribution():
    memory = ExampleMemory()
    for number in range(2):
        task = make_task(number)
        memory.store(task.train.x, task.train.y, 6)
    net = NET.build((4,), 2)
    weights = torch.randn(3, net.weight_spec.numel)
    model = BayesianModel(net, _normal(net.weight_spec.numel), Categorical())
    loss = OtherTasksExposure(memory, [1], 0.7, torch.Generator().manual_seed(0))
    x = memory.draw(5, torch.Generator().manual_seed(0), [1])[0]
    expected = -0.7 * sum(net(x, weights=net.weight_spec.split(w)).log_softmax(-1).mean() for w in weights) / 3
    torch.testing.assert_close(loss(step_with(model, weights, torch.zeros(5, 4))), expected)


def _normal(size):
    return torch.distributions.Independent(torch.distributions.Normal(torch.zeros(size), torch.ones(size)), 1)


@pytest.mark.slow
def test_fine_tuning_on_coresets_tells_tasks_apart():
    """With no pseudo-outliers the entropy says little of the task; a few stored examples mend it."""
    training = Training(steps=300, batch_size=40, lr=1e-2, num_particles=4, num_samples=4, beta=0.01)
    family, coreset = (
        ImplicitGenerator(latent_size=2, embedding_size=4, hidden_layers=(8,)),
        Coreset(10, finish=training),
    )
    learner = PosteriorReplay(NET, family, training=training, coreset=coreset, num_samples=30)
    tasks, state = [make_task(t) for t in range(3)], None
    for number, task in enumerate(tasks):
        state = learner.learn(state, task, seed=number)
    x = torch.cat([task.test.x for task in tasks])
    number = torch.arange(3).repeat_interleave(40)
    before = (learner.predict(state, x).task("entropy") == number).float().mean()
    finished = learner.finish(state, seed=7)
    prediction = learner.predict(finished, x)
    after = (prediction.task("entropy") == number).float().mean()
    assert before < 0.5
    assert after > 0.75
    own = prediction.means[torch.arange(120), number].argmax(-1)
    assert (own == torch.cat([t.test.y for t in tasks])).float().mean() > 0.8
    assert finished.memory.num_tasks == 3


@pytest.mark.parametrize(
    "family",
    [
        ImplicitGenerator(latent_size=2, embedding_size=2, hidden_layers=(4,)),
        HyperHypernetwork(latent_size=2, embedding_size=2, hidden_layers=(3,), outer_hidden_layers=(2,)),
        MeanFieldGenerator(embedding_size=2, hidden_layers=(4,)),
    ],
    ids=lambda f: type(f).__name__,
)
def test_fine_tuning_changes_the_posterior_of_each_task(family):
    learner = PosteriorReplay(NET, family, coreset=Coreset(4, finish=FAST), training=FAST, num_samples=3)
    state = learner.learn(learner.learn(None, make_task(0)), make_task(1))
    before = {name: value.clone() for name, value in state.state_dict().items()}
    finished = learner.finish(state, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in state.state_dict().items())
    pairs = zip(finished.posterior.parameters(), state.posterior.parameters(), strict=True)
    assert all(not torch.equal(new, old) for new, old in pairs)
    again = learner.finish(state, seed=3).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in finished.state_dict().items())


def test_there_is_nothing_to_finish_without_a_coreset():
    for coreset in (None, Coreset(finish=None)):
        learner = PosteriorReplay(NET, ImplicitGenerator(), coreset=coreset, training=FAST)
        state = learner.learn(learner.learn(None, make_task(0)), make_task(1))
        assert learner.finish(state) is state


def test_refusals():
    with pytest.raises(ValueError, match="size: expected an integer >= 1"):
        Coreset(size=0)
    with pytest.raises(ValueError, match="coreset: expected None for tasks of values"):
        PosteriorReplay(NET, ImplicitGenerator(), coreset=Coreset()).learn(None, make_task(0, kind="regression"))
    with pytest.raises(ValueError, match="memory_size"):
        ExperienceReplay(NET, MeanFieldWeights(), memory_size=0)


@pytest.mark.parametrize(("doubt", "expected"), [({}, [OtherTasksExposure]), ({"doubt": 0.0}, [])])
def test_a_coreset_doubts_while_tasks_are_learned_unless_told_not_to(doubt, expected):
    learner = PosteriorReplay(NET, ImplicitGenerator(latent_size=2), coreset=Coreset(4, **doubt), training=FAST)
    first = learner.learn(None, make_task(0), seed=0)
    model = BayesianModel(first.net, first.posterior.prior(torch.zeros(())), first.likelihood, num_data=40)
    assert [type(term) for term in learner.terms(first, first, model, torch.Generator())] == expected
    assert learner.terms(first, None, model, torch.Generator()) == []
