"""Parts of estimators that their results show only in part."""

import pytest
import torch

from bayeshnet.distributions import FanInGaussian, SemiImplicit
from bayeshnet.estimators import KernelRatio
from bayeshnet.estimators.analytic import conditional_kl
from bayeshnet.estimators.samples.ssge import spectral_matrix
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE, DenseGeometry, LinearProblem, standard_prior


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_conditional_kl_to_the_prior_that_whitens():
    """It is that of the weights' own Gaussian, which needs no whitening."""
    spec = WeightSpec.of_shapes([[3, 2], [3]])
    prior, matrix = FanInGaussian(spec, dtype=DTYPE), torch.randn(9, 2, dtype=DTYPE, generator=generator())
    q = SemiImplicit(DenseGeometry(lambda z: z @ matrix.T, 2, 9), torch.tensor(0.3, dtype=DTYPE), prior.whitening)
    z = torch.randn(5, 2, dtype=DTYPE, generator=generator(1))
    found = conditional_kl(q, prior)
    loc, scale = q.loc + q.scale * (z @ matrix.T), (q.scale * q.sigma).expand(9)
    own = torch.distributions.Normal(prior.loc, prior.scale)
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(loc, scale), own).sum(-1)
    torch.testing.assert_close(found.constant + found.at(z), expected)


def test_the_share_of_clipped_ratios():
    """Far from the prior all estimated ratios are below 1/M; at the prior none is."""
    near = LinearProblem.make(2, 2, 1.0)
    near.sigma.requires_grad_(False)
    with torch.no_grad():
        near.A.mul_(1e-3)
        near.b.zero_()
    same = KernelRatio(200).estimate(near.q(), standard_prior(2), generator=generator()).diagnostics["clipped"]
    assert same.item() < 0.05
    with torch.no_grad():
        near.b.fill_(100.0)
    far = KernelRatio(200, width=1.0, direction="forward")
    assert far.estimate(near.q(), standard_prior(2), generator=generator()).diagnostics["clipped"] == 1.0


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e9])
def test_the_modes_of_a_kernel_do_not_depend_on_its_scale(factor):
    """Modes are left out by their share of the largest one: those of repeated points are rounding errors."""
    points = torch.randn(6, 2, dtype=DTYPE, generator=generator()).repeat(2, 1)
    kernel = (-0.5 * torch.cdist(points, points) ** 2).exp()
    matrix, kept = spectral_matrix(factor * kernel, torch.tensor(1.0, dtype=DTYPE), 1.0)
    expected, modes = spectral_matrix(kernel, torch.tensor(1.0, dtype=DTYPE), 1.0)
    assert int(modes.sum()) == 6
    assert torch.equal(kept, modes)
    torch.testing.assert_close(matrix, expected)
