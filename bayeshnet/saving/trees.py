"""Nested mappings and lists of tensors and plain values, as a module of tensors and what JSON holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import type_error

__all__ = ["TensorTree"]

_PLAIN = (str, int, float, bool, type(None))


class TensorTree(nn.Module):
    """The tensors of a tree, which :func:`save_checkpoint` and :func:`load_checkpoint` take for a module.

    Example:
        >>> tree = TensorTree()
        >>> form = tree.pack({"moments": {0: torch.ones(2)}, "step": 3})
        >>> tree.unpack(form)
        {'moments': {0: tensor([1., 1.])}, 'step': 3}
    """

    def pack(self, value: Any) -> Any:
        """Keep the tensors of a tree, and return the rest of it as JSON holds it.

        Args:
            value: a tensor, a number, a text, None, or a mapping (of texts or integers), list or tuple of such.

        Raises:
            TypeError: if there is anything else in it.
        """
        if isinstance(value, Tensor):
            name = str(len(self._buffers))
            self.register_buffer(name, value)
            return {"tensor": name}
        if isinstance(value, Mapping):
            return {"mapping": [[key, self.pack(each)] for key, each in value.items()]}
        if isinstance(value, (list, tuple)):
            return {type(value).__name__: [self.pack(each) for each in value]}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(float(value))}  # JSON has none of them
        if type(value) in _PLAIN:
            return value
        raise type_error("value", expected="tensors and plain values in mappings and lists", got=value)

    def unpack(self, form: Any) -> Any:
        """Return the tree that :meth:`pack` took apart."""
        if not isinstance(form, Mapping):
            return form
        kind, inner = next(iter(form.items()))
        if kind == "tensor":
            return self.get_buffer(inner)
        if kind == "float":
            return float(inner)
        if kind == "mapping":
            return {key: self.unpack(each) for key, each in inner}
        values = [self.unpack(each) for each in inner]
        return tuple(values) if kind == "tuple" else values

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Make room for the tensors of a ``state_dict``."""
        for name, value in state.items():
            self.register_buffer(name, torch.empty_like(value))
