"""The bound and its gradient as one program of tensors: compiled by torch, or captured as a CUDA graph."""

from .accelerated import AcceleratedBound, CapturedBound, accelerated, is_recorded
from .program import BoundProgram

__all__ = ["AcceleratedBound", "BoundProgram", "CapturedBound", "accelerated", "is_recorded"]
