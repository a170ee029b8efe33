"""The contract for perceptron hypernetworks in all variants."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from bayeshnet.hnets import HMLP, ChunkedHMLP, HPerturbWrapper
from tests.contracts.hypernetwork_contract import HypernetworkContract

SHAPES = [[4, 3], [5], [2, 1, 2]]


def hmlp(*args, **kwargs):
    return lambda: HMLP(SHAPES, *args, **{"verbose": False, "layers": [6, 5], **kwargs})


def stretched(*args, **kwargs):
    """A perceptron whose stretch is not zero as at initialization."""

    def build():
        net = hmlp(*args, **kwargs)()
        nn.init.normal_(net.params["stretch"], std=0.3)
        return net

    return build


class TestHMLP(HypernetworkContract):
    variants: ClassVar = {
        "conditions": hmlp(0, 4, num_cond_embs=3),
        "latent": hmlp(3, 0, activation_fn=nn.Tanh()),
        "both": hmlp(3, 4, num_cond_embs=2, activation_fn=nn.SiLU()),
        "linear": hmlp(3, 4, layers=[], num_cond_embs=2),
        "linear-no-bias": hmlp(3, 0, layers=(), use_bias=False),
        "no-activation": hmlp(3, 2, activation_fn=None, use_bias=False),
        "skip": hmlp(3, 2, activation_fn=nn.Sigmoid(), linear_skip=True, num_cond_embs=2),
        "stretch": stretched(3, 2, activation_fn=nn.Tanh(), linear_skip=True, stretch=True, num_cond_embs=2),
        "stretched-line": stretched(3, 2, activation_fn=None, linear_skip=True, stretch=True, num_cond_embs=2),
        "batch-norm": hmlp(3, 2, use_batch_norm=True, activation_fn=nn.Tanh()),
        "spectral-norm": hmlp(3, 2, use_spectral_norm=True, num_cond_embs=2),
        "dropout": hmlp(3, 2, dropout_rate=0.5, activation_fn=torch.tanh),
        "no-embeddings": hmlp(3, 2, num_cond_embs=0, activation_fn=nn.ELU()),
        "not-elementwise": hmlp(3, 2, activation_fn=nn.Softmax(dim=1)),
    }
    external: ClassVar = {
        "uncond": hmlp(3, 2, no_uncond_weights=True, num_cond_embs=2, use_batch_norm=True),
        "cond": hmlp(3, 2, no_cond_weights=True, num_cond_embs=2),
        "all": hmlp(3, 2, no_uncond_weights=True, no_cond_weights=True, num_cond_embs=2, linear_skip=True),
    }


def chunked(chunk_size, *args, **kwargs):
    return lambda: ChunkedHMLP(SHAPES, chunk_size, *args, **{"verbose": False, "layers": [6, 5], **kwargs})


class TestChunkedHMLP(HypernetworkContract):
    variants: ClassVar = {
        "conditions": chunked(8, num_cond_embs=3),
        "latent": chunked(7, uncond_in_size=3, cond_in_size=0, activation_fn=nn.Tanh()),
        "no-remainder": chunked(7, 4, uncond_in_size=3, num_cond_embs=2, activation_fn=nn.Softplus()),
        "one-chunk": chunked(50, 4, uncond_in_size=3, num_cond_embs=2, activation_fn=nn.Tanh()),
        "cond-chunks": chunked(6, 4, True, uncond_in_size=3, cond_in_size=2, num_cond_embs=2, activation_fn=nn.GELU()),
        "only-cond-chunks": chunked(6, 4, True, 0, 0, num_cond_embs=2),
        "latent-and-cond-chunks": chunked(6, 4, True, 3, 0, num_cond_embs=2, linear_skip=True),
        "linear": chunked(6, 4, uncond_in_size=3, cond_in_size=2, layers=[], num_cond_embs=2),
        "linear-no-bias": chunked(6, 4, uncond_in_size=3, cond_in_size=0, layers=[], use_bias=False),
        "batch-norm": chunked(6, 4, uncond_in_size=3, use_batch_norm=True, activation_fn=nn.Tanh()),
        "spectral-norm": chunked(6, 4, use_spectral_norm=True, num_cond_embs=2),
    }
    external: ClassVar = {
        "uncond": chunked(6, 4, uncond_in_size=3, no_uncond_weights=True, num_cond_embs=2),
        "cond": chunked(6, 4, True, uncond_in_size=3, no_cond_weights=True, num_cond_embs=2),
        "all": chunked(6, 4, True, 3, 0, no_uncond_weights=True, no_cond_weights=True, num_cond_embs=2),
    }

    @pytest.mark.parametrize("uncond_in_size", [0, 3])
    def test_chunk_embeddings_given(self, uncond_in_size):
        net = self.make(chunked(6, 4, True, uncond_in_size, 2, num_cond_embs=2, layers=[5]))
        z = {"uncond_input": torch.randn(2, 3).double()} if uncond_in_size else {}
        expected = self.flat(net, cond_id=[1, 0], **z)
        embeddings = torch.stack([net.get_chunk_emb(cond_id=i) for i in (1, 0)])
        inputs = torch.stack([net.get_cond_in_emb(i) for i in (1, 0)])
        weights = {"chunk_embs": embeddings}
        assert torch.equal(self.flat(net, cond_input=inputs, weights=weights, **z), expected)
        assert weights.keys() == {"chunk_embs"}
        with pytest.raises(ValueError, match="cond_id: expected None when weights"):
            net(cond_id=0, weights=weights, **z)
        with pytest.raises(ValueError, match=r"weights\['chunk_embs'\]: expected a tensor of shape \(any, 4, 4\)"):
            net(cond_input=inputs, weights={"chunk_embs": embeddings[:, :1]}, **z)
        with pytest.raises(ValueError, match="cond_id: expected a condition, or weights"):
            net(cond_input=inputs, **z)
        plain = self.make(chunked(6, 4, num_cond_embs=2))
        with pytest.raises(ValueError, match=r"weights\['chunk_embs'\]: expected no such key"):
            plain(cond_id=0, weights=weights)

    def test_chunk_embedding_getter(self):
        net = self.make(chunked(6, 4, num_cond_embs=2))
        assert net.get_chunk_emb().shape == (net.num_chunks, net.chunk_emb_size) == (4, 4)
        assert torch.equal(net.get_chunk_emb(2), net.get_chunk_emb()[2])
        for bad in ({"cond_id": 0}, {"chunk_id": 4}, {"chunk_id": -1}):
            with pytest.raises(ValueError, match=next(iter(bad))):
                net.get_chunk_emb(**bad)
        with pytest.raises(ValueError, match="cond_id: expected a condition, got None"):
            self.make(chunked(6, 4, True)).get_chunk_emb()


def wrapped(noise, **kwargs):
    def build():
        inner = HMLP(SHAPES, 3, 2, layers=[6], activation_fn=nn.Tanh(), num_cond_embs=2, verbose=False, **kwargs)
        return HPerturbWrapper(inner, 3, 0.3, verbose=False, noise=noise)

    return build


class TestHPerturbWrapper(HypernetworkContract):
    variants: ClassVar = {"shared": wrapped("shared"), "independent": wrapped("independent")}
    external: ClassVar = {"uncond": wrapped("shared", no_uncond_weights=True)}
