"""Chunkings of residual networks: layer groups, the paper's vertical chunking, and networks with generated weights."""

import itertools
import math

import pytest
import torch

from bayeshnet.hnets import StructuredHMLP, resnet_chunking, wrn_chunking
from bayeshnet.mnets import MLP, WRN, ResNet

FLAGS = ["ignore_bn_weights", "ignore_out_weights", "gcd_chunking", "vertical_chunking"]


def wrn(maps=(2, 3, 4, 6), **kwargs):
    options = {"in_shape": (6, 6, 2), "num_classes": 3, "n": 2, "k": 1, "num_feature_maps": maps, "verbose": False}
    return WRN(**{**options, **kwargs})


def paper(**kwargs):
    """The network of the paper, without memory."""
    return WRN(n=4, k=10, use_bias=False, use_fc_bias=True, no_weights=True, verbose=False, **kwargs)


def pieces(group):
    """Numbers of the feature maps of a group's weight, with the kernel's size where it is not 3."""
    return group[0][:2] if group[0][-1] == 3 else group[0]


def test_the_chunking_of_the_paper():
    """Layer groups 0, 1, 2, 4, 6 and the three shortcuts (in the paper 0 to 7) of WRN-28-10."""
    shapes, counts, _ = wrn_chunking(paper(), vertical_chunking=True)
    wanted = [
        [16, 3],
        [160, 16],
        [160, 80],
        [320, 160],
        [640, 320],
        [160, 16, 1, 1],
        [320, 160, 1, 1],
        [640, 320, 1, 1],
    ]
    assert [pieces(group) for group in shapes] == wanted
    assert counts == [1, 1, 14, 15, 15, 1, 1, 1]
    assert all(len(group) == 1 for group in shapes)


def test_the_documented_chunking():
    """Without vertical chunking, the second layer group consists of whole layers."""
    shapes, counts, _ = wrn_chunking(paper())
    assert (shapes[2], counts[2]) == ([[160, 160, 3, 3]], 7)
    assert counts == [1, 1, 7, 15, 15, 1, 1, 1]


def test_eleven_layer_groups():
    """If no width is half or twice the one before, there are all eleven layer groups."""
    net = wrn((2, 6, 18, 54), use_bias=True)
    shapes, counts, _ = wrn_chunking(net, ignore_bn_weights=False, ignore_out_weights=False)
    convolutions = [[2, 2], [6, 2], [6, 6], [18, 6], [18, 18], [54, 18], [54, 54]]
    assert [pieces(group) for group in shapes[:7]] == convolutions
    assert [group[0] for group in shapes[7:]] == [[6, 2, 1, 1], [18, 6, 1, 1], [54, 18, 1, 1], [3, 54]]
    assert counts == [1, 1, 3, 1, 3, 1, 3, 1, 1, 1, 1]
    assert shapes[2] == [[6, 6, 3, 3], [6], [6], [6]]  # weight, bias, scale and shift of batch norm
    assert shapes[10] == [[3, 54], [3]]


@pytest.mark.parametrize("flags", list(itertools.product((False, True), repeat=4)))
@pytest.mark.parametrize("maps", [(2, 3, 4, 6), (2, 6, 6, 12), (4, 12, 6, 3), (3, 9, 15, 30)])
def test_chunks_hold_every_weight(maps, flags):
    """Chunks cut by hand are assembled to the same network; surplus biases are not used."""
    net, options = wrn(maps, use_bias=True), dict(zip(FLAGS, flags, strict=True))
    shapes, counts, assembly = wrn_chunking(net, **options)
    each = [group for group, count in zip(shapes, counts, strict=True) for _ in range(count)]
    numbers = itertools.count()
    chunks = [[torch.tensor(list(itertools.islice(numbers, math.prod(s)))).view(s) for s in group] for group in each]
    made = assembly(chunks)
    skip = {"bn_scale", "bn_shift"} if options["ignore_bn_weights"] else set()
    out = 2 if options["ignore_out_weights"] else 0
    kept = [s for s, m in zip(net.param_shapes, net.param_shapes_meta, strict=True) if m["name"] not in skip]
    assert [list(t.shape) for t in made] == kept[: len(kept) - out]
    used = torch.cat([t.flatten() for t in made])
    assert len(used.unique()) == len(used)  # no weight of a chunk is used twice
    weights = [group[0] for group in shapes]
    available = sum(math.prod(s) * n for s, n in zip(weights, counts, strict=True))
    assert sum(t.numel() for t in made if t.ndim > 1) == available  # all weights of convolutions are used


