"""Distances between two sets of samples: maximum mean discrepancy and sliced Wasserstein distance."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import check_flags, check_int, check_number, check_positive, check_shape, value_error
from ._checks import check_generator, check_no_overflow, check_numbers, check_same_device

__all__ = ["median_distance", "mmd", "sliced_wasserstein"]

_MOST_PROJECTIONS = 1_000_000


def _checked(x: Tensor, y: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    x = check_shape("x", check_numbers("x", x, "a floating tensor of samples (N, D)"), (None, None))
    y = check_shape("y", check_numbers("y", y, "a floating tensor of samples (M, D)"), (None, x.shape[1]))
    if min(len(x), len(y)) < least:
        raise value_error("x and y", expected=f"at least {least} samples in each", found=f"{len(x)} and {len(y)}")
    dtype = torch.promote_types(x.dtype, check_same_device("y", y, x).dtype)
    return x.to(dtype), y.to(dtype)


def median_distance(x: Tensor, y: Tensor) -> Tensor:
    """Compute the median distance between the points of both sets together, ``()``; the usual kernel width.

    Args:
        x: samples ``(N, D)``.
        y: samples ``(M, D)``.
    """
    x, y = _checked(x, y)
    return check_no_overflow("x and y", torch.pdist(torch.cat([x, y])).median())


def mmd(x: Tensor, y: Tensor, width: Tensor | float | None = None, *, unbiased: bool = True) -> Tensor:
    r"""Compute the squared maximum mean discrepancy of two sets of samples.

    The kernel is Gaussian, :math:`k(a, b) = \exp(-|a - b|^2 / 2\ell^2)`:

    .. math:: \mathrm{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2\,E\,k(x, y)

    Args:
        x: samples ``(N, D)``.
        y: samples ``(M, D)``.
        width: :math:`\ell`; by default the median distance (:func:`median_distance`).
        unbiased: True to leave out the pairs of a sample with itself. The estimate is then unbiased, and may be
            slightly negative for equal distributions; otherwise it is never negative.

    Returns:
        Of shape ``()``.

    References:
        A Kernel Two-Sample Test (Gretton, Borgwardt, Rasch, Schölkopf, Smola; 2012).

    Example:
        >>> x = torch.zeros(3, 2)
        >>> mmd(x, x + 100, width=1.0)
        tensor(2.)
    """
    check_flags(unbiased=unbiased)
    x, y = _checked(x, y, 2 if unbiased else 1)
    if width is None:
        width = median_distance(x, y)
        if float(width) == 0:
            raise value_error(
                "width", expected="samples that differ", found="a median distance of 0", hint="Give the width."
            )
    elif not isinstance(width, Tensor):
        check_positive("width", width)
    elif not bool((check_numbers("width", check_shape("width", width, ()), "a number > 0") > 0).all()):
        raise value_error("width", expected="a number > 0", found=f"{float(width):.4g}")

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        # From differences, since samples of one posterior are close to each other and far from 0.
        distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.exp(-0.5 * (distance / width).square())

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        if not unbiased:
            return values.mean()
        return (values.sum() - values.diagonal().sum()) / (len(a) * (len(a) - 1))

    return check_no_overflow("x and y", within(x) + within(y) - 2 * kernel(x, y).mean())


def sliced_wasserstein(
    x: Tensor, y: Tensor, num_projections: int = 100, order: float = 2.0, generator: torch.Generator | None = None
) -> Tensor:
    r"""Compute the sliced Wasserstein distance, an average of one-dimensional distances over random directions.

    .. math:: \Big( E_\theta \int_0^1 |F^{-1}_{\theta \cdot x}(q) - F^{-1}_{\theta \cdot y}(q)|^p \, dq \Big)^{1/p}

    The integral over the two step functions is exact for any numbers of samples.

    Args:
        x: samples ``(N, D)``.
        y: samples ``(M, D)``.
        num_projections: number of random directions.
        order: :math:`p \ge 1`.
        generator: random generator of the directions.

    Returns:
        Of shape ``()``, in the units of the samples.

    References:
        Wasserstein Barycenter and Its Application to Texture Mixing (Rabin, Peyré, Delon, Bernot; 2011).

    Example:
        >>> x = torch.zeros(3, 1)
        >>> sliced_wasserstein(x, x + 2)
        tensor(2.)
    """
    x, y = _checked(x, y)
    if check_int("num_projections", num_projections, 1) > _MOST_PROJECTIONS:
        raise value_error("num_projections", expected=f"an integer from 1 to {_MOST_PROJECTIONS}", got=num_projections)
    check_number("order", order, 1)
    check_generator(generator)
    # Drawn on the device of the generator, so that a seed gives the same directions for samples on every device.
    device = generator.device if generator is not None else torch.device("cpu")
    directions = torch.randn(x.shape[1], num_projections, generator=generator, dtype=x.dtype, device=device).to(
        x.device
    )
    directions = directions / directions.norm(dim=0)
    left, right = (x @ directions).sort(0).values, (y @ directions).sort(0).values
    steps = torch.cat([_steps(len(x)), _steps(len(y))]).unique().to(x.device)
    widths = steps.diff(prepend=steps.new_zeros(1))
    middles = steps - widths / 2
    gaps = left[(middles * len(x)).long()] - right[(middles * len(y)).long()]
    largest = check_no_overflow("x and y", gaps.abs().max()).detach()
    value = (widths.to(x.dtype) @ gaps.abs().pow(order)).mean().pow(1 / order)
    if float(largest) == 0 or (bool(value.isfinite()) and float(value.detach()) > 0):
        found: Tensor = value
        return found
    # A high power that neither underflows nor overflows.
    found = largest * (widths.to(x.dtype) @ (gaps.abs() / largest).pow(order)).mean().pow(1 / order)
    return found


def _steps(count: int) -> Tensor:
    return torch.arange(1, count + 1, dtype=torch.float64) / count
