"""Gaussian weight distributions against torch's, and the recognition of Gaussians."""

import pyro.distributions as dist
import pytest
import torch
from torch.autograd import forward_ad
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, Normal, kl_divergence

from bayeshnet import speed
from bayeshnet.distributions import (
    FanInGaussian,
    LowRankGaussian,
    MeanFieldGaussian,
    ScaleMixturePrior,
    as_gaussian,
    as_low_rank,
)
from bayeshnet.distributions.gaussian import reparameterized
from bayeshnet.distributions.kl import gaussian_pair_kl
from bayeshnet.weights import WeightSpec, Whitening
from tests.support.oracles import DTYPE, LinearProblem, gradients, relative_error

P = 7


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*size, seed=0):
    return torch.randn(*size, dtype=DTYPE, generator=generator(seed))


def low_rank(rank=3, seed=0):
    parts = normal(P, seed=seed), normal(P, rank, seed=seed + 1), normal(P, seed=seed + 2).exp()
    return LowRankGaussian(*(t.requires_grad_() for t in parts))


def dense(q):
    return MultivariateNormal(q.loc, q.factor @ q.factor.T + torch.diag(q.diag))


def test_mean_field_agrees_with_torch():
    loc, scale = normal(P), normal(P, seed=1).exp()
    q, reference = MeanFieldGaussian(loc, scale), Independent(Normal(loc, scale), 1)
    w = normal(4, 3, P, seed=2)
    torch.testing.assert_close(q.log_prob(w), reference.log_prob(w))
    torch.testing.assert_close(q.entropy(), reference.entropy())
    torch.testing.assert_close(q.draw(5, generator()).w, loc + scale * normal(5, P))
    torch.testing.assert_close(MeanFieldGaussian(loc, torch.tensor(2.0)).variance, torch.full((P,), 4.0))


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_low_rank_agrees_with_the_dense_covariance(rank):
    q = low_rank(rank)
    reference, w = dense(q), normal(4, P, seed=5)
    torch.testing.assert_close(q.log_prob(w), reference.log_prob(w))
    torch.testing.assert_close(q.entropy(), reference.entropy())
    torch.testing.assert_close(q.variance, reference.variance)
    parameters = [q.loc, q.factor, q.diag]
    ours, theirs = (gradients(d.log_prob(w).sum() + d.entropy(), parameters) for d in (q, reference))
    assert relative_error(ours, theirs) < 1e-10


def test_low_rank_draws_have_its_covariance():
    q = low_rank()
    w = q.draw(200_000, generator()).w.detach()
    torch.testing.assert_close(w.T.cov(), dense(q).covariance_matrix.detach(), atol=0.12, rtol=0.02)


@pytest.mark.parametrize("ranks", [(2, 3), (9, 1), (None, 3), (3, None), (None, None)])
def test_kl_between_gaussians_is_the_dense_one(ranks):
    def make(rank, seed):
        if rank is not None:
            return low_rank(rank, seed)
        return MeanFieldGaussian(normal(P, seed=seed).requires_grad_(), normal(P, seed=seed + 1).exp().requires_grad_())

    def as_dense(d):
        return dense(d) if isinstance(d, LowRankGaussian) else MultivariateNormal(d.loc, torch.diag(d.scale**2))

    q, p = make(ranks[0], 0), make(ranks[1], 10)
    ours, reference = kl_divergence(q, p), kl_divergence(as_dense(q), as_dense(p))
    torch.testing.assert_close(ours, reference)
    leaves = [t for d in (q, p) for t in vars(d).values() if isinstance(t, torch.Tensor) and t.requires_grad]
    leaves = [t for t in leaves if t.is_leaf]
    assert len(leaves) >= 2
    assert relative_error(gradients(ours, leaves), gradients(reference, leaves)) < 1e-9


@pytest.mark.parametrize("change", [(1e-4, 0.0), (0.0, 1e-4), (3e-5, 3e-5), (1.0, 3.0), (0.0, 1e-9 - 1)])
def test_kl_of_neighbors_in_single_precision(change):
    """The KL of nearby Gaussians, such as a posterior and the one before it, is small and yet accurate."""
    loc, scale = torch.randn(100_000, generator=generator()), torch.rand(100_000, generator=generator(1)) + 0.5
    q = MeanFieldGaussian(loc + change[0] * scale, scale * (1 + change[1]))
    p, wide = MeanFieldGaussian(loc, scale), MeanFieldGaussian(loc.double(), scale.double())
    reference = kl_divergence(MeanFieldGaussian(q.loc.double(), q.scale.double()), wide)
    torch.testing.assert_close(kl_divergence(q, p).double(), reference, rtol=3e-3, atol=0)


