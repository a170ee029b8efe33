"""Doors of :mod:`bayeshnet.rng`."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch.distributions import Normal

from tests.support.doors import Door


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _draw() -> dict[str, object]:
    return {"like": torch.zeros(2), "size": (2, 3), "generator": _generator()}


def _within(context: AbstractContextManager[None]) -> torch.Tensor:
    with context:
        return torch.rand(3)


DOORS: dict[str, Door] = {
    "derive_seed": Door({"seed": 3}),
    "generator_on": Door(
        lambda: {"device": "cpu", "generator": _generator()},
        read=lambda made: torch.rand(3, generator=made, device=None if made is None else made.device).cpu(),
        random=True,
    ),
    "normal_like": Door(_draw, random=True),
    "sample_seeded": Door(lambda: {"q": Normal(torch.zeros(2), 1.0), "num": 3, "generator": _generator()}, random=True),
    "seeded": Door({"source": 3}, read=_within, random=True),
    "uniform_like": Door(_draw, random=True),
}
