"""diagnose(q, p): an audit of the KL of a posterior and of the posterior itself, in numbers and in a sentence."""

from __future__ import annotations

from .audit import diagnose
from .report import Diagnosis

__all__ = ["Diagnosis", "diagnose"]
