"""Predictions for more inputs than memory holds, written to files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...checks import check_data, check_path
from ...errors import check_choice, check_size, type_error, value_error
from ...files import read_arrays, writing_arrays
from ...mnets.inputs import Inputs, num_examples, split_inputs

__all__ = ["write_predictions"]

_WRITTEN = ("mean", "total", "aleatoric", "epistemic")
_NUMPY = {torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64}


class _InBatches(Protocol):
    """A predictor of batch after batch under the same draws."""

    def batches(
        self, batches: Iterable[Inputs], cond_id: Any = ..., cond_input: Tensor | None = ..., *, generator: Any = ...
    ) -> Iterator[Any]: ...


def write_predictions(
    predictive: _InBatches,
    folder: str | Path,
    x: Inputs,
    cond_id: Any = None,
    cond_input: Tensor | None = None,
    *,
    dtype: torch.dtype = torch.float16,
    batch_size: int = 2**14,
    generator: torch.Generator | None = None,
) -> dict[str, np.memmap]:
    """Predict for inputs of any number under the same draws, and write the predictions to a folder.

    Memory is that of one batch. The files ``mean.npy`` ``(N, C)``, ``total.npy``, ``aleatoric.npy`` and
    ``epistemic.npy`` ``(N,)`` are those of :class:`~bayeshnet.inference.Prediction`. They appear when all are whole.

    Args:
        predictive: what predicts.
        folder: created if necessary; files of the same names are replaced.
        x: inputs, or a tuple of several; ``torch.from_numpy`` of an array that is mapped into memory will do.
        cond_id: condition of the guide.
        cond_input: the same as a vector.
        dtype: of the files; half precision holds three digits, and nothing between 0 and 6e-8.
        batch_size: inputs at a time.
        generator: of the draws.

    Returns:
        The arrays by name, mapped into memory for reading.

    Raises:
        ValueError: if ``dtype`` cannot hold a prediction.
        OSError: if the files cannot be written; older ones are left as they were.

    Example:
        >>> import tempfile
        >>> from bayeshnet import Predictive
        >>> from bayeshnet.guides import Categorical, MeanFieldGuide
        >>> net = torch.nn.Linear(4, 3)
        >>> predictive = Predictive(MeanFieldGuide(net), net, Categorical(), num_samples=10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_predictions(predictive, folder, torch.randn(7, 4))["mean"].shape
        (7, 3)
    """
    if not callable(getattr(predictive, "batches", None)):
        raise type_error("predictive", expected="a Predictive", got=predictive)
    folder = check_path("folder", folder)
    check_choice("dtype", dtype, tuple(_NUMPY))
    for part in x if isinstance(x, tuple) else (x,):
        check_data("x", part, "inputs in a dense tensor, or a tuple of several")
    size, total = check_size("batch_size", batch_size), num_examples(x)
    if not total:
        raise value_error("x", expected="at least one input", got=x)
    try:
        predictions = predictive.batches(split_inputs(x, size), cond_id, cond_input, generator=generator)
        return _write(folder, predictions, total, dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("batches: number", "x: batch number")) from error


def _write(folder: Path, predictions: Iterator[Any], total: int, dtype: torch.dtype) -> dict[str, np.memmap]:
    first = next(predictions)
    shapes = {name: (total, *getattr(first, name).shape[1:]) for name in _WRITTEN}
    with writing_arrays(folder, shapes, _NUMPY[dtype]) as arrays:
        at = 0
        for prediction in chain([first], predictions):
            for name, array in arrays.items():
                values = getattr(prediction, name)
                array[at : at + len(values)] = _fitting(values, dtype).cpu().numpy()
            at += len(prediction.mean)
    return read_arrays(folder, _WRITTEN)


def _fitting(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return predictions in another precision, if that can hold them."""
    made = values.to(dtype)
    if bool(made.isinf().any()) and not bool(values.isinf().any()):
        expected = "a precision that holds the predictions"
        raise value_error("dtype", expected=expected, got=dtype, hint="Choose torch.float32.")
    return made
