"""Checks of arguments: accepted values come back, others are refused with argument, expectation, finding and advice."""

import math

import pytest
import torch
from torch import nn

from bayeshnet.errors import (
    MissingExtraError,
    check_choice,
    check_finite,
    check_flags,
    check_function,
    check_int,
    check_ints,
    check_number,
    check_positive,
    check_shape,
    check_tensors,
    describe,
    type_error,
    value_error,
)

X = torch.zeros(4, 2)


class Index:
    """An integer of another type, as numpy has."""

    def __index__(self):
        return 3


ACCEPTED = [
    (lambda: check_choice("x", "a", ("a", "b")), "a"),
    (lambda: check_int("x", 3, 3), 3),
    (lambda: check_int("x", Index()), 3),
    (lambda: check_ints("x", (1, 2), 1, count=2), [1, 2]),
    (lambda: check_ints("x", []), []),
    (lambda: check_flags(x=True, y=0), None),
    (lambda: check_function("x", None), None),
    (lambda: check_function("x", math.sin), math.sin),
    (lambda: check_number("x", 1, 1, 1), 1.0),
    (lambda: check_positive("x", 1e-9), 1e-9),
    (lambda: check_shape("x", X, (4, 2)), X),
    (lambda: check_shape("x", X, (None, 2)), X),
    (lambda: check_shape("x", X, (-1, 2)), X),
    (lambda: check_finite("x", X), X),
    (lambda: check_finite("x", torch.empty(2, device="meta")).shape, (2,)),
    (lambda: check_tensors("x", (), []), []),
]


@pytest.mark.parametrize(("check", "value"), ACCEPTED)
def test_accepted_values_come_back(check, value):
    found = check()
    assert found is value if isinstance(value, torch.Tensor) else found == value
    assert type(found) is type(value) or isinstance(value, torch.Tensor | tuple)


REFUSED = [
    (lambda: check_choice("x", "c", ("a", "b"), "See y."), ValueError, "x: expected one of 'a', 'b', got 'c'. See y."),
    (lambda: check_int("x", 2, 3, "Why."), ValueError, "x: expected an integer >= 3, got 2. Why."),
    (lambda: check_int("x", True), TypeError, "x: expected an integer, got True."),
    (lambda: check_int("x", 1.0), TypeError, "x: expected an integer, got 1.0."),
    (lambda: check_int("x", torch.tensor(1)), TypeError, "x: expected an integer, got a tensor of shape ()"),
    (lambda: check_ints("x", "12"), TypeError, "x: expected a list or tuple of integers, got '12'."),
    (lambda: check_ints("x", [1], count=2), ValueError, "x: expected 2 integers, got [1]."),
    (lambda: check_ints("x", [1, 0], 1), ValueError, "x: expected an integer >= 1, got 0."),
    (lambda: check_flags(x=True, y=2), TypeError, "y: expected True or False, got 2."),
    (lambda: check_function("x", 3), TypeError, "x: expected a function of a tensor, or None, got 3."),
    (lambda: check_function("x", nn.ReLU), TypeError, "Pass an instance such as torch.nn.ReLU()."),
    (lambda: check_number("x", math.nan), ValueError, "x: expected a finite number, got nan."),
    (lambda: check_number("x", 2, 0, 1), ValueError, "x: expected a finite number >= 0 and <= 1, got 2."),
    (lambda: check_number("x", "1"), TypeError, "x: expected a finite number, got '1'."),
    (lambda: check_positive("x", 0, "Why."), ValueError, "x: expected a number > 0, got 0. Why."),
    (lambda: check_shape("x", X, (2, None)), ValueError, "x: expected a tensor of shape (2, any), got a tensor of sh"),
    (lambda: check_shape("x", X, (-1, 3)), ValueError, "x: expected a tensor of shape (..., 3), got a tensor"),
    (lambda: check_shape("x", [1], (1,)), TypeError, "x: expected a torch.Tensor, got [1]."),
    (lambda: check_finite("x", X / 0), ValueError, "x: expected finite values, got NaN or infinity among its entries."),
    (lambda: check_tensors("x", X, [(4, 2)]), TypeError, "x: expected a list of 1 tensors, got a tensor"),
    (lambda: check_tensors("x", [X], []), ValueError, "x: expected 0 tensors, got 1."),
    (lambda: check_tensors("x", [X, X], [(4, 2), (3,)]), ValueError, "x[1]: expected a tensor of shape (3), got"),
    (lambda: check_tensors("x", [X], [(3,)], ["a.b"]), ValueError, "x['a.b']: expected a tensor of shape (3), got"),
]


@pytest.mark.parametrize(("check", "kind", "message"), REFUSED)
def test_messages(check, kind, message):
    with pytest.raises(kind) as caught:
        check()
    assert message in str(caught.value)


def test_a_leading_minus_one_admits_any_batch():
    for batch in ((), (3,), (3, 1)):
        check_shape("x", torch.zeros(*batch, 2), (-1, 2))


def test_parts_of_a_message():
    assert str(value_error("x", expected="a", got="b")) == "x: expected a, got 'b'."
    assert str(type_error("x", expected="a", got="b", found="c", hint="Do d.")) == "x: expected a, got c. Do d."
    assert str(value_error("x", expected="a", found="")) == "x: expected a, got ."


def test_descriptions_are_short():
    assert describe(list(range(10))) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    assert describe(list(range(100))).startswith("a list, [0, 1, ")
    assert len(describe("x" * 1000)) < 100


def test_missing_extras_say_how_to_install_them():
    error = MissingExtraError("rich", "app", "A progress bar")
    assert isinstance(error, ImportError)
    assert str(error).endswith("needs the package 'rich'; install it with: pip install 'bayeshnet[app]'")
