"""Each documented failure of an estimator, on the smallest problem that shows it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bayeshnet.distributions import MeanFieldGaussian, SemiImplicit
from bayeshnet.estimators import (
    AVB,
    LIVI,
    SIVI,
    SSGE,
    ClosedForm,
    ImportanceSandwich,
    KernelRatio,
    NearestNeighbor,
    NuMethod,
)
from bayeshnet.geometry import JacobianGeometry

__all__ = ["failures"]


class Linear:
    """``w = A z + sigma eps``, whose KL and information are known."""

    def __init__(self, n: int, P: int, sigma: float) -> None:
        self.A = torch.randn(P, n, generator=_generator(0), dtype=torch.float64).div_(math.sqrt(n)).requires_grad_()
        self.sigma = torch.tensor(sigma, dtype=torch.float64)
        self.p = MeanFieldGaussian(torch.zeros(P, dtype=torch.float64), torch.ones(P, dtype=torch.float64))

    def q(self, sigma: Tensor | None = None, known: bool = False) -> SemiImplicit:
        """Return the distribution, which estimators recognize as linear if ``known``."""
        P, n = self.A.shape
        geometry = JacobianGeometry(lambda z: z @ self.A.T, n, P, like=self.A.detach())
        geometry.is_affine = known
        return SemiImplicit(geometry, self.sigma if sigma is None else sigma)

    @property
    def information(self) -> float:
        """The mutual information of weights and latent."""
        gram = self.A.detach().T @ self.A.detach() / self.sigma**2
        return float(0.5 * torch.linalg.slogdet(torch.eye(len(gram), dtype=gram.dtype) + gram)[1])

    @property
    def kl(self) -> float:
        """The exact KL."""
        return float(ClosedForm().estimate(self.q(known=True), self.p).value)

    def entropy_gradient(self) -> Tensor:
        """Return the exact gradient of the negative entropy with respect to ``A``."""
        (found,) = torch.autograd.grad(-self.q(known=True).to_gaussian().entropy(), self.A)
        return found


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _entropy_only(problem: Linear) -> MeanFieldGaussian:
    return MeanFieldGaussian(problem.p.loc, problem.p.scale * 1e8)


def _all() -> Iterator[tuple[str, str, str]]:
    wide, tiny = Linear(8, 100, 0.1), Linear(8, 1000, 0.1)
    a = torch.randn(20, generator=_generator(0), dtype=torch.float64)
    fold = SemiImplicit(JacobianGeometry(lambda z: z**2 * a, 1, 20, like=a), 0.05)
    draw = fold.draw(256, _generator(1))
    livi = LIVI().mutual_information(fold, draw).diagnostics["density_form"].mean()
    audit = ImportanceSandwich(num_starts=3).mutual_information(fold, draw, _generator(2))
    true = 0.5 * (audit.diagnostics["lower_per_draw"] + audit.diagnostics["upper_per_draw"]).mean()
    yield (
        "LIVI on a fold, h(z) = h(-z)",
        f"finds {float(livi):.2f} nats of information instead of {float(true):.2f}: its KL is log 2 too low",
        "``diagnose`` flags it; use ``ImportanceSandwich(num_starts=4)``",
    )
    sivi = SIVI(32, 1000).mutual_information(wide.q(), wide.q().draw(32, _generator(1)), _generator(2))
    (slope,) = torch.autograd.grad(sivi.value, wide.A)
    share = float(slope.norm() / wide.entropy_gradient().norm())
    yield (
        "SIVI where the information is more than log K",
        f"finds {float(sivi.value.detach()):.1f} of {wide.information:.1f} nats with K = 1000; "
        f"its gradient is {share:.0e} of the true one",
        "the generated weights may collapse: use it as a check",
    )
    sigma = torch.tensor(0.1, dtype=torch.float64)
    exact = -(100 - 8) - float((sigma**2 / (torch.linalg.svdvals(wide.A.detach()) ** 2 + sigma**2)).sum())
    yield (
        "SSGE, Stein, NuMethod and a learned sigma",
        f"SSGE recovers {_sigma_share(wide, exact):.1%} of the gradient of log sigma",
        "refused with advice: learn sigma with LIVI",
    )
    surrogate = SSGE(width=1.0).estimate(tiny.q(), _entropy_only(tiny), 100, _generator(1)).surrogate
    (slope,) = torch.autograd.grad(surrogate, tiny.A)
    yield (
        "SSGE with a fixed kernel width",
        "width 1 at 1,000 weights: the entropy's gradient is "
        f"{float(slope.norm() / tiny.entropy_gradient().norm()):.0e} of the true one",
        "keep ``width='median'``",
    )
    surrogate = NuMethod(dimension="full").estimate(tiny.q(), _entropy_only(tiny), 100, _generator(1)).surrogate
    (slope,) = torch.autograd.grad(surrogate, tiny.A)
    yield (
        "NuMethod with the full dimension",
        f"at 1,000 weights and 100 samples the gradient is {float(slope.norm() / tiny.entropy_gradient().norm()):.0f} "
        "times too long",
        "keep ``dimension='effective'``",
    )
    avb = AVB(steps=300).estimate(wide.q(), wide.p, generator=_generator(1))
    yield (
        "AVB in many dimensions",
        f"finds {float(avb.value):.0f} of {wide.kl:.0f} nats at 100 weights, its discriminator right in "
        f"{float(avb.diagnostics['accuracy']):.0%} of cases",
        "a few dimensions only, or if only samples exist",
    )
    for name, method in (("KernelRatio", KernelRatio()), ("NearestNeighbor", NearestNeighbor())):
        found = method.estimate(wide.q(), wide.p, generator=_generator(1)).value
        yield (
            f"{name} in many dimensions",
            f"finds {float(found):.0f} of {wide.kl:.0f} nats at 100 weights",
            "one or two dimensions" if name == "KernelRatio" else "up to ten dimensions",
        )


def _sigma_share(problem: Linear, exact: float) -> float:
    """Return the share of the gradient of log sigma that SSGE finds from draws without a sigma to refuse."""
    log_sigma = torch.tensor(math.log(0.1), dtype=torch.float64, requires_grad=True)
    q = problem.q()
    draw = q.draw(100, _generator(1))
    moved = q.geometry(draw.z) + log_sigma.exp() * draw.eps

    class Drawn(MeanFieldGaussian):
        def draw(self, num: int, generator: torch.Generator | None = None) -> object:
            return type(draw)(moved)

    surrogate = SSGE().estimate(Drawn(problem.p.loc, problem.p.scale), _entropy_only(problem), 100).surrogate
    return float(torch.autograd.grad(surrogate, log_sigma)[0]) / exact


def failures() -> list[tuple[str, str, str]]:
    """Return case, observation and remedy of each failure, and print them one by one."""
    found = []
    for case, seen, advice in _all():
        print(f"\n{case}: {seen}; {advice}", flush=True)
        found.append((case, seen, advice))
    return found
