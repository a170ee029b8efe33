"""Adapters: few numbers by which layers of a trained network change, while its weights stay as they are."""

from __future__ import annotations

from .base import Adapter
from .kinds import BiasAdapter, FiLMAdapter, LowRankAdapter
from .tensors import merge_adapters

__all__ = ["Adapter", "BiasAdapter", "FiLMAdapter", "LowRankAdapter", "merge_adapters"]
