"""Splits and tasks that cannot be learned are refused where they are made, by the name of the part."""

import pytest
import torch

from bayeshnet.tasks import Split, Task

X, LABELS, VALUES = torch.randn(6, 3), torch.arange(6) % 2, torch.randn(6, 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Split(X[:0], LABELS[:0]), "x: expected at least one example in each split of a task"),
        (lambda: Split(X, LABELS[:5]), r"y: expected as many targets as inputs \(6\)"),
        (
            lambda: Task("a", Split(X, LABELS), Split(X[:, :2], LABELS), 2),
            r"test of task 'a': expected inputs of shape \(3,\) as in train",
        ),
        (
            lambda: Task("a", Split(X, LABELS), Split(X, LABELS), 2, validation=Split(X[:, :1], LABELS)),
            r"validation of task 'a': expected inputs of shape \(3,\) as in train",
        ),
        (
            lambda: Task("a", Split(X, LABELS.float()), Split(X, LABELS), 2),
            "train, targets of task 'a': expected class indices",
        ),
        (
            lambda: Task("a", Split(X, LABELS), Split(X, LABELS[:, None]), 2),
            "test, targets of task 'a': expected class indices",
        ),
        (lambda: Task("a", Split(X, VALUES), Split(X, VALUES[:, :1]), 2, "regression"), "test, targets of task 'a'"),
    ],
)
def test_what_cannot_be_learned_is_named(make, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        make()


def test_values_of_one_output_get_their_dimension():
    task = Task("a", Split(X, VALUES[:, 0]), Split(X, VALUES[:, :1]), 1, "regression")
    assert task.train.y.shape == task.test.y.shape == (6, 1)
    assert torch.equal(task.train.y, task.test.y)
