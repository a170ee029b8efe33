"""Records of posteriors with known answers, and the places of the packages that ship such answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

__all__ = ["SECONDS", "SIMULATIONS", "Moments", "Target", "columns", "module_at", "package_folder", "truth"]

SIMULATIONS, SECONDS = 32, 1.5
"""Data sets of calibration, and processor time for each guide."""
BRING = "pip install 'bayeshnet[bench]'"


@dataclass(frozen=True)
class Moments:
    """Means and standard deviations ``(D,)`` where no reference draws are known."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Target:
    """A posterior: its model, exact draws or moments, what is read, and modes as numbers from 0.

    Attributes:
        model: in Pyro, written for plates around it.
        exact: draws or moments of what is read.
        read: what is compared, ``(num, D)``, of values by site.
        modes: number of the mode of each row.
        centred: sites to which Pyro's guides also get a learned centring.
        options: of a second guide of ours, for what is known beforehand: a hierarchy, modes, symmetries.
        others: options of more guides of ours by name.
        longer: times the usual processor time for each guide.
        judged: draws of the checks, which cost more the more unknowns there are; 0 for none.
    """

    model: Callable[[], None]
    exact: Callable[[int], Tensor] | Moments
    read: Callable[[dict[str, Tensor]], Tensor]
    modes: Callable[[Tensor], Tensor] | None = None
    centred: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    longer: float = 1.0
    judged: int = 400

    @property
    def unknowns(self) -> int:
        """Number of unknowns of the model."""
        trace: Any = prune_subsample_sites(poutine.trace(self.model).get_trace())
        return sum(site["value"].numel() for _, site in trace.iter_stochastic_nodes())


def columns(*names: str) -> Callable[[dict[str, Tensor]], Tensor]:
    """A function that puts the values of these sites side by side."""
    return lambda values: torch.cat([values[name].reshape(len(values[name]), -1) for name in names], 1)


def package_folder(name: str) -> Path:
    """The folder of an installed package, which is not imported: its own needs are large.

    Raises:
        ModuleNotFoundError: if it is not installed, with what brings it.
    """
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        needed = f"expected the package {name}, whose files hold data or reference answers, and it is not installed"
        raise ModuleNotFoundError(f"posteriors: {needed}: {BRING}.", name=name)
    return Path(next(iter(found.submodule_search_locations)))


def module_at(place: Path) -> Any:
    """A file of numbers as a module, without the package around it."""
    spec = importlib.util.spec_from_file_location(place.stem, place)
    if spec is None or spec.loader is None or not place.exists():
        raise FileNotFoundError(f"posteriors: expected a file of reference answers, got no {place}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def truth(module: Any, *parts: str) -> Moments:
    """The moments that a file of inference-gym gives of unknowns, one after the other."""

    def joined(kind: str) -> Tensor:
        names = [f"IDENTITY_{part}_{kind}" if part else f"IDENTITY_{kind}" for part in parts]
        return torch.as_tensor(np.concatenate([np.ravel(getattr(module, n)) for n in names]), dtype=torch.float32)

    return Moments(joined("MEAN"), joined("STANDARD_DEVIATION"))
