"""A cache of values computed from tensors, with one rule for when a cached value may be reused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from .speed import shortcuts

__all__ = ["Memo", "host_may_look", "is_traced", "traced", "transforms_active"]

Value = TypeVar("Value")

_TRACED: ContextVar[bool] = ContextVar("bayeshnet_traced", default=False)


class Memo(Generic[Value]):
    """A cache of the last few values computed from tensors.

    A cached value is reused if all of these conditions hold, else it is computed again:

    - the keys are the same objects, and no tensor among them has been modified in place since, nor been given other
      data (``module.to(...)``, ``vector_to_parameters``);
    - autograd would record the same graph: gradients are enabled as before, if any key requires them;
    - inference mode is the same as before, since a tensor created in it cannot be used for training.

    Changes that torch does not count are not seen: those of tensors created in inference mode, which have no version
    counter, changes through ``x.data``, and steps of torch's fused optimizers unless they are made by
    :func:`~bayeshnet.optim.make_adam`. After these call ``torch.autograd.graph.increment_version``.
    Nothing is cached or reused under ``torch.func`` transforms, forward-mode differentiation or compilation, or with
    the shortcut ``memo`` switched off.

    Args:
        size: maximum number of cached values; the oldest one is dropped first.
        known: True for values that the host knows and that are no tensors, of keys that steps do not change: they are
            reused in programs that are recorded, too, where nothing may be computed anew.

    Example:
        >>> memo, x = Memo(), torch.ones(2)
        >>> memo.get((x,), lambda: x + 1) is memo.get((x,), lambda: x + 1)
        True
        >>> before = memo.get((x,), lambda: x + 1)
        >>> before is memo.get((x.add_(1),), lambda: x + 1)
        False
    """

    def __init__(self, size: int = 1, *, known: bool = False) -> None:
        self.size, self.known = size, known
        self._cached: list[tuple[tuple[Any, ...], tuple[Any, ...], Value]] = []

    def get(self, keys: tuple[Any, ...], make: Callable[[], Value]) -> Value:
        """Return the cached value for ``keys``, or compute it by ``make`` and cache it.

        Args:
            keys: tensors and other objects on which the value depends, compared by identity.
            make: function that computes the value.
        """
        if not _enabled(self.known):
            return make()
        state = _state(keys)
        value = self._find(keys, state)
        if value is None:
            value = (make(),)
            self._cached = [(keys, state, value[0]), *self._cached][: self.size]
        return value[0]

    def peek(self, keys: tuple[Any, ...]) -> Value | None:
        """Return the cached value for ``keys``, or None."""
        value = self._find(keys, _state(keys)) if _enabled(self.known) else None
        return None if value is None else value[0]

    def clear(self) -> None:
        """Drop all cached values."""
        self._cached = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Memo[Value]:
        """Copy the settings alone: the tensors of a copied object are other keys."""
        return type(self)(self.size, known=self.known)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings alone."""
        return _made, (type(self), self.size, self.known)

    def _find(self, keys: tuple[Any, ...], state: tuple[Any, ...]) -> tuple[Value] | None:
        """Return the cached value in a tuple, as it may itself be None; or None if there is no such value."""
        for cached_keys, cached_state, value in self._cached:
            same_number = len(cached_keys) == len(keys)
            if same_number and cached_state == state and all(a is b for a, b in zip(cached_keys, keys, strict=True)):
                return (value,)
        return None


def transforms_active() -> bool:
    """Return True under function transforms, forward-mode differentiation or compilation.

    Fused or in-place operations and caches must not be used then.
    """
    if torch.compiler.is_compiling():  # asked first: the compiler does not follow the rest
        return True
    functorch = torch._C._functorch.peek_interpreter_stack() is not None
    return functorch or forward_ad._current_level >= 0 or _TRACED.get()


@contextmanager
def traced() -> Iterator[None]:
    """Let code within the context depend on no value: it is recorded, to be run again with other ones."""
    token = _TRACED.set(True)
    try:
        yield
    finally:
        _TRACED.reset(token)


def is_traced() -> bool:
    """Return whether the code is being recorded, and must not use results of what runs around it."""
    return _TRACED.get()


def host_may_look(x: Tensor) -> bool:
    """Return whether the values of a tensor may be looked at in a training step: on the CPU, unless it is recorded.

    Under ``torch.func.vmap``, where a tensor stands for several, they may not.

    Example:
        >>> with traced():
        ...     host_may_look(torch.zeros(2))
        False
        >>> host_may_look(torch.zeros(2))
        True
    """
    if x.device.type != "cpu" or _TRACED.get():
        return False
    if torch.compiler.is_compiling():  # the compiler does not follow the rest
        return True
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return all(level.key() != torch._C._functorch.TransformType.Vmap for level in stack)


def _enabled(known: bool) -> bool:
    return shortcuts().memo and (not transforms_active() or (known and _TRACED.get()))


def _made(kind: type[Memo[Any]], size: int, known: bool) -> Memo[Any]:
    """Make a cache with settings that have names."""
    return kind(size, known=known)


def _state(keys: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the modes and the versions of tensors that a value depends on besides its keys."""
    tensors = [key for key in keys if isinstance(key, Tensor)]
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    versions = tuple(_version(t) for t in tensors)
    return recorded, torch.is_inference_mode_enabled(), versions


def _version(x: Tensor) -> tuple[Any, ...]:
    """Return what changes with the data of a tensor: its counter, and where the data are."""
    stored = type(x) in (Tensor, Parameter) and x.layout == torch.strided  # others may have no address
    address = x.data_ptr() if stored else 0
    return 0 if x.is_inference() else x._version, address, x.dtype