def test_halves_are_joined_along_the_input_maps():
    net = wrn((2, 6, 6, 6), use_bias=False, use_batch_norm=False)
    shapes, counts, assembly = wrn_chunking(net, vertical_chunking=True)
    assert (shapes[2], counts[2]) == ([[6, 3, 3, 3]], 6)
    chunks = [[torch.randn(s) for s in group] for group, n in zip(shapes, counts, strict=True) for _ in range(n)]
    names = [r.label for r in net._ledger.records][:-1]
    made = dict(zip(names, assembly(chunks), strict=True))
    assert torch.equal(made["layer7.weight"], torch.cat([chunks[2][0], chunks[3][0]], dim=1))
    assert torch.equal(made["layer10.weight"], torch.cat([chunks[4][0], chunks[5][0]], dim=1))


def test_odd_layers_stay_whole():
    shapes, counts, _ = wrn_chunking(wrn((2, 7, 7, 7), use_bias=False), vertical_chunking=True)
    assert (shapes[2], counts[2]) == ([[7, 7, 3, 3]], 3)


def test_resnet_groups():
    net = ResNet((6, 6, 2), 3, num_feature_maps=(2, 4, 6, 8), n=2, verbose=False)
    shapes, counts, _ = resnet_chunking(net)
    assert [pieces(group) for group in shapes[:7]] == [[2, 2], [4, 2], [4, 4], [6, 4], [6, 6], [8, 6], [8, 8]]
    assert counts == [1, 1, 3, 1, 3, 1, 3, 1]
    assert shapes[0] == [[2, 2, 3, 3], [2], [2], [2]]
    shapes, counts, _ = resnet_chunking(net, gcd_chunking=True)
    assert [group[0] for group in shapes] == [
        [2, 2, 3, 3],
        [2, 2, 3, 3],
        [2, 4, 3, 3],
        [2, 6, 3, 3],
        [2, 8, 3, 3],
        [3, 8],
    ]
    assert shapes[2][1:] == [[2], [2], [2]]
    assert counts == [1, 2, 2 * 3 + 3, 3 * 3 + 4, 4 * 3, 1]


@pytest.mark.parametrize(
    "build",
    [
        lambda: (wrn(use_fc_bias=True), wrn_chunking),
        lambda: (ResNet((6, 6, 2), 3, num_feature_maps=(2, 4, 4, 6), n=1, verbose=False), resnet_chunking),
    ],
)
def test_a_generated_network(build):
    """The network with weights from a structured hypernetwork; gradients reach all parameters of the hypernetwork."""
    torch.manual_seed(0)
    net, chunking = build()
    more = {"ignore_bn_weights": False, "ignore_out_weights": False} if chunking is wrn_chunking else {}
    shapes, counts, assembly = chunking(net, **more)
    hnet = StructuredHMLP(
        net.param_shapes, shapes, counts, 3, {"layers": [4]}, assembly, uncond_in_size=2, cond_in_size=0, verbose=False
    )
    assert hnet.assembly.selection() is not None  # so that its geometry is computed part by part
    # Several, since rectifiers may be dead in one.
    outputs = [net(torch.randn(4, 72), weights=weights) for weights in hnet(torch.randn(8, 2))]
    torch.stack(outputs).square().sum().backward()
    unused = [name for name, p in hnet.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unused


@pytest.mark.parametrize("chunking", [wrn_chunking, resnet_chunking])
def test_bad_arguments(chunking):
    with pytest.raises(TypeError, match="net: expected a network of class"):
        chunking(MLP(verbose=False))
    net = {wrn_chunking: wrn, resnet_chunking: lambda: ResNet(verbose=False)}[chunking]()
    with pytest.raises(TypeError, match="gcd_chunking: expected True or False, got 'no'"):
        chunking(net, gcd_chunking="no")


def test_modulated_networks_are_refused():
    with pytest.raises(ValueError, match="net: expected a network without context modulation"):
        wrn_chunking(wrn(use_context_mod=True))
