"""The steps of the nu-method: their number, and what they leave of each eigenvector."""

import pytest
import torch
from scipy.special import eval_jacobi

from bayeshnet.estimators import NuMethod
from tests.support.oracles import DTYPE, LinearProblem, standard_prior


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Diagonal:
    """A kernel that stretches each of its eigenvectors, in the place of the curl-free one."""

    def __init__(self, values, divergence):
        self.values, self.divergence = values, divergence

    def times(self, coefficients):
        return self.values[:, None] * coefficients


@pytest.mark.parametrize("nu", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9])
def test_the_steps_of_the_nu_method_leave_jacobi_polynomials(steps, nu):
    """After t steps ``P_t(1 - 2 l) / P_t(1)`` of an eigenvector is left, with the Jacobi polynomials."""
    values = torch.tensor([0.03, 0.2, 0.5, 0.77, 1.0], dtype=DTYPE)  # of the operator, which is the kernel over M
    zeta = torch.randn(5, 5, dtype=DTYPE, generator=generator())
    found = NuMethod(nu=nu)._iterate(Diagonal(5 * values, zeta), steps)
    left = [eval_jacobi(steps, 2 * nu - 0.5, -0.5, 1 - 2 * float(v)) for v in values]
    residual = torch.tensor(left, dtype=DTYPE) / eval_jacobi(steps, 2 * nu - 0.5, -0.5, 1.0)
    torch.testing.assert_close(found, -((1 - residual) / values)[:, None] * zeta)


@pytest.mark.parametrize(("regularization", "steps"), [(1e-4, 100), (0.04, 5), (1.0, 1), (100.0, 1)])
def test_the_regularization_of_the_nu_method_counts_steps(regularization, steps):
    problem = LinearProblem.make(2, 6, 0.5)
    problem.sigma.requires_grad_(False)
    method = NuMethod(10, regularization=regularization)
    found = method.estimate(problem.q(), standard_prior(6), generator=generator()).diagnostics
    assert found["num_steps"] == steps
    x = problem.q().draw(10, generator()).w.detach()
    variances = torch.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)))
    torch.testing.assert_close(found["dimension"], variances.sum() ** 2 / variances.square().sum())
    full = NuMethod(10, regularization=regularization, dimension="full")
    assert full.estimate(problem.q(), standard_prior(6), generator=generator()).diagnostics["dimension"] == 6
