"""The suites for others: estimators, heads and hypernetworks of one's own join them, and faults are found."""

import importlib.util
from typing import ClassVar

import pytest
import torch
from torch import nn

from bayeshnet import testing
from bayeshnet.estimators import LIVI, SSGE, ClosedForm, ImportanceSandwich, KLEstimate, KLEstimator, MonteCarlo
from bayeshnet.estimators.accepted import with_density
from bayeshnet.exact import BayesianLinearHead
from bayeshnet.hnets import HMLP
from bayeshnet.testing import EstimatorContract, HeadContract, HypernetworkContract


class TestLIVI(EstimatorContract):
    problems = ("implicit",)
    num_samples = 500

    def make(self):
        return LIVI()


class TestMonteCarlo(EstimatorContract):
    problems = ("mean field", "low rank")
    num_samples = 4000

    def make(self):
        return MonteCarlo()


class TestClosedForm(EstimatorContract):
    problems = ("mean field", "low rank")
    value_error = 1e-9
    cosine = 1 - 1e-9

    def make(self):
        return ClosedForm()


class TestImportanceSandwich(EstimatorContract):
    problems = ("implicit",)
    num_samples = 200

    def make(self):
        return ImportanceSandwich()


class TestSSGE(EstimatorContract):
    num_samples = 400
    value_error = None
    cosine = 0.9
    learns_sigma = False

    def make(self):
        return SSGE()


class Halves(KLEstimator):
    """An estimator of one's own: averages of the log-ratio, from mirrored pairs of draws."""

    accepts = with_density

    def __init__(self, num_samples=2000, fault=""):
        self.num_samples, self.fault = num_samples, fault

    def _estimate(self, q, p, num_samples, generator):
        w = q.draw(num_samples, None if self.fault == "random" else generator).w
        if self.fault == "still":
            w = w.detach()
        ratio = q.log_prob(w) - p.log_prob(w)
        value = ratio.mean()
        surrogate = -value if self.fault == "sign" else value
        shift = 1.0 if self.fault == "bias" else 0.0
        error = ratio.detach().std() / num_samples**0.5
        return KLEstimate(value.detach() + shift, surrogate, diagnostics={"standard_error": error})


class TestHalves(EstimatorContract):
    problems = ("mean field", "low rank")

    def make(self):
        return Halves()


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        ("bias", "test_value"),
        ("sign", "test_gradient"),
        ("still", "test_gradient"),
        ("random", "test_one_generator_gives_one_result_and_no_other_random_numbers_are_used"),
    ],
)
def test_faults_of_estimators_are_found(fault, test):
    class Wrong(EstimatorContract):
        problems = ("mean field",)

        def make(self):
            return Halves(fault=fault)

    with pytest.raises((AssertionError, RuntimeError)):
        getattr(Wrong(), test)("mean field")


def test_heads_that_depend_on_the_order_are_found():
    class Late(HeadContract):
        def make(self, num_features):
            return BayesianLinearHead(num_features, forgetting=0.99)

    with pytest.raises(AssertionError):
        Late().test_a_stream_in_any_order_gives_what_one_batch_gives()


def test_heads_that_score_what_they_have_learned_as_left_out_are_found():
    class Seen(BayesianLinearHead):
        def left_out_logits(self, features, y, weight=None):
            return self.logits(features)

    class Joined(HeadContract):
        def make(self, num_features):
            return Seen(num_features)

    with pytest.raises(AssertionError):
        Joined().test_left_out_scores_are_those_of_a_fit_without_the_example()


class Doubled(HMLP):
    """A hypernetwork of one's own: the outputs of a perceptron times a factor."""

    def forward(self, *args, ret_format="squeezed", **kwargs):
        self._check_call(ret_format)
        flat = 2 * super().forward(*args, ret_format="flattened", **kwargs)
        return self._formatted(flat, ret_format)


class Derived(Doubled):
    """The same with the geometry of its map, which the base class has for a perceptron alone."""

    def _closed_geometry(self, *args, **kwargs):
        return None


def build(cls):
    return lambda: cls([[2, 3], [2]], 2, 3, [4], activation_fn=nn.Tanh(), num_cond_embs=2, verbose=False)


class TestHypernetworkOfOnesOwn(HypernetworkContract):
    variants: ClassVar = {"derived": build(Derived)}


def test_hypernetworks_with_a_wrong_geometry_are_found():
    class Wrong(HypernetworkContract):
        variants: ClassVar = {"doubled": build(Doubled)}

    suite = Wrong()
    suite.test_formats(build(Doubled))
    with pytest.raises(AssertionError):
        suite.test_geometry_values(build(Doubled))


def test_without_pytest_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(testing, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"bayeshnet.testing.HeadContract needs pytest.*pip install pytest"):
        _ = testing.__getattr__("HeadContract")
    with pytest.raises(AttributeError, match="nothing"):
        _ = testing.nothing
    assert importlib.util.find_spec("pytest") is not None
    assert torch.get_default_dtype() == torch.float32
