"""The output regularizer against brute force, and what it is for: holding old tasks."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch

from bayeshnet.builders import DiracGenerator, HyperHypernetwork, ImplicitGenerator, MeanFieldGenerator, RadialGenerator
from bayeshnet.continual import OutputRegularizer
from bayeshnet.continual.losses.output_regularizer import _in_one_pass, latent_of, outputs_of
from bayeshnet.continual.task_posterior import GeneratedTasks
from bayeshnet.distributions import LearnedSigma, MeanFieldGaussian
from bayeshnet.speed import using
from bayeshnet.weights import WeightSpec

SPEC = WeightSpec.of_shapes([[4, 3], [4], [2, 4], [2]])


def make(family, tasks=3):
    torch.manual_seed(0)
    posterior = GeneratedTasks(family, SPEC).double()
    for _ in range(tasks):
        posterior.grow()
    return posterior.double()


FAMILIES = {
    "implicit": ImplicitGenerator(latent_size=3, embedding_size=4, hidden_layers=(6,)),
    "chunked": ImplicitGenerator(latent_size=3, embedding_size=4, hidden_layers=(6,), chunk_size=7),
    "generated-sigma": ImplicitGenerator(latent_size=3, embedding_size=4, hidden_layers=(6,), sigma="generated"),
    "hyper": HyperHypernetwork(latent_size=3, embedding_size=4, hidden_layers=(5,), outer_hidden_layers=(4,)),
    "hyper-sigma": HyperHypernetwork(
        latent_size=3, embedding_size=4, hidden_layers=(5,), outer_hidden_layers=(4,), sigma="generated", sigma_init=0.3
    ),
    "radial": RadialGenerator(embedding_size=4, hidden_layers=(6,)),
    "mean-field": MeanFieldGenerator(embedding_size=4, hidden_layers=(6,)),
    "dirac": DiracGenerator(embedding_size=4, hidden_layers=(6,)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_penalty_is_the_mean_squared_distance_of_outputs(name):
    posterior = make(FAMILIES[name])
    previous = copy.deepcopy(posterior)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    regularizer = OutputRegularizer(strength=0.5, num_latents=4)
    value = regularizer.penalty(posterior, previous, 2, torch.Generator().manual_seed(7))()
    generator = torch.Generator().manual_seed(7)
    expected, unit = 0.0, posterior.prior(torch.zeros(1).double()).scale
    for task in range(2):
        z = latent_of(previous(task), 4, generator)
        new, old = outputs_of(posterior(task), z, unit), outputs_of(previous(task), z, unit)
        rows = len(torch.atleast_2d(new))
        expected += 0.5 * ((new - old) ** 2).sum() / (2 * rows)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert _in_one_pass(posterior, unit) is not None, "not in one pass"
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in posterior.parameters())
    assert all(p.grad is None for p in previous.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_penalty_of_an_unchanged_generator_is_zero(name):
    posterior = make(FAMILIES[name])
    term = OutputRegularizer().penalty(posterior, copy.deepcopy(posterior), 2, torch.Generator().manual_seed(0))
    assert term().item() == 0


def test_generated_sigmas_are_held_like_the_weights():
    """Where only the sigmas have moved, the penalty is their squared distance; its gradient moves them back."""
    posterior = make(FAMILIES["generated-sigma"])
    previous = copy.deepcopy(posterior)
    with torch.no_grad():
        for parameter in posterior.conditional.sigma.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    term = OutputRegularizer(strength=0.5).penalty(posterior, previous, 2, torch.Generator().manual_seed(0))
    pairs = [(posterior(task).sigma, previous(task).sigma) for task in range(2)]
    torch.testing.assert_close(term(), 0.25 * sum(((now - before) ** 2).sum() for now, before in pairs))
    optimizer, start = torch.optim.Adam(posterior.parameters(), lr=3e-3), term().item()
    for _ in range(200):
        optimizer.zero_grad()
        term().backward()
        optimizer.step()
    assert term().item() < 1e-3 * start
    for task in range(2):
        torch.testing.assert_close(posterior(task).sigma, previous(task).sigma, rtol=0.05, atol=0)


def test_outputs_are_the_whitened_weights_of_the_draws():
    posterior = make(FAMILIES["implicit"])
    distribution = posterior(1)
    draw = distribution.draw(5, torch.Generator().manual_seed(0))
    whitened = distribution.whiten(draw.w) - distribution.sigma * draw.eps
    torch.testing.assert_close(outputs_of(distribution, draw.z, torch.ones(())), whitened)


def test_the_distance_of_gaussians_is_the_whitened_wasserstein_distance():
    q, p = (MeanFieldGaussian(torch.randn(5).double(), torch.rand(5).double() + 0.1) for _ in range(2))
    unit = torch.rand(5).double() + 0.5
    distance = (outputs_of(q, None, unit) - outputs_of(p, None, unit)).square().sum()
    expected = (((q.loc - p.loc) / unit) ** 2 + ((q.scale - p.scale) / unit) ** 2).sum()
    torch.testing.assert_close(distance, expected)


def test_at_most_max_tasks_are_looked_at_and_all_in_turn():
    regularizer = OutputRegularizer(max_tasks=2)
    generator = torch.Generator().manual_seed(0)
    chosen = [regularizer._choose(5, generator) for _ in range(50)]
    assert all(len(set(c)) == 2 for c in chosen)
    assert {t for c in chosen for t in c} == {0, 1, 2, 3, 4}
    assert OutputRegularizer()._choose(5, generator) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["implicit", "hyper", "mean-field", "dirac", "generated-sigma"])
def test_fixed_targets_are_those_before_the_task(name):
    posterior = make(FAMILIES[name])
    previous = copy.deepcopy(posterior)
    regularizer = OutputRegularizer(num_latents=3, fixed_targets=5)
    term = regularizer.penalty(posterior, previous, 3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in previous.parameters():
            parameter.zero_()  # must not be looked at any more
    assert term().item() == pytest.approx(0, abs=1e-20)
    with torch.no_grad():
        next(posterior.parameters()).add_(0.1)
    assert term() > 0


@pytest.mark.parametrize("fixed", [None, 4])
@pytest.mark.parametrize("distance", ["wasserstein", "forward_kl", "reverse_kl"])
def test_discrepancies_of_gaussian_posteriors(distance, fixed):
    posterior = make(FAMILIES["mean-field"])
    previous = copy.deepcopy(posterior)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    value = OutputRegularizer(0.5, distance=distance, fixed_targets=fixed).penalty(posterior, previous, 2)()
    unit, expected = posterior.prior(torch.zeros(1).double()).scale, 0.0
    for task in range(2):
        now, before = (torch.distributions.Normal(q.loc, q.scale) for q in (posterior(task), previous(task)))
        if distance == "wasserstein":
            expected += (((now.loc - before.loc) / unit) ** 2 + ((now.scale - before.scale) / unit) ** 2).sum()
        else:
            pair = (before, now) if distance == "forward_kl" else (now, before)
            expected += torch.distributions.kl_divergence(*pair).sum()
    torch.testing.assert_close(value, 0.5 * expected / 2)
    value.backward()
    assert any(p.grad.abs().sum() > 0 for p in posterior.parameters() if p.grad is not None)


@pytest.mark.parametrize("fixed", [None, 3])
@pytest.mark.parametrize("distance", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("name", ["generated-sigma", "hyper-sigma", "implicit", "hyper", "chunked"])
def test_divergences_given_the_latent(name, distance, fixed):
    """The KL of the weights' normal distributions at the same latents, before and now, by torch's own formula."""
    posterior = make(FAMILIES[name])
    previous = copy.deepcopy(posterior)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    regularizer = OutputRegularizer(0.5, 3, distance=distance, fixed_targets=fixed)
    value = regularizer.penalty(posterior, previous, 2, torch.Generator().manual_seed(7))()
    generator, expected = torch.Generator().manual_seed(7), 0.0
    latents = [latent_of(previous(task), 3, generator) for task in range(2)]
    rows = slice(None) if fixed is None else torch.randint(3, (3,), generator=generator)
    for task, z in enumerate(latents):
        now, before = (
            torch.distributions.Normal(q.unwhiten(q.geometry(z[rows])), q.scale * q.sigma)
            for q in (posterior(task), previous(task))
        )
        pair = (before, now) if distance == "forward_kl" else (now, before)
        expected += 0.5 * torch.distributions.kl_divergence(*pair).sum(-1).mean() / 2
    torch.testing.assert_close(value, expected)
    value.backward()
    assert any(p.grad.abs().sum() > 0 for p in posterior.parameters() if p.grad is not None)


def test_the_divergence_given_the_latent_bounds_that_of_the_weights():
    """For an affine map, whose weights are normal, the KL of the weights is known: it is below the penalty's mean."""
    family = ImplicitGenerator(latent_size=3, embedding_size=4, hidden_layers=(), sigma="generated", sigma_init=0.3)
    posterior = make(family)
    previous = copy.deepcopy(posterior)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    regularizer = OutputRegularizer(1.0, 4096, distance="forward_kl")
    bound = regularizer.penalty(posterior, previous, 1, torch.Generator().manual_seed(0))().detach()
    now, before = (
        torch.distributions.LowRankMultivariateNormal(q.loc, q.factor, q.diag)
        for q in (posterior(0).to_gaussian(), previous(0).to_gaussian())
    )
    exact = torch.distributions.kl_divergence(before, now).detach()
    assert 0 < exact < bound < 3 * exact


