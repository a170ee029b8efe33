"""Hypernetworks: networks that generate the weights of other networks."""

from __future__ import annotations

from .chunked_deconv_hnet import ChunkedHDeconv
from .chunked_mlp_hnet import ChunkedHMLP
from .deconv_hnet import HDeconv
from .geometry import Geometry
from .head_geometry import HeadGeometry
from .hnet_container import HContainer
from .hnet_helpers import get_conditional_parameters, init_chunk_embeddings, init_conditional_embeddings
from .hnet_interface import HyperNetInterface
from .hnet_perturbation_wrapper import HPerturbWrapper
from .jacobian_geometry import JacobianGeometry
from .mlp_hnet import HMLP
from .selection_geometry import ConstantGeometry, SelectionGeometry
from .structured_hmlp_examples import resnet_chunking, wrn_chunking
from .structured_mlp_hnet import StructuredHMLP

__all__ = [
    "HMLP",
    "ChunkedHDeconv",
    "ChunkedHMLP",
    "ConstantGeometry",
    "Geometry",
    "HContainer",
    "HDeconv",
    "HPerturbWrapper",
    "HeadGeometry",
    "HyperNetInterface",
    "JacobianGeometry",
    "SelectionGeometry",
    "StructuredHMLP",
    "get_conditional_parameters",
    "init_chunk_embeddings",
    "init_conditional_embeddings",
    "resnet_chunking",
    "wrn_chunking",
]
