"""The scale mixture prior: second derivatives, and draws in double precision."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from bayeshnet.distributions import ScaleMixturePrior
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE

SPEC = WeightSpec.of_shapes([[3]])


@pytest.mark.parametrize("w", [[0.0, 1e-3, 0.01], [0.1, 1.0, -5.0], [30.0, 1e-12, -300.0]])
def test_second_derivatives(w):
    """Far from the narrow component they are those of the wide one; in between as the components weigh in."""
    prior, w = ScaleMixturePrior(SPEC, 0.3, dtype=DTYPE), torch.tensor(w, dtype=DTYPE)
    each = Categorical(torch.tensor([0.3, 0.7], dtype=DTYPE))
    scales = torch.tensor([1.0, math.exp(-6)], dtype=DTYPE)
    torch.testing.assert_close(prior.log_prob(w), MixtureSameFamily(each, Normal(0.0, scales)).log_prob(w).sum())
    share = (torch.tensor([0.3, 0.7], dtype=DTYPE).log() + Normal(0.0, scales).log_prob(w[:, None])).softmax(-1)
    slopes = -w[:, None] / scales**2
    mean = (share * slopes).sum(-1)
    expected = torch.diag((share * ((slopes - mean[:, None]) ** 2 - scales**-2)).sum(-1))
    torch.testing.assert_close(torch.autograd.functional.hessian(prior.log_prob, w), expected)
    torch.testing.assert_close(torch.func.hessian(prior.log_prob)(w), expected)


def test_draws_are_in_double_precision():
    prior = ScaleMixturePrior(SPEC, 1.0, scale1=0.1, dtype=DTYPE)
    draw = prior.draw(100, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draw.w, 0.1 * draw.eps, rtol=1e-15, atol=0)
