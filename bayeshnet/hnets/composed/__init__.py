"""Internals of hypernetworks that are composed of other hypernetworks."""

__all__: list[str] = []
