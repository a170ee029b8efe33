"""Checks of arguments: accepted values come back, others are refused with argument, expectation, finding and advice."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from bayeshnet import checks, errors
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


class ArrayOfOne:
    """Stands for an array of one entry in numpy 1, where it becomes a float."""

    ndim = 1

    def __float__(self):
        return 1.0


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
    (lambda: check_number("x", ArrayOfOne()), TypeError, "x: expected a finite number, got <tests"),
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


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: errors.check_size("n_in", 10**9),
            ValueError,
            "n_in: expected an integer <= 536870912, got 1",
        ),
        (lambda: errors.check_size("n_in", 0), ValueError, "n_in: expected an integer >= 1, got 0."),
        (lambda: errors.check_sizes("layers", [3, 2**30]), ValueError, "layers: expected an integer <= 536870912"),
        (lambda: errors.check_sizes("layers", [3], count=2), ValueError, "layers: expected 2 integers, got [3]."),
        (lambda: errors.check_floating("w", torch.arange(3)), TypeError, "w: expected a dense floating tensor, got"),
        (
            lambda: errors.check_floating("w", torch.eye(2).to_sparse()),
            TypeError,
            "w: expected a dense floating",
        ),
        (
            lambda: checks.check_dtype("dtype", torch.int64),
            TypeError,
            "dtype: expected a floating torch.dtype",
        ),
        (lambda: checks.check_device("device", "nowhere"), ValueError, "device: expected a device that is present"),
        (lambda: checks.check_texts("names", ["a"], 2), ValueError, "names: expected a list of 2 strings, or None"),
        (
            lambda: checks.check_texts("names", ["a", 2], 2),
            TypeError,
            "names: expected a list of 2 strings",
        ),
        (lambda: checks.check_generator(0), TypeError, "generator: expected a torch.Generator, or None, got 0."),
        (lambda: checks.check_devices("x", (torch.zeros(1, device="meta"),), torch.device("cpu")), ValueError, "x: "),
    ],
)
def test_checks_of_sizes_and_kinds(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_checks_return_what_is_good():
    assert errors.check_sizes("layers", (3, np.int64(4))) == [3, 4]
    assert errors.check_size("n", errors.LARGEST) == 2**29
    assert checks.check_texts("names", None, 3) is None
    assert checks.check_dtype("dtype", torch.bfloat16) is torch.bfloat16


def test_errors_of_a_users_function_and_of_torch_are_kept_as_the_cause():
    with pytest.raises(TypeError, match=r"select: expected a function, got one that raises TypeError: .*") as caught:
        checks.refusing("select", len, "a function")(1, 2)
    assert isinstance(caught.value.__cause__, TypeError)
    with (
        pytest.raises(ValueError, match="x: expected inputs, got RuntimeE") as caught,
        checks.naming("x", "inputs"),
    ):
        torch.zeros(2, 4) @ torch.zeros(3)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(torch.OutOfMemoryError), checks.naming("x", "inputs"):
        raise torch.OutOfMemoryError
