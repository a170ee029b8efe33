"""The two-sided audit: both sides near the truth on the same draws, whatever the number of weights."""

import pytest
import torch
from torch.distributions import Normal

from bayeshnet.distributions import HypernetPosterior, LowRankGaussian, ScaleMixturePrior, SemiImplicit, SharedNoise
from bayeshnet.estimators import LIVI, ImportanceSandwich
from bayeshnet.estimators.latent_posterior import Anchored, find_modes, make_proposal
from bayeshnet.geometry import HeadGeometry
from bayeshnet.geometry.base import Geometry
from bayeshnet.geometry.constant import ConstantGeometry
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec
from tests.support.oracles import (
    DTYPE,
    BananaProblem,
    DenseGeometry,
    FoldProblem,
    LinearProblem,
    TanhProblem,
    cosine,
    gradients,
    quadrature_log_density,
    standard_prior,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mean_and_error(x):
    return x.mean().item(), x.std().item() / len(x) ** 0.5


def linear_by_head(n, P, sigma):
    """A linear hypernetwork through its head (so that any P is cheap) that is not marked as linear."""
    hnet = HMLP([[P]], uncond_in_size=n, cond_in_size=0, layers=(), verbose=False).double()
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=DTYPE, generator=generator(1)) / n**0.5)
    geometry = hnet.geometry()
    geometry.is_affine = False
    A, b = hnet.geometry().affine()
    return SemiImplicit(geometry, sigma), LinearProblem(A.detach(), b.detach(), torch.tensor(sigma, dtype=DTYPE))


def exact_linear(problem, w):
    """Log-density by Woodbury, for any number of weights."""
    return LowRankGaussian(problem.b, problem.A, (problem.sigma**2).expand(problem.b.shape)).log_prob(w)


