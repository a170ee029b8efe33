"""Information in single precision against the closed form of linear maps, far beyond what its Gram matrix can hold."""

import math

import pytest
import torch

from bayeshnet.distributions import MeanFieldGaussian, SemiImplicit
from bayeshnet.estimators import LIVI, ImportanceSandwich, StochasticLIVI
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.geometry.information import information_at, lost_share
from bayeshnet.geometry.linalg import identity_plus_cholesky
from bayeshnet.geometry.products import double_products
from bayeshnet.hnets import HMLP

SIGMA = 2.0**-7


class Linear:
    """``w = A z + sigma eps`` with given singular values over sigma, in single precision."""

    def __init__(self, num, top, condition, kind="head", n=6, seed=0):
        gen = torch.Generator().manual_seed(seed)
        left = torch.linalg.qr(torch.randn(num, n, generator=gen, dtype=torch.float64))[0]
        right = torch.linalg.qr(torch.randn(n, n, generator=gen, dtype=torch.float64))[0]
        values = SIGMA * torch.logspace(math.log10(top / condition), math.log10(top), n, dtype=torch.float64)
        hnet = HMLP([[num]], uncond_in_size=n, cond_in_size=0, layers=[], verbose=False)
        self.weight, bias = hnet.unconditional_params
        with torch.no_grad():
            self.weight.copy_((left * values) @ right.T)
            bias.zero_()
        geometry = hnet.geometry()
        if kind == "jacobian":
            like = self.weight.detach()
            geometry = JacobianGeometry(lambda z: z @ self.weight.T, n, num, like=like, chunk_size=2)
        self.q = SemiImplicit(geometry, SIGMA)
        self.p = MeanFieldGaussian(torch.zeros(num), torch.ones(num))

    def truth(self):
        """The information and its gradient, from singular values in double precision."""
        matrix = self.weight.detach().double()
        u, s, v = torch.linalg.svd(matrix / SIGMA, full_matrices=False)
        slope = (u * (s / (1 + s.square()))) @ v / SIGMA
        return 0.5 * float(s.square().log1p().sum()), slope


def gradient(value, weight):
    return torch.autograd.grad(value, weight)[0].double()


@pytest.mark.parametrize("kind", ["head", "jacobian"])
@pytest.mark.parametrize("num", [1_000, 100_000])
@pytest.mark.parametrize(("top", "condition"), [(1e2, 1e4), (1e3, 1e3), (3e4, 1e5), (1e6, 1.0), (1e6, 1e6)])
def test_information_and_its_gradient_in_single_precision(kind, num, top, condition):
    problem = Linear(num, top, condition, kind)
    truth, slope = problem.truth()
    found = information_at(problem.q.geometry, torch.zeros(3, 6), problem.q.sigma**-2)
    assert found.dtype == torch.float64
    assert torch.allclose(found, torch.full_like(found, truth), rtol=0, atol=0.1)
    assert (found >= 0).all()
    error = gradient(found.mean(), problem.weight) - slope
    assert float(error.norm() / slope.norm()) < 0.05
    estimate = LIVI().estimate(problem.q, problem.p, 4)
    assert float(estimate.diagnostics["mutual_information"]) == pytest.approx(truth, abs=0.1)
    form = LIVI().mutual_information(problem.q, problem.q.draw(4))
    assert float(form.value.detach()) == pytest.approx(truth, abs=0.1)


@pytest.mark.parametrize("kind", ["head", "jacobian"])
def test_products_in_single_precision_would_lose_it(kind):
    problem = Linear(1_000, 1e5, 1e5, kind)
    z = torch.zeros(2, 6)
    truth, _ = problem.truth()
    with double_products():
        gram = problem.q.geometry.gram(z, problem.q.sigma**-2)
    assert gram.dtype == torch.float64
    narrow = problem.q.geometry.gram(z, problem.q.sigma**-2)
    assert narrow.dtype == torch.float32
    eigenvalues = torch.linalg.eigvalsh(narrow.detach().double())
    assert abs(0.5 * float((1 + eigenvalues[0]).clamp_min(1e-30).log().sum()) - truth) > 1
    torch.testing.assert_close(narrow.double(), gram, rtol=1e-4, atol=1e-4 * float(gram.detach().abs().max()))


@pytest.mark.parametrize(("top", "condition"), [(1e2, 1e6), (1e3, 1e3), (1e4, 1e4), (1e6, 1.0), (1e6, 1e6)])
@pytest.mark.parametrize(("kind", "num"), [("head", 1_000), ("head", 100_000), ("jacobian", 1_000)])
def test_the_audit_in_single_precision(num, top, condition, kind):
    problem = Linear(num, top, condition, kind)
    torch.manual_seed(0)
    found = ImportanceSandwich(16, 64).estimate(problem.q, problem.p)
    assert float(found.diagnostics["mutual_information"]) == pytest.approx(problem.truth()[0], abs=0.5)


@pytest.mark.parametrize(("top", "condition"), [(1e8, 1e8), (1e9, 1e9)])
@pytest.mark.parametrize(("kind", "num"), [("head", 1_000), ("jacobian", 1_000)])
def test_the_audit_names_the_singular_values_it_would_lose(num, top, condition, kind):
    problem = Linear(num, top, condition, kind)
    with pytest.raises(ValueError, match=r"^q: expected .* singular values of the Jacobian of ") as caught:
        ImportanceSandwich(16, 64).estimate(problem.q, problem.p)
    assert f"to {top:.1e} sigma: make it in float64" in str(caught.value)


def test_a_probe_refuses_what_its_products_cannot_hold():
    problem = Linear(500, 1e5, 1e5)
    with pytest.raises(ValueError, match=r"^q: expected .* float32 with singular values of the Jacobian of .* sigma"):
        StochasticLIVI().estimate(problem.q, problem.p)
    well = Linear(500, 1e5, 1.0)
    found = StochasticLIVI().estimate(well.q, well.p)
    assert float(found.diagnostics["mutual_information"]) == pytest.approx(well.truth()[0], abs=0.05)


def test_lost_shares_are_rounding_errors_over_least_eigenvalues():
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    gram = (rotation * torch.tensor([1e6, 1e3, 10.0, 0.0], dtype=torch.float64)) @ rotation.T
    root = identity_plus_cholesky(gram)
    share = float(lost_share(root, torch.cholesky_inverse(root), torch.float32))
    exact = torch.finfo(torch.float32).eps * 1e6
    assert exact / 16 < share <= exact * 1.001
    empty = torch.zeros(2, 0, 0, dtype=torch.float64)
    assert lost_share(empty, empty, torch.float32).tolist() == [0, 0]


def test_truncated_chunks_and_values_in_double_products():
    hnet = HMLP([[7, 3]], uncond_in_size=3, cond_in_size=0, layers=[5], verbose=False)
    geometry, z = hnet.geometry(), torch.randn(4, 3)
    precision = torch.rand(21) + 0.5
    rows = geometry.rows(z).double()
    wanted = rows.mT @ (precision.double().unsqueeze(-1) * rows)
    for _ in range(2):  # the second time from the memo
        with double_products():
            found = geometry.gram(z, precision)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert geometry.gram(z, precision).dtype == torch.float32
