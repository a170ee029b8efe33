"""Hyperfan initialization: weights of hypernetworks whose outputs have the variance of usual initializations."""

__all__: list[str] = []
