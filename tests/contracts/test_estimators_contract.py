"""Every estimator on every problem with a known answer: value, gradient, sigma, side of the bound, or refusal.

A new estimator joins by one line, its entry in ``ESTIMATORS``. Known failures are listed in ``FAILS`` with the reason,
and checked to fail. The pairs outside ``quick`` are marked slow.
"""

import functools
import inspect
from dataclasses import dataclass

import pytest
import torch

from bayeshnet import estimators
from bayeshnet.distributions import WeightDraw
from bayeshnet.estimators import (
    AVB,
    IWHVI,
    LIVI,
    SIVI,
    SSGE,
    Auto,
    ChangeOfVariables,
    ClosedForm,
    DensityEstimator,
    ImportanceSandwich,
    KernelRatio,
    KLEstimator,
    MonteCarlo,
    NearestNeighbor,
    NuMethod,
    Stein,
    StochasticLIVI,
    UnfoldedLIVI,
)
from bayeshnet.representation import settings_of
from tests.contracts.known_divergences import EXPLICIT, PROBLEMS, SEMI, SHARED, known
from tests.support.oracles import cosine, gradients, standard_prior

KNOWN_LINEAR = "linear, known to be"


@dataclass
class Entry:
    """An estimator, the problems that it is run on, and the accuracy that it must have.

    ``problems`` are those that it accepts; the others it must refuse. ``value``: tolerance in nats of the information
    (or of the KL, where there is none) beyond three standard errors; None for no value. ``cosine``: of the gradient of
    all but sigma, of the KL and of the entropy alone; None where no gradient is claimed. ``sigma``: error of the
    gradient of sigma over the larger of it and the number of weights; None where a learned sigma is refused.
    ``length``: the gradient of the entropy may be shorter by this factor, or twice as long.
    """

    make: object
    problems: list[str]
    num: int
    value: float | None
    cosine: float | None
    sigma: float | None
    quick: tuple[str, ...] = ("linear n=2 P=3", "linear n=8 P=100")
    length: float = 0.5


LATENT = [*SEMI, KNOWN_LINEAR]
ALL = list(PROBLEMS)
EXACT = [KNOWN_LINEAR, *EXPLICIT]
ESTIMATORS = {
    "ClosedForm": Entry(ClosedForm, [n for n in EXACT if n != "mixture"], 1, 1e-7, 1 - 1e-9, 1e-8, tuple(ALL)),
    "MonteCarlo": Entry(MonteCarlo, EXACT, 8000, 0.02, 0.97, 0.1, tuple(ALL)),
    "LIVI": Entry(LIVI, LATENT, 2000, 0.08, 0.99, 0.02, tuple(ALL)),
    "UnfoldedLIVI": Entry(UnfoldedLIVI, LATENT, 2000, 0.08, 0.99, 0.02),
    "StochasticLIVI": Entry(lambda: StochasticLIVI(num_probes=8), LATENT, 100, 0.3, 0.9, 0.05),
    "ImportanceSandwich": Entry(lambda: ImportanceSandwich(num_starts=3), LATENT, 400, 0.1, 0.95, 0.05, tuple(ALL)),
    "SSGE": Entry(SSGE, ALL, 400, None, 0.95, None),
    "Stein": Entry(Stein, ALL, 400, None, 0.95, None),
    "NuMethod": Entry(NuMethod, ALL, 150, None, 0.85, None, ("linear n=8 P=100",), 0.25),
    "SIVI": Entry(lambda: SIVI(num_latents=500), LATENT, 500, 0.2, 0.95, 0.1),
    "IWHVI": Entry(lambda: IWHVI(256, 8, steps=250), LATENT, 3000, 0.2, 0.95, 0.1, ("linear n=2 P=3",)),
    "AVB": Entry(lambda: AVB((64, 64), steps=300), ALL, 3000, 0.3, 0.9, 0.2),
    "KernelRatio": Entry(KernelRatio, ALL, 400, 0.4, None, None),
    "NearestNeighbor": Entry(NearestNeighbor, ALL, 1000, 0.6, None, None),
    "ChangeOfVariables": Entry(ChangeOfVariables, SHARED, 20_000, 0.02, 0.99, 0.02, tuple(ALL)),
    "Auto": Entry(Auto, ALL, 2000, 0.1, 0.95, 0.05),
}
BOUNDS = ("ImportanceSandwich", "SIVI", "IWHVI")
FAILS = {
    (name, problem, what): reason
    for names, what, problems, reason in (
        (
            "LIVI UnfoldedLIVI StochasticLIVI Auto",
            "value",
            ["fold"],
            "two latents make the same weights: up to log 2 too low",
        ),
        ("SIVI", "value entropy", ["linear n=8 P=100"], "it finds log(K + 1) of the mutual information, and no slope"),
        ("SIVI", "sigma", ["linear n=5 P=3"], "with 500 latents the gap of its bound still changes with sigma"),
        ("IWHVI", "value gradient entropy", ["linear n=8 P=100"], "250 steps leave its reverse model untrained"),
        ("IWHVI", "value entropy", ["banana P=30", "fold"], "a Gaussian does not fit the latent of a curve or a fold"),
        ("IWHVI", "sigma", ["fold"], "a Gaussian reverse model does not fit two modes"),
        (
            "AVB",
            "value",
            ["linear n=8 P=100", "two linear", "banana P=30", "fold", "low rank", "shared"],
            "the discriminator separates both sides and says no more",
        ),
        (
            "AVB",
            "gradient",
            ["linear n=8 P=100", "banana P=30", "shared"],
            "a discriminator that is sure has no gradient to give",
        ),
        ("AVB", "gradient", ["linear, much noise"], "the moments of its contrast drown in the noise"),
        (
            "AVB",
            "sigma",
            ["linear n=8 P=100", "two linear", "banana P=30", "fold", "shared"],
            "a discriminator that is sure has no gradient to give",
        ),
        (
            "KernelRatio",
            "value",
            [
                "linear n=8 P=100",
                "linear, much noise",
                "two linear",
                "banana P=30",
                "fold",
                "mean field",
                "low rank",
                "two low rank",
                "shared",
            ],
            "it saturates at log M",
        ),
        (
            "NearestNeighbor",
            "value",
            ["linear n=8 P=100", "linear, much noise", "two linear", "fold", "low rank", "two low rank", "shared"],
            "its bias falls as M^(-1/P)",
        ),
        ("SSGE", "gradient entropy", ["shared"], "a threshold of 0.99 leaves out the narrow directions"),
        ("NuMethod", "gradient", ["linear n=5 P=3", "radial"], "it gives each direction the same share of the trace"),
        (
            "NuMethod",
            "entropy",
            ["linear n=2 P=3", "linear n=5 P=3", KNOWN_LINEAR, "shared"],
            "it gives each direction the same share of the trace",
        ),
        ("NuMethod", "entropy", ["banana P=30", "fold"], "on a curve its field is not the score: it points away"),
    )
    for name in names.split()
    for what in what.split()
    for problem in problems
}


