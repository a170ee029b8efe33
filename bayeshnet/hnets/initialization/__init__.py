"""Hyperfan initialization: hypernetworks whose outputs have the variances of standard initializations."""

__all__: list[str] = []
