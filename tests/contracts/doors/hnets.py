"""Doors of :mod:`bayeshnet.hnets`."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from bayeshnet.hnets import HMLP, ChunkedHMLP, resnet_chunking
from bayeshnet.mnets import WRN, ResNet
from tests.support.doors import Door

_SHAPES = [[2, 3], [2]]
_COMMON: dict[str, Any] = {
    "target_shapes": _SHAPES,
    "uncond_in_size": 2,
    "cond_in_size": 3,
    "verbose": False,
    "no_uncond_weights": False,
    "no_cond_weights": False,
    "num_cond_embs": 2,
}
_NET: dict[str, Any] = {
    **_COMMON,
    "activation_fn": nn.ReLU(),
    "use_bias": True,
    "use_spectral_norm": False,
    "use_batch_norm": False,
}
_MLP: dict[str, Any] = {**_NET, "layers": (4,), "dropout_rate": 0.1, "linear_skip": True}
_CHUNKED: dict[str, Any] = {"chunk_emb_size": 2, "cond_chunk_embs": False}
_DECONV: dict[str, Any] = {
    **_NET,
    "hyper_img_shape": (3, 4),
    "num_layers": 3,
    "num_filters": (8, 8),
    "kernel_size": 3,
    "sa_units": (1,),
}


def _hmlp() -> HMLP:
    return HMLP(_SHAPES, 2, 3, [4], num_cond_embs=2, verbose=False)


def _chunked() -> ChunkedHMLP:
    return ChunkedHMLP(_SHAPES, 4, 2, cond_in_size=3, layers=[4], num_cond_embs=2, verbose=False)


def _resnet() -> ResNet:
    return ResNet((8, 8, 3), 3, num_feature_maps=(2, 2, 4, 4), n=1, verbose=False)


def _wrn() -> WRN:
    return WRN((8, 8, 3), 3, n=1, k=1, num_feature_maps=(2, 2, 4, 4), verbose=False)


def _assemble(hnets: Any, shared: Any, own: Any) -> Any:
    return hnets[0] + shared + own


def _container() -> dict[str, Any]:
    return {
        "target_shapes": [*_SHAPES, [5], [4, 2]],
        "assembly_fct": _assemble,
        "hnets": [_hmlp()],
        "uncond_param_shapes": [[5]],
        "cond_param_shapes": [[4, 2]],
        "uncond_param_names": ["bn_scale"],
        "cond_param_names": ["weight"],
        "verbose": False,
        "no_uncond_weights": False,
        "no_cond_weights": False,
        "num_cond_embs": 2,
    }


@functools.cache
def _structured() -> dict[str, Any]:
    net = _resnet()
    shapes, counts, assemble = resnet_chunking(net)
    return {
        **_COMMON,
        "target_shapes": net.param_shapes,
        "chunk_shapes": shapes,
        "num_per_chunk": counts,
        "chunk_emb_sizes": 2,
        "hmlp_kwargs": {"layers": (4,)},
        "assembly_fct": assemble,
        "cond_chunk_embs": False,
    }


def _wrapper() -> dict[str, Any]:
    return {
        "hnet": _hmlp(),
        "hnet_uncond_in_size": 2,
        "sigma_noise": 0.02,
        "input_handler": None,
        "output_handler": None,
        "verbose": False,
        "noise": "shared",
    }


DOORS: dict[str, Door] = {
    "ChunkedHDeconv": Door({**_DECONV, **_CHUNKED}),
    "ChunkedHMLP": Door({**_MLP, **_CHUNKED, "chunk_size": 4}),
    "HContainer": Door(_container),
    "HDeconv": Door(_DECONV),
    "HMLP": Door({**_MLP, "stretch": False}),
    "HMLP.geometry": Door({"cond_id": 1, "cond_input": None, "weights": None, "condition": None}, of=_hmlp),
    "HPerturbWrapper": Door(_wrapper),
    "HyperNetInterface": Door(closed="abstract"),
    "StructuredHMLP": Door(_structured),
    "get_conditional_parameters": Door(lambda: {"hnet": _hmlp(), "cond_id": 1}, random=True),
    "init_chunk_embeddings": Door(
        lambda: {"hnet": _chunked(), "normal_mean": 0.0, "normal_std": 1.0, "init_fct": None}
    ),
    "init_conditional_embeddings": Door(
        lambda: {"hnet": _hmlp(), "normal_mean": 0.0, "normal_std": 1.0, "init_fct": None}
    ),
    "resnet_chunking": Door(lambda: {"net": _resnet(), "gcd_chunking": False}),
    "wrn_chunking": Door(
        lambda: {
            "net": _wrn(),
            "ignore_bn_weights": True,
            "ignore_out_weights": True,
            "gcd_chunking": False,
            "vertical_chunking": False,
        }
    ),
}
