"""Maximization over one or two numbers without derivatives: on refined grids, or by few evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["maximize", "maximize_slow"]

_POINTS, _ROUNDS = 41, 4
_COARSE, _STEPS, _CLOSE = 8, 40, 5e-4
_FIRST, _NEAR = 1.0, 0.05
_DIGITS = 3
_GOLDEN = 0.381966011250105


def maximize(function: Callable[..., Tensor], *ranges: tuple[float, float]) -> tuple[float, ...]:
    """Return the point where a function of one or two numbers is largest.

    Each round evaluates a grid and goes on between the neighbors of its best point. Of several maxima the one that the
    first grid sees as the highest is found. The point is rounded to three digits, so that functions which differ by
    rounding errors alone have the same one: what follows from it then agrees to all digits.

    Args:
        function: from tensors that broadcast against one another, ``(41, 1)`` and ``(1, 41)``, say, to values.
        ranges: lowest and highest value of each number.

    Example:
        >>> (best,) = maximize(lambda a: -(a - 0.3).square(), (-1.0, 1.0))
        >>> round(best, 6)
        0.3
    """
    bounds = list(ranges)
    point: tuple[float, ...] = ()
    for _ in range(_ROUNDS):
        axes = [torch.linspace(low, high, _POINTS, dtype=torch.float64) for low, high in bounds]
        grids = torch.meshgrid(*axes, indexing="ij")
        values = function(*grids).nan_to_num(nan=-torch.inf, posinf=-torch.inf)
        best = torch.unravel_index(values.argmax(), values.shape)
        point = tuple(float(axis[i]) for axis, i in zip(axes, best, strict=True))
        steps = [(high - low) / (_POINTS - 1) for low, high in bounds]
        bounds = [
            (max(low, at - step), min(high, at + step))
            for (low, high), at, step in zip(ranges, point, steps, strict=True)
        ]
    return tuple(round(at, _DIGITS) for at in point)


def maximize_slow(function: Callable[[float], float], low: float, high: float, start: float | None = None) -> float:
    """Return the point where a function of one number is largest, by few evaluations.

    Eight points find the highest maximum, or from a start, where it was found before, a climb. Parabolas through the
    best three points, or the golden section where they fail, refine it. The point is rounded to three digits, as by
    :func:`maximize`.

    Args:
        function: costly function of one number; minus infinity where it has no value.
        low: lowest number.
        high: highest number.
        start: where the maximum may be close to; None if nothing is known.

    References:
        Algorithms for Minimization without Derivatives (Brent; 1973).

    Example:
        >>> round(maximize_slow(lambda a: -(a - 0.3) ** 2, -1.0, 1.0), 6)
        0.3
    """
    if start is None:
        known = {point: function(point) for point in (low + (high - low) * i / (_COARSE - 1) for i in range(_COARSE))}
    else:
        known = _climb(function, low, high, min(max(start, low), high))
    points = sorted(known)
    best = max(range(len(points)), key=lambda i: known[points[i]])
    x, left, right = points[best], points[max(best - 1, 0)], points[min(best + 1, len(points) - 1)]
    second, third = sorted((left, right), key=known.__getitem__, reverse=True)
    fx, f2, f3 = known[x], known[second], known[third]
    step = before = right - left
    for _ in range(_STEPS):
        middle = 0.5 * (left + right)
        if abs(x - middle) <= 2 * _CLOSE - 0.5 * (right - left):
            break
        move = _parabola(x, second, third, fx, f2, f3)
        if move is not None and abs(move) < _CLOSE and abs(step) < _NEAR and left <= x + move <= right:
            x += move
            break
        if move is None or abs(move) >= 0.5 * abs(before) or not left < x + move < right:
            before = (right if x < middle else left) - x
            move = _GOLDEN * before
        else:
            before = step
        step = math.copysign(max(abs(move), _CLOSE), move)
        at = x + step
        value = function(at)
        if value >= fx:
            left, right = (x, right) if at >= x else (left, x)
            third, f3, second, f2, x, fx = second, f2, x, fx, at, value
        else:
            left, right = (at, right) if at < x else (left, at)
            if value >= f2 or second == x:
                third, f3, second, f2 = second, f2, at, value
            elif value >= f3 or third in (x, second):
                third, f3 = at, value
    return round(x, _DIGITS)


def _climb(function: Callable[[float], float], low: float, high: float, start: float) -> dict[float, float]:
    """Return values at points from ``start`` on, until they fall on both sides or the range ends."""
    known = {start: function(start)}
    for sign in (-1.0, 1.0):
        edge, step = (min(known) if sign < 0 else max(known)), _FIRST
        while low < edge < high or edge == start:
            at = min(max(edge + sign * step, low), high)
            if at in known:
                break
            known[at] = function(at)
            if known[at] < known[edge]:
                break
            edge, step = at, 2 * step
    return known


def _parabola(x: float, second: float, third: float, fx: float, f2: float, f3: float) -> float | None:
    """Return the step from ``x`` to the vertex of the parabola through three points, or None if there is none."""
    if not (math.isfinite(f2) and math.isfinite(f3)) or len({x, second, third}) < 3:
        return None
    a, b = (x - second) * (f3 - fx), (x - third) * (f2 - fx)
    bottom = 2 * (b - a)
    return None if bottom == 0 else ((x - second) * a - (x - third) * b) / bottom
