"""Guides of many unknowns: coordinates found before training, few latents, and noise of each unknown."""

__all__: list[str] = []
