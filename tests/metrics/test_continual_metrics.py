from __future__ import annotations

import math

import pytest
import torch

from bayeshnet.metrics import (
    average_accuracy,
    backward_transfer,
    during_accuracy,
    final_accuracy,
    forgetting,
    forward_transfer,
    summarize,
    task_inference_accuracy,
)

NAN = math.nan
#                           task 1  task 2  task 3
MATRIX = torch.tensor([[0.90, NAN, NAN], [0.95, 0.80, NAN], [0.70, 0.75, 0.60]], dtype=torch.float64)


def test_summaries_worked_out_by_hand():
    assert float(during_accuracy(MATRIX)) == pytest.approx((0.9 + 0.8 + 0.6) / 3)
    assert float(final_accuracy(MATRIX)) == pytest.approx((0.7 + 0.75 + 0.6) / 3)
    assert float(average_accuracy(MATRIX)) == pytest.approx((0.9 + 1.75 / 2 + 2.05 / 3) / 3)
    assert float(backward_transfer(MATRIX)) == pytest.approx((-0.2 - 0.05) / 2)
    assert float(forgetting(MATRIX)) == pytest.approx((0.25 + 0.05) / 2)
    assert float(forgetting(MATRIX, "during")) == pytest.approx((0.2 + 0.05 + 0) / 3)


def test_forgetting_from_the_best_is_negative_for_what_got_better_at_the_end():
    matrix = torch.tensor([[0.5, NAN], [0.6, 0.7]], dtype=torch.float64)
    assert float(forgetting(matrix, "best")) == pytest.approx(-0.1)


def test_summary_holds_the_functions_of_the_same_names():
    summary = summarize(MATRIX)
    assert summary.during == float(during_accuracy(MATRIX))
    assert summary.final == float(final_accuracy(MATRIX))
    assert summary.average == float(average_accuracy(MATRIX))
    assert summary.backward_transfer == float(backward_transfer(MATRIX))
    assert summary.forgetting == summary.forgetting_from_best == float(forgetting(MATRIX, "best"))
    assert summary.forgetting_during == float(forgetting(MATRIX, "during"))


def test_entries_above_the_diagonal_do_not_matter():
    filled = MATRIX.nan_to_num(123.0)
    assert summarize(filled) == summarize(MATRIX)


def test_forward_transfer():
    ahead = MATRIX.nan_to_num(0.55)
    assert float(forward_transfer(ahead, 0.5)) == pytest.approx(0.05)
    assert float(forward_transfer(ahead, torch.tensor([9.0, 0.5, 0.6], dtype=torch.float64))) == pytest.approx(
        0.0, abs=1e-6
    )
    with pytest.raises(ValueError, match="Evaluate the next task too"):
        forward_transfer(MATRIX, 0.5)


def test_a_single_task_neither_forgets_nor_transfers():
    one = torch.tensor([[0.9]])
    summary = summarize(one)
    assert (summary.backward_transfer, summary.forgetting, summary.forgetting_from_best) == (0, 0, 0)
    assert float(forward_transfer(one, 0.5)) == 0


def test_task_inference_accuracy():
    scores = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert float(task_inference_accuracy(scores, 1)) == pytest.approx(2 / 3)
    assert float(task_inference_accuracy(scores, torch.tensor([1, 0, 1]))) == 1


def test_task_inference_of_batches_sums_the_scores():
    scores = torch.tensor([[0.0, 1.0], [3.0, 1.0], [0.0, 3.0], [1.0, 0.0], [5.0, 0.0]])
    assert (
        float(task_inference_accuracy(scores, 1, batch_size=2)) == 0.5
    )  # sums (3, 2) and (1, 3); the fifth is left out
    assert float(task_inference_accuracy(scores, 0, batch_size=9)) == 1
    with pytest.raises(ValueError, match="one number for all"):
        task_inference_accuracy(scores, torch.zeros(5, dtype=torch.int64), batch_size=2)


def test_bad_matrices_are_named():
    with pytest.raises(ValueError, match="rows in time"):
        final_accuracy(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="NaN"):
        final_accuracy(torch.full((2, 2), NAN))
    with pytest.raises(TypeError, match="matrix"):
        final_accuracy(torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="reference"):
        forgetting(MATRIX, "worst")
    with pytest.raises(ValueError, match="task"):
        task_inference_accuracy(torch.zeros(3, 2), torch.zeros(2))
