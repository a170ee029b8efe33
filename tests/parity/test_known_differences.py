"""What the documentation says of hypnettorch's hypernetworks where they differ from ours is so."""

import contextlib
import io
import warnings

import pytest
import torch

from bayeshnet import hnets as ours

pytest.importorskip("hypnettorch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import hypnettorch.hnets as theirs
    from hypnettorch.hnets import deconv_hnet, hnet_container, hnet_helpers, structured_mlp_hnet

SHAPES = [[4, 3], [4]]


def quiet(build, *args, **kwargs):
    """Call what prints and warns."""
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


def test_the_caller_keeps_his_dict():
    mine, other = both("ChunkedHMLP", SHAPES, 5, 2, True, cond_in_size=0)
    for net, left in ((mine, {"chunk_embs"}), (other, set())):
        weights = {"chunk_embs": torch.randn(1, 4, 2)}
        net(weights=weights)
        assert set(weights) == left
