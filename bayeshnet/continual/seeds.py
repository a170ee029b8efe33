"""Seeds: one number for a run, independent ones for each of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derive_seed", "seeded"]


def derive_seed(seed: int, *keys: int) -> int:
    """An independent seed for the part of a run that ``keys`` name.

    Example:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(0, 2)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block only, for constructors that know no explicit generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
