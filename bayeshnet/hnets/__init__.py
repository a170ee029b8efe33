"""Hypernetworks: networks that generate the weights of other networks."""

from __future__ import annotations

from .chunked_mlp_hnet import ChunkedHMLP
from .geometry import Geometry
from .head_geometry import HeadGeometry
from .hnet_interface import HyperNetInterface
from .hnet_perturbation_wrapper import HPerturbWrapper
from .jacobian_geometry import JacobianGeometry
from .mlp_hnet import HMLP

__all__ = [
    "HMLP",
    "ChunkedHMLP",
    "Geometry",
    "HPerturbWrapper",
    "HeadGeometry",
    "HyperNetInterface",
    "JacobianGeometry",
]
