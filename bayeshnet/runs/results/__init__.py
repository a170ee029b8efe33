"""Results of a run: assessment after each task, final numbers, checks of the posteriors, data of the figures."""

from __future__ import annotations

__all__: list[str] = []
