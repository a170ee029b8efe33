"""The contract of estimators of the divergence: a subclass says how to make one, and inherits all tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from ..estimators import DensityEstimator, KLEstimate, KLEstimator
from ..representation import settings_of
from .problems import PROBLEMS, Problem, standard_prior

__all__ = ["EstimatorContract"]


class EstimatorContract(ABC):
    """All that an estimator of a divergence must do, as tests: value, gradient, bounds, random numbers, refusals.

    Its values and gradients are compared with closed forms, for Gaussians that a linear map of a latent makes, of
    independent weights, and of low rank. A subclass whose name begins with ``Test`` implements :meth:`make`.

    Attributes:
        problems: which of ``"implicit"``, ``"mean field"`` and ``"low rank"`` it accepts; the others it must refuse.
        num_samples: samples of an estimate in these comparisons; those of the estimator if None.
        value_error: largest error of the value in nats, beyond three standard errors where these are told; None for an
            estimator without a value, which must say why in its diagnostics.
        cosine: smallest cosine between its gradient and the exact one; None for one without a gradient.
        learns_sigma: False if it refuses noise of a standard deviation that is learned.

    Example:
        >>> from bayeshnet.estimators import LIVI
        >>> class TestMine(EstimatorContract):
        ...     problems = ("implicit",)
        ...     num_samples = 500
        ...     def make(self):
        ...         return LIVI()
        >>> TestMine().test_value("implicit")
    """

    problems: ClassVar[Sequence[str]] = tuple(PROBLEMS)
    num_samples: ClassVar[int | None] = None
    value_error: ClassVar[float | None] = 0.1
    cosine: ClassVar[float | None] = 0.95
    learns_sigma: ClassVar[bool] = True

    @abstractmethod
    def make(self) -> KLEstimator:
        """Return the estimator."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run tests for each problem that is accepted, or refused."""
        if "problem" in metafunc.fixturenames:
            metafunc.parametrize("problem", list(self.problems))
        if "refused" in metafunc.fixturenames:
            metafunc.parametrize("refused", [name for name in PROBLEMS if name not in self.problems])

    def known(self, problem: str) -> Problem:
        """Return a problem, whose noise has a fixed standard deviation if it must not be learned."""
        made = PROBLEMS[problem]()
        if problem == "implicit" and not self.learns_sigma:
            made.parameters.pop().requires_grad_(False)
        return made

    def estimate(self, known: Problem, seed: int = 0, num: int | None = None) -> KLEstimate:
        """Estimate the divergence of a problem."""
        count = self.num_samples if num is None else num
        return self.make().estimate(known.q, known.p, count, torch.Generator().manual_seed(seed))

    def test_value(self, problem: str) -> None:
        known = self.known(problem)
        estimate = self.estimate(known)
        if self.value_error is None:
            assert estimate.value is None
            assert estimate.diagnostics["why_no_value"]
            return
        assert estimate.value is not None
        assert not estimate.value.requires_grad
        assert estimate.value.shape == ()
        assert abs(float(estimate.value - known.exact.detach())) <= self.value_error + _slack(estimate)

    def test_gradient(self, problem: str) -> None:
        """Of the surrogate, beside that of the exact divergence."""
        if self.cosine is None:
            pytest.skip("no gradient is claimed")
        known = self.known(problem)
        surrogate = self.estimate(known).surrogate
        assert surrogate.shape == ()
        ours, exact = (torch.autograd.grad(x, known.parameters) for x in (surrogate, known.exact))
        assert _cosine(ours, exact) >= self.cosine
        assert 0.5 < float(_flat(ours).norm() / _flat(exact).norm()) < 2

    def test_bounds_are_on_their_sides(self, problem: str) -> None:
        known = self.known(problem)
        estimate, exact = self.estimate(known), float(known.exact.detach())
        slack = _slack(estimate) + 0.02
        if estimate.lower is not None:
            assert float(estimate.lower) <= exact + slack
        if estimate.upper is not None:
            assert float(estimate.upper) >= exact - slack
        if estimate.lower is not None and estimate.upper is not None and estimate.value is not None:
            assert estimate.lower <= estimate.value <= estimate.upper

    def test_one_generator_gives_one_result_and_no_other_random_numbers_are_used(self, problem: str) -> None:
        state = torch.get_rng_state()
        first, again = (self.estimate(self.known(problem), 3).surrogate for _ in range(2))
        assert float(first.detach()) == float(again.detach())
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_prior_of_another_size_is_refused(self, problem: str) -> None:
        with pytest.raises(ValueError, match="weights"):
            self.make().estimate(self.known(problem).q, standard_prior(7))

    def test_weights_that_are_not_finite_are_refused(self, problem: str) -> None:
        known = self.known(problem)
        with torch.no_grad():
            known.parameters[0].view(-1)[0] = torch.nan
        with pytest.raises(ValueError, match=r"finite|constraint"):
            self.estimate(known)

    def test_what_it_is_not_for_is_refused_with_advice(self, refused: str) -> None:
        with pytest.raises((TypeError, ValueError), match=r"[Uu]se "):
            self.estimate(self.known(refused))

    def test_a_learned_sigma_is_refused_where_its_gradient_is_unknown(self) -> None:
        if self.learns_sigma or "implicit" not in self.problems:
            pytest.skip("a learned sigma is accepted")
        known = PROBLEMS["implicit"]()
        with pytest.raises(ValueError, match="sigma"):
            self.estimate(known)

    def test_log_densities_are_per_draw(self, problem: str) -> None:
        known, method = self.known(problem), self.make()
        with torch.no_grad():
            draw = known.q.draw(3, torch.Generator().manual_seed(1))
        if isinstance(method, DensityEstimator):
            assert method.log_density(known.q, draw).shape == (3,)
        else:
            with pytest.raises(ValueError, match="log-density"):
                method.log_density(known.q, draw)

    def test_all_settings_are_shown(self) -> None:
        method = self.make()
        assert repr(method).startswith(f"{type(method).__name__}(")
        for name, value in settings_of(method).items():
            assert f"{name}={value!r}" in repr(method)


def _slack(estimate: KLEstimate) -> float:
    """Return three standard errors of an estimate, as far as it tells them."""
    error = estimate.diagnostics.get("standard_error")
    return 0.0 if error is None else 3 * float(error)


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.reshape(-1) for g in gradients])


def _cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    return float(torch.nn.functional.cosine_similarity(_flat(first), _flat(second), dim=0))
