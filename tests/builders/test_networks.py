"""Builders of main networks: what they build takes the inputs that it was built for."""

import pytest
import torch

from bayeshnet.builders import ConvNetwork, MLPNetwork
from bayeshnet.functional import batched_forward

CASES = {
    "vectors": (MLPNetwork((5,)), (16,)),
    "images to a perceptron": (MLPNetwork((5,)), (1, 4, 4)),
    "numbers": (MLPNetwork((5,)), ()),
    "images": (ConvNetwork((3,), (4,)), (1, 4, 4)),
    "flattened images": (ConvNetwork((3,), (4,), image_shape=(1, 4, 4)), (16,)),
}


@pytest.mark.parametrize("case", CASES)
def test_networks_take_the_inputs_that_they_are_built_for(case):
    builder, shape = CASES[case]
    net = builder.build(shape, 2)
    x, weights = torch.randn(3, 6, *shape), torch.randn(3, net.weight_spec.numel)
    expected = torch.stack([net(x[0], weights=net.weight_spec.split(w)) for w in weights])
    assert expected.shape == (3, 6, 2)
    torch.testing.assert_close(batched_forward(net, weights, x[0]), expected)
    each = torch.stack([net(one, weights=net.weight_spec.split(w)) for one, w in zip(x, weights, strict=True)])
    torch.testing.assert_close(batched_forward(net, weights, x, per_sample_inputs=True), each)


def test_images_are_flattened_for_local_noise():
    builder = MLPNetwork((5,))
    x, seed = torch.randn(6, 1, 4, 4), torch.Generator().manual_seed
    outputs = []
    for shape, inputs in (((1, 4, 4), x), ((16,), x.flatten(1))):
        net = builder.build(shape, 2)
        weights = torch.linspace(-1, 1, net.weight_spec.numel)
        means, stds = net.weight_spec.split(weights), net.weight_spec.split(weights.abs())
        outputs.append(net.gaussian_forward(means, stds, inputs, 3, seed(0)))
    assert outputs[0].shape == (3, 6, 2)
    torch.testing.assert_close(*outputs)


def test_the_shape_of_images_changes_nothing():
    w = torch.randn(1, MLPNetwork((5,)).build((16,), 2).weight_spec.numel)
    x = torch.randn(6, 1, 4, 4)
    flat = batched_forward(MLPNetwork((5,)).build((16,), 2), w, x.flatten(1))
    torch.testing.assert_close(batched_forward(MLPNetwork((5,)).build((1, 4, 4), 2), w, x), flat)


def test_refusals():
    with pytest.raises(ValueError, match="image_shape: expected"):
        ConvNetwork().build((16,), 2)
    with pytest.raises(ValueError, match="input_shape: expected images that survive the pooling"):
        ConvNetwork((2, 2, 2)).build((1, 4, 4), 2)
