"""The one cache of values made from tensors, and the one rule for when a kept value may stand for a new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .speed import shortcuts

__all__ = ["Memo", "transforms_active"]

Value = TypeVar("Value")


class Memo(Generic[Value]):
    """The last few values made from tensors, each kept for as long as the same question is asked.

    A kept value is returned if all of this holds, else it is made anew:

    - the keys are the same objects as then, and no tensor among them has been modified in place;
    - autograd would record the same: gradients are enabled as they were, if a key needs them;
    - inference mode is as it was: a tensor made inside it cannot be used for training.

    While ``torch.func`` transforms, forward-mode derivatives or a compiler are active, or with the shortcut ``memo``
    switched off, nothing is kept or returned.

    Args:
        size: number of values kept; the one asked for least recently goes first.

    Example:
        >>> memo, x = Memo(), torch.ones(2)
        >>> memo.get((x,), lambda: x + 1) is memo.get((x,), lambda: x + 1)
        True
        >>> kept = memo.get((x,), lambda: x + 1)
        >>> kept is memo.get((x.add_(1),), lambda: x + 1)
        False
    """

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._kept: list[tuple[tuple[Any, ...], tuple[Any, ...], Value]] = []

    def get(self, keys: tuple[Any, ...], make: Callable[[], Value]) -> Value:
        """Return the value kept for ``keys`` (tensors and other objects, compared by identity), or make and keep it."""
        if not _may_keep():
            return make()
        state = _state(keys)
        value = self._find(keys, state)
        if value is None:
            value = (make(),)
            self._kept = [(keys, state, value[0]), *self._kept][: self.size]
        return value[0]

    def peek(self, keys: tuple[Any, ...]) -> Value | None:
        """Return the value kept for ``keys``, or None if it would have to be made."""
        value = self._find(keys, _state(keys)) if _may_keep() else None
        return None if value is None else value[0]

    def clear(self) -> None:
        """Forget all values."""
        self._kept = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Memo[Value]:
        """Begin empty: what was made from the tensors of the original is not made from those of the copy."""
        return type(self)(self.size)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the size alone."""
        return type(self), (self.size,)

    def _find(self, keys: tuple[Any, ...], state: tuple[Any, ...]) -> tuple[Value] | None:
        for kept_keys, kept_state, value in self._kept:
            if kept_state == state and all(a is b for a, b in zip(kept_keys, keys, strict=True)):
                return (value,)
        return None


def transforms_active() -> bool:
    """Return whether functions are being transformed or traced: use plain operations then, and keep nothing."""
    functorch = torch._C._functorch.peek_interpreter_stack() is not None
    return functorch or forward_ad._current_level >= 0 or torch.compiler.is_compiling()


def _may_keep() -> bool:
    return shortcuts().memo and not transforms_active()


def _state(keys: tuple[Any, ...]) -> tuple[Any, ...]:
    """The versions of tensors and the modes on which a value depends besides its keys."""
    tensors = [key for key in keys if isinstance(key, Tensor)]
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    versions = tuple(0 if t.is_inference() else t._version for t in tensors)
    return recorded, torch.is_inference_mode_enabled(), versions
