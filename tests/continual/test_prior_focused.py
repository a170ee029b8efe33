"""Prior-focused learners against exact Bayesian inference, and elastic weight consolidation against brute force."""

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, LowRankWeights, MeanFieldWeights, MLPNetwork, PointWeights
from bayeshnet.continual import EWC, PriorFocused, SharedHead, Split, SplitHeads, Task, Training, diagonal_fisher
from bayeshnet.estimators import LIVI
from bayeshnet.guides import Categorical, Gaussian

DTYPE = torch.float64
NOISE = 0.5


def linear_stream(orthogonal, num_tasks=3, P=3):
    """Tasks of linear regression on the same weights, and the exact posterior over all of their data."""
    gen = torch.Generator().manual_seed(2)
    true = torch.randn(P, 1, dtype=DTYPE, generator=gen)
    tasks = []
    for number in range(num_tasks):
        if orthogonal:
            x = torch.linalg.qr(torch.randn(12, P, dtype=DTYPE, generator=gen))[0] * (2.0 + number)
        else:
            x = torch.randn(12, P, dtype=DTYPE, generator=gen) @ torch.randn(P, P, dtype=DTYPE, generator=gen)
        y = x @ true + NOISE * torch.randn(12, 1, dtype=DTYPE, generator=gen)
        tasks.append(Task(f"{number}", Split(x, y), Split(x, y), 1, "regression"))
    X, Y = torch.cat([t.train.x for t in tasks]), torch.cat([t.train.y for t in tasks])
    scale = 1 / P**0.5  # of the prior: last layer, fan-in P
    precision = torch.eye(P, dtype=DTYPE) / scale**2 + X.T @ X / NOISE**2
    covariance = torch.linalg.inv(precision)
    return tasks, (covariance @ X.T @ Y / NOISE**2)[:, 0], covariance


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "orthogonal"),
    [(MeanFieldWeights(), True), (LowRankWeights(rank=3), False)],
    ids=["mean-field, orthogonal features", "full covariance"],
)
def test_variational_continual_learning_is_exact_where_the_family_is(family, orthogonal):
    tasks, mean, covariance = linear_stream(orthogonal)
    learner = PriorFocused(
        nn.Linear(3, 1, bias=False),
        family,
        heads=SharedHead(),
        likelihood=Gaussian(NOISE),
        training=Training(steps=3000, batch_size=12, lr=0.02, num_particles=64),
    )
    state = None
    for number, task in enumerate(tasks):
        state = learner.learn(state, task, seed=number)
    q = state.posterior(0)
    std = covariance.diagonal().sqrt()
    torch.testing.assert_close(q.mean / std, mean / std, atol=0.1, rtol=0)
    found = q.scale.square().diag() if orthogonal else q.diag.diag() + q.factor @ q.factor.T
    correlation = (found - covariance) / std / std[:, None]
    assert correlation.abs().max() < 0.12


def test_the_prior_of_the_second_task_is_the_first_posterior():
    """And new outputs follow the prior of all; nothing of it is trained."""
    x, y = torch.randn(30, 4), torch.arange(30) % 2
    tasks = [Task(str(i), Split(x, y), Split(x, y), 2) for i in range(2)]
    for family in (MeanFieldWeights(), ImplicitGenerator(latent_size=2, embedding_size=3, hidden_layers=(4,))):
        learner = PriorFocused(MLPNetwork((5,)), family, training=Training(steps=2, batch_size=8), num_samples=5)
        before = learner.learn(None, tasks[0])
        after = learner.learn(before, tasks[1])
        prior = learner.prior(after, before, tasks[1])
        places = before.net.weight_spec.places_in(after.net.weight_spec)
        w = torch.randn(3, after.net.weight_spec.numel)
        rest = torch.ones(w.shape[1]).index_fill(0, places, 0).bool()
        plain = after.posterior.prior(w)
        if isinstance(family, MeanFieldWeights):
            expected = before.posterior(0).log_prob(w[:, places])
            new = torch.distributions.Normal(plain.loc, plain.scale).log_prob(w)[:, rest].sum(-1)
            torch.testing.assert_close(prior.log_prob(w), expected + new)
        else:
            draw = prior.draw(2000, torch.Generator().manual_seed(0)).w
            own = before.posterior(0).draw(2000, torch.Generator().manual_seed(1)).w
            torch.testing.assert_close(draw[:, places].mean(0), own.mean(0), atol=0.05, rtol=0)
            torch.testing.assert_close(draw[:, rest].std(0), plain.scale[rest], atol=0.05, rtol=0)
        assert not any(t.requires_grad for t in vars(prior).values() if isinstance(t, torch.Tensor))


@pytest.mark.slow
def test_the_sign_of_an_implicit_prior_holds_the_posterior():
    """With no data in the way, the KL to the previous posterior pulls a displaced one back, and not away."""
    x, y = torch.randn(8, 2), torch.zeros(8, 1)
    task = Task("0", Split(x, y), Split(x, y), 1, "regression")
    family = ImplicitGenerator(latent_size=2, embedding_size=3, hidden_layers=(6,), sigma=0.3)
    learner = PriorFocused(
        nn.Linear(2, 1, bias=False),
        family,
        heads=SharedHead(),
        estimator=LIVI(),
        likelihood=Gaussian(1e3),
        training=Training(steps=1, batch_size=8),
    )
    before = learner.learn(None, task)
    prior = learner.prior(before, before, task)
    shifted = learner.learn(before, task)
    with torch.no_grad():
        head = [p for p in shifted.posterior.parameters() if p.shape == (2,)][-1]
        head += 2.0
    far = shifted.posterior(0).draw(4000, torch.Generator().manual_seed(0)).w.mean(0)
    learner.training = Training(steps=300, batch_size=8, lr=0.02, num_particles=1, num_samples=8)
    learner.prior = lambda *_: prior
    after = learner.learn(shifted, task)
    near = after.posterior(0).draw(4000, torch.Generator().manual_seed(0)).w.mean(0)
    target = prior.draw(4000, torch.Generator().manual_seed(1)).w.mean(0)
    assert (near - target).norm() < 0.2 * (far - target).norm()


