"""The contract for deconvolutional hypernetworks."""

import itertools
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bayeshnet.hnets import ChunkedHDeconv, HDeconv
from tests.contracts.hypernetwork_contract import HypernetworkContract

SHAPES = [[3, 5], [4], [2, 1, 2]]
SMALL = {
    "num_layers": 3,
    "num_filters": [8, 4],
    "sa_units": (0,),
    "kernel_size": 3,
    "activation_fn": nn.Tanh(),
    "verbose": False,
}


def deconv(image=(6, 5), *args, **kwargs):
    return lambda: HDeconv(SHAPES, image, *args, **{**SMALL, **kwargs})


def chunked(image=(4, 3), *args, **kwargs):
    return lambda: ChunkedHDeconv(SHAPES, image, *args, **{**SMALL, **kwargs})


class TestHDeconv(HypernetworkContract):
    variants: ClassVar = {
        "conditions": deconv(num_cond_embs=3, cond_in_size=4),
        "latent": deconv((8, 9), 2, 0, kernel_size=(3, 4)),
        "both": deconv((5, 9, 2), 2, 3, num_cond_embs=2, sa_units=[1, 0], num_filters=[8, 9]),
        "no-bias": deconv((4, 8), 2, 0, use_bias=False, kernel_size=[2, (1, 5)], sa_units=()),
        "two-layers": deconv((6, 6), 2, 3, num_layers=2, num_filters=[8], kernel_size=5, activation_fn=None),
        "batch-norm": deconv((9, 9), 2, 3, use_batch_norm=True),
        "spectral-norm": deconv((9, 9), 0, 3, num_cond_embs=2, use_spectral_norm=True),
    }
    external: ClassVar = {
        "uncond": deconv((6, 5), 2, 3, no_uncond_weights=True, use_batch_norm=True, num_cond_embs=2),
        "cond": deconv((6, 5), 2, 3, no_cond_weights=True, num_cond_embs=2),
    }

    @pytest.mark.parametrize(
        ("options", "argument"),
        [
            ({"hyper_img_shape": (4, 5)}, "hyper_img_shape"),
            ({"hyper_img_shape": (30,)}, "hyper_img_shape"),
            ({"hyper_img_shape": (0, 30)}, "hyper_img_shape"),
            ({"hyper_img_shape": 30}, "hyper_img_shape"),
            ({"num_layers": 1}, "num_layers"),
            ({"num_filters": [8]}, "num_filters"),
            ({"num_filters": 8}, "num_filters"),
            ({"num_filters": [8, 0]}, "num_filters"),
            ({"kernel_size": 0}, "kernel_size"),
            ({"kernel_size": (3, 3, 3)}, "kernel_size"),
            ({"kernel_size": [3]}, "kernel_size"),
            ({"sa_units": (2,)}, "sa_units"),
            ({"sa_units": (1,)}, "sa_units"),
            ({"sa_units": (0, 0)}, "sa_units"),
            ({"sa_units": 0}, "sa_units"),
            ({"cond_in_size": 0}, "uncond_in_size and cond_in_size"),
            ({"activation_fn": nn.ReLU}, "activation_fn"),
        ],
    )
    def test_bad_arguments(self, options, argument):
        with pytest.raises((ValueError, TypeError), match=f"^{argument}: expected"):
            HDeconv(SHAPES, **{"hyper_img_shape": (6, 5), **SMALL, **options})

    def test_default_sizes(self):
        """DCGAN-like: channels halve towards the image, sizes double, none is below 4."""
        with torch.device("meta"):
            plan = HDeconv([[1000]], (64, 33), verbose=False).subnet.plan
        assert plan.channels == (1024, 512, 256, 128)
        assert [layer.size_out for layer in plan.layers] == [(5, 8), (9, 16), (17, 32), (33, 64)]
        assert plan.first == (1024, 5, 4)
        assert plan.layers[-1].channels == (128, 1)

    def test_attention_mixes_all_positions(self):
        """With an open gate all pixels depend on all positions of the layer; with a closed one on neighbors only."""
        net = deconv((32, 4), 2, 0, num_layers=2, num_filters=[8], kernel_size=3, sa_units=(0,), activation_fn=None)()
        seen = []
        net.subnet.attention["0"].register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
        for gate in (0.0, 2.0):
            with torch.no_grad():
                net.params["attention0_gate"].fill_(gate)
            net(torch.randn(1, 2))
            (grad,) = torch.autograd.grad(seen[-1][1][0, 0, 0, 0], seen[-1][0])
            assert (grad[0, :, -1, -1].abs().sum() > 0) == (gate != 0)


class TestChunkedHDeconv(HypernetworkContract):
    variants: ClassVar = {
        "conditions": chunked(num_cond_embs=2),
        "latent": chunked((3, 3), 4, uncond_in_size=2, cond_in_size=0),
        "cond-chunks": chunked((4, 4, 2), 4, True, 2, 3, num_cond_embs=2),
        "only-cond-chunks": chunked((4, 3), 4, True, 0, 0, num_cond_embs=2),
        "batch-norm": chunked((4, 3), 4, uncond_in_size=2, use_batch_norm=True),
    }
    external: ClassVar = {
        "uncond": chunked((4, 3), 4, uncond_in_size=2, no_uncond_weights=True),
        "cond": chunked((4, 3), 4, True, 2, 3, no_cond_weights=True, num_cond_embs=2),
    }

    def test_a_chunk_is_an_image_of_the_inner_generator(self):
        net = self.make(chunked((4, 3), 4, uncond_in_size=2, cond_in_size=3, num_cond_embs=2))
        plain = HDeconv([[12]], (4, 3), 2 + 4, 3, **SMALL, num_cond_embs=1).double().eval()
        own = [r.live for r in net._ledger.unconditional][:-1]
        z = torch.randn(1, 2).double()
        whole = net(z, cond_id=1, ret_format="flattened")[0]
        for i in range(net.num_chunks):
            x = torch.cat([z, net.get_chunk_emb(i).unsqueeze(0)], dim=1)
            part = plain(
                x, net.get_cond_in_emb(1).unsqueeze(0), weights={"uncond_weights": own}, ret_format="flattened"
            )
            wanted = whole[12 * i : 12 * (i + 1)]
            torch.testing.assert_close(part[0, : len(wanted)], wanted)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_image_is_reached_exactly(data):
    size = st.integers(1, 40)
    layers = data.draw(st.integers(2, 5))
    kernel = st.integers(1, 7)
    pair = st.tuples(kernel, kernel)
    kernels = data.draw(kernel | pair | st.lists(kernel | pair, min_size=layers - 1, max_size=layers - 1))
    image = data.draw(st.tuples(size, size) | st.tuples(size, size, st.integers(1, 3)))
    net = HDeconv([[1]], image, 0, 2, layers, [2] * (layers - 1), kernels, (), verbose=False)
    width, height, channels = (*image, 1)[:3]
    plan = net.subnet.plan
    pixels = net.subnet.run([r.live for r in net._ledger.unconditional], None, torch.randn(1, 2), None, None)
    assert pixels.shape == (1, width * height * channels)
    assert plan.layers[-1].size_out == (height, width)
    sizes = [plan.first[1:], *(layer.size_out for layer in plan.layers)]
    for before, after in itertools.pairwise(sizes):
        for b, a in zip(before, after, strict=True):
            assert a in (2 * b, 2 * b - 1) if b >= 4 and a != b else a == b
