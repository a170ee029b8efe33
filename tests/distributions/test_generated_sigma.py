"""A sigma generated from the condition: its formula, its gradient, and all conditions in one pass."""

import math

import pytest
import torch

from bayeshnet.builders import HyperHypernetwork, ImplicitGenerator
from bayeshnet.distributions import GeneratedSigma
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec
from tests.support.guide_toys import gradients_of
from tests.support.oracles import DTYPE

SPEC = WeightSpec.of_shapes([[3, 2], [3]])
BUILDERS = {
    "implicit": ImplicitGenerator(latent_size=2, hidden_layers=(4,), sigma="generated", sigma_init=0.4),
    "hyper": HyperHypernetwork(latent_size=2, hidden_layers=(4,), sigma="generated", sigma_init=0.4),
}


def test_value_and_gradient_are_those_of_the_formula_at_each_condition():
    torch.manual_seed(0)
    hnet = HMLP(SPEC.shapes, cond_in_size=3, num_cond_embs=3, layers=[5], activation_fn=torch.nn.Tanh(), verbose=False)
    sigma = GeneratedSigma(hnet.to(DTYPE), init=0.3, floor=0.01)
    found = sigma([2, 0])
    outputs = [torch.cat([t.flatten() for t in hnet(cond_id=i)]) for i in (2, 0)]
    wanted = torch.stack([0.01 + torch.exp(math.log(0.29) + out) for out in outputs])
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(sigma(2), wanted[0])
    weights = torch.randn(2, 9, dtype=DTYPE)
    ours, theirs = (gradients_of((weights * values).sum(), hnet) for values in (found, wanted))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", BUILDERS)
def test_each_condition_has_a_sigma_of_its_own_that_begins_at_its_setting(name):
    torch.manual_seed(0)
    posterior = BUILDERS[name].build(SPEC)
    posterior.add_conditions(1)
    first, second = posterior(0).sigma, posterior(1).sigma
    assert first.shape == (9,)
    assert not torch.equal(first, second)
    for sigma in (first, second):  # init_std is the standard deviation of its logarithm
        assert float((sigma.detach().log() - math.log(0.4)).abs().max()) < 0.6
    outputs = posterior.outputs([1, 0], torch.zeros(2, 1, 2))
    torch.testing.assert_close(outputs[:, 0, 9:], torch.stack([second, first]))


def test_a_learned_sigma_begins_at_its_setting():
    posterior = ImplicitGenerator(latent_size=2, sigma="learned", sigma_init=0.4).build(SPEC)
    torch.testing.assert_close(posterior().sigma, torch.full((9,), 0.4))
