"""Map-style data sets of pairs made of rows that are dicts, and of arrays in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...checks import check_callable, check_items, check_text
from ...errors import check_flags, type_error, value_error
from ...tasks.reading import is_map_style

__all__ = ["ArrayRows", "DictRows", "as_tensor", "check_mode"]


def as_tensor(value: Any) -> Tensor:
    """Turn one input into a tensor: images of Pillow and bytes become floating, channels first, in [0, 1].

    Images with a palette become RGB. Those of more than eight bits a channel are refused, as their range is not known.

    Example:
        >>> as_tensor(np.full((2, 2), 255, dtype=np.uint8))
        tensor([[1., 1.],
                [1., 1.]])
    """
    if hasattr(value, "getbands"):  # an image of Pillow
        check_mode("image", value.mode)
        as_shown = {"1": "L", "P": "RGB", "PA": "RGB"}.get(value.mode, value.mode)
        image = torch.from_numpy(np.array(value.convert(as_shown)))
        value = image.unsqueeze(0) if image.ndim == 2 else image.permute(2, 0, 1)
    tensor = torch.as_tensor(value)
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor


def check_mode(where: str, mode: str) -> None:
    """Refuse images of Pillow of more than eight bits a channel, such as ``"I;16"`` and ``"F"``.

    Pillow cuts their values at 255 where it converts them, so that most of them become white.
    """
    if mode.startswith(("I", "F")):
        hint = "Scale its values to 0 to 255, or read it in a data set of your own."
        raise value_error(where, expected="an image of eight bits a channel", found=f"one of mode {mode}", hint=hint)


@final
class DictRows(Dataset[tuple[Any, Any]]):
    """Pairs ``(x, y)`` of rows that are dicts, such as those of Hugging Face ``datasets``.

    Args:
        rows: gives a dict by number. If it has ``column_names``, like a data set of Hugging Face, its targets are read
            as a column, without its inputs.
        x: name of the input, or a list of names of several inputs.
        y: name of the target.
        transform: function that makes a tensor of one input; None for images of Pillow, bytes, numbers and arrays.

    Example:
        >>> rows = [{"pixels": [0.5, 1.0], "label": 3}, {"pixels": [0.0, 1.0], "label": 1}]
        >>> DictRows(rows, "pixels")[1]
        (tensor([0., 1.]), 1)
    """

    def __init__(
        self,
        rows: Any,
        x: str | Sequence[str] = "image",
        y: str = "label",
        transform: Callable[[Any], Tensor] | None = None,
    ) -> None:
        if not is_map_style(rows) and not isinstance(rows, (list, tuple)):
            raise type_error("rows", expected="rows by number (with __len__ and __getitem__)", got=rows)
        self.rows = rows
        self.x = x if isinstance(x, str) else check_items("x", x, "a name, or a list of names", str, 1)
        self.y = check_text("y", y, "the name of the target")
        self.transform = None if transform is None else check_callable("transform", transform)

    def __repr__(self) -> str:
        """Show how many rows there are, and what is read of each."""
        return f"DictRows({len(self)} rows, x={self.x!r}, y={self.y!r})"

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        """Return the pair of one row."""
        row = self.rows[number]
        names = [self.x] if isinstance(self.x, str) else list(self.x)
        if not isinstance(row, Mapping):
            raise type_error(f"rows, row {number}", expected="a dict", got=row)
        missing = [name for name in (*names, self.y) if name not in row]
        if missing:
            found = f"one with {', '.join(map(str, row))}"
            raise value_error(f"rows, row {number}", expected=f"a row with {', '.join(missing)}", found=found)
        make = as_tensor if self.transform is None else self.transform
        inputs = tuple(make(row[name]) for name in names)
        return (inputs[0] if isinstance(self.x, str) else inputs), row[self.y]

    @property
    def targets(self) -> Any:
        """Targets of all rows, where these are known without reading the inputs; else None."""
        if hasattr(self.rows, "column_names") and self.y in self.rows.column_names:
            return list(self.rows[self.y])
        return None


@final
class ArrayRows(Dataset[tuple[Tensor, Any]]):
    """Pairs of the rows of arrays, such as memory-mapped ones (``numpy.load(file, mmap_mode="r")``), copied one by one.

    Args:
        x: inputs ``(N, ...)``; ``uint8`` is divided by 255.
        y: targets, one per input.
        tokens: True for inputs that are integers and stay so.

    Example:
        >>> data = ArrayRows(np.arange(6, dtype=np.uint8).reshape(3, 2), [5, 6, 7], tokens=True)
        >>> data[2], data.targets
        ((tensor([4, 5]), 7), tensor([5, 6, 7]))
    """

    def __init__(self, x: Any, y: Any, tokens: bool = False) -> None:
        if not hasattr(x, "dtype") or not hasattr(x, "shape") or not len(x.shape):
            raise type_error("x", expected="an array (N, ...)", got=x)
        check_flags(tokens=tokens)
        try:
            self.targets = torch.as_tensor(np.asarray(y))
        except (TypeError, ValueError) as error:
            raise type_error("y", expected="an array of numbers", got=y) from error
        if self.targets.ndim == 0 or len(self.targets) != len(x):
            raise value_error("y", expected=f"as many targets as inputs ({len(x)})", got=y)
        self.x, self.tokens = x, bool(tokens)

    def __repr__(self) -> str:
        """Show how many rows there are, of which shape and type."""
        return f"ArrayRows({len(self)} rows {tuple(self.x.shape[1:])}, {self.x.dtype})"

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.x)

    def __getitem__(self, number: int) -> tuple[Tensor, Any]:
        """Return a copy of one row as a tensor, and its target."""
        row = torch.as_tensor(np.array(self.x[number]))
        if self.tokens:
            return row.long(), self.targets[number].item()
        row = as_tensor(row)
        return (row if row.is_floating_point() else row.float()), self.targets[number].item()
