"""Internals shared by hypernetworks: arguments, conditions, formats, and abstract classes of hypernetworks."""

__all__: list[str] = []
