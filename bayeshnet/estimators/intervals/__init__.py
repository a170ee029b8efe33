"""Intervals: the KL of a hypernetwork posterior with a 95 % interval that includes every error of its estimation."""

from __future__ import annotations

from .interval import KLInterval, kl_interval

__all__ = ["KLInterval", "kl_interval"]