def test_with_a_linear_generator_the_optimum_equals_its_closed_form():
    """Ridge regression towards the old outputs: outputs W c for conditions c, a new target, old ones held."""
    spec = WeightSpec.of_shapes([[3], [2]])
    family = DiracGenerator(embedding_size=2, hidden_layers=())
    torch.manual_seed(0)
    posterior = GeneratedTasks(family, spec).double()
    for _ in range(3):
        posterior.grow()
    posterior.double()
    previous, strength = copy.deepcopy(posterior), 0.7
    hnet = posterior.conditional.hnet
    unit = posterior.prior(torch.zeros(1).double()).scale
    old = torch.stack([previous(t).loc / unit for t in range(2)])
    goal = torch.randn(5, dtype=torch.float64)
    for p in hnet.conditional_params:
        p.requires_grad_(False)
    free = [p for p in posterior.parameters() if p.requires_grad]
    term = OutputRegularizer(strength).penalty(posterior, previous, 2)
    optimizer = torch.optim.LBFGS(
        free,
        max_iter=2000,
        tolerance_grad=1e-13,
        tolerance_change=1e-16,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = 1e-2 * (posterior(0).loc / unit - goal).square().sum() + term()
        loss.backward()
        return loss

    optimizer.step(closure)
    # Task 0 is pulled to the goal while it and task 1 are held: each output is a quadratic in W c_0 and W c_1, which
    # two conditions with a bias can choose freely.
    pull, hold = 1e-2, strength / 2
    expected = (pull * goal + hold * old[0]) / (pull + hold)
    torch.testing.assert_close(posterior(0).loc.detach() / unit, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(posterior(1).loc.detach() / unit, old[1], atol=1e-6, rtol=0)


def test_outputs_that_cannot_be_compared_are_refused():
    law = ImplicitGenerator(latent_size=2).build(WeightSpec.of_shapes([[2, 3]]))()
    with pytest.raises(TypeError, match=r"^z: expected latents \(M, n\)"):
        outputs_of(law, None, torch.ones(6))
    other = torch.distributions.Independent(torch.distributions.Laplace(torch.zeros(6), 1.0), 1)
    with pytest.raises(TypeError, match=r"^posterior: expected one whose distributions the output.*Independent"):
        outputs_of(other, None, torch.ones(6))
    assert latent_of(other, 3) is None


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="strength"):
        OutputRegularizer(strength=-1)
    with pytest.raises(ValueError, match="num_latents"):
        OutputRegularizer(num_latents=0)
    with pytest.raises(TypeError, match="distance: expected 'squared' for posteriors that are no Gaussians"):
        OutputRegularizer(distance="reverse_kl").penalty(make(FAMILIES["dirac"]), make(FAMILIES["dirac"]), 1)
    learned = make(ImplicitGenerator(latent_size=3, embedding_size=4, hidden_layers=(6,)))
    learned.conditional.sigma = LearnedSigma(SPEC, size="scalar", dtype=torch.float64)
    with pytest.raises(TypeError, match="with a sigma that is fixed or is one for each weight"):
        OutputRegularizer(distance="forward_kl").penalty(learned, learned, 1)
    with pytest.raises(ValueError, match="sigma"):
        ImplicitGenerator(sigma="nonsense")


@pytest.mark.parametrize("task", [2, 1])
@pytest.mark.parametrize("limit", [1, None])
@pytest.mark.parametrize("name", ["hyper", "mean-field", "dirac"])
def test_a_step_generates_once_for_all_its_tasks(name, limit, task):
    """The task's own distribution and the penalty come from one pass, with the values and gradients of two.

    The task may be one of those that are held.
    """
    posterior = make(FAMILIES[name])
    previous = make(FAMILIES[name])
    with torch.no_grad():
        for parameter in previous.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    generated = posterior.conditional
    calls, outer = [], getattr(generated, "_weights", None) or generated.hnet
    outer.register_forward_hook(lambda *_: calls.append(1))
    found = []
    for joint in (True, False):
        penalty = OutputRegularizer(num_latents=3, max_tasks=limit).penalty(
            posterior, previous, 2, torch.Generator().manual_seed(5), task=task
        )
        calls.clear()
        with penalty.during(0) if joint else nullcontext():
            held = penalty()
            own = posterior(task).draw(4, torch.Generator().manual_seed(1)).w
        assert len(calls) == (1 if joint else 2)
        loss = held + own.square().sum()
        found.append([loss, *torch.autograd.grad(loss, list(posterior.parameters()), allow_unused=True)])
    close(*found)


def close(one, two, **tolerance):
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(*(torch.zeros(()) if t is None else t for t in (a, b)), **tolerance)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_condition_by_itself_gives_the_same_step(name):
    """With the shortcut switched off, values and gradients of penalty and draws agree to 1e-10."""
    posterior, previous, found = make(FAMILIES[name]), make(FAMILIES[name]), []
    with torch.no_grad():
        for parameter in previous.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    for one_pass in (True, False):
        penalty = OutputRegularizer(num_latents=3).penalty(posterior, previous, 2, torch.Generator().manual_seed(5))
        with using(one_pass=one_pass), penalty.during(0):
            own = posterior(2).draw(4, torch.Generator().manual_seed(1)).w
            loss = penalty() + own.square().sum()
        found.append([loss, *torch.autograd.grad(loss, list(posterior.parameters()), allow_unused=True)])
    close(*found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["hyper", "mean-field"])
def test_a_common_pass_is_no_state_of_the_posterior(name):
    posterior, other = make(FAMILIES[name]).conditional, make(FAMILIES[name]).conditional
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    draws = [q(1).draw(2, torch.Generator().manual_seed(1)).w for q in (posterior, other)]
    with posterior.one_pass([1], [0, 2]):
        copied = copy.deepcopy(posterior)
        for q, w in zip((posterior, other, copied), (*draws, draws[0]), strict=True):
            torch.testing.assert_close(q(1).draw(2, torch.Generator().manual_seed(1)).w, w)
        assert posterior.state_dict().keys() == copied.state_dict().keys()
