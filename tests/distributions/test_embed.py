"""Distributions of a network seen as distributions of a wider one."""

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from bayeshnet.distributions import Dirac, FanInGaussian, LowRankGaussian, MeanFieldGaussian, SemiImplicit, embed
from bayeshnet.distributions.embedded import EmbeddedGeometry
from bayeshnet.estimators import LIVI, ImportanceSandwich
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE, DenseGeometry, LinearProblem, TanhProblem, gradients

WIDE = WeightSpec.of_shapes([[4, 2], [4]])
NARROW = WeightSpec.of_shapes([[3, 2], [3]])
PLACES = NARROW.places_in(WIDE)
PRIOR = FanInGaussian(WIDE, dtype=DTYPE)
REST = torch.ones(12).index_fill(0, PLACES, 0).bool()


def rand(*shape):
    return torch.randn(*shape, dtype=DTYPE)


def test_geometry_equals_brute_force():
    problem = TanhProblem.make(3, 9)
    geometry = EmbeddedGeometry(problem.q().geometry, PLACES, 12)

    matrix = torch.eye(12, dtype=DTYPE)[PLACES]

    def fn(z):
        return problem.h(z) @ matrix

    slow = DenseGeometry(fn, 3, 12)
    z, other, v, t = rand(4, 3), rand(4, 3), rand(12), rand(4, 3)
    precision, center = torch.rand(12, dtype=DTYPE) + 0.5, rand(12)
    torch.testing.assert_close(geometry(z), fn(z))
    for p in (2.0, precision):
        torch.testing.assert_close(geometry.gram(z, p), slow.gram(z, p))
        torch.testing.assert_close(geometry.sqdist(z, center, p), slow.sqdist(z, center, p))
        torch.testing.assert_close(geometry.sqdist(z, None, p), slow.sqdist(z, None, p))
        torch.testing.assert_close(geometry.sqdist_between(z, other, p), slow.sqdist_between(z, other, p))
    torch.testing.assert_close(geometry.inner(z, v), fn(z) @ v)
    torch.testing.assert_close(geometry.inner_between(z, other, v), (fn(z) - fn(other)) @ v)
    torch.testing.assert_close(geometry.against(v)(z, other), (fn(z) - fn(other)) @ v)
    with torch.no_grad():  # a precision that was changed in place is no longer the one that was kept
        precision.mul_(2)
    torch.testing.assert_close(geometry.gram(z, precision), slow.gram(z, precision))
    torch.testing.assert_close(geometry.vjp(z, v), torch.einsum("spn,p->sn", slow.jacobian(z), v))
    torch.testing.assert_close(geometry.jvp(z, t), torch.einsum("spn,sn->sp", slow.jacobian(z), t))
    torch.testing.assert_close(geometry.rows(z), slow.jacobian(z))
    index = torch.tensor([0, 7, 11])
    torch.testing.assert_close(geometry.rows(z, index), slow.jacobian(z)[:, index])


def test_nothing_made_in_inference_mode_is_kept():
    hnet = HMLP([[3, 2], [3]], uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=[4], verbose=False).double()
    geometry = EmbeddedGeometry(hnet.geometry(), PLACES, 12)
    z, other, precision = rand(4, 3), rand(4, 3), torch.rand(12, dtype=DTYPE) + 0.5
    with torch.inference_mode():
        inside = geometry.gram(z, precision).sum() + geometry.sqdist_between(z, other, precision).sum()
    outside = geometry.gram(z, precision).sum() + geometry.sqdist_between(z, other, precision).sum()
    torch.testing.assert_close(outside, inside.clone())
    assert all(grad.abs().max() > 0 for grad in torch.autograd.grad(outside, list(hnet.parameters())[::2]))


@pytest.mark.parametrize("kind", ["mean-field", "low-rank", "linear hypernetwork"])
def test_density_is_the_product_of_both(kind):
    loc, diag, factor = rand(9), torch.rand(9, dtype=DTYPE) + 0.1, rand(9, 2)
    if kind == "mean-field":
        q = MeanFieldGaussian(loc, diag.sqrt())
        law = MultivariateNormal(loc, diag.diag())
    elif kind == "low-rank":
        q = LowRankGaussian(loc, factor, diag)
        law = MultivariateNormal(loc, diag.diag() + factor @ factor.T)
    else:
        problem = LinearProblem.make(2, 9)
        q, law = SemiImplicit(problem.geometry(affine=True), problem.sigma), problem.dense()
    w = rand(5, 12)
    rest = Normal(PRIOR.loc[REST], PRIOR.scale[REST]).log_prob(w[:, REST]).sum(-1)
    torch.testing.assert_close(embed(q, PLACES, PRIOR).log_prob(w), law.log_prob(w[:, PLACES]) + rest)


def test_information_of_an_embedded_hypernetwork_is_its_own():
    """New weights know nothing of the latent, so nothing but the analytic part changes; gradients reach the map."""
    problem = TanhProblem.make(2, 9)
    q = problem.q()
    wide, z = embed(q, PLACES, PRIOR), rand(6, 2)
    for method, name in ((LIVI(6), "mutual_information"),):
        ours = method.estimate(wide, PRIOR, 6, torch.Generator().manual_seed(0))
        theirs = method.estimate(
            q, MeanFieldGaussian(PRIOR.loc[PLACES], PRIOR.scale[PLACES]), 6, torch.Generator().manual_seed(0)
        )
        torch.testing.assert_close(ours.diagnostics[name], theirs.diagnostics[name])
        torch.testing.assert_close(ours.value, theirs.value)  # the rest follows the prior: no KL
        torch.testing.assert_close(
            gradients(ours.surrogate, problem.parameters), gradients(theirs.surrogate, problem.parameters)
        )
    torch.testing.assert_close(wide.geometry(z)[:, PLACES], q.geometry(z))
    w = rand(4, 12)
    rest = Normal(PRIOR.loc[REST], PRIOR.scale[REST]).log_prob(w[:, REST]).sum(-1)
    inner = ImportanceSandwich().log_prob(q, w[:, PLACES], generator=torch.Generator().manual_seed(0))
    outer = ImportanceSandwich().log_prob(wide, w, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(outer, inner + rest, atol=0.2, rtol=0)


def test_others_are_refused():
    with pytest.raises(TypeError, match="q: expected a Gaussian or a hypernetwork posterior"):
        embed(Dirac(rand(9)), PLACES, PRIOR)
    with pytest.raises(ValueError, match="wider: expected a specification with a tensor 'w0' of shape"):
        WIDE.places_in(NARROW)


@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_the_higher_precision_is_kept(dtypes):
    loc, factor = torch.full((9,), 1 / 3, dtype=dtypes[0]), torch.ones(9, 2, dtype=dtypes[0])
    prior = FanInGaussian(WIDE, dtype=dtypes[1])
    for q in (MeanFieldGaussian(loc, 1 + loc), LowRankGaussian(loc, factor, 1 + loc)):
        found = embed(q, PLACES, prior)
        assert found.draw(2).w.dtype == found.log_prob(found.mean).dtype == torch.float64
        torch.testing.assert_close(found.mean[PLACES], loc.double(), rtol=0, atol=0)
        torch.testing.assert_close(found.variance[PLACES], q.variance.double())


def test_draws_in_blocks_stay_in_blocks():
    hnet = HMLP([[3, 2], [3]], uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=[4], verbose=False).double()
    q = SemiImplicit(hnet.geometry(), 0.1, block_size=4)
    assert embed(q, PLACES, PRIOR).block_size == 4