SIZES = [100, 1000, 10_000, pytest.param(100_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("P", SIZES)
@pytest.mark.parametrize(("n", "sigma"), [(8, 0.01), (8, 0.1), (8, 1.0), (2, 0.1)])
def test_both_sides_enclose_the_truth_of_a_linear_map(P, n, sigma):
    q, problem = linear_by_head(n, P, sigma)
    with torch.no_grad():
        draw = q.draw(24, generator())
        lower, upper = ImportanceSandwich().log_density_bounds(q, draw, generator())
        exact = exact_linear(problem, draw.w)
        info = ImportanceSandwich().mutual_information(q, draw, generator())
    check_enclosed(lower, upper, exact)
    assert info.upper - info.lower < 0.1
    assert info.value.item() == pytest.approx(problem.information().item(), abs=0.12)


def check_enclosed(lower, upper, exact, width=0.3):
    """At most ``width`` apart in the mean, the truth between them within three standard errors."""
    assert bool((lower <= upper + 1e-9).all()) or (upper - lower).mean() >= 0
    assert (upper - lower).mean() < width
    below, error = mean_and_error(lower - exact)
    assert below < 3 * error
    above, error = mean_and_error(upper - exact)
    assert above > -3 * error


@pytest.mark.parametrize(
    "P", [100, 1000, pytest.param(10_000, marks=pytest.mark.slow), pytest.param(100_000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0])
def test_both_sides_enclose_the_truth_of_a_banana(P, sigma):
    with torch.no_grad():
        problem = BananaProblem.make(P, sigma=sigma)
        plane = BananaProblem(torch.eye(2, dtype=DTYPE), problem.bend, problem.sigma)
        q = SemiImplicit(PlaneGeometry(plane.h, 2, problem.Q), problem.sigma)
        draw = q.draw(32, generator(2))
        lower, upper = ImportanceSandwich().log_density_bounds(q, draw, generator())
        check_enclosed(lower, upper, problem.log_density(draw.w))


class PlaneGeometry(DenseGeometry):
    """``Q g(z)`` with orthonormal ``Q`` ``(P, k)`` through ``g``, so that many weights are cheap."""

    def __init__(self, g, latent_size, Q):
        super().__init__(lambda z: g(z) @ Q.T, latent_size, Q.shape[0])
        self.g, self.Q = g, Q

    def gram(self, z, precision=1.0):
        jac = DenseGeometry(self.g, self.latent_size, self.Q.shape[1]).jacobian(z)
        return jac.mT @ jac * precision

    def sqdist_between(self, z, other, precision=1.0):
        return (self.g(z) - self.g(other)).square().sum(-1) * precision

    def against(self, v):
        return lambda z, other: ((self.g(z) - self.g(other)) * (v @ self.Q)).sum(-1)


@pytest.mark.parametrize(
    ("n", "P", "sigma", "gain"),
    [
        (2, 10, 0.3, 1.0),
        (2, 10, 1.0, 2.0),
        (2, 100, 1.0, 1.0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (2, 100, 0.2, 0.5),
                (2, 1000, 1.0, 1.0),
                (2, 10_000, 3.0, 1.0),
                (2, 100_000, 10.0, 1.0),
                (1, 100, 0.1, 1.0),
                (1, 1000, 0.1, 2.0),
                (1, 10_000, 0.1, 1.0),
                (1, 100_000, 1.0, 1.0),
            )
        ),
    ],
)
def test_both_sides_enclose_the_truth_of_a_nonlinear_map(n, P, sigma, gain):
    """By quadrature over the latent, whose grid resolves the noise: two latents at much noise where P is large."""
    with torch.no_grad():
        problem = TanhProblem.make(n, P, 8, sigma, gain)
        q = SemiImplicit(tanh_by_head(problem), problem.sigma)
        draw = q.draw(16, generator(1))
        lower, upper = ImportanceSandwich().log_density_bounds(q, draw, generator())
        check_enclosed(lower, upper, quadrature_log_density(problem, draw.w))


def tanh_by_head(problem):
    """The same map as a hypernetwork, so that many weights are cheap."""
    P, H = problem.W2.shape
    hnet = HMLP(
        [[P]],
        uncond_in_size=problem.W1.shape[1],
        cond_in_size=0,
        layers=(H,),
        verbose=False,
        activation_fn=torch.nn.Tanh(),
    ).double()
    given = {(H, problem.W1.shape[1]): problem.W1, (H,): problem.c, (P, H): problem.W2, (P,): problem.b}
    for parameter in hnet.parameters():
        parameter.copy_(given[tuple(parameter.shape)])
    z = torch.ones(1, problem.W1.shape[1], dtype=DTYPE)
    torch.testing.assert_close(hnet.geometry()(z), problem.h(z))
    return hnet.geometry()


@pytest.mark.parametrize("P", SIZES)
def test_both_sides_enclose_the_truth_of_a_fold(P):
    """With searches for the latent's other sign; the scale of the map keeps the information the same for all P."""
    with torch.no_grad():
        problem = FoldProblem.make(P, 0.1)
        problem.a.div_(problem.a.norm())
        q = SemiImplicit(PlaneGeometry(torch.square, 1, problem.a[:, None]), problem.sigma)
        draw = q.draw(48, generator())
        lower, upper = ImportanceSandwich(num_starts=3).log_density_bounds(q, draw, generator())
        check_enclosed(lower, upper, problem.log_density(draw.w))


@pytest.mark.parametrize("P", SIZES)
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_both_sides_enclose_the_truth_of_a_constant_map(P, sigma):
    q = SemiImplicit(ConstantGeometry(torch.linspace(-1, 1, P, dtype=DTYPE), 8), sigma)
    with torch.no_grad():
        draw = q.draw(24, generator())
        lower, upper = ImportanceSandwich().log_density_bounds(q, draw, generator())
        check_enclosed(lower, upper, Normal(q.geometry(draw.z), sigma).log_prob(draw.w).sum(-1))


def test_a_fold_needs_more_than_one_start():
    problem = FoldProblem.make()
    draw = problem.q().draw(128, generator())
    conditional = Normal(problem.q().geometry(draw.z), problem.sigma).log_prob(draw.w).sum(-1)
    exact = conditional - problem.log_density(draw.w)
    found = ImportanceSandwich(num_starts=3).mutual_information(problem.q(), draw, generator())
    raw = 0.5 * (found.diagnostics["lower_per_draw"] + found.diagnostics["upper_per_draw"])
    assert raw.mean().item() == pytest.approx(exact.mean().item(), abs=0.05)
    livi = LIVI().mutual_information(problem.q(), draw).diagnostics["density_form"]
    assert livi.mean().item() - exact.mean().item() > 0.5


def test_it_certifies_livi_on_the_same_draws():
    problem = TanhProblem.make(4, 60, 16, 0.1)
    draw = problem.q().draw(48, generator())
    livi = LIVI().mutual_information(problem.q(), draw)
    audit = ImportanceSandwich().mutual_information(problem.q(), draw, generator())
    assert audit.diagnostics["livi"].mean().item() == pytest.approx(livi.value.item(), rel=1e-12)
    assert livi.value.item() == pytest.approx(audit.value.item(), abs=0.15)
    assert 0.3 < audit.diagnostics["ess_min"] <= audit.diagnostics["ess"] <= 1


def test_the_control_variate_changes_no_expectation():
    problem = TanhProblem.make(3, 20, 8, 0.5)
    draw = problem.q().draw(4000, generator())
    with torch.no_grad():
        on, off = (
            ImportanceSandwich(control_variate=c).mutual_information(problem.q(), draw, generator(1))
            for c in (True, False)
        )
    assert on.standard_error < 0.7 * off.standard_error
    assert abs(on.value - off.value) < 4 * off.standard_error


def test_gradient_is_that_of_the_exact_density():
    """Per draw, without control variate, against quadrature; then with it, in the mean, to LIVI's of a linear map."""
    problem = TanhProblem.make(1, 12, 8, 0.5)
    draw = problem.q().draw(8, generator())
    draw = problem.q().place(draw.z, draw.eps)
    exact = gradients(quadrature_log_density(problem, draw.w).mean(), problem.parameters)
    estimate = ImportanceSandwich(num_proposals=2000, control_variate=False)
    ours = gradients(estimate.log_density(problem.q(), draw).mean(), problem.parameters)
    assert cosine(ours, exact) > 0.9999
    linear = LinearProblem.make(4, 50, 0.05)
    ours = gradients(
        ImportanceSandwich().estimate(linear.q(), standard_prior(50)).diagnostics["information"].value,
        linear.parameters,
    )
    assert cosine(ours, gradients(linear.information(), linear.parameters)) > 0.999


def test_estimate_reports_its_parts():
    linear = LinearProblem.make(4, 50, 0.1)
    estimate = ImportanceSandwich(400).estimate(linear.q(), standard_prior(50), generator=generator())
    seen = estimate.diagnostics
    assert estimate.lower <= estimate.value <= estimate.upper
    assert (seen["analytic"] - seen["mutual_information"] - estimate.value).abs() < 1e-9
    exact = linear.kl(torch.zeros(50, dtype=DTYPE), torch.ones((), dtype=DTYPE))
    assert abs((estimate.value - exact).item()) < 4 * seen["analytic_standard_error"].item()
    same = ImportanceSandwich(400).estimate(linear.q(), standard_prior(50), generator=generator())
    assert same.value == estimate.value


def test_other_priors_are_evaluated_at_the_draws():
    linear = LinearProblem.make(2, 10, 0.3)
    p = ScaleMixturePrior(WeightSpec.of_shapes([[10]]), pi=1.0, scale1=0.8, dtype=DTYPE)
    estimate = ImportanceSandwich(2000).estimate(linear.q(), p, generator=generator())
    exact = linear.kl(torch.zeros(10, dtype=DTYPE), torch.tensor(0.8, dtype=DTYPE))
    assert abs((estimate.value - exact).item()) < 4 * estimate.diagnostics["analytic_standard_error"].item()


def test_log_prob_at_weights_of_any_origin():
    """The previous posterior as a prior: value and gradients at weights that it did not draw."""
    q, p = LinearProblem.make(2, 12, 0.3), LinearProblem.make(3, 12, 0.3, seed=4)
    w = q.q().draw(6, generator()).w
    ours = ImportanceSandwich(num_proposals=512).log_prob(p.q(), w, generator())
    torch.testing.assert_close(ours, p.dense().log_prob(w), atol=0.05, rtol=0)
    leaves = q.parameters + p.parameters
    assert cosine(gradients(ours.mean(), leaves), gradients(p.dense().log_prob(w).mean(), leaves)) > 0.999
    curved = TanhProblem.make(1, 6, 8, 0.4, gain=2.0)
    points = 0.7 * torch.randn(10, 6, dtype=DTYPE, generator=generator())
    with torch.no_grad():
        ours = ImportanceSandwich(num_proposals=256).log_prob(curved.q(), points, generator())
        torch.testing.assert_close(ours, quadrature_log_density(curved, points), atol=0.3, rtol=0)


def test_the_previous_posterior_as_a_prior():
    q, p = LinearProblem.make(2, 12, 0.3), LinearProblem.make(2, 12, 0.4, seed=4)
    exact = torch.distributions.kl_divergence(q.dense(), p.dense())
    estimate = LIVI(400).estimate(q.q(), p.q(), generator=generator())
    assert abs((estimate.value - exact).item()) < 4 * estimate.diagnostics["standard_error"].item() + 0.2
    assert cosine(gradients(estimate.surrogate, q.parameters), gradients(exact, q.parameters)) > 0.98
    known = LIVI(4000).estimate(q.q(), p.q(affine=True), generator=generator())  # a linear one is a low-rank Gaussian
    assert abs((known.value - exact).item()) < 4 * known.diagnostics["standard_error"].item()


def test_single_precision_loses_nothing():
    """Differences are formed before squaring: in float32 at P = 1e5 and sigma = 0.01 the sides stay where they are."""
    P, n = 100_000, 4
    hnet = HMLP([[P]], uncond_in_size=n, cond_in_size=0, layers=(8,), verbose=False, activation_fn=torch.nn.Tanh())
    double = HypernetPosterior(hnet, sigma=0.01)
    draw = double.draw(4, generator())
    with torch.no_grad():
        low = ImportanceSandwich(4, 16).mutual_information(double, draw, generator()).diagnostics
        double = double.double()
        draw = double().place(draw.z.double(), draw.eps.double())
        high = ImportanceSandwich(4, 64).mutual_information(double, draw, generator()).diagnostics
    assert isinstance(double().geometry, HeadGeometry)
    torch.testing.assert_close(low["upper_per_draw"], high["upper_per_draw"], atol=0.8, rtol=0)


def test_no_weights_are_built_beyond_those_of_the_draws():
    class Watched(DenseGeometry):
        def __call__(self, z):
            raise AssertionError

        jvp = rows = sqdist = inner = Geometry.draw_latent

    problem = LinearProblem.make(3, 10, 0.1)
    draw = problem.q().draw(4, generator())
    watched = SemiImplicit(Watched(problem.geometry().fn, 3, 10), problem.sigma)
    ImportanceSandwich(num_starts=3).mutual_information(watched, draw, generator())


def test_modes_are_found_from_afar():
    problem = LinearProblem.make(3, 30, 0.1)
    draw = problem.q().draw(5, generator())
    anchored = Anchored(problem.geometry(), problem.sigma**-2, draw.z, draw.eps / problem.sigma)
    modes, roots, _ = find_modes(anchored, torch.full((5, 2, 3), 3.0, dtype=DTYPE), 4)
    scaled = problem.A / problem.sigma
    precision = torch.eye(3, dtype=DTYPE) + scaled.T @ scaled
    exact = torch.linalg.solve(precision, scaled.T @ ((draw.w - problem.b) / problem.sigma).T).T
    torch.testing.assert_close(modes, exact.unsqueeze(1).expand(-1, 2, -1).detach())
    torch.testing.assert_close(roots[0, 0] @ roots[0, 0].T, precision.detach())
    proposal = make_proposal((modes.detach(), roots.detach(), torch.zeros(5, 2, dtype=DTYPE)))
    z = proposal.draw(6, generator())
    reference = torch.distributions.StudentT(8).log_prob(torch.zeros(()))  # density of a t at its center, one dimension
    assert z.shape == (5, 6, 3)
    assert reference < 0
    torch.testing.assert_close((z[:, :3] + z[:, 3:]) / 2, exact.detach().unsqueeze(1).expand(-1, 3, -1))


def test_the_proposal_integrates_to_one():
    roots = torch.tensor([[[[2.0]], [[0.5]]]], dtype=DTYPE)
    proposal = make_proposal((torch.tensor([[[-1.0], [2.0]]], dtype=DTYPE), roots, torch.zeros(1, 2, dtype=DTYPE)))
    grid = torch.linspace(-60, 60, 200_001, dtype=DTYPE)[None, :, None]
    assert (proposal.log_prob(grid).exp().sum() * 120 / 200_000).item() == pytest.approx(1, abs=1e-4)
    draws = proposal.draw(100_000, generator())
    share = (draws < 0).double().mean()
    inside = (proposal.log_prob(grid).exp() * (grid[..., 0] < 0)).sum() * 120 / 200_000
    assert share.item() == pytest.approx(inside.item(), abs=0.01)


def test_bad_input():
    problem = TanhProblem.make(2, 5)
    with pytest.raises(ValueError, match="ChangeOfVariables"):
        ImportanceSandwich().estimate(SharedNoise(problem.q().geometry, 0.1), standard_prior(5))
    with pytest.raises(ValueError, match="num_proposals"):
        ImportanceSandwich(num_proposals=1)
    with pytest.raises(ValueError, match="inflation"):
        ImportanceSandwich(inflation=0.5)
    with pytest.raises(ValueError, match="latent"):
        ImportanceSandwich().mutual_information(problem.q(), standard_prior(5).draw(2))
