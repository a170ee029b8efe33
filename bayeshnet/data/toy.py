"""Two toy problems from the literature on continual learning: three polynomials, and Gaussian modes in the plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..checks import check_seed
from ..errors import check_number, check_size
from ..tasks import Split, Task, TaskStream

__all__ = ["modes2d", "regression1d"]


def _cubic_left(x: Tensor) -> Tensor:
    return (x + 3) ** 3


def _parabola(x: Tensor) -> Tensor:
    return 2 * x**2 - 1


def _cubic_right(x: Tensor) -> Tensor:
    return -((x - 3) ** 3)


_POLYNOMIALS: tuple[tuple[str, Callable[[Tensor], Tensor], tuple[float, float]], ...] = (
    ("(x + 3)^3", _cubic_left, (-4.0, -2.0)),
    ("2 x^2 - 1", _parabola, (-1.0, 1.0)),
    ("-(x - 3)^3", _cubic_right, (2.0, 4.0)),
)


def regression1d(
    *,
    num_train: int = 20,
    num_test: int = 50,
    num_validation: int = 0,
    noise_std: float = 0.05,
    order: Sequence[int] | None = None,
    data_seed: int = 0,
) -> TaskStream:
    r"""Build three tasks: :math:`(x+3)^3` on [-4, -2], :math:`2x^2-1` on [-1, 1], :math:`-(x-3)^3` on [2, 4].

    Training inputs are uniform in the domain and their targets have Gaussian noise; test inputs are a grid over the
    domain, with targets free of noise. ``info`` of each task contains ``noise_std``, ``domain``, ``function`` (the true
    one), ``formula`` and ``plot_range``. OOD inputs ``gaps``: between the domains and beside them.

    Args:
        num_train: number of training points per task.
        num_test: number of grid points per task.
        num_validation: number of validation points per task, drawn like the training points.
        noise_std: standard deviation of the noise.
        order: numbers of the tasks, from 0, in the order in which they are learned; some may be left out.
        data_seed: seed of inputs and noise.

    References:
        Posterior Meta-Replay for Continual Learning (Henning, Cervera, D'Angelo, von Oswald, Traber, Ehret, Kobayashi,
        Grewe, Sacramento; 2021).

    Example:
        >>> stream = regression1d()
        >>> len(stream), stream.input_shape, len(stream[0].train), len(stream[0].test)
        (3, (1,), 20, 50)
    """
    check_size("num_train", num_train)
    check_size("num_test", num_test, 2)
    check_size("num_validation", num_validation, 0)
    check_number("noise_std", noise_std, 0, 1e30)
    generator = torch.Generator().manual_seed(check_seed("data_seed", data_seed))

    def noisy(count: int) -> Split:
        x = low + (high - low) * torch.rand(count, 1, generator=generator)
        return Split(x, function(x) + noise_std * torch.randn(count, 1, generator=generator))

    tasks = []
    for formula, function, (low, high) in _POLYNOMIALS:
        info = {"noise_std": noise_std, "domain": (low, high), "function": function, "formula": formula}
        info["plot_range"] = (-5.5, 5.5)
        grid = torch.linspace(low, high, num_test)[:, None]
        train, test = noisy(num_train), Split(grid, function(grid))
        validation = noisy(num_validation) if num_validation else None
        tasks.append(Task(formula, train, test, 1, "regression", None, validation, info))
    gaps = torch.cat([torch.linspace(a, b, 25) for a, b in ((-5.5, -4.5), (-1.75, -1.25), (1.25, 1.75), (4.5, 5.5))])
    return TaskStream(tasks, "regression1d", "class", {"gaps": gaps[:, None]}).reordered(order)


def modes2d(
    *,
    num_train: int = 10,
    num_test: int = 100,
    num_validation: int = 0,
    std: float = 0.2,
    num_tasks: int = 3,
    scale: float = 1.0,
    order: Sequence[int] | None = None,
    data_seed: int = 0,
) -> TaskStream:
    r"""Build tasks of two classes in the plane, each class one Gaussian mode on a circle of radius 5.

    With :math:`K` = ``2 * num_tasks`` modes (six by default), mode :math:`k` has its center at
    :math:`5(\sin a_k, \cos a_k)`, :math:`a_k = 2\pi(k + 1/2)/K`; task :math:`t` has the modes :math:`2t` and
    :math:`2t+1`. ``info`` of each task contains ``centers`` ``(K, 2)``, ``std`` and ``plot_range``, in the units of
    the inputs. OOD inputs ``plane``: uniform in the plot range, at least five standard deviations from each center.

    Args:
        num_train: number of training points per mode.
        num_test: number of test points per mode.
        num_validation: number of validation points per mode.
        std: standard deviation of a mode, before ``scale``.
        num_tasks: half the number of modes.
        scale: divisor of all inputs; 5 puts the centers on the unit circle.
        order: numbers of the tasks, from 0, in the order in which they are learned; some may be left out.
        data_seed: seed of the points.

    References:
        Posterior Meta-Replay for Continual Learning (Henning, Cervera, D'Angelo, von Oswald, Traber, Ehret, Kobayashi,
        Grewe, Sacramento; 2021).

    Example:
        >>> stream = modes2d(scale=5)
        >>> len(stream), len(stream[0].train), len(stream[0].test), stream[1].labels
        (3, 20, 200, (2, 3))
    """
    for argument, value, least in (("num_train", num_train, 1), ("num_test", num_test, 1), ("num_tasks", num_tasks, 1)):
        check_size(argument, value, least)
    check_size("num_validation", num_validation, 0)
    check_number("std", std, 1e-30, 1e30)
    check_number("scale", scale, 1e-30, 1e30)
    generator = torch.Generator().manual_seed(check_seed("data_seed", data_seed))
    angles = 2 * math.pi * (torch.arange(2 * num_tasks) + 0.5) / (2 * num_tasks)
    centers = 5 * torch.stack([angles.sin(), angles.cos()], dim=1)

    def points(task: int, count: int) -> Split:
        own = centers[2 * task : 2 * task + 2].repeat_interleave(count, 0)
        x = own + std * torch.randn(own.shape, generator=generator)
        return Split(x / scale, torch.arange(2).repeat_interleave(count))

    info = {"centers": centers / scale, "std": std / scale, "plot_range": (-8 / scale, 8 / scale)}
    tasks = []
    for t in range(num_tasks):
        train, test = points(t, num_train), points(t, num_test)
        validation = points(t, num_validation) if num_validation else None
        title, labels = f"modes {2 * t} / {2 * t + 1}", (2 * t, 2 * t + 1)
        tasks.append(Task(title, train, test, 2, "classification", labels, validation, info))
    plane = 16 * torch.rand(2000, 2, generator=generator) - 8
    plane = plane[torch.cdist(plane, centers).min(1).values > 5 * std]
    return TaskStream(tasks, "modes2d", "class", {"plane": plane / scale}).reordered(order)
