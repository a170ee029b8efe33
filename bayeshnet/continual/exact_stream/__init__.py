"""Exact continual learning: one head in closed form over frozen features, with or without task boundaries."""

from __future__ import annotations

from .learner import ExactStream

__all__ = ["ExactStream"]
