"""Random numbers: noise of the dtype and device of a tensor, derived seeds, and temporarily seeded generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from .checks import check_generator, check_seed
from .errors import LARGEST, check_instance, check_size, type_error, value_error

__all__ = ["derive_seed", "generator_on", "normal_like", "sample_seeded", "seeded", "uniform_like"]


def normal_like(like: Tensor, size: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Draw standard normal noise of ``size`` in the dtype and on the device of ``like``, a floating tensor."""
    _check(like, size, generator)
    return torch.randn(size, generator=generator, dtype=like.dtype, device=like.device)


def uniform_like(like: Tensor, size: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Draw uniform noise of ``size`` in [0, 1), in the dtype and on the device of ``like``, a floating tensor."""
    _check(like, size, generator)
    return torch.rand(size, generator=generator, dtype=like.dtype, device=like.device)


def _check(like: Any, size: Any, generator: Any) -> None:
    """Check the arguments of a draw."""
    if not isinstance(like, Tensor) or not like.is_floating_point() or like.dtype.itemsize < 2:
        raise type_error("like", expected="a floating tensor of at least 16 bits", got=like)
    if not isinstance(size, (tuple, list)):
        raise type_error("size", expected="a tuple of sizes", got=size)
    for number in size:
        if type(number) is not int or not 0 <= number <= LARGEST:
            check_size("size", number, 0)
    if generator is not None:
        check_generator(generator)
        if generator.device.type != like.device.type and not like.is_meta:
            raise value_error("generator", expected=f"one on {like.device.type}", found=f"one on {generator.device}")


def derive_seed(seed: int, *keys: int) -> int:
    """Derive a seed from ``seed`` and ``keys``; seeds for different keys are statistically independent.

    Example:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(0, 2)
        (True, False)
    """
    numbers = [check_seed("seed", seed, 0), *(check_seed("keys", key, 0) for key in keys)]
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator_on(device: torch.device | str, generator: torch.Generator | None) -> torch.Generator | None:
    """Return a generator on a device: ``generator`` itself if it is there, None for None (torch's global ones).

    Otherwise it is a new one, whose seed is drawn from ``generator``, for which the host waits: equal seeds give equal
    draws, and two generators made of one give other ones. A program that has to know its choices without waiting for a
    device makes such a generator on the CPU before its steps.

    Example:
        >>> generator = torch.Generator().manual_seed(3)
        >>> generator_on("cpu", generator) is generator, generator_on("cpu", None) is None
        (True, True)
    """
    check_generator(generator)
    try:
        where = torch.device(device)
        if generator is None or generator.device.type == where.type:
            return generator
        made = torch.Generator(device=where)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise value_error("device", expected="a device of this machine, such as 'cpu'", got=device) from error
    return made.manual_seed(_drawn_seed(generator))


def _drawn_seed(generator: torch.Generator) -> int:
    """Draw a seed from a generator."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


@contextmanager
def seeded(source: int | torch.Generator | None) -> Iterator[None]:
    """Seed torch's global generators within the ``with`` block, and restore them afterwards.

    Args:
        source: a seed; a generator, from which a seed is drawn; or None to use the global generators as they are.
    """
    if source is None:
        yield
        return
    if isinstance(source, torch.Generator):
        seed = _drawn_seed(source)
    else:
        seed = check_seed("source", source)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
        torch.manual_seed(seed)
        yield


def sample_seeded(q: Distribution, num: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``(num, *event_shape)`` with a generator from any distribution, reparameterized if it supports that."""
    check_instance("q", q, Distribution, "a torch distribution")
    count = check_size("num", num, 0)
    method = q.rsample if q.has_rsample else q.sample
    with seeded(check_generator(generator)):
        return method(torch.Size((count,)))
