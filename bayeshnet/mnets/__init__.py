"""Main networks: networks whose weights can be handed to them."""

from __future__ import annotations

from .mlp import MLP
from .mnet_interface import MainNetInterface

__all__ = ["MLP", "MainNetInterface"]
