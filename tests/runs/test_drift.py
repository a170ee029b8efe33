"""Drift: what changed rings the alarm, what did not is silent; KL and change of predictions are those by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import kl_divergence

from bayeshnet.distributions import Dirac, FanInGaussian, HypernetPosterior, MeanFieldGaussian, SemiImplicit
from bayeshnet.geometry import ConstantGeometry
from bayeshnet.hnets import HMLP
from bayeshnet.reports import DriftRecord
from bayeshnet.runs.results.drift import _change, compare_posteriors, has_moved
from tests.support.oracles import LinearProblem

DTYPE = torch.float64


def posterior(seed):
    """The posterior of a random hypernetwork of three latents over 38 weights, with its prior."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shapes = [[6, 4], [6], [1, 6], [2]]
        hnet = HMLP(shapes, uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        q = HypernetPosterior(hnet.double(), sigma=0.2, scale="fan_in")
        return q(), FanInGaussian(q.weight_spec, dtype=DTYPE)


def without_latent(q):
    """The same mean and noise, without what the latent makes."""
    z = q.geometry.draw_latent(4000, torch.Generator().manual_seed(7))
    return SemiImplicit(ConstantGeometry(q.geometry(z).mean(0).detach(), 1), q.sigma.detach(), q.whitening)


def check_alarms(seeds):
    """Check the alarm for an unchanged posterior, one of another seed, and one without its latent."""
    for seed in seeds:
        q, prior = posterior(seed)
        same = compare_posteriors(q, q, prior, seed)
        assert not has_moved(same)
        assert same.lower <= 0.01
        assert same.at_least == 0
        for other in (posterior(seed + 100)[0], without_latent(q)):
            moved = compare_posteriors(q, other, prior, seed)
            assert has_moved(moved)
            assert moved.accuracy > 0.6
            assert 3 < moved.at_least <= moved.lower + 0.1


def test_a_moved_posterior_rings_and_an_unchanged_one_does_not():
    check_alarms([0])


@pytest.mark.slow
def test_twenty_moved_posteriors_ring_and_twenty_unchanged_ones_do_not():
    check_alarms(range(1, 21))


def test_the_kl_of_linear_posteriors_is_that_of_their_gaussians():
    then, now = (LinearProblem.make(2, 6, sigma=0.5, seed=seed) for seed in (0, 1))
    prior = MeanFieldGaussian(torch.zeros(6, dtype=DTYPE), torch.ones(6, dtype=DTYPE))
    record = compare_posteriors(then.q(affine=True), now.q(affine=True), prior)
    truth = float(kl_divergence(then.dense(), now.dense()).detach())
    assert record.lower <= truth <= record.upper
    assert has_moved(record)


def test_the_kl_of_mean_fields_is_the_closed_form():
    loc, scale = torch.linspace(-1, 1, 9, dtype=DTYPE), torch.linspace(0.5, 2, 9, dtype=DTYPE)
    then, now = MeanFieldGaussian(loc, scale), MeanFieldGaussian(-loc, scale.flip(0))
    record = compare_posteriors(then, now, MeanFieldGaussian(torch.zeros(9, dtype=DTYPE), torch.ones(9, dtype=DTYPE)))
    truth = float((scale.flip(0).log() - scale.log() + (scale**2 + 4 * loc**2) / (2 * scale.flip(0) ** 2) - 0.5).sum())
    assert record.kl == record.lower == record.upper == pytest.approx(truth)
    assert record.verdict == "trusted"


def test_a_shift_too_small_to_be_told_by_draws_is_seen_by_the_kl():
    then = MeanFieldGaussian(torch.zeros(200, dtype=DTYPE), torch.ones(200, dtype=DTYPE))
    loc = torch.zeros(200, dtype=DTYPE)
    loc[0] = 2.0
    record = compare_posteriors(then, MeanFieldGaussian(loc, torch.ones(200, dtype=DTYPE)), then)
    assert record.kl == pytest.approx(2.0)
    assert has_moved(record)


def test_points_have_neither_kl_nor_classifier():
    prior = MeanFieldGaussian(torch.zeros(3), torch.ones(3))
    record = compare_posteriors(Dirac(torch.zeros(3)), Dirac(torch.ones(3)), prior)
    assert (record.kl, record.accuracy, record.p_value, record.verdict) == (None, None, None, None)
    assert record.mmd > 1


def test_the_change_of_predictions_is_that_by_hand():
    def classes(rows):
        return SimpleNamespace(kind="classification", mean=torch.tensor(rows))

    old, new = classes([[0.9, 0.1], [0.5, 0.5]]), classes([[0.6, 0.4], [0.5, 0.5]])
    assert _change(old, new) == pytest.approx((0.3 + 0.0) / 2)
    before = SimpleNamespace(kind="regression", mean=torch.tensor([[1.0], [2.0]]), std=torch.tensor([2.0, 0.5]))
    after = SimpleNamespace(kind="regression", mean=torch.tensor([[3.0], [2.0]]), std=torch.ones(2))
    assert _change(before, after) == pytest.approx(math.sqrt((1.0 + 0.0) / 2))


@pytest.mark.parametrize(
    ("numbers", "kind", "moved"),
    [
        ({"p_value": 1e-4, "accuracy": 0.7}, "classification", True),
        ({"p_value": 0.01, "accuracy": 0.58}, "classification", False),
        ({"lower": 0.6, "verdict": "trusted"}, "classification", True),
        ({"lower": 0.6, "verdict": "not certified"}, "classification", False),
        ({"at_least": 0.6, "verdict": "not certified"}, "classification", True),
        ({"at_least": 0.4, "verdict": "not certified"}, "classification", False),
        ({"predictions": 0.06}, "classification", True),
        ({"predictions": 0.06}, "regression", False),
        ({"predictions": 0.6}, "regression", True),
        ({}, "regression", False),
    ],
)
def test_the_thresholds_of_the_alarm(numbers, kind, moved):
    assert has_moved(DriftRecord(**numbers), kind) == moved


def test_a_kl_from_what_is_explicit_to_a_hypernetwork_has_no_least_value():
    """The density of the hypernetwork is too low where modes are missed: the KL is too high, and not certified."""
    torch.manual_seed(0)
    hnet = HMLP([[3, 2]], uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=[5], verbose=False)
    now = HypernetPosterior(hnet, sigma=0.5)()
    prior = MeanFieldGaussian(torch.zeros(6), torch.ones(6))
    record = compare_posteriors(prior, now, prior)
    assert record.kl is not None
    assert record.at_least is None
    assert record.verdict == "not certified"
    assert compare_posteriors(now, prior, prior).at_least is not None
