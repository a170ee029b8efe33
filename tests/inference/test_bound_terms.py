"""The loss is joined from its parts with the right value and gradient, wherever its tensors are."""

import pytest
import torch

from bayeshnet.estimators import KLEstimate
from bayeshnet.inference.bound.terms import BoundParts, join
from tests.support.pretended_device import Pretended

DTYPE = torch.float64


def same(t):
    return t


@pytest.mark.parametrize("place", [same, Pretended], ids=["cpu", "elsewhere"])
@pytest.mark.parametrize("value", ["of the surrogate", "another", None])
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_value_and_gradient_of_the_loss(place, value, beta):
    """The gradient is that of the surrogate, and the value that of the estimate, or that of the data alone."""
    a = place(torch.tensor(0.7, dtype=DTYPE)).requires_grad_()
    nll, surrogate = 2 * a + 5, 3 * a**2
    known = {"of the surrogate": surrogate.detach(), "another": place(torch.tensor(8.0, dtype=DTYPE)), None: None}[
        value
    ]
    terms = join(BoundParts(nll, [KLEstimate(known, surrogate)]), beta)
    (gradient,) = torch.autograd.grad(terms.loss, a)
    kl = {"of the surrogate": 3 * 0.7**2, "another": 8.0, None: 0.0}[value]
    torch.testing.assert_close(read(terms.loss), torch.tensor(2 * 0.7 + 5 + beta * kl, dtype=DTYPE))
    torch.testing.assert_close(read(gradient), torch.tensor(2 + beta * 6 * 0.7, dtype=DTYPE))
    torch.testing.assert_close(read(terms.nll), torch.tensor(6.4, dtype=DTYPE))
    assert not terms.nll.requires_grad
    if value is None:
        assert terms.kl is None
    else:
        torch.testing.assert_close(read(terms.kl), torch.tensor(kl, dtype=DTYPE))


@pytest.mark.parametrize("place", [same, Pretended], ids=["cpu", "elsewhere"])
def test_several_sites_and_other_latents_are_summed(place):
    a = place(torch.tensor(0.7, dtype=DTYPE)).requires_grad_()
    parts = [
        KLEstimate(place(torch.tensor(number, dtype=DTYPE)), factor * a) for factor, number in ((3, 1.0), (5, 2.0))
    ]
    weights = place(torch.ones(2, 3, dtype=DTYPE))
    terms = join(BoundParts(a + 1, parts, 7 * a, weights), 0.5)
    (gradient,) = torch.autograd.grad(terms.loss, a)
    torch.testing.assert_close(read(terms.loss), torch.tensor(1.7 + 0.5 * (4.9 + 3), dtype=DTYPE))
    torch.testing.assert_close(read(gradient), torch.tensor(1 + 0.5 * 15, dtype=DTYPE))
    torch.testing.assert_close(read(terms.kl), torch.tensor(7.9, dtype=DTYPE))
    assert terms.weights is weights
    assert terms.analytic is None
    unknown = join(BoundParts(a + 1, [*parts, KLEstimate(None, a)], 7 * a), 0.5)
    assert unknown.kl is None


def read(t):
    return t.detach().inner if isinstance(t, Pretended) else t.detach()
