"""diagnose: numbers that agree with the truth, and a flag for each thing that goes wrong."""

import math

import pytest
import torch

from bayeshnet.distributions import Dirac, MeanFieldGaussian, Radial, SemiImplicit, SharedNoise
from bayeshnet.estimators import diagnose
from bayeshnet.estimators.diagnostics import audit
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE, DenseGeometry, FoldProblem, LinearProblem, TanhProblem, standard_prior


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_sound_posterior():
    problem = LinearProblem.make(4, 60, 0.1)
    spec = WeightSpec.of_shapes([[10, 5], [10]], names=["kernel", "offset"])
    q = SemiImplicit(problem.geometry(), problem.sigma, weight_spec=spec)
    report = diagnose(q, standard_prior(60), 200, generator())
    information = problem.information().item()
    assert report.ok
    assert report.information["livi"] == pytest.approx(information, rel=1e-8)
    assert report.information["sandwich_lower"] - 0.1 < information < report.information["sandwich_upper"] + 0.1
    assert report.information["sivi"] <= information
    seen = report.measurements
    values = torch.linalg.svdvals(problem.A.detach()) / 0.1
    assert seen["condition"] == pytest.approx((values[0] / values[-1]).item(), rel=1e-6)
    assert seen["smallest"] == pytest.approx(values[-1].item(), rel=1e-6)
    share = (problem.A.detach().square().sum() / (problem.A.detach().square().sum() + 60 * 0.01)).item()
    assert seen["share_from_map"] == pytest.approx(share, abs=0.02)
    assert seen["nonlinear_share"] < 1e-12
    assert set(seen["std"]) == {"kernel", "offset"}
    assert 3 < seen["effective_rank"] < 5
    prior = standard_prior(60)
    assert report.lower <= problem.kl(prior.loc, prior.scale) <= report.upper
    assert report.verdict == "trusted"
    text = str(report)
    for word in ("KL", "analytic", "LIVI", "SIVI", "kernel", "trusted"):
        assert word in text
    assert {"sivi_saturated", "kernel_blind", "avb_saturated"} <= set(report.flags)


def test_a_fold():
    problem = FoldProblem.make()
    report = diagnose(problem.q(), standard_prior(20), 128, generator())
    assert "fold" in report.alarms
    assert not report.ok
    assert 0.4 < report.information["livi"] - report.information["sandwich_upper"] < 0.9
    assert report.verdict == "trusted"  # the value does not come from LIVI
    assert "num_starts" in report.advice
    assert report.measurements["nonlinear_share"] > 0.3


def test_a_collapse():
    flat = SemiImplicit(
        DenseGeometry(lambda z: 1e-4 * z.sum(-1, keepdim=True) + torch.zeros(20, dtype=DTYPE), 2, 20), 0.1
    )
    report = diagnose(flat, standard_prior(20), generator=generator())
    assert {"collapse", "conditioning"} <= set(report.alarms)
    assert report.measurements["share_from_map"] < 0.01


def test_a_rank_deficient_map():
    direction = torch.linspace(1, 2, 20, dtype=DTYPE)
    q = SemiImplicit(DenseGeometry(lambda z: z.sum(-1, keepdim=True) * direction, 3, 20), 0.1)
    assert "conditioning" in diagnose(q, standard_prior(20), generator=generator()).alarms


def test_explicit_posteriors_have_a_report_too():
    q = MeanFieldGaussian(torch.ones(6, dtype=DTYPE), torch.full((6,), 0.5, dtype=DTYPE))
    report = diagnose(q, standard_prior(6), generator=generator())
    assert report.value == pytest.approx(torch.distributions.kl_divergence(q, standard_prior(6)).item())
    assert report.ok
    assert "standard deviations" in str(report)
    assert diagnose(Radial(q.loc, q.scale), standard_prior(6)).measurements["estimator"] == "ClosedForm"
    assert diagnose(Dirac(q.loc), standard_prior(6)).value is None
    assert "none" in str(diagnose(Dirac(q.loc), standard_prior(6)))
    folded = SharedNoise(JacobianGeometry(lambda z: z**2, 1, 1, like=torch.zeros(1, dtype=DTYPE)), 0.5)
    report = diagnose(folded, standard_prior(1))
    assert "injective" in report.alarms
    assert report.verdict == "not certified"


def test_a_monte_carlo_value_has_the_interval_of_its_error():
    q = SharedNoise(JacobianGeometry(lambda z: 0.5 * z, 1, 1, like=torch.zeros(1, dtype=DTYPE)), 0.5)
    report = diagnose(q, standard_prior(1, 0.8), 4000, generator())
    truth = math.log(0.8) + 0.5 / 0.64 - 0.5
    assert report.lower < truth < report.upper
    assert report.verdict == "trusted"
    rough = diagnose(q, standard_prior(1, 0.1), 8, generator())
    assert rough.verdict == "not certified"
    assert "width" in rough.alarms


def flags(**changes):
    """Flags of a sound posterior but for the changes."""
    info = {
        "livi": 20.0,
        "sandwich_lower": 19.9,
        "sandwich_upper": 20.1,
        "sivi": 4.0,
        "sivi_limit": 6.9,
        "standard_error": 0.05,
        "sivi_standard_error": 0.1,
    }
    seen = {"ess": 0.6, "share_from_map": 0.7, "condition": 3.0, "kernel_mean": 0.6, "stein_trace": 0.9}
    for name, value in changes.items():
        (info if name in info else seen)[name] = value
    return set(audit._flags(info, seen, 10.0))


def test_each_flag_has_its_own_cause():
    assert flags() == set()
    assert flags(livi=20.8) == {"fold"}
    assert flags(sandwich_lower=21.0, sandwich_upper=21.1) == {"linearization"}
    assert flags(livi=3.0, sandwich_lower=2.9, sandwich_upper=3.1) == {"bound"}
    assert flags(share_from_map=0.001) == {"collapse"}
    assert flags(condition=1e3) == {"conditioning"}
    assert flags(kernel_mean=1e-6) == flags(kernel_mean=0.999) == {"kernel"}
    assert flags(stein_trace=0.01) == {"kernel_blind"}
    assert flags(sivi=6.5) == {"sivi_saturated"}


def test_the_figure(tmp_path):
    pytest.importorskip("matplotlib")
    for q in (TanhProblem.make(2, 12).q(), standard_prior(12), Dirac(torch.zeros(12, dtype=DTYPE))):
        figure = diagnose(q, standard_prior(12), 16, generator()).figure()
        assert len(figure.axes) == 4
        assert "alarm" in figure.get_suptitle()
        figure.savefig(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 5000


def test_bad_input():
    with pytest.raises(ValueError, match="12 weights"):
        diagnose(TanhProblem.make(2, 12).q(), standard_prior(13))
    with pytest.raises(ValueError, match="num_samples"):
        diagnose(TanhProblem.make(2, 12).q(), standard_prior(12), 2)


def test_the_old_keyword():
    q, p = MeanFieldGaussian(torch.zeros(3), torch.ones(3)), standard_prior(3)
    with pytest.warns(DeprecationWarning, match="num_draws is deprecated: use num_samples") as seen:
        report = diagnose(q, p, num_draws=8, generator=generator())
    assert seen[0].filename == __file__
    assert report.measurements == diagnose(q, p, 8, generator()).measurements
