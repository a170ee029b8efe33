"""Hypernetworks batched over their weights against a loop, and the truncation of their outputs."""

import pytest
import torch
from torch.func import jacfwd, vmap

from bayeshnet.geometry.truncate import truncate
from bayeshnet.hnets import HMLP, ChunkedHMLP
from tests.support.oracles import DTYPE, gradients, relative_error

SHAPES = [[4, 3], [4], [2, 4], [2]]


def full(**options):
    return HMLP(SHAPES, uncond_in_size=3, cond_in_size=0, num_cond_embs=0, verbose=False, **options).to(DTYPE)


def chunked(**options):
    settings = {"chunk_size": 7, "chunk_emb_size": 2, "uncond_in_size": 3, "cond_in_size": 0, "num_cond_embs": 0}
    return ChunkedHMLP(SHAPES, verbose=False, **{**settings, **options}).to(DTYPE)


NETWORKS = {
    "full": lambda: full(layers=(5, 6)),
    "linear": lambda: full(layers=()),
    "without-biases": lambda: full(layers=(5,), use_bias=False, activation_fn=torch.nn.Tanh()),
    "without-activation": lambda: full(layers=(5,), activation_fn=None),
    "chunked": lambda: chunked(layers=(5, 6)),
    "linear-chunked": lambda: chunked(layers=()),
    "chunked-without-biases": lambda: chunked(layers=(5,), use_bias=False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_batched_over_weights_equals_a_loop(name):
    torch.manual_seed(0)
    hnet = NETWORKS[name]()
    flat = torch.randn(3, hnet.num_params, dtype=DTYPE, requires_grad=True)
    z = torch.randn(3, 4, 3, dtype=DTYPE, requires_grad=True)
    together = hnet.batched_over_weights(flat, z)
    sizes = [torch.Size(s).numel() for s in hnet.param_shapes]
    rows = []
    for row, latents in zip(flat, z, strict=True):
        tensors = [part.reshape(shape) for part, shape in zip(row.split(sizes), hnet.param_shapes, strict=True)]
        rows.append(hnet(uncond_input=latents, weights=tensors, ret_format="flattened"))
    wanted = torch.stack(rows)
    torch.testing.assert_close(together, wanted)
    found, reference = (gradients(out.square().sum(), [flat, z]) for out in (together, wanted))
    assert relative_error(found, reference) < 1e-10


@pytest.mark.parametrize(
    "options",
    [
        {"use_spectral_norm": True},
        {"use_batch_norm": True},
        {"linear_skip": True},
        {"dropout_rate": 0.5},
        {"activation_fn": lambda x: x - x.mean()},
        {"cond_in_size": 2, "num_cond_embs": 2},
    ],
)
def test_other_layers_have_no_batched_pass(options):
    for build in (full, chunked):
        settings = {"layers": (5,), **options}
        if build is full and "cond_in_size" in options:
            hnet = HMLP(SHAPES, uncond_in_size=3, verbose=False, **settings).to(DTYPE)
        else:
            hnet = build(**settings)
        flat = torch.randn(2, hnet.num_params, dtype=DTYPE)
        assert hnet.batched_over_weights(flat, torch.randn(2, 4, 3, dtype=DTYPE)) is None


@pytest.mark.parametrize("kind", [HMLP, ChunkedHMLP])
def test_subclasses_with_another_forward_have_no_batched_pass(kind):
    class Doubled(kind):
        def forward(self, *args, **kwargs):
            return 2 * super().forward(*args, **kwargs)

    options = {"chunk_size": 7} if kind is ChunkedHMLP else {}
    hnet = Doubled(SHAPES, uncond_in_size=3, cond_in_size=0, num_cond_embs=0, verbose=False, **options).to(DTYPE)
    assert (
        hnet.batched_over_weights(torch.randn(2, hnet.num_params, dtype=DTYPE), torch.randn(2, 4, 3, dtype=DTYPE))
        is None
    )


def test_a_cut_may_be_differentiated_transformed_and_changed_in_place():
    x = torch.randn(4, 5, dtype=DTYPE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: truncate(x, 3), x)
    assert torch.autograd.gradgradcheck(lambda x: truncate(x, 3).square(), x)
    torch.testing.assert_close(vmap(lambda row: truncate(row, 3))(x), x[:, :3])
    assert jacfwd(lambda row: truncate(row, 3))(x[0]).shape == (3, 5)
    y = truncate(2 * x, 3)
    y += 1
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, 2 * (torch.arange(5) < 3).to(DTYPE).expand(4, 5))
    assert truncate(x, 5) is x


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_condition_with_its_own_chunks_joins_the_product(use_bias):
    """With more rows than inputs, terms of the first layer are computed separately and added in one product."""
    torch.manual_seed(0)
    options = {"chunk_size": 2, "cond_chunk_embs": True, "cond_in_size": 2, "layers": (4,), "num_cond_embs": 3}
    hnet = ChunkedHMLP(SHAPES, chunk_emb_size=1, uncond_in_size=0, use_bias=use_bias, verbose=False, **options).to(
        DTYPE
    )
    parameters = list(hnet.parameters())
    together = hnet(cond_id=[2, 0, 1], ret_format="flattened")
    each = torch.cat([hnet(cond_id=i, ret_format="flattened") for i in (2, 0, 1)])
    torch.testing.assert_close(together, each)
    found, wanted = (gradients(out.square().sum(), parameters) for out in (together, each))
    assert relative_error(found, wanted) < 1e-10
