"""Main networks: networks whose weights can be handed to them."""

from __future__ import annotations

from .mlp import MLP
from .mnet_interface import MainNetInterface
from .module_wrapper import ModuleMainNet

__all__ = ["MLP", "MainNetInterface", "ModuleMainNet"]
