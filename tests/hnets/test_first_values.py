"""First values of hypernetworks, the numbers of their layers, and settings at the end of their range."""

import math

import pytest
import torch

from bayeshnet.hnets import HMLP, HDeconv, resnet_chunking, wrn_chunking
from bayeshnet.hnets.subnets.deconv import DeconvSubnet
from bayeshnet.mnets import WRN, ResNet


def test_the_variance_of_inputs_that_skip_the_layers_is_their_own():
    """The last layer sees 80 hidden units of the mean variance, and 40 inputs of their own."""
    torch.manual_seed(0)
    options = {"uncond_in_size": 40, "cond_in_size": 60, "layers": (80,), "linear_skip": True, "verbose": False}
    net = HMLP([[60, 40], [60]], **options)
    net.apply_hyperfan_init("in", uncond_var=9.0, cond_var=1.0)
    mean = (40 * 9.0 + 60 * 1.0) / 100
    wanted = 2 / (2 * 40 * (80 * mean + 40 * 9.0))
    draws = net.layer_weight_tensors[-1].detach()[: 60 * 40]
    assert draws.var().item() == pytest.approx(wanted, rel=0.03)


def test_transposed_convolutions_are_uniform_by_the_number_of_their_inputs():
    torch.manual_seed(0)
    net = HDeconv([[4000]], (32, 32, 4), 3, 5, num_layers=4, num_filters=(64, 16, 32), sa_units=(), verbose=False)
    weights = [
        p.detach() for p, m in zip(net.internal_params, net.param_shapes_meta, strict=True) if m["name"] == "weight"
    ]
    assert len(weights) == 4
    for k, weight in enumerate(weights):
        fan_in = weight.shape[1] if k == 0 else weight.shape[0] * weight.shape[2] * weight.shape[3]
        assert weight.abs().max().item() == pytest.approx(1 / math.sqrt(fan_in), rel=0.02)


def test_batch_norm_stands_between_the_layers():
    net = HMLP([[3, 2]], layers=(5, 6, 7), use_batch_norm=True, verbose=False)
    layers = {"bn_scale": [], "bn_shift": [], "weight": [], "bias": [], "embedding": []}
    for meta in net.param_shapes_meta:
        layers[meta["name"]].append(meta["layer"])
    assert layers["weight"] == layers["bias"] == [1, 3, 5, 7]
    assert layers["bn_scale"] == layers["bn_shift"] == [2, 4, 6]


@pytest.mark.parametrize("rate", [-1, 0, 1])
def test_no_dropout(rate):
    net = HMLP([[3, 2]], layers=(5,), dropout_rate=rate, verbose=False).train()
    torch.testing.assert_close(net(cond_id=0)[0], net(cond_id=0)[0], rtol=0, atol=0)
    assert not any(isinstance(module, torch.nn.Dropout) for module in net.modules())


def test_groups_of_equal_width_are_one():
    """The first group widens from 2 to 7 maps, so its first layer stands alone; in the others all layers are alike."""
    options = {"in_shape": (6, 6, 2), "num_classes": 3, "n": 2, "k": 1, "use_bias": False, "verbose": False}
    shapes, counts, _ = wrn_chunking(WRN(num_feature_maps=(2, 7, 7, 7), **options))
    assert counts[:5] == [1, 1, 3, 4, 4]
    assert shapes[3] == shapes[4] == [[7, 7, 3, 3]]


def test_the_common_divisor_is_that_of_the_output_maps():
    """Three input maps do not count."""
    net = ResNet((6, 6, 3), 3, num_feature_maps=(2, 4, 6, 8), n=1, verbose=False)
    shapes, _, _ = resnet_chunking(net, gcd_chunking=True)
    assert [group[0][:2] for group in shapes[:-1]] == [[2, 3], [2, 2], [2, 4], [2, 6], [2, 8]]


@pytest.mark.parametrize("maps", [(4, 6, 6, 6), (6, 8, 12, 12), (6, 6, 8, 12), (6, 6, 6, 8)])
def test_the_common_divisor_is_that_of_all_widths(maps):
    """Three widths are multiples of six, but one is not, wherever it stands."""
    shapes, _, _ = resnet_chunking(ResNet((6, 6, 3), 3, num_feature_maps=maps, n=1, verbose=False), gcd_chunking=True)
    assert [group[0][:2] for group in shapes[1:-1]] == [[2, width] for width in maps]


def test_spectral_norms_begin_with_fifteen_power_iterations(monkeypatch):
    """Each multiplies the vector ``u`` by the Gram matrix, so that its parts grow like squares of singular values."""
    declare, starts = DeconvSubnet.declare, []

    def watched(subnet, *args):
        starts.extend(norm.u.clone() for norm in norms(subnet))
        declare(subnet, *args)

    def norms(subnet):
        return [*subnet.spectral, *subnet.attention["0"].spectral]

    monkeypatch.setattr(DeconvSubnet, "declare", watched)
    torch.manual_seed(0)
    options = {"num_layers": 3, "num_filters": [16, 8], "sa_units": (0,), "use_spectral_norm": True, "verbose": False}
    net = HDeconv([[60]], (10, 6), 3, 5, **options)
    layers = [p for p, m in zip(net.internal_params, net.param_shapes_meta, strict=True) if m["layer"] in (1, 3)]
    layers = [p for p in layers if p.ndim > 1]
    kernels = [net.params[f"attention0_{name}_weight"] for name in ("query", "key", "value")]
    weights = [weight.movedim(min(k, 1), 0) for k, weight in enumerate(layers)] + kernels
    apart = []
    for norm, start, weight in zip(norms(net.subnet), starts, weights, strict=True):
        left, values, _ = torch.linalg.svd(weight.detach().double().flatten(1), full_matrices=False)
        wanted = {k: left @ (values ** (2 * k) * (left.T @ start.double())) for k in (14, 15, 16)}
        error = {k: float((norm.u - u / u.norm()).norm()) for k, u in wanted.items()}
        assert error[15] < 1e-5
        apart.append(min(error[14], error[16]))
    assert max(apart[:2]) > 1e-3  # so that the number of iterations is seen, in layers
    assert max(apart[2:]) > 1e-3  # and in self-attention
