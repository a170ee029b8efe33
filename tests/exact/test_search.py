"""Searches for the largest value: where it is, and by how many evaluations."""

from __future__ import annotations

import math

import pytest

from bayeshnet.exact.search import maximize_slow

CURVES = {
    "parabola": (lambda a: -((a - 0.3) ** 2), 0.3),
    "cosh": (lambda a: -math.cosh(a - 2.37), 2.37),
    "log cosh": (lambda a: -math.log(math.cosh(3 * (a - 2))), 2.0),
    "partly defined": (lambda a: -math.inf if a < 0 else -((a - 1) ** 2), 1.0),
    "falling": (lambda a: -a, -18.0),
    "rising": (lambda a: a, 10.0),
}


@pytest.mark.parametrize(("curve", "right"), CURVES.values(), ids=CURVES)
def test_maxima_are_found_from_anywhere(curve, right):
    for start in (None, -18.0, -1.0, 0.0, 2.3, 10.0):
        assert maximize_slow(curve, -18.0, 10.0, start) == pytest.approx(right, abs=1e-3)


@pytest.mark.parametrize(("start", "most"), [(None, 12), (2.3, 7)])
@pytest.mark.parametrize("name", ["parabola", "cosh", "log cosh"])
def test_smooth_curves_need_few_evaluations(name, start, most):
    """A parabola is exact after one step; a start that is close saves the eight points that look for it."""
    seen = []

    def counted(a):
        seen.append(a)
        return CURVES[name][0](a)

    maximize_slow(counted, -18.0, 10.0, start)
    assert len(seen) <= most


def test_the_higher_of_two_maxima_is_found():
    def two(a):
        return 3 * math.exp(-((a - 7) ** 2)) + math.exp(-((a + 4) ** 2) / 8)

    assert maximize_slow(two, -18.0, 10.0) == pytest.approx(7.0, abs=1e-3)
