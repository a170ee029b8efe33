"""The contract for composed hypernetworks."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from bayeshnet.geometry import JacobianGeometry, SelectionGeometry
from bayeshnet.hnets import HMLP, ChunkedHMLP, HContainer, HPerturbWrapper, StructuredHMLP
from tests.contracts.hypernetwork_contract import HypernetworkContract

TARGETS = [[3], [3], [4, 2], [4], [8, 2], [8]]
CHUNKS = [[[3]], [[4, 2], [4]]]
BODY = {"layers": [6], "activation_fn": nn.Tanh()}


def stack(chunks):
    """The last two chunks are concatenated to the last two tensors."""
    assert len(chunks) == 5
    return [*chunks[0], *chunks[1], *chunks[2]] + [
        torch.cat([tensor, chunks[4][t]], dim=0) for t, tensor in enumerate(chunks[3])
    ]


def scaled(chunks):
    return [2 * tensor for tensor in stack(chunks)]


def squared(chunks):
    return [tensor**2 for tensor in stack(chunks)]


def twice(chunks):
    """The second chunk is used for two tensors, the second tensor of the third one not at all."""
    last = [torch.cat([chunks[2][0], chunks[3][0]]), torch.cat([chunks[4][1]] * 2)]
    return [chunks[0][0], chunks[0][0], *chunks[2], *last]


def structured(fct=stack, sizes=3, kwargs=BODY, **options):
    return lambda: StructuredHMLP(TARGETS, CHUNKS, [2, 3], sizes, kwargs, fct, **{"verbose": False, **options})


def single(**options):
    """One chunk of each kind, which needs no embeddings."""
    shapes = [[4, 2], [4], [3]]
    return lambda: StructuredHMLP(
        shapes, [[[3]], [[4, 2], [4]]], [1, 1], [0, 2], [BODY, {"layers": []}], turn, **{"verbose": False, **options}
    )


def turn(chunks):
    return chunks[1] + chunks[0]


class TestStructuredHMLP(HypernetworkContract):
    variants: ClassVar = {
        "conditions": structured(cond_in_size=2, num_cond_embs=3),
        "latent": structured(uncond_in_size=3, cond_in_size=0),
        "both": structured(uncond_in_size=3, cond_in_size=2, num_cond_embs=2),
        "cond-chunks": structured(cond_chunk_embs=True, uncond_in_size=3, cond_in_size=2, num_cond_embs=2),
        "only-cond-chunks": structured(cond_chunk_embs=True, cond_in_size=0, num_cond_embs=2),
        "no-embeddings": single(uncond_in_size=3, cond_in_size=2, num_cond_embs=2),
        "linear": structured(kwargs={"layers": [], "use_bias": False}, uncond_in_size=3, num_cond_embs=2),
        "twice": structured(twice, uncond_in_size=3, cond_in_size=2),
        "squared": structured(squared, uncond_in_size=2, cond_in_size=2),
        "batch-norm": structured(kwargs={**BODY, "use_batch_norm": True}, uncond_in_size=3),
    }
    external: ClassVar = {
        "uncond": structured(uncond_in_size=3, no_uncond_weights=True, num_cond_embs=2),
        "cond": structured(uncond_in_size=3, cond_chunk_embs=True, no_cond_weights=True, num_cond_embs=2),
        "all": structured(cond_chunk_embs=True, no_cond_weights=True, no_uncond_weights=True, num_cond_embs=2),
    }

    def test_selection_decides_the_geometry(self):
        for fct, kind in ((stack, SelectionGeometry), (scaled, JacobianGeometry), (squared, JacobianGeometry)):
            assert type(self.make(structured(fct, uncond_in_size=3)).geometry(cond_id=0)) is kind

    def test_chunk_embeddings_given(self):
        net = self.make(structured(cond_chunk_embs=True, cond_in_size=2, num_cond_embs=2))
        expected = self.flat(net, cond_id=[1, 0])
        embeddings = [torch.stack(pair) for pair in zip(*(net.get_chunk_embs(i) for i in (1, 0)), strict=True)]
        inputs = torch.stack([net.get_cond_in_emb(i) for i in (1, 0)])
        torch.testing.assert_close(self.flat(net, cond_input=inputs, weights={"chunk_embs": embeddings}), expected)
        with pytest.raises(ValueError, match="cond_id: expected None when weights"):
            net(cond_id=0, weights={"chunk_embs": embeddings})
        with pytest.raises(ValueError, match=r"weights\['chunk_embs'\]\[1\]: expected a tensor of shape"):
            net(cond_input=inputs, weights={"chunk_embs": embeddings[:1] * 2})
        with pytest.raises(ValueError, match="cond_id: expected a condition, or weights"):
            net(cond_input=inputs)

    @pytest.mark.parametrize(
        ("options", "argument"),
        [
            ({"chunk_shapes": []}, "chunk_shapes"),
            ({"num_per_chunk": [2]}, "num_per_chunk"),
            ({"num_per_chunk": [0, 3]}, "num_per_chunk"),
            ({"chunk_emb_sizes": [0, 2]}, "chunk_emb_sizes"),
            ({"chunk_emb_sizes": [1, 2, 3]}, "chunk_emb_sizes"),
            ({"hmlp_kwargs": {"cond_in_size": 3}}, "hmlp_kwargs"),
            ({"hmlp_kwargs": [{}]}, "hmlp_kwargs"),
            ({"hmlp_kwargs": {"linear_skip": True}}, "hmlp_kwargs"),
            ({"cond_in_size": 0}, "uncond_in_size and cond_in_size"),
            ({"cond_chunk_embs": True, "num_cond_embs": 0}, "num_cond_embs"),
            ({"assembly_fct": turn}, "assembly_fct"),
            ({"assembly_fct": lambda chunks: chunks[9]}, "assembly_fct"),
            ({"num_per_chunk": [3, 3]}, "assembly_fct"),
            ({"assembly_fct": lambda chunks: chunks[0][0]}, "assembly_fct"),
        ],
    )
    def test_bad_plans(self, options, argument):
        plan = {
            "chunk_shapes": CHUNKS,
            "num_per_chunk": [2, 3],
            "chunk_emb_sizes": 2,
            "hmlp_kwargs": BODY,
            "assembly_fct": stack,
            "verbose": False,
        }
        with pytest.raises((ValueError, TypeError), match=f"^{argument}: expected"):
            StructuredHMLP(TARGETS, **{**plan, **options})

    def test_chunk_embedding_shapes(self):
        net = structured(sizes=[2, 5])()
        assert net.chunk_emb_shapes == [[2, 2], [3, 5]] == [list(e.shape) for e in net.get_chunk_embs()]
        assert net.num_chunks == 5
        assert [type(h) for h in net.internal_hnets] == [HMLP, HMLP]


SHAPES = [[4, 3], [4], [4], [4], [2, 4]]


def join(hnets, shared, own):
    return [*hnets[0], *shared, *own]


def both(hnets, shared, own):
    return [*hnets[0], *shared, *hnets[1]]


def two(hnets, shared, own):
    return [*hnets[0], *hnets[1]]


def first(hnets, shared, own):
    return hnets[0]


def flipped(hnets, shared, own):
    return [tensor.flip(0) for tensor in shared + own]


def inner(shapes, uncond=0, cond=2, **options):
    return HMLP(shapes, uncond, cond, **{**BODY, "num_cond_embs": 2, "verbose": False, **options})


def container(hnets, fct=join, shapes=SHAPES, **options):
    return lambda: HContainer(shapes, fct, hnets() if hnets else None, verbose=False, **options)


PLAIN = {"uncond_param_shapes": [[4], [4]], "cond_param_shapes": [[2, 4]], "num_cond_embs": 2}


class TestHContainer(HypernetworkContract):
    takes_both = True
    variants: ClassVar = {
        "plain-and-hnet": container(lambda: [inner(SHAPES[:2])], **PLAIN),
        "latent": container(lambda: [inner(SHAPES[:2], 3, 0)], **PLAIN),
        "two": container(
            lambda: [
                inner(SHAPES[:2], 3),
                ChunkedHMLP(
                    SHAPES[4:],
                    3,
                    2,
                    num_cond_embs=2,
                    cond_in_size=0,
                    cond_chunk_embs=True,
                    uncond_in_size=3,
                    verbose=False,
                    **BODY,
                ),
            ],
            both,
            uncond_param_shapes=[[4], [4]],
        ),
        "some-latent": container(
            lambda: [inner(SHAPES[:2], 3), inner(SHAPES[4:])],
            both,
            uncond_param_shapes=[[4], [4]],
            uncond_param_names=["bn_scale", "bn_shift"],
        ),
        "wrapped": container(
            lambda: [HPerturbWrapper(inner([[3], [2]], 2), 2, verbose=False), inner([[2, 3]], 5, 0)],
            two,
            [[3], [2], [2, 3]],
        ),
        "only-plain": container(None, flipped, SHAPES[2:], **PLAIN),
        "nested": container(lambda: [HContainer(SHAPES[:2], first, [inner(SHAPES[:2], 3)], verbose=False)], **PLAIN),
    }
    external: ClassVar = {
        "plain-uncond": container(lambda: [inner(SHAPES[:2], 3)], no_uncond_weights=True, **PLAIN),
        "plain-cond": container(lambda: [inner(SHAPES[:2], 3)], no_cond_weights=True, **PLAIN),
        "inner": container(lambda: [inner(SHAPES[:2], 3, no_uncond_weights=True)], **PLAIN),
        "all": container(
            lambda: [inner(SHAPES[:2], 3, no_uncond_weights=True, no_cond_weights=True)],
            no_cond_weights=True,
            no_uncond_weights=True,
            **PLAIN,
        ),
    }

    def test_further_keys_for_inner_hypernetworks(self):
        net = self.make(self.variants["two"])
        z = torch.randn(2, 3).double()
        expected = self.flat(net, uncond_input=z, cond_id=[1, 0])
        first, second = net.internal_hnets
        embeddings = torch.stack([second.get_chunk_emb(cond_id=i) for i in (1, 0)])
        inputs = torch.stack([first.get_cond_in_emb(i) for i in (1, 0)])
        got = self.flat(net, uncond_input=z, cond_input=inputs, weights={"hnets": [{}, {"chunk_embs": embeddings}]})
        torch.testing.assert_close(got, expected)
        with pytest.raises(ValueError, match=r"weights\['hnets'\]: expected a list of 2 dicts"):
            net(z, cond_id=0, weights={"hnets": [{}]})
        with pytest.raises(ValueError, match=r"weights\['hnets'\]\[0\]: expected only keys beside"):
            net(z, cond_id=0, weights={"hnets": [{"uncond_weights": []}, {}]})

    def test_condition_and_conditional_input_together(self):
        """The condition selects the container's own tensors, the input is passed to the hypernetworks."""
        net = self.make(self.variants["plain-and-hnet"])
        x = torch.randn(1, 2).double()
        out = net(cond_input=x, cond_id=1)
        assert torch.equal(out[-1], net.params["cond1_own0"])
        assert torch.equal(out[0], net.internal_hnets[0](cond_input=x)[0])
        with pytest.raises(ValueError, match="cond_id: expected a condition, since tensors belong to conditions"):
            net(cond_input=x)

    @pytest.mark.parametrize(
        ("bad", "argument"),
        [
            (container(None, join), "hnets"),
            (container(lambda: [3]), "hnets"),
            (container(lambda: [inner(SHAPES[:2], 3), inner(SHAPES[4:], 2)], both), "hnets"),
            (container(lambda: [inner(SHAPES[:2])], **{**PLAIN, "num_cond_embs": 3}), "hnets"),
            (container(None, flipped, SHAPES[2:], **{**PLAIN, "num_cond_embs": 0}), "num_cond_embs"),
            (container(lambda: [inner(SHAPES[:2])], uncond_param_names=["weight"], **PLAIN), "uncond_param_names"),
            (container(lambda: [inner(SHAPES[:2])], cond_param_names=["kernel"], **PLAIN), "cond_param_names"),
            (container(lambda: [inner(SHAPES[:1])], **PLAIN), "assembly_fct"),
        ],
    )
    def test_bad_containers(self, bad, argument):
        with pytest.raises((ValueError, TypeError), match=f"^{argument}: expected"):
            bad()


