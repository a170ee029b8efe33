"""One network for all tasks: its outputs for each task, and posteriors that grow with them."""

import pytest
import torch
from torch import nn

from bayeshnet.builders import (
    HyperHypernetwork,
    ImplicitGenerator,
    LowRankWeights,
    MeanFieldGenerator,
    MeanFieldWeights,
    MLPNetwork,
    PointWeights,
    RadialWeights,
)
from bayeshnet.continual import EWC, FineTuning, FixedSoftmax, GrowingSoftmax, SharedHead, SplitHeads, Training
from bayeshnet.continual.task_posterior import OneForAll
from bayeshnet.mnets import OutputView
from tests.support.tasks import make_task

NET = MLPNetwork((5,), "tanh")
FAST = Training(steps=2, batch_size=8)
FAMILIES = {
    "mean-field": MeanFieldWeights(),
    "low-rank": LowRankWeights(rank=2),
    "radial": RadialWeights(),
    "point": PointWeights(),
    "generated": MeanFieldGenerator(embedding_size=3, hidden_layers=(4,)),
    "implicit": ImplicitGenerator(latent_size=2, embedding_size=3, hidden_layers=(4,)),
    "generated-sigma": ImplicitGenerator(latent_size=2, embedding_size=3, hidden_layers=(4,), sigma="generated"),
}


def outputs(posterior, net, x):
    """Of the mean network, or of the one at latent zero."""
    q = posterior(0)
    w = q.unwhiten(q.geometry(q.geometry.zero_latent())) if hasattr(q, "geometry") else q.mean
    return net(x, weights=net.weight_spec.split(w))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_wider_network_does_the_same_on_old_outputs(name):
    old, new = NET.build((4,), 2), NET.build((4,), 6)
    torch.manual_seed(0)
    posterior, x = OneForAll(FAMILIES[name], old.weight_spec), torch.randn(3, 4)
    with torch.no_grad():
        before, q = outputs(posterior, old, x), posterior(0)
        posterior.widen(new.weight_spec)
        after, wide = outputs(posterior, new, x), posterior(0)
    assert after.shape == (3, 6)
    torch.testing.assert_close(after[:, :2], before)
    assert after[:, 2:].std() > 0.1, "new outputs are drawn, not zero"
    places = old.weight_spec.places_in(new.weight_spec)
    if name != "point":
        sigma = "sigma" if hasattr(q, "sigma") else "diag" if name == "low-rank" else "scale"
        spread = getattr(wide, sigma)
        torch.testing.assert_close(spread[places] if spread.ndim else spread, getattr(q, sigma))


def test_what_has_no_row_per_weight_cannot_grow():
    old, new = NET.build((4,), 2).weight_spec, NET.build((4,), 4).weight_spec
    for family in (ImplicitGenerator(chunk_size=5), HyperHypernetwork()):
        with pytest.raises(ValueError, match=r"heads: expected outputs of a fixed number.*FixedSoftmax"):
            OneForAll(family, old).widen(new)


def test_outputs_are_shared_out():
    for heads, widths in ((SharedHead(), (2, 2)), (SplitHeads(), (2, 6)), (FixedSoftmax(4), (8, 8))):
        assert (heads.width(1, 2), heads.width(3, 2)) == widths
    assert SharedHead().block(2, 2) == (0, 2)
    for heads, competing, offset in ((SplitHeads(), (4, 6), 0), (GrowingSoftmax(), (0, 6), 4)):
        assert heads.block(2, 2) == (4, 6)
        assert heads.competing(2, 3, 2) == competing
        assert heads.offset(2, 2) == offset


@pytest.mark.parametrize("heads", [SharedHead(), SplitHeads(), GrowingSoftmax(), FixedSoftmax(2)])
def test_training_goes_to_the_right_outputs(heads):
    """The second task moves the biases of the first one only where the outputs of both compete."""
    learner = FineTuning(NET, PointWeights(), heads=heads, training=Training(steps=5, batch_size=40, lr=0.03, beta=0))
    state = learner.learn(None, make_task(0), seed=0)
    after = learner.learn(state, make_task(1), seed=1)
    bias, spec = after.net.weight_spec.names[-1], after.net.weight_spec
    new = spec.unflatten(after.posterior(0).mean)[bias]
    old = state.net.weight_spec.unflatten(state.posterior(0).mean)[bias]
    assert torch.equal(new[:2], old) == (type(heads) is SplitHeads)


def test_views():
    net = NET.build((4,), 6)
    weights, x = torch.randn(3, net.weight_spec.numel), torch.randn(5, 4)
    view = OutputView(net, 2, 5)
    torch.testing.assert_close(view.batched_forward(weights, x), net.batched_forward(weights, x)[..., 2:5])
    torch.testing.assert_close(
        view(x, weights=net.weight_spec.split(weights[0])), net(x, weights=net.weight_spec.split(weights[0]))[..., 2:5]
    )
    with pytest.raises(ValueError, match="net: expected a network of at least 8 outputs"):
        OutputView(net, 4, 8)(x, weights=net.weight_spec.split(weights[0]))
    with pytest.raises(ValueError, match="start, stop"):
        OutputView(net, 3, 3)


def test_one_softmax_tells_the_task():
    """By the probability of the task's classes; a certain network leaves finite evidence for batches."""
    learner = FineTuning(NET, PointWeights(), heads=GrowingSoftmax(), training=FAST, num_samples=3)
    state, x = learner.learn(learner.learn(None, make_task(0)), make_task(1)), torch.randn(5, 4)
    probs = learner.predict_with(state, state.net, 0, x).mean
    found = learner.predict(state, x)
    torch.testing.assert_close(found.task_posterior("softmax"), probs.view(5, 2, 2).sum(-1))
    assert torch.equal(learner.predict_each(state, x, [1]).task_log_prob[:, 0], found.task_log_prob[:, 1])
    with torch.no_grad():
        next(state.posterior.parameters()).mul_(1e5)
    certain = learner.predict(state, torch.cat([x, -x]))
    assert certain.task_log_prob.min() < -80
    assert certain.batch_posterior("softmax").isfinite().all()


def test_refusals():
    with pytest.raises(TypeError, match="state: expected one that EWC has learned"):
        EWC(NET, sample=True).predict(
            FineTuning(NET, PointWeights(), training=FAST).learn(None, make_task(0)), torch.zeros(1, 4)
        )
    own = nn.Linear(4, 2)
    learner = EWC(own, training=FAST)
    state = learner.learn(None, make_task(0))
    with pytest.raises(TypeError, match="network: expected a NetworkBuilder"):
        learner.learn(state, make_task(1))
    fixed = EWC(NET, heads=FixedSoftmax(1), training=FAST)
    with pytest.raises(ValueError, match="task: expected one of the 1 that FixedSoftmax has room for"):
        fixed.learn(fixed.learn(None, make_task(0)), make_task(1))
    with pytest.raises(ValueError, match="heads: expected SplitHeads or SharedHead for tasks of values"):
        EWC(NET, heads=GrowingSoftmax(), training=FAST).learn(None, make_task(0, kind="regression"))
