"""The output regulariser against brute force, and what it is for: holding old tasks."""

from __future__ import annotations

import copy

import pytest
import torch

from bayeshnet.continual import (
    DiracGenerator,
    HyperHypernetwork,
    ImplicitGenerator,
    MeanFieldGenerator,
    OutputRegularizer,
)
from bayeshnet.continual.regularizers import _Together, emitted, latent_of
from bayeshnet.continual.sharing import GeneratedTasks
from bayeshnet.distributions import MeanFieldGaussian
from bayeshnet.weights import WeightSpec

SPEC = WeightSpec.of_shapes([[4, 3], [4], [2, 4], [2]])


def make(family, tasks=3):
    torch.manual_seed(0)
    posterior = GeneratedTasks(family, SPEC).double()
    for _ in range(tasks):
        posterior.grow()
    return posterior.double()


FAMILIES = {
    "implicit": ImplicitGenerator(latent_size=3, embedding_size=4, layers=(6,)),
    "chunked": ImplicitGenerator(latent_size=3, embedding_size=4, layers=(6,), chunk_size=7),
    "generated-sigma": ImplicitGenerator(latent_size=3, embedding_size=4, layers=(6,), sigma="generated"),
    "hyper": HyperHypernetwork(latent_size=3, embedding_size=4, layers=(5,), outer_layers=(4,)),
    "mean-field": MeanFieldGenerator(embedding_size=4, layers=(6,)),
    "dirac": DiracGenerator(embedding_size=4, layers=(6,)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_penalty_is_the_mean_squared_distance_of_what_is_emitted(name):
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
        new, old = emitted(posterior(task), z, unit), emitted(previous(task), z, unit)
        rows = len(torch.atleast_2d(new))
        expected += 0.5 * ((new - old) ** 2).sum() / (2 * rows)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert _Together.of(posterior, previous, unit) is not None, "not in one pass"
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in posterior.parameters())
    assert all(p.grad is None for p in previous.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_penalty_of_an_unchanged_generator_is_zero(name):
    posterior = make(FAMILIES[name])
    term = OutputRegularizer().penalty(posterior, copy.deepcopy(posterior), 2, torch.Generator().manual_seed(0))
    assert term().item() == 0


def test_emitted_weights_are_the_whitened_ones_of_the_draws():
    posterior = make(FAMILIES["implicit"])
    distribution = posterior(1)
    draw = distribution.draw(5, torch.Generator().manual_seed(0))
    whitened = distribution.whiten(draw.w) - distribution.sigma * draw.eps
    torch.testing.assert_close(emitted(distribution, draw.z, torch.ones(())), whitened)


def test_the_distance_of_gaussians_is_the_whitened_wasserstein_distance():
    q, p = (MeanFieldGaussian(torch.randn(5).double(), torch.rand(5).double() + 0.1) for _ in range(2))
    unit = torch.rand(5).double() + 0.5
    distance = (emitted(q, None, unit) - emitted(p, None, unit)).square().sum()
    expected = (((q.loc - p.loc) / unit) ** 2 + ((q.scale - p.scale) / unit) ** 2).sum()
    torch.testing.assert_close(distance, expected)


def test_at_most_max_tasks_are_looked_at_and_all_in_turn():
    regularizer = OutputRegularizer(max_tasks=2)
    generator = torch.Generator().manual_seed(0)
    chosen = [regularizer._choose(5, generator) for _ in range(50)]
    assert all(len(set(c)) == 2 for c in chosen)
    assert {t for c in chosen for t in c} == {0, 1, 2, 3, 4}
    assert OutputRegularizer()._choose(5, generator) == [0, 1, 2, 3, 4]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="strength"):
        OutputRegularizer(strength=-1)
    with pytest.raises(ValueError, match="num_latents"):
        OutputRegularizer(num_latents=0)
    with pytest.raises(ValueError, match="sigma"):
        ImplicitGenerator(sigma="nonsense")
