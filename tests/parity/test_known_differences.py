"""The differences to hypnettorch on the page about parity exist."""

import contextlib
import io
import warnings

import pytest
import torch

from bayeshnet import hnets as ours
from bayeshnet import layers, mnets

pytest.importorskip("hypnettorch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import hypnettorch.hnets as theirs
    from hypnettorch.hnets import deconv_hnet, hnet_container, hnet_helpers, structured_mlp_hnet
    from hypnettorch.mnets import lenet, mlp, resnet, simple_rnn, zenkenet
    from hypnettorch.utils import batchnorm_layer, context_mod_layer, self_attention_layer

SHAPES = [[4, 3], [4]]


def quiet(build, *args, **kwargs):
    """Call a function without its output and warnings."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(*args, **kwargs)


def both(name, *args, **kwargs):
    special = {"StructuredHMLP": structured_mlp_hnet, "HContainer": hnet_container}
    other = getattr(special.get(name, theirs), name)
    return getattr(ours, name)(*args, **kwargs, verbose=False), quiet(other, *args, **kwargs, verbose=False)


def fails(error, call, *args, **kwargs):
    with pytest.raises(error):
        quiet(call, *args, **kwargs)


def test_unfinished_classes():
    fails(NotImplementedError, deconv_hnet.HDeconv, SHAPES, (4, 4))
    fails(NotImplementedError, theirs.HMLP, SHAPES, use_spectral_norm=True)
    fails(AssertionError, theirs.HMLP, SHAPES, dropout_rate=1)


@pytest.mark.parametrize("missing", ["no_uncond_weights", "no_cond_weights"])
def test_some_weights_not_kept(missing):
    fails(AttributeError, theirs.HMLP, SHAPES, num_cond_embs=2, **{missing: True})
    assert ours.HMLP(SHAPES, num_cond_embs=2, verbose=False, **{missing: True}).hyper_shapes_learned


def test_conversions():
    mine, other = both("HMLP", SHAPES)
    flat = torch.randn(1, 16)
    assert other.convert_out_format(flat, "flattened", "sequential") is None
    sequential = mine.convert_out_format(flat, "flattened", "sequential")
    fails(AssertionError, other.convert_out_format, sequential, "sequential", "squeezed")
    assert torch.equal(mine.convert_out_format(sequential, "sequential", "squeezed")[0], sequential[0][0])


def test_chunk_embeddings_of_structured_hypernetworks():
    args = ([[3], [3]], [[[3]]], [2], 4, {"layers": []}, lambda chunks: [c[0] for c in chunks])
    mine, other = both("StructuredHMLP", *args, cond_chunk_embs=True, cond_in_size=0)
    weights = {"chunk_embs": [torch.randn(1, 2, 4)]}
    fails((IndexError, TypeError, ValueError), other, weights=dict(weights))
    assert len(mine(weights=weights)) == 2


def test_conditional_parameters():
    nets = both("HContainer", [[3]], lambda hnets, uncond, cond: cond, cond_param_shapes=[[3]], num_cond_embs=2)
    fails(AttributeError, hnet_helpers.get_conditional_parameters, nets[1], 1)
    assert len(ours.get_conditional_parameters(nets[0], 1)) == 1
    nets = both("ChunkedHMLP", SHAPES, 5, 2, True, cond_in_size=0, num_cond_embs=2)
    fails(RuntimeError, hnet_helpers.get_conditional_parameters, nets[1], 1)
    assert len(ours.get_conditional_parameters(nets[0], 1)) == 1


def test_one_condition_for_a_batch():
    mine, other = both("ChunkedHMLP", SHAPES, 5, 2, True, 3, 2, num_cond_embs=2)
    z = torch.randn(4, 3)
    fails(AssertionError, other, uncond_input=z, cond_id=1)
    assert len(mine(uncond_input=z, cond_id=1)) == 4


def test_harmonic_mean():
    torch.manual_seed(0)
    nets = both("HMLP", [[300, 200]], layers=[100])
    head = [100 * net.layer_weight_tensors[-1].var().item() for net in nets]
    for net in nets:
        quiet(net.apply_hyperfan_init, "harmonic")
    head = [100 * net.layer_weight_tensors[-1].var().item() for net in nets]
    assert abs(head[0] - 2 / (200 / 2 + 300 / 2)) < 1e-4
    assert abs(head[1] - 100 * 2 * (100 * 200 / 2 + 100 * 300 / 2)) < 0.01 * head[1]


def test_values_given_in_part():
    nets = both("HMLP", SHAPES)
    for net in nets:
        quiet(net.apply_hyperfan_init, w_var={"weight": 0.0})
    assert not nets[0].layer_weight_tensors[-1][:12].any()
    assert nets[1].layer_weight_tensors[-1][:12].any()


def test_lists():
    mine, other = both("ChunkedHMLP", SHAPES, 5, uncond_in_size=2, cond_in_size=0)
    assert (mine.num_known_conds, other.num_known_conds) == (0, 1)
    assert mine.distillation_targets() is None
    assert callable(other.distillation_targets())
    assert "info" in other.param_shapes_meta[-1]
    mine, other = both("HMLP", SHAPES, num_cond_embs=0)
    assert mine.conditional_params is None
    assert other.conditional_params == []


def test_index_of_a_tensor_that_is_not_kept():
    found = []
    for package, container in ((ours, ours.HContainer), (theirs, hnet_container.HContainer)):
        options = {"layers": [], "num_cond_embs": 0, "verbose": False}
        inner = [quiet(package.HMLP, [[3]], 2, 0, no_uncond_weights=n, **options) for n in (False, True)]
        net = quiet(container, [[3], [3]], lambda h, u, c: [h[0][0], h[1][0]], inner, num_cond_embs=0)
        found.append([m["index"] for m in net.param_shapes_meta])
    assert found == [[0, 1, -1, -1], [0, 1, 1, 1]]


def test_dicts_of_the_caller_are_not_changed():
    mine, other = both("ChunkedHMLP", SHAPES, 5, 2, True, cond_in_size=0)
    for net, left in ((mine, {"chunk_embs"}), (other, set())):
        weights = {"chunk_embs": torch.randn(1, 4, 2)}
        net(weights=weights)
        assert set(weights) == left


# Main networks and layers.


def test_unfinished_options_of_main_networks():
    fails(NotImplementedError, mlp.MLP, 3, 2, use_spectral_norm=True)
    fails(NotImplementedError, self_attention_layer.SelfAttnLayerV2, 8, True)
    fails(NotImplementedError, batchnorm_layer.BatchNormLayer, 3, track_running_stats=False, learnable_stats=True)
    fails(NotImplementedError, batchnorm_layer.BatchNormLayer, 3, momentum=None)
    frozen = batchnorm_layer.BatchNormLayer(3, track_running_stats=False, frozen_stats=True)
    fails(RuntimeError, frozen.forward, torch.randn(4, 3))
    fails(NotImplementedError, lambda: zenkenet.ZenkeNet(verbose=False).param_shapes_meta)
    assert [m["name"] for m in mnets.ZenkeNet(verbose=False).param_shapes_meta[:2]] == ["weight", "bias"]


def test_a_dropout_rate_of_one():
    x = torch.randn(4, 3)
    net = quiet(mlp.MLP, 3, 2, dropout_rate=1, verbose=False)
    out = quiet(net.forward, x)
    assert torch.equal(out, out[:1].expand(4, -1))  # the input has no way through
    assert not torch.equal(*(mnets.MLP(3, 2, dropout_rate=1, verbose=False)(x)[i] for i in (0, 1)))


def test_recurrent_networks_with_modulation_of_their_own():
    fails(TypeError, simple_rnn.SimpleRNN, 2, (3,), use_context_mod=True, verbose=False)
    net = mnets.SimpleRNN(2, (3,), use_context_mod=True, verbose=False)
    assert net(torch.zeros(3, 1, 2)).shape == (3, 1, 1)


def test_equal_numbers_of_feature_maps():
    options = {"n": 1, "num_feature_maps": (4, 4, 4, 4), "verbose": False}
    x = torch.randn(2, 192)
    fails(RuntimeError, quiet(resnet.ResNet, (8, 8, 3), **options).forward, x)
    assert mnets.ResNet((8, 8, 3), **options)(x).shape == (2, 10)


def test_images_with_channels_first():
    options = {"n": 1, "num_feature_maps": (2, 3, 4, 5), "verbose": False}
    net, other = mnets.ResNet((8, 6, 3), **options), quiet(resnet.ResNet, (8, 6, 3), **options)
    last = torch.randn(2, 8, 6, 3)
    first = last.permute(0, 3, 1, 2).contiguous()
    torch.testing.assert_close(net(first), net(last))
    read = [quiet(other.forward, x) for x in (first, first.reshape(2, 8, 6, 3), last)]
    torch.testing.assert_close(read[0], read[1])
    assert not torch.allclose(read[0], read[2])


def test_number_of_classes_of_the_next_network():
    shapes = lenet.LeNet._ARCHITECTURES["mnist_large"]
    kept = [list(shape) for shape in shapes]
    quiet(lenet.LeNet, num_classes=3, verbose=False)
    try:
        assert quiet(lenet.LeNet, verbose=False).param_shapes[-1] == [3]
    finally:
        lenet.LeNet._ARCHITECTURES["mnist_large"][:] = kept
    mnets.LeNet(num_classes=3, verbose=False)
    assert mnets.LeNet(verbose=False).param_shapes[-1] == [10]


@pytest.mark.parametrize("name", ["BatchNormLayer", "ContextModLayer"])
def test_checkpoints_in_a_state(name):
    for package in (layers, {"BatchNormLayer": batchnorm_layer, "ContextModLayer": context_mod_layer}[name]):
        layer, fresh = (getattr(package, name)(3) for _ in range(2))
        layer.checkpoint_stats() if name == "BatchNormLayer" else layer.checkpoint_weights()
        if package is layers:
            fresh.load_state_dict(layer.state_dict())
            assert fresh.state_dict().keys() == layer.state_dict().keys()
        else:
            fails(RuntimeError, fresh.load_state_dict, layer.state_dict())
