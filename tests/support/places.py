"""Devices on which the tests of ``tests/devices`` run: a pretended one, and CUDA where there is one."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest
import torch

from tests.support.pretended_device import PretendedDevice, asking_function

__all__ = ["PLACES", "WAITS", "CudaDevice", "unexpected"]

WAITS = {
    "rng.py:_drawn_seed": "a prior on another device than the posterior: a seed for it is drawn",
    "estimators/draws.py:sample_beside": "a prior on another device than the posterior: its draws are copied",
    "estimators/samples/ssge.py:spectral_matrix": "torch asks whether its eigenvalue solver converged",
    "estimators/latent/livi_stochastic.py:_lanczos": "torch asks whether its eigenvalue solver converged",
    "inference/loop.py:_look": "every 100 steps, and after the last one, whether the loss is a number",
    "inference/run.py:parts": "where a callback or a display asks for the parts of the loss",
    "inference/objective.py:_other": "a loss of Pyro itself converts its value to a number and looks for NaN",
    "inference/optimizers.py:step": "ReduceLROnPlateau watches the loss; a loss of Pyro itself looks at its gradient",
}
"""Functions of a training step in which the host waits for the device, with the reason."""


class CudaDevice:
    """CUDA as a context in which torch says where the host waits."""

    device = torch.device("cuda")
    name = "cuda"

    def __enter__(self):
        self._before = torch.cuda.get_sync_debug_mode()
        self._catch = warnings.catch_warnings()
        self._catch.__enter__()
        self._waits: Counter[str] = Counter()
        self._show = warnings.showwarning
        warnings.filterwarnings("ignore", message=".*ynchronization debug mode is a prototype")
        warnings.filterwarnings("always", message=".*called a synchronizing CUDA operation")
        warnings.showwarning = self._count
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *error):
        torch.cuda.set_sync_debug_mode(self._before)
        self._catch.__exit__(*error)

    @property
    def waits(self) -> Counter[str]:
        """Number of times that the host has waited, by the function of the library that asked (or of the caller)."""
        return self._waits.copy()

    def _count(self, message, *where, **more):
        if "synchronizing CUDA operation" in str(message):
            self._waits[f"{asking_function((__file__, warnings.__file__))} [{where[1]}:{where[2]}]"] += 1
        else:
            self._show(message, *where, **more)


PLACES = [
    pytest.param(PretendedDevice, id="pretended"),
    pytest.param(CudaDevice, id="cuda", marks=pytest.mark.gpu),
]
"""Contexts of a device: ``with place() as there`` gives its ``device``, its ``name`` and its ``waits`` so far."""


def unexpected(waits: Counter[str], but: tuple[str, ...] = ()) -> dict[str, int]:
    """Return the waits without those in the functions ``but``, which must be in the table of exceptions."""
    strangers = set(but) - set(WAITS)
    if strangers:
        raise ValueError(f"not in the table of exceptions: {sorted(strangers)}")
    return {place: count for place, count in waits.items() if place.partition(" ")[0] not in but}
