"""Mixtures of weight distributions and of torch's: moments of draws, the density, and what is refused."""

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from bayeshnet.distributions import MeanFieldGaussian, Mixture

DTYPE = torch.float64
LOGITS = torch.tensor([0.2, 0.5, 0.3], dtype=DTYPE).log()
LOC = torch.tensor([[-4.0, 0.0], [0.0, 4.0], [4.0, 0.0]], dtype=DTYPE)
SCALE = torch.tensor([[0.3, 1.0], [1.0, 0.5], [0.5, 0.4]], dtype=DTYPE)
KINDS = {
    "library's": lambda loc, scale: MeanFieldGaussian(loc, scale),
    "torch's": lambda loc, scale: Independent(Normal(loc, scale), 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_and_the_density_is_the_sum(kind):
    mixture = Mixture(LOGITS, [KINDS[kind](loc, scale) for loc, scale in zip(LOC, SCALE, strict=True)])
    torch.manual_seed(0)
    w = mixture.draw(40_000).w
    torch.testing.assert_close(w.mean(0), mixture.mean, atol=0.06, rtol=0)
    torch.testing.assert_close(w.var(0), mixture.variance, atol=0.15, rtol=0)
    near = torch.cdist(w, LOC).argmin(1).bincount() / len(w)
    torch.testing.assert_close(near, LOGITS.exp().float(), atol=0.01, rtol=0)
    each = torch.stack(
        [MultivariateNormal(m, (s**2).diag()).log_prob(w[:50]).exp() for m, s in zip(LOC, SCALE, strict=True)]
    )
    torch.testing.assert_close(mixture.log_prob(w[:50]), (LOGITS.exp() @ each).log())


def test_what_cannot_be_mixed_or_drawn_is_refused():
    plain = KINDS["torch's"](LOC[0], SCALE[0])
    for others in (
        [KINDS["torch's"](LOC[0, :1], SCALE[0, :1])],
        [Normal(LOC[0], SCALE[0])],
        [Independent(Normal(LOC, SCALE), 1)],
    ):
        with pytest.raises(ValueError, match=r"components: expected one event shape \(P,\) and no batch shape"):
            Mixture(torch.zeros(2, dtype=DTYPE), [plain, *others])
    with pytest.raises(ValueError, match="generator: expected None with components of torch"):
        Mixture(torch.zeros(1, dtype=DTYPE), [plain]).draw(3, torch.Generator())
    with pytest.raises(ValueError, match="logits: expected constant mixture weights"):
        Mixture(torch.zeros(1, dtype=DTYPE, requires_grad=True), [plain]).draw(3)
