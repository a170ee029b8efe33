"""The KL at the end of a run beside a searched one: a folded map raises an alarm, once, with the KL that there is."""

import logging
import math

import pytest
import torch
from torch import nn

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldGaussian
from bayeshnet.estimators import LIVI, ImportanceSandwich
from bayeshnet.guides import AutoHypernet, BayesianModel, Gaussian, HypernetGuide, MeanFieldGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import fit
from bayeshnet.inference.bound import BoundCheck, check_bound
from bayeshnet.mnets import MLP
from tests.support.inference_conjugate import conjugate
from tests.support.oracles import DTYPE

SIGMA = 0.05


def absolute(slope):
    """Two weights |z| of one latent, or z for a map that does not fold."""
    net = MLP(1, 1, hidden_layers=(), no_weights=True, verbose=False).to(DTYPE)
    hnet = HMLP(
        net.hyper_shapes_learned, uncond_in_size=1, cond_in_size=0, num_cond_embs=0, layers=[2], verbose=False
    ).to(DTYPE)
    hidden, offset, head, bias = hnet.unconditional_params
    with torch.no_grad():
        hidden.copy_(torch.tensor([[1.0], [-1.0]]))
        head.copy_(torch.tensor([[1.0, slope], [1.0, slope]]))
        offset.zero_()
        bias.zero_()
    guide = HypernetGuide(HypernetPosterior(hnet, sigma=SIGMA, weight_spec=net.weight_spec))
    prior = MeanFieldGaussian(torch.zeros(2, dtype=DTYPE), torch.ones(2, dtype=DTYPE), net.weight_spec)
    return BayesianModel(net, prior, Gaussian(1.0)), guide


def ended(slope=1.0, **changes):
    model, guide = absolute(slope)
    x = torch.linspace(-1, 1, 8, dtype=DTYPE).unsqueeze(-1)
    options = {"num_samples": 100, "generator": torch.Generator().manual_seed(0), **changes}
    return fit(model, guide, (x, x.abs()), num_steps=options.pop("num_steps", 100), lr=1e-12, **options)


def true_kl():
    """The KL of |z| (1, 1) from N(0, I): an integral along the direction in which the map acts, closed form across."""
    z, w = torch.linspace(-9, 9, 2001, dtype=DTYPE), torch.linspace(-1, 13, 4001, dtype=DTYPE)
    log_q = torch.logsumexp(-0.5 * z**2 - 0.5 * ((w[:, None] - math.sqrt(2) * z.abs()) / SIGMA) ** 2, 1)
    log_q = log_q + math.log(18 / 2000 / (2 * math.pi * SIGMA))
    along = log_q.exp() * (log_q + 0.5 * w**2 + 0.5 * math.log(2 * math.pi))
    return float(torch.trapezoid(along, w)) + 0.5 * (SIGMA**2 - 1 - 2 * math.log(SIGMA))


def test_a_folded_map_raises_one_alarm_with_the_kl_that_there_is(caplog):
    with caplog.at_level(logging.WARNING, logger="bayeshnet.inference.fit"):
        result = ended()
    assert [message.split(":")[0] for message in caplog.messages].count("fold") == 1
    for remedy in ("guide.audit", "ImportanceSandwich", "larger sigma", "smaller lr"):
        assert remedy in result.alarms["fold"]
    assert result.check.kl == pytest.approx(true_kl() - math.log(2), abs=0.1)
    assert result.check.corrected_kl == pytest.approx(true_kl(), abs=0.1)
    assert f"corrected_kl={result.check.corrected_kl:.5g}" in repr(result)
    assert "corrected_kl" in result._repr_html_()


def test_a_map_that_does_not_fold_raises_none():
    result = ended(-1.0)
    assert result.check.holds
    assert "fold" not in result.alarms
    assert "corrected" not in repr(result)


def test_the_estimator_of_the_fit_is_the_one_that_is_judged():
    assert not ended(estimator=LIVI()).check.holds
    assert ended(estimator=ImportanceSandwich(16, num_starts=4), num_samples=16).check.holds


def test_a_negative_excess_corrects_nothing():
    check = BoundCheck(kl=5.0, excess=-2.0, error=0.1, margin=0.3)
    assert check.holds
    assert check.corrected_kl == 5.0
    assert BoundCheck(5.0, 0.54, 0.1, 0.3).holds
    assert not BoundCheck(5.0, 0.56, 0.1, 0.3).holds


def test_the_check_is_left_out_where_there_is_nothing_to_look_at():
    assert ended(num_steps=99).check is None
    assert ended(alarms=False).check is None
    net = nn.Linear(1, 1)
    guide = MeanFieldGuide(net)
    x = torch.linspace(-1, 1, 8).unsqueeze(-1)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(1.0))
    assert fit(model, guide, (x, x), num_steps=100).check is None


def test_random_numbers_are_left_alone():
    states = []
    for alarms in (True, False):
        torch.manual_seed(3)
        ended(alarms=alarms, generator=None)
        states.append(torch.random.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("components", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_automatic_guides_are_looked_at(components):
    """One unknown of three becomes |z|; a mixture has the mean of what its components have too much."""
    model, batch, *_ = conjugate()
    guide = AutoHypernet(model, layers=(2,), components=components, estimator=LIVI(), activation_fn=nn.ReLU())
    guide(*batch)
    parts = [guide.posterior] if components == 1 else list(guide.posterior.components)
    history = {"kl": torch.full((100,), 5.0)}
    for part in parts:
        with torch.no_grad():
            hidden, offset, head, _ = part.hnet.unconditional_params
            hidden.copy_(torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]))
            offset.zero_()
            head.copy_(torch.tensor([[0.0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]))
    assert check_bound(guide, None, history).holds
    with torch.no_grad():
        parts[0].hnet.unconditional_params[2][0, :3] = torch.tensor([1.0, 1.0, 1e-9])
        parts[0].sigma.module.fraction[0] = SIGMA / 1e-9
    found = check_bound(guide, None, history)
    assert found.excess == pytest.approx(0.65 / components, abs=0.1)
    assert not found.holds
