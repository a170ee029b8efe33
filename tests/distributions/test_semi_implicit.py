"""Draws, whitening and limits of the distributions that a hypernetwork makes."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from bayeshnet.distributions import Dirac, MeanFieldGaussian, Mixture, Radial, SemiImplicit, SharedNoise, WeightDraw
from bayeshnet.weights import WeightSpec, Whitening
from tests.support.oracles import DTYPE, DenseGeometry, LinearProblem, TanhProblem, gradients


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def whitening(P, seed=3):
    gen = generator(seed)
    return Whitening(torch.randn(P, dtype=DTYPE, generator=gen), 0.5 + torch.rand(P, dtype=DTYPE, generator=gen))


def test_a_draw_is_made_of_its_latent_and_noise():
    problem = TanhProblem.make(3, 10, per_weight=True)
    white = whitening(10)
    q = SemiImplicit(problem.q().geometry, problem.sigma, white)
    draw = q.draw(6, generator())
    assert draw.w.shape == (6, 10)
    assert draw.z.shape == (6, 3)
    expected = white.loc + white.scale * (problem.h(draw.z) + problem.sigma * draw.eps)
    torch.testing.assert_close(draw.w, expected)
    torch.testing.assert_close(q.whiten(draw.w), problem.h(draw.z) + problem.sigma * draw.eps)
    torch.testing.assert_close(q.whitened(draw), q.whiten(draw.w))
    torch.testing.assert_close(q.whitened(WeightDraw(draw.w)), q.whiten(draw.w))
    assert torch.equal(draw.first(2).u, draw.u[:2])
    torch.testing.assert_close(q.draw(6, generator()).w, draw.w)
    assert q.rsample((2, 3)).shape == (2, 3, 10)
    assert all(g.abs().sum() > 0 for g in gradients(draw.w.square().sum(), problem.parameters))


@pytest.mark.parametrize("white", [False, True])
def test_an_affine_one_is_a_low_rank_gaussian(white):
    problem, maps = LinearProblem.make(3, 9, per_weight=True), whitening(9) if white else None
    q = SemiImplicit(problem.geometry(affine=True), problem.sigma, maps)
    scale = maps.scale if white else torch.ones(9, dtype=DTYPE)
    offset = maps.loc if white else torch.zeros(9, dtype=DTYPE)
    law = problem.dense()
    reference = MultivariateNormal(offset + scale * law.loc, scale[:, None] * law.covariance_matrix * scale)
    w = q.draw(5, generator()).w
    torch.testing.assert_close(q.log_prob(w), reference.log_prob(w))


def test_a_nonlinear_one_has_no_log_prob():
    with pytest.raises(ValueError, match=r"LIVI\(\).log_density"):
        TanhProblem.make(2, 5).q().log_prob(torch.zeros(1, 5, dtype=DTYPE))


def test_shared_noise_is_the_documented_equation():
    problem = TanhProblem.make(3, 10)
    q = SharedNoise(problem.q().geometry, problem.sigma)
    draw = q.draw(4, generator())
    torch.testing.assert_close(draw.z, draw.eps[:, :3])
    torch.testing.assert_close(draw.w, problem.h(draw.eps[:, :3]) + problem.sigma * draw.eps)


@pytest.mark.parametrize(
    ("sigma", "match"),
    [
        (0.0, "sigma"),
        (-1.0, "sigma"),
        (torch.zeros(10), "sigma"),
        (torch.ones(3), r"\(10,\)"),
        (torch.tensor(float("nan")), "sigma"),
    ],
)
def test_bad_sigma(sigma, match):
    with pytest.raises(ValueError, match=match):
        SemiImplicit(TanhProblem.make(3, 10).q().geometry, sigma)


def test_bad_parts():
    problem = TanhProblem.make(3, 10)
    geometry = problem.q().geometry
    with pytest.raises(TypeError, match="geometry"):
        SemiImplicit(problem.h, 0.1)
    with pytest.raises(ValueError, match="weight_spec"):
        SemiImplicit(geometry, 0.1, weight_spec=WeightSpec.of_shapes([[3]]))
    with pytest.raises(ValueError, match="whitening"):
        SemiImplicit(geometry, 0.1, whitening(4))
    with pytest.raises(ValueError, match="independent"):
        SharedNoise(DenseGeometry(lambda z: z[..., :2], 3, 2), 0.1)


class TestRadial:
    def make(self):
        gen = generator()
        loc, scale = torch.randn(9, dtype=DTYPE, generator=gen), torch.rand(9, dtype=DTYPE, generator=gen) + 0.5
        return Radial(loc, scale, WeightSpec.of_shapes([[2, 3], [2], [1]]))

    def test_density_integrates_to_one(self):
        q = Radial(torch.tensor([0.3, -0.2], dtype=DTYPE), torch.tensor([0.7, 1.1], dtype=DTYPE))
        axis = torch.linspace(-8, 8, 1600, dtype=DTYPE) + 1e-4
        grid = torch.cartesian_prod(axis, axis)
        area = (axis[1] - axis[0]) ** 2
        assert float(q.log_prob(grid).exp().sum() * area) == pytest.approx(1, abs=0.01)

    def test_entropy_and_moments_agree_with_draws(self):
        q = self.make()
        w = q.draw(100_000, generator()).w
        terms = -q.log_prob(w)
        assert abs(float(terms.mean() - q.entropy())) < 4 * float(terms.std() / 100_000**0.5)
        torch.testing.assert_close(w.mean(0), q.mean, atol=0.02, rtol=0)
        torch.testing.assert_close(w.var(0), q.variance, rtol=0.05, atol=0)

    def test_wrong_size(self):
        with pytest.raises(ValueError, match="weight_spec"):
            Radial(torch.zeros(3), torch.ones(3), WeightSpec.of_shapes([[2]]))


def test_mixture_density_and_draws():
    parts = [
        MeanFieldGaussian(torch.full((2,), m, dtype=DTYPE), torch.full((), s, dtype=DTYPE))
        for m, s in ((-2.0, 0.5), (1.0, 1.0))
    ]
    q = Mixture(torch.tensor([0.0, 1.0], dtype=DTYPE), parts)
    weights = q.logits.softmax(-1)
    w = q.draw(50_000, generator()).w
    by_hand = (weights[0] * parts[0].log_prob(w).exp() + weights[1] * parts[1].log_prob(w).exp()).log()
    torch.testing.assert_close(q.log_prob(w), by_hand)
    torch.testing.assert_close(w.mean(0), q.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(w.var(0), q.variance, rtol=0.03, atol=0)
    with pytest.raises(ValueError, match="no_grad"):
        Mixture(torch.zeros(2, requires_grad=True), parts).draw(3)
    with pytest.raises(ValueError, match="components"):
        Mixture(torch.zeros(0), [])


def test_dirac_draws_its_weights_with_gradient():
    loc = torch.ones(3, requires_grad=True)
    q = Dirac(loc)
    assert q.rsample((4,)).sum().requires_grad
    assert q.draw(2).w.equal(torch.ones(2, 3))
    with pytest.raises(ValueError, match="ClosedForm"):
        q.log_prob(torch.ones(3))