def test_batches_of_gaussians_have_no_single_kl():
    batch = Independent(Normal(torch.ones(4, 3), 1.0), 1)
    for pair in ((MeanFieldGaussian(torch.zeros(3), torch.ones(3)), batch), (batch, batch)):
        assert gaussian_pair_kl(*pair) is None


def test_kl_to_a_full_covariance():
    q = low_rank()
    root = normal(P, P, seed=20).tril() + 3 * torch.eye(P, dtype=DTYPE)
    p = MultivariateNormal(normal(P, seed=21), scale_tril=root * root.diagonal().sign())
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(dense(q), p))
    mean_field = MeanFieldGaussian(q.loc, q.diag.sqrt())
    torch.testing.assert_close(
        kl_divergence(mean_field, p), kl_divergence(MultivariateNormal(q.loc, torch.diag(q.diag)), p)
    )


def test_kl_of_linear_hypernetworks_is_that_of_low_rank_gaussians():
    q, p = LinearProblem.make(3, 20, 0.1), LinearProblem.make(4, 20, 0.3, per_weight=True, seed=5)
    ours, reference = kl_divergence(q.q(affine=True), p.q(affine=True)), kl_divergence(q.dense(), p.dense())
    torch.testing.assert_close(ours, reference)
    leaves = q.parameters + p.parameters
    assert relative_error(gradients(ours, leaves), gradients(reference, leaves)) < 1e-9


def test_a_pair_without_a_formula_is_refused_with_advice():
    with pytest.raises(ValueError, match="MonteCarlo"):
        kl_divergence(low_rank(), ScaleMixturePrior(WeightSpec.of_shapes([[P]])))


RECOGNIZED = {
    "torch": Independent(Normal(normal(P), normal(P, seed=1).exp()), 1),
    "torch scalar": Independent(Normal(torch.tensor(0.3, dtype=DTYPE), torch.tensor(2.0, dtype=DTYPE)).expand([P]), 1),
    "pyro": dist.Normal(normal(P), normal(P, seed=1).exp()).to_event(1),
    "pyro scalar": dist.Normal(torch.tensor(0.3, dtype=DTYPE), torch.tensor(2.0, dtype=DTYPE)).expand([P]).to_event(1),
    "pyro event, then expanded": dist.Normal(normal(P), normal(P, seed=1).exp()).to_event(1).expand([]),
    "diagonal": MultivariateNormal(normal(P), torch.diag(normal(P, seed=1).exp())),
    "own": MeanFieldGaussian(normal(P), normal(P, seed=1).exp()),
    "fan-in": FanInGaussian(WeightSpec.of_shapes([[3, 2], [1]]), dtype=DTYPE),
}


@pytest.mark.parametrize("name", RECOGNIZED)
def test_gaussians_are_recognized_in_any_clothes(name):
    p = RECOGNIZED[name]
    loc, scale = as_gaussian(p)
    w = normal(4, P, seed=9)
    torch.testing.assert_close(Normal(loc, scale).log_prob(w).sum(-1), p.log_prob(w))
    if "scalar" in name:
        assert loc.ndim == scale.ndim == 0
    full_loc, diag, factor = as_low_rank(p)
    assert full_loc.shape == diag.shape == (P,)
    assert factor is None


NOT_GAUSSIAN = {
    "full": MultivariateNormal(torch.zeros(P), torch.eye(P) + 0.5),
    "laplace": dist.Laplace(torch.zeros(P), 1.0).to_event(1),
    "mixture": ScaleMixturePrior(WeightSpec.of_shapes([[P]])),
    "masked": dist.Normal(torch.zeros(P), 1.0).to_event(1).mask(False),
    "matrix": Independent(Normal(torch.zeros(2, P), 1.0), 2),
}


@pytest.mark.parametrize("name", NOT_GAUSSIAN)
def test_others_are_not(name):
    assert as_gaussian(NOT_GAUSSIAN[name]) is None


