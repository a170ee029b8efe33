"""Closed form, Monte Carlo, change of variables, the automatic choice."""

import pytest
import torch
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal, kl_divergence

from bayeshnet.distributions import (
    Dirac,
    LowRankGaussian,
    MeanFieldGaussian,
    Mixture,
    Radial,
    ScaleMixturePrior,
    SemiImplicit,
    SharedNoise,
    WeightDraw,
)
from bayeshnet.estimators import LIVI, Auto, ChangeOfVariables, ClosedForm, MonteCarlo, StochasticLIVI
from bayeshnet.estimators.monte_carlo import detached
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.weights import WeightSpec
from tests.support.oracles import (
    DTYPE,
    LinearProblem,
    TanhProblem,
    banana_flow,
    gradients,
    relative_error,
    standard_prior,
)

P = 6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*size, seed=0):
    return torch.randn(*size, dtype=DTYPE, generator=generator(seed))


def explicit(kind):
    loc, scale = normal(P).requires_grad_(), normal(P, seed=1).exp().requires_grad_()
    if kind == "mean field":
        return MeanFieldGaussian(loc, scale), [loc, scale]
    if kind == "torch":
        return Independent(Normal(loc, scale), 1), [loc, scale]
    if kind == "radial":
        return Radial(loc, scale, WeightSpec.of_shapes([[2, 2], [2]])), [loc, scale]
    factor = normal(P, 2, seed=2).requires_grad_()
    return LowRankGaussian(loc, factor, scale), [loc, factor, scale]


KINDS = ["mean field", "torch", "radial", "low rank"]


@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_is_what_monte_carlo_converges_to(kind):
    q, parameters = explicit(kind)
    p = standard_prior(P, 1.3)
    exact = ClosedForm().estimate(q, p)
    sampled = MonteCarlo().estimate(q, p, 40_000, generator())
    assert abs((exact.value - sampled.value).item()) < 4 * sampled.diagnostics["standard_error"].item()
    truth, noisy = (gradients(e.surrogate, parameters) for e in (exact, sampled))
    assert relative_error(noisy, truth) < 0.06
    plain = MonteCarlo(stick_the_landing=False).estimate(q, p, 40_000, generator())
    assert relative_error(gradients(plain.surrogate, parameters), truth) < 0.1


@pytest.mark.parametrize("kind", ["mean field", "torch", "low rank"])
def test_sticking_the_landing_has_no_noise_at_the_target(kind):
    q, parameters = explicit(kind)
    p = MonteCarlo(stick_the_landing=True).log_density
    draws = q.draw(3, generator()).w if kind != "torch" else q.rsample((3,))
    difference = p(q, WeightDraw(draws)) - detached(q).log_prob(draws)
    assert all(g.abs().max() < 1e-12 for g in gradients(difference.sum(), parameters))


@pytest.mark.parametrize("kind", KINDS)
def test_log_density_of_the_closed_form(kind):
    """Value: the density. Gradient: that of the negative entropy, in the mean that of the density."""
    q, parameters = explicit(kind)
    w = q.rsample((20_000,)) if kind == "torch" else q.draw(20_000, generator()).w

    ours = ClosedForm().log_density(q, WeightDraw(w))
    torch.testing.assert_close(ours, q.log_prob(w))
    exact = gradients(q.log_prob(w).mean(), parameters)
    got = gradients(ours.mean(), parameters)
    for a, b in zip(got, exact, strict=True):
        torch.testing.assert_close(a, b, atol=0.06, rtol=0.05)


def test_linear_hypernetworks_have_a_closed_form():
    problem = LinearProblem.make(3, 20, 0.1, per_weight=True)
    estimate = ClosedForm().estimate(problem.q(affine=True), standard_prior(20))
    exact = problem.kl(torch.zeros(20, dtype=DTYPE), torch.ones((), dtype=DTYPE))
    assert estimate.value.item() == pytest.approx(exact.item(), rel=1e-10)
    assert (
        relative_error(gradients(estimate.surrogate, problem.parameters), gradients(exact, problem.parameters)) < 1e-9
    )
    draw = problem.q(affine=True).draw(4, generator())
    torch.testing.assert_close(ClosedForm().log_density(problem.q(affine=True), draw), problem.dense().log_prob(draw.w))