@pytest.mark.parametrize("external", [False, True])
def test_nested_hypernetworks_grow_to_the_conditions_of_a_state(external):
    """The state of a wrapper around a container: conditions are counted by their tensors, at any depth."""

    def build():
        chunked = ChunkedHMLP([[4]], 2, 2, True, 2, 0, [3], num_cond_embs=2, verbose=False, no_cond_weights=external)
        container = HContainer(
            [[4], [3]],
            lambda made, shared, own: [*made[0], *own],
            [chunked],
            cond_param_shapes=[[3]],
            num_cond_embs=2,
            verbose=False,
        )
        return HPerturbWrapper(container, 2, 0.1, verbose=False)

    net, other = build(), build()
    added = net.add_conditions(3)
    assert len(added) == 3 * (2 - external)
    assert net.num_known_conds == net.hnet.num_known_conds == net.hnet.hnets[0].num_known_conds == 5
    assert len(net.conditional_param_shapes) == 10
    other.load_state_dict(net.state_dict())
    assert other.num_known_conds == 5
    z = torch.randn(1, 7)
    weights = {"cond_weights": [torch.randn(s) for s in net.conditional_param_shapes]} if external else None
    made = [n(z, cond_id=4, weights=weights, ret_format="flattened") for n in (net, other)]
    assert torch.equal(*made)
