"""Sweeps: what is tried, how a trial is judged, and what is written about all trials."""

__all__ = ["records", "space", "trials"]