def pairs(what, chosen):
    """Parameters of a test: the chosen pairs, slow or expected to fail where they are."""
    for name, problem in chosen:
        reason = FAILS.get((name, problem, what))
        marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
        if problem not in ESTIMATORS[name].quick:
            marks.append(pytest.mark.slow)
        yield pytest.param(name, problem, marks=marks, id=f"{name}, {problem}")


TAKEN = [(name, problem) for name, entry in ESTIMATORS.items() for problem in entry.problems]
REFUSED = [(n, p) for n, e in ESTIMATORS.items() for p in PROBLEMS if p not in e.problems]
SLOPES = [(n, p) for n, p in TAKEN if ESTIMATORS[n].cosine is not None]


READ = ("why_no_value", "mutual_information", "analytic", "standard_error", "analytic_standard_error")


@dataclass(frozen=True)
class Outcome:
    """The parts of an estimate that tests look at, without the graph of its draws, hundreds of megabytes."""

    value: torch.Tensor | None
    lower: torch.Tensor | None
    upper: torch.Tensor | None
    shape: torch.Size
    diagnostics: dict
    gradients: list
    sigma_gradient: torch.Tensor | None


@functools.cache
def run(name, problem_name):
    """One estimate per pair, shared by the tests."""
    estimate, problem = estimated(name, problem_name), known(problem_name)
    noisy = (name, problem_name) in NOISES
    wanted = [*problem.parameters] if (name, problem_name) in SLOPES else []
    slopes = gradients(estimate.surrogate, [*wanted, *([problem.sigma] * noisy)]) if wanted or noisy else []
    return Outcome(
        estimate.value,
        estimate.lower,
        estimate.upper,
        estimate.surrogate.shape,
        {key: estimate.diagnostics[key] for key in READ if key in estimate.diagnostics},
        slopes[: len(wanted)],
        slopes[-1] if noisy else None,
    )


def estimated(name, problem_name, alone=False):
    """An estimate; ``alone`` to a prior too wide to pull."""
    entry, problem = ESTIMATORS[name], known(problem_name)
    p = standard_prior(problem.q.event_shape[0], 1e6) if alone else problem.p
    learned = problem.sigma is None or entry.sigma is not None
    if not learned:
        problem.sigma.requires_grad_(False)
    try:
        return entry.make().estimate(problem.q, p, entry.num, torch.Generator().manual_seed(0))
    finally:
        if not learned:
            problem.sigma.requires_grad_(True)


