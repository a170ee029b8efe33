"""Random numbers: noise of the dtype and device of a tensor, derived seeds, and temporarily seeded generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["derive_seed", "normal_like", "sample_seeded", "seeded", "uniform_like"]


def normal_like(like: Tensor, size: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Draw standard normal noise of ``size`` in the dtype and on the device of ``like``."""
    return torch.randn(size, generator=generator, dtype=like.dtype, device=like.device)


def uniform_like(like: Tensor, size: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Draw uniform noise of ``size`` in [0, 1), in the dtype and on the device of ``like``."""
    return torch.rand(size, generator=generator, dtype=like.dtype, device=like.device)


def derive_seed(seed: int, *keys: int) -> int:
    """Derive a seed from ``seed`` and ``keys``; seeds for different keys are statistically independent.

    Example:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(0, 2)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(source: int | torch.Generator | None) -> Iterator[None]:
    """Seed torch's global generators within the ``with`` block, and restore them afterwards.

    Args:
        source: a seed; a generator, from which a seed is drawn; or None to use the global generators as they are.
    """
    if source is None:
        yield
        return
    seed = source
    if isinstance(source, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=source, device=source.device))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
        torch.manual_seed(seed)
        yield


def sample_seeded(q: Distribution, num: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``(num, *event_shape)`` with a generator from any distribution, reparameterized if it supports that."""
    method = q.rsample if q.has_rsample else q.sample
    with seeded(generator):
        return method(torch.Size((num,)))