def test_radial_entropy_and_kl_by_hand():
    """One weight per tensor is a Gaussian; the KL is then known."""
    loc, scale = normal(3), normal(3, seed=1).exp()
    q = Radial(loc, scale, WeightSpec.of_shapes([[1], [1], [1]]))
    exact = kl_divergence(Independent(Normal(loc, scale), 1), Independent(Normal(torch.zeros(3), 2.0), 1))
    torch.testing.assert_close(ClosedForm().estimate(q, standard_prior(3, 2.0)).value, exact)


def test_what_torch_has_registered():
    q, p = (MultivariateNormal(normal(3, seed=s), torch.eye(3, dtype=DTYPE) * (1 + s)) for s in (0, 1))
    torch.testing.assert_close(ClosedForm().estimate(q, p).value, kl_divergence(q, p))


def test_dirac_has_a_gradient_and_no_value():
    loc = normal(P).requires_grad_()
    estimate = ClosedForm().estimate(Dirac(loc), standard_prior(P, 0.5))
    assert estimate.value is None
    torch.testing.assert_close(gradients(estimate.surrogate, [loc])[0], loc.detach() / 0.25)
    log_density = ClosedForm().log_density(Dirac(loc), Dirac(loc).draw(3))
    assert log_density.eq(0).all()
    assert log_density.shape == (3,)


def test_no_formula_no_value():
    q, _ = explicit("mean field")
    with pytest.raises(ValueError, match="MonteCarlo"):
        ClosedForm().estimate(q, Independent(Laplace(torch.zeros(P), 1.0), 1))
    with pytest.raises(ValueError, match=f"{P} weights"):
        ClosedForm().estimate(q, standard_prior(P + 1))
    with pytest.raises(TypeError, match="LIVI"):
        MonteCarlo().estimate(TanhProblem.make(2, P).q(), standard_prior(P))
    with pytest.raises(TypeError, match="p: expected"):
        MonteCarlo().estimate(q, Normal(torch.zeros(P), 1.0))
    with pytest.raises(ValueError, match="finite"):
        MonteCarlo().estimate(q, MeanFieldGaussian(torch.full((P,), float("nan")), torch.ones(P), validate_args=False))
    with pytest.raises(ValueError, match="density"):
        MonteCarlo().estimate(q, Dirac(torch.zeros(P, dtype=DTYPE)))


def test_mixture_entropy_detects_modes():
    """Far apart, K modes add log K nats to the entropy of one."""
    parts = [MeanFieldGaussian(torch.full((2,), 20.0 * k, dtype=DTYPE), torch.ones((), dtype=DTYPE)) for k in range(4)]
    q = Mixture(torch.zeros(4, dtype=DTYPE), parts)
    p = MeanFieldGaussian(torch.full((2,), 30.0, dtype=DTYPE), torch.full((), 25.0, dtype=DTYPE))
    estimate = MonteCarlo(20_000).estimate(q, p, generator=generator())
    entropy = parts[0].entropy() + torch.tensor(4.0).log()
    second = torch.stack([(c.loc - 30) ** 2 + 1 for c in parts]).mean(0)
    cross = 0.5 * (second / 625).sum() + Normal(0.0, 25.0).entropy() * 2 - 1
    assert estimate.value.item() == pytest.approx((cross - entropy).item(), abs=0.04)


class TestChangeOfVariables:
    def test_density_is_that_of_the_whole_jacobian(self):
        problem = TanhProblem.make(3, 8, sigma=0.5, per_weight=True)
        q = SharedNoise(problem.q().geometry, problem.sigma, WeightSpec.of_shapes([[7], [1]]).whitening(dtype=DTYPE))
        draw = q.draw(5, generator())
        jac = torch.stack([torch.autograd.functional.jacobian(lambda e: q.place(e[None]).w[0], e) for e in draw.eps])
        brute = Normal(0.0, 1.0).log_prob(draw.eps).sum(-1) - torch.linalg.slogdet(jac)[1]
        torch.testing.assert_close(ChangeOfVariables().log_density(q, draw), brute)

    @pytest.mark.parametrize("bend", [0.5, 1.0, 2.0])
    def test_noiseless_banana(self, bend):
        b = torch.tensor(bend, dtype=DTYPE).requires_grad_()
        estimate = ChangeOfVariables(100_000).estimate(banana_flow(b), standard_prior(2), generator=generator())
        assert estimate.value.item() == pytest.approx(bend**2, abs=4 * estimate.diagnostics["standard_error"].item())
        assert gradients(estimate.surrogate, [b])[0].item() == pytest.approx(2 * bend, rel=0.05)
        assert estimate.diagnostics["folded"] == 0

    def test_a_fold_is_seen(self):
        q = SharedNoise(JacobianGeometry(lambda z: z**2, 1, 1, like=torch.zeros(1)), 0.5)
        assert ChangeOfVariables(200).estimate(q, standard_prior(1)).diagnostics["folded"] > 0.1

    def test_independent_noise_is_refused(self):
        with pytest.raises(TypeError, match="LIVI"):
            ChangeOfVariables().estimate(TanhProblem.make(2, 5).q(), standard_prior(5))


