"""Helpers for the embeddings of any hypernetwork."""

import pytest
import torch
from torch import nn

from bayeshnet.hnets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HPerturbWrapper,
    StructuredHMLP,
    get_conditional_parameters,
    init_chunk_embeddings,
    init_conditional_embeddings,
)

SMALL = {"num_layers": 2, "num_filters": [4], "sa_units": (), "verbose": False, "num_cond_embs": 2}
PLAIN = {"layers": [], "verbose": False, "num_cond_embs": 2}


def structured(**kwargs):
    return StructuredHMLP(
        [[2], [2], [3]],
        [[[2]], [[3]]],
        [2, 1],
        [4, 5],
        {"layers": []},
        lambda c: [c[0][0], c[1][0], c[2][0]],
        verbose=False,
        num_cond_embs=2,
        **kwargs,
    )


def contained():
    inner = [HMLP([[3]], **PLAIN), ChunkedHMLP([[4]], 2, 3, True, cond_in_size=0, **PLAIN)]
    return HContainer(
        [[3], [4], [2]],
        lambda h, u, c: [*h[0], *h[1], *c],
        inner,
        cond_param_shapes=[[2]],
        num_cond_embs=2,
        verbose=False,
    )


BUILDS = {
    "full": lambda: HMLP([[3]], **PLAIN),
    "chunked": lambda: ChunkedHMLP([[3]], 2, 4, **PLAIN),
    "chunked-cond": lambda: ChunkedHMLP([[3]], 2, 4, True, cond_in_size=0, **PLAIN),
    "deconv": lambda: HDeconv([[3]], (2, 2), **SMALL),
    "chunked-deconv": lambda: ChunkedHDeconv([[7]], (2, 2), 4, True, **SMALL),
    "structured": structured,
    "structured-cond": lambda: structured(cond_chunk_embs=True),
    "container": contained,
    "wrapper": lambda: HPerturbWrapper(ChunkedHMLP([[3]], 2, 4, uncond_in_size=1, **PLAIN), 1, verbose=False),
}
# Input embeddings and (rows of) chunk embeddings of each, in all.
COUNTS = {
    "full": (2, 0),
    "chunked": (2, 2),
    "chunked-cond": (0, 4),
    "deconv": (2, 0),
    "chunked-deconv": (2, 4),
    "structured": (2, 2),
    "structured-cond": (2, 4),
    "container": (2, 4),
    "wrapper": (2, 2),
}


@pytest.mark.parametrize("name", BUILDS)
def test_embeddings_are_initialized(name):
    net = BUILDS[name]()
    inputs, chunks = [], []
    init_conditional_embeddings(net, init_fct=lambda e, i: (inputs.append(i), nn.init.constant_(e, 10.0 + i)))
    init_chunk_embeddings(
        net,
        init_fct=lambda e, c, cond_id=None: (
            chunks.append((c, cond_id)),
            nn.init.constant_(e, 100.0 + 10 * c + (cond_id or 0)),
        ),
    )
    assert (len(inputs), len(chunks)) == COUNTS[name]
    assert set(inputs) <= {0, 1}
    touched = {p: p.min().item() for p in net.parameters() if p.min() >= 10}
    values = [v for p in touched for v in p.unique().tolist()]
    assert sorted(v for v in values if v < 100) == [10.0, 11.0] * (COUNTS[name][0] // 2)
    if "cond" in name and "chunk" in name:
        assert {c for _, c in chunks} == {0, 1}


@pytest.mark.parametrize("name", BUILDS)
def test_default_is_normal(name):
    torch.manual_seed(0)
    net = BUILDS[name]()
    before = {key: p.clone() for key, p in net.named_parameters()}
    init_conditional_embeddings(net, 50.0, 0.1)
    init_chunk_embeddings(net, -50.0, 0.1)
    for key, p in net.named_parameters():
        if "chunk_embs" in key:
            assert (p + 50).abs().max() < 1
        elif "embedding" in key:
            assert (p - 50).abs().max() < 1
        else:
            assert torch.equal(p, before[key])


@pytest.mark.parametrize("name", BUILDS)
def test_conditional_parameters(name):
    """The parameters of a condition are exactly those that change its output and no other condition's."""
    net = BUILDS[name]()
    z = {"uncond_input": torch.randn(1, net.uncond_in_size)} if net.uncond_in_size else {}
    for i in range(2):
        mine = get_conditional_parameters(net, i)
        assert mine
        assert {id(p) for p in mine} <= {id(p) for p in net.conditional_params}
        before = [net(cond_id=j, ret_format="flattened", **z) for j in range(2)]
        with torch.no_grad():
            for p in mine:
                p += 1
        after = [net(cond_id=j, ret_format="flattened", **z) for j in range(2)]
        assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [j != i for j in range(2)]
    both = {id(p) for i in range(2) for p in get_conditional_parameters(net, i)}
    assert both == {id(p) for p in net.conditional_params}
    with pytest.raises(ValueError, match="cond_id: expected condition identifiers between 0 and 1"):
        get_conditional_parameters(net, 2)


def test_conditional_parameters_kept_elsewhere():
    net = HMLP([[3]], no_cond_weights=True, **PLAIN)
    assert get_conditional_parameters(net, 0) == []
    assert net.conditional_params is None
    init_conditional_embeddings(net)


@pytest.mark.parametrize(
    "helper", [init_conditional_embeddings, init_chunk_embeddings, lambda net: get_conditional_parameters(net, 0)]
)
def test_only_hypernetworks(helper):
    with pytest.raises(TypeError, match="hnet: expected a hypernetwork"):
        helper(nn.Linear(2, 2))
