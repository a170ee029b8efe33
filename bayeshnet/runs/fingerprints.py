"""Fingerprints of what a run is made from: its configuration and its data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..data import STREAMS
from ..errors import MissingExtraError
from ..files import fingerprint, parse_yaml
from ..tasks import Task, TaskStream

__all__ = [
    "HEAD",
    "changed_tasks",
    "configuration_fingerprint",
    "data_fingerprints",
    "matches_configuration",
    "reads_files",
]

HEAD = "# An experiment that was made in Python: its learner is shown in comments only."
"""First line of a configuration that lacks the settings of the learner."""


def configuration_fingerprint(config: str) -> str:
    r"""Return a digest of the settings in a ``config.yaml``; comments, layout and the order of names do not matter.

    Comments do matter where the learner is described in them, and so does every character of a text that is not YAML.

    Example:
        >>> configuration_fingerprint("a: 1\nb: x\n") == configuration_fingerprint("# new\nb: 'x'\na:   1\n")
        True
        >>> configuration_fingerprint("a: 1") == configuration_fingerprint("a: 2")
        False
    """
    if not config.startswith(HEAD):
        try:
            return fingerprint("settings", json.dumps(_canonical(parse_yaml(config))))
        except (ValueError, MissingExtraError):
            pass
    return fingerprint("text", config)


def matches_configuration(known: Any, config: str) -> bool:
    """Return whether ``known`` is the fingerprint of ``config``, or the digest of its text of earlier versions."""
    old = hashlib.blake2b(config.encode("utf-8"), digest_size=16).hexdigest()
    return known in (old, configuration_fingerprint(config))


def data_fingerprints(stream: TaskStream) -> dict[str, str]:
    """Return a digest of the examples of each task, by name.

    Of examples that are read from a data set those are the targets, and sixteen inputs spread over the split.
    """
    return {f"data of task {number}": _of_task(task) for number, task in enumerate(stream, 1)}


def reads_files(stream: TaskStream) -> bool:
    """Return whether the examples of ``stream`` come from files or from the caller, rather than from the library."""
    return stream.name not in STREAMS or STREAMS[stream.name].needs_files


def changed_tasks(known: Mapping[str, str], found: Mapping[str, str]) -> list[int]:
    """Return the numbers (from 1) of the tasks whose fingerprints in ``known`` are others than those ``found``."""
    return [number for number, name in enumerate(found, 1) if known.get(name, found[name]) != found[name]]


def _canonical(node: Any) -> Any:
    """Return mappings as sorted lists of pairs, whatever their keys are."""
    if isinstance(node, dict):
        return {"mapping": sorted(([repr(key), _canonical(value)] for key, value in node.items()), key=lambda p: p[0])}
    return [_canonical(entry) for entry in node] if isinstance(node, list) else node


def _of_task(task: Task) -> str:
    parts: list[str | memoryview] = [task.kind, repr(task.labels)]
    for name, split in task.splits().items():
        x = split.x if split.in_memory else split.x[torch.linspace(0, len(split) - 1, min(16, len(split))).long()]
        for tensor in (*(x if isinstance(x, tuple) else (x,)), split.y):
            parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}", _bytes(tensor)]
    return fingerprint(*parts)


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