@pytest.mark.parametrize("batch_size", [3, 100])
def test_fisher_equals_brute_force(batch_size):
    net = MLPNetwork((5,), "tanh").build((3,), 2)
    flat = torch.randn(net.weight_spec.numel, dtype=DTYPE)
    x, y = torch.randn(7, 3, dtype=DTYPE), torch.arange(7) % 2
    expected = torch.zeros_like(flat)
    for i in range(7):
        w = flat.clone().requires_grad_()
        log_prob = net(x[i : i + 1], weights=net.weight_spec.split(w)).log_softmax(-1)[0, y[i]]
        expected += torch.autograd.grad(log_prob, w)[0] ** 2
    torch.testing.assert_close(diagonal_fisher(net, Categorical(), flat, x, y, batch_size), expected)


def test_fisher_refuses_weights_whose_products_overflow():
    net = MLPNetwork((4,), "relu").build((3,), 2)
    x = torch.tensor([[-2.0, 1.5, 1.0]])  # in single precision the unit overflows to -inf and looks off; it is on
    flat = torch.full((net.weight_spec.numel,), 3e38)
    assert (flat[:3].double() @ x[0].double() + flat[3].double()) > 0
    with pytest.raises(ValueError, match="weights: expected values whose squares are finite"):
        diagonal_fisher(net, Categorical(), flat, x, torch.tensor([0]))


def test_ewc_is_prior_focused_learning_with_its_laplace_approximation():
    x, y = torch.randn(30, 4, dtype=DTYPE), torch.arange(30) % 2
    tasks = [Task(str(i), Split(x, y), Split(x, y), 2) for i in range(2)]
    training = Training(steps=20, batch_size=10)
    learner = EWC(MLPNetwork((5,)), PointWeights(), heads=SplitHeads(), strength=2.0, decay=0.5, training=training)
    first = learner.learn(None, tasks[0], seed=0)
    prior = first.posterior.prior(x)
    w1 = first.posterior(0).mean.detach()
    own = diagonal_fisher(learner.task_network(first, 0), first.likelihood, w1, x, y)
    torch.testing.assert_close(first.memory.precision, 0.5 * prior.scale**-2 + own)

    second = learner.learn(first, tasks[1], seed=1)
    places = first.net.weight_spec.places_in(second.net.weight_spec)
    law = learner.prior(second, first, tasks[1])
    torch.testing.assert_close(law.loc[places], w1)
    torch.testing.assert_close(law.scale[places] ** -2, 2.0 * first.memory.precision)
    w2 = second.posterior(0).mean.detach()
    fisher = diagonal_fisher(learner.task_network(second, 1), second.likelihood, w2, x, y)
    kept = (second.posterior.prior(x).scale ** -2).index_copy(0, places, first.memory.precision)
    torch.testing.assert_close(second.memory.precision, 0.5 * kept + fisher)
    assert not torch.equal(first.memory.precision[:5], second.memory.precision[:5])


def test_ewc_holds_what_the_tasks_before_are_sensitive_to():
    x = torch.randn(30, 4, dtype=DTYPE)
    y = (x[:, 0] > 0).long()
    tasks, moved = [Task("0", Split(x, y), Split(x, y), 2), Task("1", Split(x, 1 - y), Split(x, 1 - y), 2)], []
    for strength in (1e-3, 1e3):
        learner = EWC(
            MLPNetwork((5,)),
            heads=SharedHead(),
            strength=strength,
            training=Training(steps=60, batch_size=30, lr=0.02, num_particles=1),
        )
        first = learner.learn(None, tasks[0])
        change = learner.learn(first, tasks[1]).posterior(0).mean - first.posterior(0).mean
        moved.append((first.memory.precision * change.square()).sum())
    assert moved[1] < 0.05 * moved[0]


def test_the_noise_that_is_learned_beside_elastic_weights_is_no_part_of_their_precision():
    x, y = torch.randn(20, 4), torch.randn(20, 1)
    tasks = [Task(str(i), Split(x, y), Split(x, y), 1, "regression") for i in range(2)]
    learner = EWC(MLPNetwork((5,)), likelihood=Gaussian(learn=True), training=Training(steps=2, batch_size=10))
    state = learner.learn(learner.learn(None, tasks[0]), tasks[1])
    assert not state.memory.precision.requires_grad


def test_the_fisher_matrix_of_some_examples_is_scaled_up_to_all():
    """Of examples that are all the same, some say what all of them say."""
    x, y = torch.randn(1, 4, dtype=DTYPE).expand(30, 4), torch.zeros(30).long()
    task, training = Task("0", Split(x, y), Split(x, y), 2), Training(steps=2, batch_size=10)
    some, every = (EWC(MLPNetwork((5,)), num_fisher=n, training=training).learn(None, task).memory for n in (7, None))
    torch.testing.assert_close(some.precision, every.precision)


def test_ewc_can_predict_with_its_laplace_approximation():
    x, y = torch.randn(40, 4), torch.arange(40) % 2
    task = Task("0", Split(x, y), Split(x, y), 2)
    spread = {}
    for sample in (False, True):
        learner = EWC(MLPNetwork((5,)), sample=sample, num_samples=30, training=Training(steps=20, batch_size=10))
        spread[sample] = learner.predict(learner.learn(None, task), x, task_id=0).spread.max()
    assert spread[False] < 1e-10
    assert spread[True] > 1e-3