def slack(estimate):
    """Three standard errors of the estimate, as far as it states them."""
    seen = estimate.diagnostics
    error = seen.get("standard_error")
    return 0.0 if error is None else 3 * float(error)


@pytest.mark.parametrize(("name", "problem"), list(pairs("value", TAKEN)))
def test_value(name, problem):
    entry, estimate, truth = ESTIMATORS[name], run(name, problem), known(problem)
    if entry.value is None:
        assert estimate.value is None
        assert estimate.diagnostics["why_no_value"]
        return
    assert not estimate.value.requires_grad
    found = estimate.diagnostics.get("mutual_information")
    if found is not None and truth.information is not None:  # the analytic part has the noise of its latents
        assert abs((found - truth.information).item()) < entry.value
    assert abs((estimate.value - truth.exact).item()) < entry.value + slack(estimate)


@pytest.mark.parametrize(("name", "problem"), list(pairs("gradient", SLOPES)))
def test_gradient(name, problem):
    entry, estimate, truth = ESTIMATORS[name], run(name, problem), known(problem)
    assert estimate.shape == ()
    assert cosine(estimate.gradients, gradients(truth.exact, truth.parameters)) > entry.cosine


# No entropy alone where the prior is a posterior too, and where the entropy has no gradient or hardly any.
FLAT = ("two linear", "two low rank", "constant", "linear, much noise", "flow")
ENTROPIES = [(n, p) for n, p in SLOPES if p not in FLAT and n != "AVB"]


@pytest.mark.parametrize(("name", "problem"), list(pairs("entropy", ENTROPIES)))
def test_gradient_of_the_entropy(name, problem):
    """Without the pull of the prior, which is analytic for most: direction and length."""
    entry, truth = ESTIMATORS[name], known(problem)
    estimate = estimated(name, problem, alone=True)
    ours, exact = (
        torch.cat([g.reshape(-1) for g in gradients(x, truth.parameters)])
        for x in (estimate.surrogate, truth.negative_entropy)
    )
    assert cosine([ours], [exact]) > entry.cosine - 0.05
    assert entry.length < (ours.norm() / exact.norm()).item() < 2


NOISES = [(n, p) for n, p in TAKEN if ESTIMATORS[n].sigma is not None and p in (*LATENT, "shared")]


@pytest.mark.parametrize(("name", "problem"), list(pairs("sigma", NOISES)))
def test_gradient_of_sigma(name, problem):
    entry, truth = ESTIMATORS[name], known(problem)
    ours, exact = run(name, problem).sigma_gradient, gradients(truth.exact, [truth.sigma])[0]
    assert abs((ours - exact).item()) < entry.sigma * max(abs(exact.item()), truth.q.event_shape[0])


@pytest.mark.parametrize("name", [n for n, e in ESTIMATORS.items() if e.sigma is None and n != "NearestNeighbor"])
def test_a_learned_sigma_is_refused_with_advice(name):
    problem = known("linear n=2 P=3")
    with pytest.raises(ValueError, match="learn sigma with LIVI"):
        ESTIMATORS[name].make().estimate(problem.q, problem.p)


@pytest.mark.parametrize(("name", "problem"), REFUSED, ids=", ".join)
def test_what_it_is_not_for_is_refused_with_advice(name, problem):
    truth = known(problem)
    with pytest.raises((TypeError, ValueError), match=r"[Uu]se "):
        ESTIMATORS[name].make().estimate(truth.q, truth.p)


