"""Hypernetworks: networks that generate the weights of other networks."""

from __future__ import annotations

from ..deprecation import moved_names
from .chunked_deconv_hnet import ChunkedHDeconv
from .chunked_mlp_hnet import ChunkedHMLP
from .deconv_hnet import HDeconv
from .hnet_container import HContainer
from .hnet_helpers import get_conditional_parameters, init_chunk_embeddings, init_conditional_embeddings
from .hnet_interface import HyperNetInterface
from .hnet_perturbation_wrapper import HPerturbWrapper
from .mlp_hnet import HMLP
from .structured_hmlp_examples import resnet_chunking, wrn_chunking
from .structured_mlp_hnet import StructuredHMLP

__all__ = [
    "HMLP",
    "ChunkedHDeconv",
    "ChunkedHMLP",
    "HContainer",
    "HDeconv",
    "HPerturbWrapper",
    "HyperNetInterface",
    "StructuredHMLP",
    "get_conditional_parameters",
    "init_chunk_embeddings",
    "init_conditional_embeddings",
    "resnet_chunking",
    "wrn_chunking",
]

__getattr__ = moved_names(
    __name__,
    {
        "ConstantGeometry": "geometry.ConstantGeometry",
        "Geometry": "geometry.Geometry",
        "HeadGeometry": "geometry.HeadGeometry",
        "JacobianGeometry": "geometry.JacobianGeometry",
        "SelectionGeometry": "geometry.SelectionGeometry",
    },
)
