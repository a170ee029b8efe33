"""Saving: posteriors, networks and settings in folders of JSON and safetensors, and checkpoints; without pickle."""

from .checkpoint import load_checkpoint, save_checkpoint
from .describing import Description, describe
from .things import load, save

__all__ = [
    "Description",
    "describe",
    "load",
    "load_checkpoint",
    "save",
    "save_checkpoint",
]