SCALE_MIXTURE = ScaleMixturePrior(WeightSpec.of_shapes([[P]]), dtype=DTYPE)
CHOICES = {
    "gaussian": (lambda: explicit("mean field")[0], standard_prior(P), "ClosedForm"),
    "radial": (lambda: explicit("radial")[0], standard_prior(P), "ClosedForm"),
    "dirac": (lambda: Dirac(normal(P)), standard_prior(P), "ClosedForm"),
    "other prior": (lambda: explicit("low rank")[0], SCALE_MIXTURE, "MonteCarlo"),
    "linear": (lambda: LinearProblem.make(2, P).q(affine=True), standard_prior(P), "ClosedForm"),
    "linear, other prior": (lambda: LinearProblem.make(2, P).q(affine=True), SCALE_MIXTURE, "LIVI"),
    "nonlinear": (lambda: TanhProblem.make(2, P).q(), standard_prior(P), "LIVI"),
    "shared": (lambda: SharedNoise(TanhProblem.make(2, P).q().geometry, 0.1), standard_prior(P), "ChangeOfVariables"),
}

BEGINS = {"linear, other prior": "linear hypernetwork, another prior", "nonlinear": "nonlinear hypernetwork"}


@pytest.mark.parametrize("name", CHOICES)
def test_auto_says_what_it_chose(name):
    make, p, expected = CHOICES[name]
    q = make()
    estimate = Auto().estimate(q, p, generator=generator())
    assert estimate.diagnostics["choice"] == expected
    assert estimate.diagnostics["because"].startswith(BEGINS.get(name, ""))
    draw = q.draw(3, generator())
    chosen, _ = Auto().choose(q, p)
    if expected != "MonteCarlo":
        torch.testing.assert_close(Auto().log_density(q, draw), chosen.log_density(q, draw))


def test_a_closed_form_per_draw_is_the_density_where_there_is_one():
    linear = LinearProblem.make(2, P).q(affine=True)
    gaussian = linear.to_gaussian()
    wide = MultivariateNormal(gaussian.mean, gaussian.factor @ gaussian.factor.mT + gaussian.diag.diag())
    draw = linear.draw(3, generator())
    torch.testing.assert_close(ClosedForm().log_density(linear, draw), wide.log_prob(draw.w))
    point = Dirac(normal(P))
    assert not ClosedForm().log_density(point, point.draw(3, generator())).any()
    components = [MeanFieldGaussian(normal(P, seed=i), torch.ones(P)) for i in (1, 2)]
    mixture = Mixture(torch.zeros(2, dtype=DTYPE), components)
    draw = mixture.draw(3, generator())
    parts = torch.stack([Independent(Normal(normal(P, seed=i), 1.0), 1).log_prob(draw.w) for i in (1, 2)])
    torch.testing.assert_close(ClosedForm().log_density(mixture, draw), parts.logsumexp(0) - torch.tensor(2.0).log())
    bent = TanhProblem.make(2, P).q()
    with pytest.raises(ValueError, match=r"^q: expected a distribution with a density.*ImportanceSandwich"):
        ClosedForm().log_density(bent, bent.draw(3, generator()))


def test_auto_goes_stochastic_only_where_jacobians_do_not_fit():
    geometry = JacobianGeometry(lambda z: z, 2, 2, like=torch.zeros(1, dtype=DTYPE))
    geometry.latent_size, geometry.num_weights = 500, 10**6  # nothing is computed
    q = SemiImplicit(geometry, 0.1)
    p = Independent(Normal(torch.zeros(()), torch.ones(())).expand([10**6]), 1)
    assert isinstance(Auto().choose(q, p)[0], StochasticLIVI)
    geometry.latent_size = 8
    assert isinstance(Auto().choose(q, p)[0], LIVI)