def test_low_rank_of_torch_is_recognized():
    q = low_rank()
    reference = LowRankMultivariateNormal(q.loc, q.factor, q.diag)
    torch.testing.assert_close(as_low_rank(reference), as_low_rank(q))


def test_fan_in_prior_is_standard_in_u_space():
    spec = WeightSpec.of(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)))
    p = FanInGaussian(spec, dtype=DTYPE)
    whitening = spec.whitening(dtype=DTYPE)
    w = normal(5, spec.numel)
    standard = Normal(torch.zeros(spec.numel, dtype=DTYPE), 1.0)
    u = (w - whitening.loc) / whitening.scale
    torch.testing.assert_close(p.log_prob(w), standard.log_prob(u).sum(-1) - whitening.scale.log().sum())
    assert p.whitened_by(whitening)
    assert not p.whitened_by(None)
    assert not p.whitened_by(spec.whitening(gain=1.0, dtype=DTYPE))
    whitening.scale.mul_(2)  # a change in place is noticed
    assert not p.whitened_by(whitening)
    assert not p.whitened_by(Whitening(torch.zeros((), dtype=DTYPE), torch.ones((), dtype=DTYPE)))
    assert p.mean[spec.slice("1.weight")].eq(1).all()


def test_scale_mixture_is_the_mixture_of_its_normals():
    p = ScaleMixturePrior(WeightSpec.of_shapes([[P]]), pi=0.3, scale1=2.0, scale2=0.1, dtype=DTYPE)
    w = normal(4, P)
    each = [Normal(torch.zeros((), dtype=DTYPE), s).log_prob(w).exp() for s in (2.0, 0.1)]
    torch.testing.assert_close(p.log_prob(w), (0.3 * each[0] + 0.7 * each[1]).log().sum(-1))
    draws = p.draw(40_000, generator()).w
    torch.testing.assert_close(draws.var(0), p.variance, rtol=0.05, atol=0)
    pure = ScaleMixturePrior(WeightSpec.of_shapes([[P]]), pi=1.0, scale1=2.0, dtype=DTYPE)
    torch.testing.assert_close(pure.log_prob(w), Normal(0.0, 2.0).log_prob(w).sum(-1))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MeanFieldGaussian(torch.zeros(2, 2), torch.ones(2)), "loc"),
        (lambda: MeanFieldGaussian(torch.zeros(2), torch.ones(3)), "scale"),
        (lambda: MeanFieldGaussian(torch.zeros(2), torch.tensor([1.0, -1.0])), "scale"),
        (lambda: LowRankGaussian(torch.zeros(2), torch.ones(3, 1), torch.ones(2)), "factor"),
        (lambda: LowRankGaussian(torch.zeros(2), torch.ones(2, 1), torch.zeros(2)), "diag"),
        (lambda: ScaleMixturePrior(WeightSpec.of_shapes([[2]]), pi=1.5), "pi"),
        (lambda: FanInGaussian(WeightSpec.of_shapes([[2]]), gain=0.0), "gain"),
    ],
)
def test_bad_input_names_its_argument(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_draws_of_many_weights_have_the_gradient_of_their_formula():
    loc, scale = normal(P).requires_grad_(), normal(P, seed=1).exp().requires_grad_()
    weight = normal(3, P, seed=2)

    def value():
        return (weight * MeanFieldGaussian(loc, scale).draw(3, generator(3)).w.square()).sum()

    plain = value()
    with speed.using(long_weights=0):
        fused = value()
        torch.testing.assert_close(fused, plain)
        assert relative_error(gradients(fused, [loc, scale]), gradients(plain, [loc, scale])) < 1e-12
        assert torch.autograd.gradgradcheck(lambda m, s: reparameterized(m, s, weight).square(), (loc, scale))
        jacobian = torch.func.jacfwd(lambda s: reparameterized(loc, s, weight))(scale)
    torch.testing.assert_close(jacobian, torch.diag_embed(weight))
    with speed.using(long_weights=0), forward_ad.dual_level():
        dual = forward_ad.make_dual(scale.detach().clone(), torch.ones_like(scale))
        moved = reparameterized(loc, dual.requires_grad_(), weight)
        torch.testing.assert_close(forward_ad.unpack_dual(moved).tangent, weight)
