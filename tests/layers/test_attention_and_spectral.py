"""Self-attention against loops over positions, spectral norm against singular values, initializers against moments."""

import copy

import pytest
import torch
from torch import nn

from bayeshnet.layers import SelfAttnLayerV2, SpectralNorm, calc_fan_in_and_out, init_params, xavier_fan_in_

D = torch.float64


def brute_force(x, weights):
    """Attention of each position to each other, one at a time."""
    wq, bq, wk, bk, wv, bv, gate = weights
    out = torch.empty_like(x)
    flat = x.flatten(2)
    for i in range(x.shape[0]):
        for j in range(flat.shape[2]):
            q = wq[:, :, 0, 0] @ flat[i, :, j] + bq
            keys = [wk[:, :, 0, 0] @ flat[i, :, k] + bk for k in range(flat.shape[2])]
            shares = torch.softmax(torch.stack([q @ key for key in keys]), 0)
            values = [wv[:, :, 0, 0] @ flat[i, :, k] + bv for k in range(flat.shape[2])]
            mixed = sum(s * v for s, v in zip(shares, values, strict=True))
            out[i, :, j // x.shape[3], j % x.shape[3]] = flat[i, :, j] + gate * mixed
    return out


def test_attention_matches_brute_force():
    layer = SelfAttnLayerV2(8, False, no_weights=True).double()
    weights = [torch.randn(s, dtype=D, requires_grad=True) for s in layer.weight_shapes]
    x = torch.randn(2, 8, 2, 3, dtype=D, requires_grad=True)
    got, attention = layer(x, ret_attention=True, weights=weights)
    expected = brute_force(x, weights)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 6, dtype=D))
    v = torch.randn_like(got)
    inputs = (x, *weights)
    for a, b in zip(torch.autograd.grad(got, inputs, v), torch.autograd.grad(expected, inputs, v), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_weights():
    layer = SelfAttnLayerV2(16, False)
    x = torch.randn(1, 16, 3, 3)
    assert torch.equal(layer(x), x)
    assert layer.weight_shapes[0] == [2, 16, 1, 1]
    values = [torch.randn(s) for s in layer.weight_shapes]
    started = SelfAttnLayerV2(16, False, init_weights=values)
    torch.testing.assert_close(started(x), layer(x, weights=values))
    more = [torch.randn(s) for s in layer.weight_shapes]
    both = [a + b for a, b in zip(values, more, strict=True)]
    torch.testing.assert_close(started(x, dWeights=more), layer(x, weights=both))
    assert torch.equal(copy.deepcopy(started)(x), started(x))
    with pytest.raises(ValueError, match=r"weights\[1\]: expected a tensor of shape \(2\)"):
        layer(x, weights=[values[0], *values[:6]])
    with pytest.raises(ValueError, match="weights: expected 7 tensors, got 2"):
        layer(x, weights=values[:2])
    with pytest.raises(ValueError, match="weights: expected 7 tensors, got None"):
        SelfAttnLayerV2(8, False, no_weights=True)(torch.zeros(1, 8, 2, 2))
    with pytest.raises(ValueError, match="init_weights: expected None"):
        SelfAttnLayerV2(8, False, no_weights=True, init_weights=values)
    with pytest.raises(ValueError, match="in_dim: expected an integer >= 8"):
        SelfAttnLayerV2(4, False)


def test_attention_with_spectral_norm():
    layer = SelfAttnLayerV2(8, True)
    x = torch.randn(1, 8, 2, 2)
    for _ in range(60):
        layer(x)
    weights = [w.detach().clone() for w in layer.weights]
    for i in (0, 2, 4):
        weights[i] /= torch.linalg.matrix_norm(weights[i].flatten(1), 2)
    plain = SelfAttnLayerV2(8, False, init_weights=weights)
    torch.testing.assert_close(layer.eval()(x), plain(x), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("shape", "dim"), [((5, 4), 0), ((6, 3, 3, 2), 0), ((3, 6, 2, 2), 1)])
def test_spectral_norm(shape, dim):
    norm = SpectralNorm(shape, num_iters=200, dim=dim).double()
    weight = torch.randn(shape, dtype=D, requires_grad=True)
    sigma = torch.linalg.matrix_norm(weight.movedim(dim, 0).flatten(1), 2)
    torch.testing.assert_close(norm(weight), weight / sigma, atol=1e-8, rtol=1e-6)
    # At the singular vectors, the gradient with constant vectors is the gradient of the norm.
    v = torch.randn(shape, dtype=D)
    (got,) = torch.autograd.grad(norm.eval()(weight), weight, v)
    (expected,) = torch.autograd.grad(weight / sigma, weight, v)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)


def test_spectral_norm_like_torch():
    ours = SpectralNorm((4, 3))
    theirs = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))
    inner = theirs.parametrizations.weight[0]
    with torch.no_grad():
        ours.u.copy_(inner._u)
        ours.v.copy_(inner._v)
    weight = theirs.parametrizations.weight.original
    # torch starts its iteration from v, ours from u.
    for _ in range(50):
        got, expected = ours(weight), theirs.weight
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_spectral_norm_twice_before_backward():
    norm, weight = SpectralNorm((3, 3)), torch.randn(3, 3, requires_grad=True)
    (norm(weight) + norm(weight)).sum().backward()
    assert torch.isfinite(weight.grad).all()
    with pytest.raises(ValueError, match=r"weight: expected a tensor of shape \(3, 3\)"):
        norm(torch.zeros(2, 3))


def test_initializers():
    assert calc_fan_in_and_out([4, 3]) == (3, 4)
    assert calc_fan_in_and_out([4, 3, 2, 5]) == (30, 40)
    with pytest.raises(ValueError, match="shapes: expected"):
        calc_fan_in_and_out([3])
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.empty(300, 50), torch.empty(300)
    init_params(weight, bias, generator)
    assert weight.abs().max() <= 50**-0.5
    assert abs(weight.var().item() * 3 * 50 - 1) < 0.05
    assert bias.abs().max() <= 50**-0.5
    assert abs(bias.var().item() * 3 * 50 - 1) < 0.2
    xavier_fan_in_(weight, generator)
    assert abs(weight.var().item() * 50 - 1) < 0.05
    torch.manual_seed(3)
    linear = nn.Linear(7, 5)
    torch.manual_seed(3)
    weight, bias = torch.empty(5, 7), torch.empty(5)
    init_params(weight, bias)
    assert torch.equal(weight, linear.weight)
    assert torch.equal(bias, linear.bias)
