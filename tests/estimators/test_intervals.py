"""Intervals of the KL against truths by closed forms and quadrature: they contain it, or are not certified."""

import math

import pytest
import torch

from bayeshnet.distributions import LowRankGaussian, MeanFieldGaussian, Mixture, SemiImplicit
from bayeshnet.estimators import ClosedForm, diagnose, kl_interval
from bayeshnet.estimators.intervals.analytic_mean import AnalyticMean
from bayeshnet.estimators.intervals.annealing import anneal
from bayeshnet.estimators.intervals.doubled import in_double
from bayeshnet.estimators.intervals.information import InformationBounds
from bayeshnet.estimators.intervals.interval import _reasons
from bayeshnet.estimators.intervals.quasi_random import Mean, normal_mean, normal_points
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.hnets import HMLP
from tests.support.oracles import (
    DTYPE,
    BananaProblem,
    DenseGeometry,
    FoldProblem,
    LinearProblem,
    TanhProblem,
    quadrature_log_density,
    standard_prior,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def separate_kl(function, sigma, reach=10.0, num=6_001):
    """KL to N(0, 1) of one weight ``function(z) + sigma eps``, by two quadratures."""
    z = torch.linspace(-9, 9, 3001, dtype=DTYPE)
    log_mass = -0.5 * z**2 - 0.5 * math.log(2 * math.pi) + math.log(18 / 3000)
    w = torch.linspace(-reach, reach, num, dtype=DTYPE)
    log_q = torch.cat(
        [torch.logsumexp(log_mass - 0.5 * ((part[:, None] - function(z)) / sigma) ** 2, -1) for part in w.split(1000)]
    )
    log_q = log_q - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    log_p = -0.5 * w**2 - 0.5 * math.log(2 * math.pi)
    return float((log_q.exp() * (log_q - log_p)).sum() * 2 * reach / (num - 1))


def separate(function, num, sigma):
    """A posterior of independent weights ``function(z_i) + sigma eps_i``."""
    return SemiImplicit(DenseGeometry(function, num, num), sigma)


def test_a_linear_map_is_exact_and_one_that_is_not_known_to_be_linear_nearly():
    problem = LinearProblem.make(4, 60, per_weight=True)
    p = standard_prior(60, 0.7)
    truth = problem.kl(p.loc, p.scale).item()
    known = kl_interval(problem.q(affine=True), p, generator=generator())
    assert known.value == pytest.approx(truth, rel=1e-10)
    assert known.lower < truth < known.upper
    assert known.width < 0.01
    for seed in range(2):
        found = kl_interval(problem.q(), p, generator=generator(seed))
        assert found.lower <= truth <= found.upper
        assert found.width < 0.3
        assert found.verdict == "trusted"


@pytest.mark.slow
def test_intervals_of_linear_maps_contain_the_truth():
    inside = 0
    for seed in range(60):
        problem = LinearProblem.make(1 + seed % 6, (10, 60)[seed % 2], (0.05, 0.3)[seed // 2 % 2], seed=seed)
        p = standard_prior(problem.A.shape[0])
        truth = problem.kl(p.loc, p.scale).item()
        found = kl_interval(problem.q(), p, generator=generator(seed))
        assert found.verdict == "trusted"
        assert found.width < 0.3
        inside += found.lower <= truth <= found.upper
    assert inside >= 56


@pytest.mark.parametrize("prior", ["low_rank", "mixture"])
def test_other_priors(prior):
    problem = LinearProblem.make(2, 5, 0.3)
    if prior == "low_rank":
        factor = torch.randn(5, 2, dtype=DTYPE, generator=generator(3))
        p = LowRankGaussian(torch.zeros(5, dtype=DTYPE), factor, torch.full((5,), 0.5, dtype=DTYPE))
    else:  # two equal components: a Gaussian whose form is not seen
        p = Mixture(torch.zeros(2, dtype=DTYPE), [standard_prior(5), standard_prior(5)])
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(5, dtype=DTYPE), torch.eye(5, dtype=DTYPE))
    if prior == "low_rank":
        gaussian = torch.distributions.MultivariateNormal(p.loc, factor @ factor.T + 0.5 * torch.eye(5, dtype=DTYPE))
    truth = torch.distributions.kl_divergence(problem.dense(), gaussian).item()
    found = kl_interval(problem.q(), p, generator=generator())
    assert found.lower <= truth <= found.upper
    assert found.verdict == "trusted"
    assert found.width < 0.4


def test_two_latents_for_each_weight():
    problem = FoldProblem.make()
    truth = problem.kl().item()
    found = kl_interval(problem.q(), standard_prior(20), generator=generator())
    assert found.lower - 0.02 <= truth <= found.upper + 0.02
    assert found.verdict == "trusted"
    assert found.width < 0.3
    assert found.information.modes == pytest.approx(2.0, abs=0.05)


def test_a_bent_map():
    problem = BananaProblem.make(10)
    truth = problem.kl_to_standard().item()
    found = kl_interval(problem.q(), standard_prior(10), generator=generator())
    assert found.lower - 0.02 <= truth <= found.upper + 0.02
    assert found.width < 0.3


@pytest.mark.parametrize(
    ("function", "num"),
    [
        *((torch.abs, 1), (torch.abs, 2), (torch.abs, 4), (torch.cos, 1)),
        pytest.param(torch.cos, 2, marks=pytest.mark.slow),
        pytest.param(lambda z: torch.cos(3 * z), 1, marks=pytest.mark.slow),
    ],
)
def test_many_modes(function, num):
    truth = num * separate_kl(function, 0.05)
    found = kl_interval(separate(function, num, 0.05), standard_prior(num), generator=generator())
    assert found.verdict == "not certified" or found.lower - 0.1 <= truth <= found.upper + 0.1
    assert found.lower <= truth + 0.1
    assert found.verdict == "trusted" or num > 1


@pytest.mark.slow
@pytest.mark.parametrize(("function", "num"), [(torch.abs, 8), (torch.cos, 4), (torch.abs, 12), (torch.cos, 8)])
def test_more_modes_than_can_be_listed_are_not_certified(function, num):
    truth = num * separate_kl(function, 0.05)
    found = kl_interval(separate(function, num, 0.05), standard_prior(num), generator=generator())
    assert found.verdict == "not certified" or abs(found.value - truth) < 0.3
    assert found.lower - 0.1 <= truth <= found.upper + 0.1
    if num == 12:
        assert found.verdict == "not certified"
        assert "modes" in found.reasons


@pytest.mark.slow
def test_intervals_of_random_networks_contain_the_truth():
    """Random networks of one latent, whose density is an integral on a grid."""
    inside = trusted = 0
    for seed in range(30):
        num = (3, 10, 40)[seed % 3]
        sigma, gain = (0.05, 0.2, 0.6)[(seed // 3) % 3], (0.5, 1.0, 2.0)[(seed // 2) % 3]
        problem = TanhProblem.make(1, num, 8, sigma=sigma, gain=gain, seed=seed)
        q, p = problem.q(), standard_prior(num)
        with torch.no_grad():
            draw = q.draw(4000, generator(100 + seed))
            log_q = torch.cat([quadrature_log_density(problem, w) for w in draw.w.split(250)])
            exact = p.log_prob(draw.w)
        terms = log_q - exact
        error = terms.std().item() / math.sqrt(len(terms))
        truth = terms.mean().item()
        found = kl_interval(q, p, generator=generator(seed))
        if found.verdict == "trusted":
            trusted += 1
            inside += found.lower - 2 * error <= truth <= found.upper + 2 * error
    assert trusted >= 25
    assert inside >= 0.93 * trusted


@pytest.mark.parametrize("spread", [1e2, 1e4, 1e6])
def test_single_precision_is_enough_for_parameters(spread):
    """Singular values over sigma far beyond what a Gram matrix in single precision could hold."""
    n, num, sigma = 4, 300, 1e-2
    left = torch.linalg.qr(torch.randn(num, n, dtype=DTYPE, generator=generator()))[0]
    values = sigma * torch.logspace(0, math.log10(spread), n, dtype=DTYPE)
    hnet = HMLP([[num]], uncond_in_size=n, cond_in_size=0, layers=[], verbose=False)
    with torch.no_grad():
        weight, bias = hnet.unconditional_params
        weight.copy_(left * values)
        bias.zero_()
    q = SemiImplicit(hnet.geometry(), sigma)
    matrix = weight.detach().double()
    p = MeanFieldGaussian(torch.zeros(num), torch.ones(num))
    sigma = float(q.sigma)
    information = 0.5 * torch.linalg.svdvals(matrix / sigma).square().log1p().sum().item()
    conditional = 0.5 * (matrix.square().sum().item() + num * (sigma**2 - 1 - 2 * math.log(sigma)))
    found = kl_interval(q, p)
    assert found.information.lower.value == pytest.approx(information, abs=1e-4)
    assert found.value == pytest.approx(conditional - information, abs=1e-2)


def test_a_map_that_stays_in_single_precision_is_refused_by_its_singular_values():
    weight = torch.randn(50, 3, generator=generator())
    geometry = JacobianGeometry(lambda z: torch.tanh(z.float()) @ (1e3 * weight).T, 3, 50, like=torch.zeros(1))
    q, p = _Single(geometry), MeanFieldGaussian(torch.zeros(50), torch.ones(50))
    with pytest.raises(ValueError, match=r"^q: expected .* singular values of the Jacobian of up to [0-9.]+e\+0[56]"):
        kl_interval(q, p, generator=generator())
    report = diagnose(q, p, generator=generator())
    assert report.verdict == "not certified"
    assert "singular values" in report.alarms["precision"]


class _Single(SemiImplicit):
    """A posterior whose map cannot be made in double precision."""

    def __init__(self, geometry):
        super().__init__(geometry, 1e-2)

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize(("n", "num", "target"), [(1, 4, 0.4), pytest.param(2, 12, 0.08, marks=pytest.mark.slow)])
def test_a_hypernetwork_as_the_prior_of_itself(n, num, target):
    q = TanhProblem.make(n, num, sigma=0.3).q()
    found = kl_interval(q, q, target=target, generator=generator())
    assert found.verdict == "not certified" or abs(found.value) < 0.3
    assert found.lower <= 0.05


def test_a_hypernetwork_as_the_prior_of_another():
    """Both are linear, which the prior hides."""
    q, p = LinearProblem.make(2, 6, 0.3), LinearProblem.make(3, 6, 0.6, seed=1)
    truth = torch.distributions.kl_divergence(q.dense(), p.dense()).item()
    found = kl_interval(q.q(), p.q(), target=0.2, generator=generator())
    assert found.verdict == "trusted"
    assert found.lower - 0.05 <= truth <= found.upper + 0.05


def test_quadratic_functions_have_no_error():
    matrix = torch.randn(5, 5, dtype=DTYPE, generator=generator())
    mean = normal_mean(lambda z: ((z @ matrix) * z).sum(-1) + z[:, 0] - 3, torch.zeros(5, dtype=DTYPE), 1e-9)
    assert mean.value == pytest.approx(matrix.trace().item() - 3, abs=1e-8)
    assert mean.error < 1e-9


def test_means_of_smooth_functions_reach_their_target():
    like = torch.zeros(3, dtype=DTYPE)
    mean = normal_mean(lambda z: torch.cos(z.sum(-1)), like, 1e-4, generator=generator())
    assert mean.error <= 1e-4
    assert mean.value == pytest.approx(math.exp(-1.5), abs=5e-4)
    points = normal_points(like, 1024, generator())
    assert points.shape == (1024, 3)
    assert torch.allclose(points.mean(0), torch.zeros(3, dtype=DTYPE), atol=0.01)
    assert torch.allclose(points.var(0), torch.ones(3, dtype=DTYPE), atol=0.02)


def test_means_combine_like_independent_estimates():
    joined = Mean(1.0, 0.3, 10.0) + -Mean(0.5, 0.4, 20.0)
    assert joined.value == 0.5
    assert joined.error == pytest.approx(0.5)
    assert joined.dof == pytest.approx(0.25**2 / (0.09**2 / 10 + 0.16**2 / 20))
    assert Mean(0.0, 1.0).half_width(0.95) == pytest.approx(1.959964, abs=1e-5)


def test_annealed_weights_bound_the_normalizer_from_both_sides():
    """A target of two modes with normalizer 5, a proposal that is far too wide."""
    means = torch.tensor([[-2.0, 0.0], [2.0, 1.0]], dtype=DTYPE)

    def log_target(z):
        parts = -0.5 * ((z.unsqueeze(-2) - means) / 0.6).square().sum(-1) - math.log(2 * math.pi * 0.36)
        return torch.logsumexp(parts, -1) - math.log(2) + math.log(5)

    def log_proposal(z):
        return -0.5 * (z / 2.5).square().sum(-1) - math.log(2 * math.pi * 6.25)

    gen = generator()
    exact = means[torch.randint(2, (2000,), generator=gen)] + 0.6 * torch.randn(2000, 2, dtype=DTYPE, generator=gen)
    starts = 2.5 * torch.randn(2000, 4, 2, dtype=DTYPE, generator=gen)
    root = torch.eye(2, dtype=DTYPE).expand(2000, 2, 2) / 0.8
    found = anneal(log_target, log_proposal, starts, exact, root=root, num_levels=60, generator=gen)
    for log_weights, truth in ((found.forward.flatten(), 5.0), (-found.backward, 0.2)):
        weights = log_weights.exp()
        assert abs(weights.mean() - truth) < 4 * weights.std() / math.sqrt(len(weights))
    assert found.forward.mean() < math.log(5) < found.backward.mean()
    crude = (log_target(starts) - log_proposal(starts)).mean()
    assert crude + 1 < found.forward.mean()


def test_doubled_copies_share_what_was_shared():
    layer = torch.nn.Linear(2, 2)
    first, second = in_double((layer, [layer.weight, torch.ones(2, dtype=torch.int32)]))
    assert first.weight is second[0]
    assert first.weight.dtype == torch.float64
    assert second[1].dtype == torch.int32
    assert torch.equal(first.weight, layer.weight.double())
    assert layer.weight.dtype == torch.float32


def test_an_interval_below_zero_is_not_certified(monkeypatch):
    wrong = AnalyticMean(Mean(-5.0, 0.01, 10.0), Mean(-5.0, 0.01, 10.0))
    monkeypatch.setattr("bayeshnet.estimators.intervals.interval.mean_analytic_part", lambda *_, **__: wrong)
    found = kl_interval(LinearProblem.make(2, 6).q(), standard_prior(6), generator=generator())
    assert found.verdict == "not certified"
    assert "below 0" in found.reasons["width"]


def test_bad_arguments_are_named():
    q, p = LinearProblem.make(2, 6).q(), standard_prior(6)
    with pytest.raises(ValueError, match=r"^num_samples: expected"):
        kl_interval(q, p, 0)
    with pytest.raises(ValueError, match=r"^level: expected"):
        kl_interval(q, p, level=1.0)
    with pytest.raises(TypeError, match="hypernetwork"):
        kl_interval(p, p)
    assert ClosedForm().estimate(p, p).value == 0


@pytest.mark.parametrize("spread", [1e2, 1e4, 3e5])
def test_a_function_that_holds_single_precision_is_evaluated_in_it(spread):
    """Its latents are in double precision all the same, so that all but the values of the weights is."""
    n, num, sigma = 3, 40, 2.0**-7
    left = torch.linalg.qr(torch.randn(num, n, dtype=DTYPE, generator=generator()))[0]
    matrix = (left * (sigma * torch.logspace(0, math.log10(spread), n, dtype=DTYPE))).float()
    geometry = JacobianGeometry(lambda z: z @ matrix.T, n, num, like=matrix)
    q, p = SemiImplicit(geometry, sigma), MeanFieldGaussian(torch.zeros(num), torch.ones(num))
    information = 0.5 * torch.linalg.svdvals(matrix.double() / sigma).square().log1p().sum().item()
    conditional = 0.5 * (matrix.double().square().sum().item() + num * (sigma**2 - 1 - 2 * math.log(sigma)))
    found = kl_interval(q, p, generator=generator())
    assert found.value == pytest.approx(conditional - information, abs=0.1)
    assert found.verdict == "trusted"
    assert geometry(torch.zeros(n, dtype=DTYPE)).dtype == DTYPE


def test_a_function_that_rounds_more_than_its_noise_is_refused():
    matrix = torch.randn(40, 3, generator=generator()) * 1e5
    q = SemiImplicit(JacobianGeometry(lambda z: z @ matrix.T, 3, 40, like=matrix), 1e-2)
    with pytest.raises(
        ValueError, match=r"^q: expected .* one in float32 with singular values .* of up to [0-9.]+e\+0[78]"
    ):
        kl_interval(q, MeanFieldGaussian(torch.zeros(40), torch.ones(40)), generator=generator())


@pytest.mark.parametrize(
    ("missing", "width", "reasons"),
    [(0.02, 0.4, set()), (0.02, 0.6, {"modes"}), (0.04, 0.4, {"modes"}), (0.004, 0.6, set()), (0.004, 0.9, {"width"})],
)
def test_missed_latents_and_width_make_the_verdict(missing, width, reasons):
    zero = Mean(0.0, 0.0)
    info = InformationBounds(zero, zero, zero, missing, 1.0, 1.0, 100, None)
    assert _reasons(AnalyticMean(zero, zero), info, width).keys() == reasons
