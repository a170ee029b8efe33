"""Internals shared by main networks."""

__all__: list[str] = []
