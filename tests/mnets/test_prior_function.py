"""Additive prior functions: the sum against two networks by hand, and training that leaves the prior function alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bayeshnet.distributions import DiracPosterior, FanInGaussian
from bayeshnet.functional import batched_forward
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
from bayeshnet.inference import fit
from bayeshnet.mnets import MLP, LeNet, PriorFunctionNet


def perceptron(**options):
    return MLP(n_in=2, n_out=3, hidden_layers=[5, 4], no_weights=True, verbose=False, **options)


def plain(flat, x):
    """The perceptron of 5 and 4 units by matrix products."""
    sizes, at, h = ((5, 2), (4, 5), (3, 4)), 0, x
    for number, (rows, columns) in enumerate(sizes):
        weight = flat[at : at + rows * columns].reshape(rows, columns)
        bias = flat[at + rows * columns : at + rows * columns + rows]
        at += rows * columns + rows
        h = h @ weight.T + bias
        h = h.relu() if number < 2 else h
    return h


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    net = perceptron()
    weights = torch.randn(6, 2 * net.weight_spec.numel, generator=generator, dtype=torch.float64)
    return net, weights, torch.randn(7, 2, generator=generator, dtype=torch.float64)


def test_the_sum_against_matrix_products(drawn):
    net, weights, x = drawn
    count = net.weight_spec.numel
    both = PriorFunctionNet(net, scale=0.5)
    expected = torch.stack([plain(w[:count], x) + 0.5 * plain(w[count:], x) for w in weights])
    for strategy in ("auto", "loop", "vmap"):
        torch.testing.assert_close(batched_forward(both, weights, x, strategy=strategy), expected)
    torch.testing.assert_close(both(x, both.weight_spec.split(weights[0])), expected[0])
    inputs = torch.stack([x + i for i in range(6)])
    each = torch.stack([plain(w[:count], i) + 0.5 * plain(w[count:], i) for w, i in zip(weights, inputs, strict=True)])
    torch.testing.assert_close(batched_forward(both, weights, inputs, per_sample_inputs=True), each)


def test_a_fixed_prior_function_is_the_same_for_all_weights(drawn):
    net, weights, x = drawn
    count = net.weight_spec.numel
    fixed = PriorFunctionNet(net, 2.0, weights[0, count:])
    assert fixed.weight_spec == net.weight_spec
    expected = torch.stack([plain(w[:count], x) + 2.0 * plain(weights[0, count:], x) for w in weights])
    for strategy in ("auto", "loop"):
        torch.testing.assert_close(batched_forward(fixed, weights[:, :count], x, strategy=strategy), expected)
    inputs = x.expand(6, -1, -1)
    found = batched_forward(fixed, weights[:, :count], inputs, per_sample_inputs=True)
    torch.testing.assert_close(found, expected)


def test_both_halves_have_the_scales_of_the_prior():
    net = perceptron()
    scale = FanInGaussian(net.weight_spec, gain=2.0, last_gain=7.0, bias=0.3).scale
    twice = FanInGaussian(PriorFunctionNet(net).weight_spec, gain=2.0, last_gain=7.0, bias=0.3).scale
    assert torch.equal(twice, torch.cat([scale, scale]))
    names = PriorFunctionNet(net).weight_spec.names
    assert names[6:] == tuple(f"prior.{name}" for name in names[:6])


def test_training_moves_the_network_and_leaves_the_prior_function():
    """With enough units the sum fits two points, whatever the prior function is."""
    net = MLP(n_in=1, n_out=1, hidden_layers=[20], activation_fn=nn.Tanh(), no_weights=True, verbose=False)
    prior = FanInGaussian(net.weight_spec, last_gain=3.0, bias=1.0)
    w0 = torch.randn(net.weight_spec.numel, generator=torch.Generator().manual_seed(1))
    member = PriorFunctionNet(net, 3.0, w0)
    posterior = DiracPosterior(net.weight_spec, init=torch.zeros(net.weight_spec.numel).normal_(std=0.3))
    x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.5], [-0.5]])
    model = BayesianModel(member, prior, Gaussian(0.1))
    fit(model, HypernetGuide(posterior), (x, y), num_steps=400, lr=0.03, alarms=False)
    w = posterior().loc.detach()
    assert torch.equal(member.prior_weights, w0)
    together = PriorFunctionNet(net, 3.0)
    out = batched_forward(together, torch.cat([w, w0]).unsqueeze(0), x)[0]
    torch.testing.assert_close(out, y, atol=0.1, rtol=0)
    torch.testing.assert_close(out, member(x, net.weight_spec.split(w)))


def test_other_networks_and_bad_arguments():
    lenet = LeNet(in_shape=(28, 28, 1), num_classes=3, arch="mnist_small", no_weights=True, verbose=False)
    both = PriorFunctionNet(lenet)
    assert both(torch.zeros(2, 784), both.weight_spec.split(torch.ones(both.weight_spec.numel))).shape == (2, 3)
    with pytest.raises(ValueError, match="net: expected a network all of whose weights are passed in"):
        PriorFunctionNet(MLP(n_in=2, n_out=1, verbose=False))
    with pytest.raises(ValueError, match="prior_weights"):
        PriorFunctionNet(perceptron(), prior_weights=torch.zeros(3))
