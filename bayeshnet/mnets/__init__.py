"""Main networks: networks whose weights can be handed to them."""

from __future__ import annotations

from .mnet_interface import MainNetInterface

__all__ = ["MainNetInterface"]