@pytest.mark.parametrize(("name", "problem"), list(pairs("bound", [(n, p) for n, p in TAKEN if n in BOUNDS])))
def test_sides_of_the_bounds(name, problem):
    estimate = run(name, problem)
    assert (estimate.lower, estimate.upper) != (None, None)
    truth, noise = known(problem), 3 * float(estimate.diagnostics["standard_error"]) + 0.02
    exact = (estimate.diagnostics["analytic"] - truth.information).item()  # without the noise of the analytic part
    if estimate.lower is not None:
        assert estimate.lower.item() < exact + noise
    if estimate.upper is not None:
        assert estimate.upper.item() > exact - noise
    if None not in (estimate.lower, estimate.upper):
        assert estimate.lower <= estimate.value <= estimate.upper


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_generator_one_result(name):
    entry = ESTIMATORS[name]
    problem = PROBLEMS[entry.problems[0]]()
    if problem.sigma is not None and entry.sigma is None:
        problem.sigma.requires_grad_(False)
    state = torch.get_rng_state()
    small = min(entry.num, 20)
    results = []
    for _ in range(2):
        method = entry.make()
        if hasattr(method, "steps") and name != "ImportanceSandwich":
            method.steps = 2
        results.append(method.estimate(problem.q, problem.p, small, torch.Generator().manual_seed(3)).surrogate)
    assert results[0].item() == results[1].item()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_prior_of_another_size_is_refused(name):
    entry = ESTIMATORS[name]
    problem = PROBLEMS[entry.problems[0]]()
    if problem.sigma is not None:
        problem.sigma.requires_grad_(False)
    with pytest.raises(ValueError, match="weights"):
        entry.make().estimate(problem.q, standard_prior(7))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_weights_that_are_not_finite_are_refused(name):
    entry = ESTIMATORS[name]
    for problem in (
        PROBLEMS[p]() for p in ("linear n=2 P=3", KNOWN_LINEAR, "mean field", "shared") if p in entry.problems
    ):
        if problem.sigma is not None:
            problem.sigma.requires_grad_(False)
        with torch.no_grad():
            problem.parameters[0].view(-1)[0] = torch.nan
        with pytest.raises(ValueError, match=r"finite|constraint"):
            entry.make().estimate(problem.q, problem.p, 10, torch.Generator().manual_seed(0))


DENSITIES = [name for name, entry in ESTIMATORS.items() if isinstance(entry.make(), DensityEstimator)]


@pytest.mark.parametrize("name", DENSITIES)
def test_log_density_is_per_draw(name):
    entry = ESTIMATORS[name]
    for problem_name in entry.problems:
        q = known(problem_name).q
        with torch.no_grad():
            draw = q.draw(3, torch.Generator().manual_seed(1))
            assert entry.make().log_density(q, draw).shape == (3,)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name not in DENSITIES])
def test_log_density_is_refused_where_there_is_none(name):
    problem = PROBLEMS["linear n=2 P=3"]()
    with pytest.raises(ValueError, match="log-density"):
        ESTIMATORS[name].make().log_density(problem.q, problem.q.draw(2))


def test_every_estimator_is_here():
    public = {name: getattr(estimators, name) for name in estimators.__all__}
    concrete = {n for n, c in public.items() if inspect.isclass(c) and issubclass(c, KLEstimator)}
    assert {name for name in concrete if not inspect.isabstract(public[name])} == set(ESTIMATORS)


def old_names(cls):
    """Arguments of the constructor that are kept for old code only."""
    names = inspect.signature(cls).parameters
    return [name for name in names if f"        {name}: old name of ``num_samples``." in cls.__doc__.splitlines()]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_all_settings_are_shown(name):
    method = ESTIMATORS[name].make()
    wanted = [n for n in inspect.signature(type(method)).parameters if n not in old_names(type(method))]
    assert list(settings_of(method)) == wanted
    assert repr(method).startswith(f"{name}(")
    for setting in wanted:
        assert f"{setting}={getattr(method, setting)!r}" in repr(method)


@pytest.mark.parametrize("name", [n for n, e in ESTIMATORS.items() if n != "ClosedForm"])
def test_samples_are_counted_by_one_word(name):
    cls = getattr(estimators, name)
    assert cls(num_samples=6).num_samples == 6
    (old,) = old_names(cls)
    with pytest.warns(DeprecationWarning, match=f"{old} is deprecated: use num_samples") as seen:
        assert cls(**{old: 6}).num_samples == 6
    assert seen[0].filename == __file__
    with pytest.raises(ValueError, match="num_samples"):
        cls(num_samples=0)


class Toy(KLEstimator):
    """The least that an estimator must have."""

    min_samples = 2

    def _estimate(self, q, p, num_samples, generator):
        surrogate = q.sample((num_samples,)).sum()
        return estimators.KLEstimate(surrogate, surrogate)


def test_the_base_checks_arguments_and_results():
    q = p = standard_prior(3)
    assert Toy().estimate(q, p, 5).value.shape == ()
    assert repr(Toy()) == "Toy()"
    for wrong, error, match in (
        ((q, standard_prior(4)), ValueError, "p: expected a prior over 3 weights"),
        ((q, p, 1), ValueError, "num_samples: expected an integer >= 2, got 1. Toy compares samples"),
        ((torch.zeros(3), p), TypeError, "q: expected a distribution"),
        (
            (standard_prior(3, torch.inf), p, 2),
            ValueError,
            "q or p: expected distributions between which Toy",
        ),
    ):
        with pytest.raises(error, match=match):
            Toy().estimate(*wrong)
    assert not Toy().uses_draws
    assert Toy().estimate_at(q, p, WeightDraw(torch.zeros(5, 3))) is None
