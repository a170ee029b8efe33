"""Estimates under torch.func: gradients, products with Jacobians, and batches of parameters."""

import pytest
import torch
from torch.func import functional_call, grad, hessian, jvp, vmap

from bayeshnet.distributions import (
    FanInGaussian,
    HypernetPosterior,
    LowRankGaussian,
    MeanFieldGaussian,
    ScaleMixturePrior,
)
from bayeshnet.estimators import LIVI, SIVI, Auto, ClosedForm, ImportanceSandwich, StochasticLIVI, UnfoldedLIVI
from bayeshnet.hnets import HMLP
from bayeshnet.memo import host_may_look
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE

SPEC = WeightSpec.of_shapes([[2], [1]])
ESTIMATORS = {
    "Auto": lambda: Auto(4),
    "LIVI": lambda: LIVI(4),
    "UnfoldedLIVI": lambda: UnfoldedLIVI(4),
    "StochasticLIVI": lambda: StochasticLIVI(4),
    "SIVI": lambda: SIVI(4, 8),
    "ImportanceSandwich": lambda: ImportanceSandwich(4, 8),
}


class Estimated(torch.nn.Module):
    """The surrogate of an estimate of a small posterior, always with the same noise."""

    def __init__(self, estimator, prior):
        super().__init__()
        torch.manual_seed(0)
        hnet = HMLP([[2], [1]], 2, 0, layers=[4], activation_fn=torch.nn.Tanh(), num_cond_embs=0, verbose=False)
        self.posterior = HypernetPosterior(hnet.double(), sigma="learned", scale="fan_in", weight_spec=SPEC)
        self.estimator, self.prior = estimator, prior

    def forward(self):
        generator = torch.Generator().manual_seed(0)
        return self.estimator.estimate(self.posterior(), self.prior, generator=generator).surrogate


@pytest.mark.parametrize("prior", ["fan-in", "mixture"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_transforms_agree_with_autograd(name, prior):
    prior = (FanInGaussian if prior == "fan-in" else ScaleMixturePrior)(SPEC, dtype=DTYPE)
    module = Estimated(ESTIMATORS[name](), prior)
    parameters = {key: value.detach() for key, value in module.named_parameters()}

    def value(own):
        return functional_call(module, own, ())

    module().backward()
    expected = {key: parameter.grad for key, parameter in module.named_parameters()}
    torch.testing.assert_close(grad(value)(parameters), expected)
    tangent = {key: torch.cos(torch.arange(v.numel(), dtype=DTYPE)).view_as(v) for key, v in parameters.items()}
    along = jvp(value, (parameters,), (tangent,))[1]
    torch.testing.assert_close(along, torch.stack([(expected[k] * tangent[k]).sum() for k in tangent]).sum())
    several = {key: torch.stack([v, v + 0.1]) for key, v in parameters.items()}
    together = vmap(value, randomness="same")(several)
    each = [value({key: v[i] for key, v in several.items()}) for i in range(2)]
    torch.testing.assert_close(together, torch.stack(each), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["LIVI", "StochasticLIVI"])
def test_forward_mode_needs_no_gradients(name):
    """Forward mode goes on where autograd is switched off: the directional derivative is that of the gradient."""
    module = Estimated(ESTIMATORS[name](), FanInGaussian(SPEC, dtype=DTYPE))
    parameters = {key: value.detach() for key, value in module.named_parameters()}
    tangent = {key: torch.cos(torch.arange(v.numel(), dtype=DTYPE)).view_as(v) for key, v in parameters.items()}
    module().backward()
    expected = sum((parameter.grad * tangent[key]).sum() for key, parameter in module.named_parameters())
    with torch.no_grad():
        along = jvp(lambda own: functional_call(module, own, ()), (parameters,), (tangent,))[1]
    torch.testing.assert_close(along, expected)


def test_second_derivatives_of_a_closed_form():
    """With means m and log-scales r, to a standard normal: the identity and twice the variances."""
    loc, log_scale = torch.tensor([0.3, -1.0, 2.0], dtype=DTYPE), torch.tensor([0.1, -0.5, 0.0], dtype=DTYPE)
    prior = MeanFieldGaussian(torch.zeros(3, dtype=DTYPE), torch.ones(3, dtype=DTYPE))

    def kl(loc, log_scale):
        q = MeanFieldGaussian(loc, log_scale.exp(), validate_args=False)
        return ClosedForm().estimate(q, prior).surrogate

    (over_loc, mixed), (_, over_scale) = hessian(kl, (0, 1))(loc, log_scale)
    torch.testing.assert_close(over_loc, torch.eye(3, dtype=DTYPE))
    torch.testing.assert_close(mixed, torch.zeros(3, 3, dtype=DTYPE))
    torch.testing.assert_close(over_scale, torch.diag(2 * (2 * log_scale).exp()))
    factor = torch.ones(3, 1, dtype=DTYPE)
    correlated = LowRankGaussian(prior.loc, factor, prior.scale**2)
    over = hessian(lambda m: ClosedForm().estimate(MeanFieldGaussian(m, prior.scale), correlated).surrogate)(loc)
    torch.testing.assert_close(over, torch.linalg.inv(torch.eye(3, dtype=DTYPE) + factor @ factor.T))


def test_values_of_a_batch_are_not_looked_at():
    looked = []
    vmap(lambda x: looked.append(host_may_look(x)) or x)(torch.zeros(2))
    vmap(grad(lambda x: looked.append(host_may_look(x)) or x.sum()))(torch.zeros(2, 3))
    grad(lambda x: looked.append(host_may_look(x)) or x.sum())(torch.zeros(3))
    assert looked == [False, False, True]
