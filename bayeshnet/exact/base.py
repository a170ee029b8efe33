"""Sufficient statistics of features and targets, which exact heads are made of: order-free, one pass, mergeable."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..checks import check_data
from ..errors import check_int, check_number, check_shape, check_size, type_error, value_error
from .examples import check_classes, check_features, check_values, check_weights, typical_weights
from .products import add_products, add_rough_products, is_rough

__all__ = ["ExactHead"]

_CHUNK = 4096
_MOST = 2**14


class ExactHead(nn.Module, ABC):
    r"""A head that learns features :math:`\varphi(x)` and targets exactly, by sums over examples.

    With :math:`\tilde\varphi = (\varphi, 1)` the sums are

    .. math:: G = \sum_i \tilde\varphi_i \tilde\varphi_i^\top, \qquad B = \sum_i \tilde\varphi_i y_i^\top, \qquad
       s_c = \sum_i y_{ic}^2 .

    Classes are vectors :math:`y` with a one for the class, so that :math:`B` holds the sum of the features of each
    class and the number of its examples. The sums do not depend on the order of the examples nor on how these are
    divided into batches; sums of two heads add. They are kept in double precision, wherever the module is moved; of
    more than 1,024 features in single precision, products of up to 1,024 examples are summed in that precision
    (:class:`~bayeshnet.speed.Shortcuts`).

    Args:
        num_features: number :math:`D` of features.
        num_outputs: number of target values; None for classes, which appear as they come.
        forgetting: factor of all sums for each example that is learned later; 1 forgets nothing.

    Attributes:
        gram: :math:`G`, ``(D + 1, D + 1)``.
        cross: :math:`B`, ``(D + 1, C)``.
        square: :math:`s`, ``(C,)``.
        labels: the classes in ascending order, any integers, ``(C,)``; the numbers of the values otherwise.
    """

    gram: Tensor
    cross: Tensor
    square: Tensor
    labels: Tensor

    def __init__(self, num_features: int, num_outputs: int | None, forgetting: float) -> None:
        super().__init__()
        self.num_features = check_size("num_features", num_features)
        if self.num_features > _MOST:
            raise value_error("num_features", expected=f"at most {_MOST} features", got=num_features)
        self.num_outputs = None if num_outputs is None else check_size("num_outputs", num_outputs)
        if self.num_outputs is not None and self.num_outputs > _MOST:
            raise value_error("num_outputs", expected=f"at most {_MOST} values", got=num_outputs)
        self.forgetting = check_number("forgetting", forgetting, 0.0, 1.0)
        if self.forgetting == 0:
            raise value_error("forgetting", expected="a number above 0", got=forgetting)
        width, outputs = self.num_features + 1, self.num_outputs or 0
        with torch.inference_mode(False):  # whose tensors count their changes, by which fits are kept
            self.register_buffer("gram", torch.zeros(width, width, dtype=torch.float64))
            self.register_buffer("cross", torch.zeros(width, outputs, dtype=torch.float64))
            self.register_buffer("square", torch.zeros(outputs, dtype=torch.float64))
            self.register_buffer("labels", torch.arange(outputs))

    @property
    def of_classes(self) -> bool:
        """True if targets are classes."""
        return self.num_outputs is None

    @property
    def count(self) -> float:
        """Number of examples learned; with forgetting, the sum of their weights."""
        return float(self.gram[-1, -1])

    @property
    def counts(self) -> Tensor:
        """Number of examples of each class, ``(C,)``."""
        return self.cross[-1]

    @property
    def mean_weights(self) -> Tensor:
        """Mean weight of examples of each class ``(C,)`` by ``forgetting`` alone, as if all classes had as many."""
        counts = self.counts if self.of_classes else torch.full_like(self.square, self.count / len(self.square))
        return typical_weights(counts, self.count, self.forgetting)

    @property
    def num_bytes(self) -> int:
        """Memory of all that is stored, in bytes."""
        return sum(t.numel() * t.element_size() for t in self.buffers())

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(self, features: Tensor, y: Tensor) -> Self:
        """Learn more examples, in one pass.

        Args:
            features: ``(N, D)``, floating.
            y: classes ``(N,)``, any integers, also new ones; or values ``(N, C)``.

        Returns:
            The head itself.

        Raises:
            ValueError: if an entry is not finite, or shapes do not fit. The head is then as it was.
        """
        wide, targets = self._checked(features, y)
        columns = self._columns(targets) if self.of_classes else None
        for start in range(0, len(wide), _CHUNK):
            stop = min(start + _CHUNK, len(wide))
            given = nn.functional.pad(wide[start:stop], (0, 1), value=1.0)
            part = given.to(self.gram)
            if columns is None:
                values = targets[start:stop].to(self.gram)
            else:
                values = nn.functional.one_hot(columns[start:stop], len(self.labels)).to(self.gram)
            weighted = part
            if self.forgetting < 1:
                ages = torch.arange(len(part) - 1, -1, -1, device=part.device, dtype=part.dtype)
                weight = (self.forgetting**ages).unsqueeze(1)
                weighted = part * weight
                self._scale(self.forgetting ** len(part))
                self.square.add_((values.square() * weight).sum(0))
            else:
                self.square.add_(values.square().sum(0))
            if is_rough(given) and self.forgetting == 1:
                add_rough_products(self.gram, given)
            else:
                add_products(self.gram, part, weighted)
            self.cross.addmm_(weighted.T, values)
        return self

    @torch.inference_mode(False)
    @torch.no_grad()
    def merge(self, other: ExactHead) -> Self:
        """Return a head that has learned what this one and another one have, such as one of another machine.

        Args:
            other: of the same kind, with the same settings, on the same features.
        """
        if type(other) is not type(self):
            raise type_error("other", expected=f"a {type(self).__name__}", got=other)
        own, others = self._settings(), other._settings()
        if own != others:
            raise value_error("other", expected=f"a head with the settings {own}", found=f"{others}")
        merged = copy.deepcopy(self)
        if self.of_classes:
            merged._make_room(other.labels.to(self.labels.device))
        place = torch.searchsorted(merged.labels, other.labels.to(merged.labels.device))
        merged.gram.add_(other.gram.to(merged.gram))
        merged.cross.index_add_(1, place, other.cross.to(merged.cross))
        merged.square.index_add_(0, place, other.square.to(merged.square))
        if isinstance(mine := merged._buffers.get("tally"), Tensor):
            mine.add_(other.get_buffer("tally").to(mine))
        return merged

    def forget(self, factor: float) -> Self:
        """Scale all sums: what has been learned so far then counts as if it were fewer examples.

        Args:
            factor: in (0, 1].

        Returns:
            The head itself.
        """
        number = check_number("factor", factor, 0.0, 1.0)
        if number == 0:
            raise value_error("factor", expected="a number above 0", got=factor)
        self._scale(number)
        return self

    @torch.inference_mode(False)
    def add_classes(self, labels: Tensor) -> Self:
        """Let classes ``(C,)`` be known of which no example has been learned; they are the least likely ones."""
        if not self.of_classes:
            raise value_error("labels", expected="a head of classes", found="one of values")
        check_shape("labels", check_data("labels", labels), (None,))
        if labels.is_floating_point():
            raise type_error("labels", expected="classes, as integers", got=labels)
        self._make_room(labels.to(device=self.labels.device, dtype=torch.int64).unique())
        return self

    @abstractmethod
    def log_evidence(self) -> float:
        """Return the log marginal likelihood of what has been learned, in nats, at its maximum."""

    @abstractmethod
    def linear_map(self) -> Tensor:
        """Return the weights of the outputs, with the offsets in the last row, ``(D + 1, C)``."""

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """Compute scores of the classes ``(N, C)`` whose softmax are their probabilities."""

    @abstractmethod
    def left_out_logits(self, features: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute scores of the classes for learned examples, as if each had been left out, ``(N, C)``.

        Args:
            features: ``(N, D)``, of examples that the head has learned.
            y: their classes ``(N,)``.
            weight: their weights in the sums ``(N,)``: ``forgetting`` to the power of the number of later ones, times
                the factors of :meth:`forget` since. None for :attr:`mean_weights`, in which these factors are not.
        """

    def log_probs(self, features: Tensor) -> Tensor:
        """Compute the log-probabilities ``(N, C)`` of the classes :attr:`labels`.

        Args:
            features: ``(N, D)``.
        """
        if not self.of_classes:
            raise value_error("features", expected="a head of classes", found="one of values", hint="Use predict().")
        return self.logits(features).log_softmax(1)

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Give the buffers the shapes of a state dict that is about to be loaded."""
        for name in ("cross", "square", "labels"):
            if name in state:
                setattr(self, name, getattr(self, name).new_zeros(state[name].shape))

    def extra_repr(self) -> str:
        """Show the settings and the number of examples and classes."""
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings().items())
        return f"{settings}, count={self.count:g}, outputs={len(self.labels)}"

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the sums to another device, but keep their precision."""
        device = fn(self.gram.new_zeros(1)).device
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(device)
        return self

    def _scale(self, factor: float) -> None:
        for sums in (self.gram, self.cross, self.square):
            sums.mul_(factor)
        if isinstance(chosen := self._buffers.get("chosen"), Tensor):
            chosen[1] = -1.0  # the sums may be as many again, but are others

    def _wide(self, features: Tensor) -> Tensor:
        """Return checked features with the constant feature, in double precision."""
        check_features(features, self.num_features)
        if not self.gram[-1, -1] > 0:
            raise value_error(
                "features", expected="a head that has learned", found="one that has not", hint="Call update() first."
            )
        return nn.functional.pad(features.to(self.gram), (0, 1), value=1.0)

    def _checked(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and targets that fit, without having changed anything."""
        check_features(features, self.num_features)
        if self.num_outputs is None:
            return features, check_classes(y, features).to(self.labels)
        return features, check_values(y, features, self.num_outputs)

    def _learned(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return features with the constant feature, and for each learned example a vector with a one for its class."""
        wide = self._wide(features)
        targets = self._checked(features, y)[1].unsqueeze(1)
        if not bool((targets == self.labels).any(1).all()):
            raise value_error("y", expected="classes that the head knows", found="others")
        return wide, (targets == self.labels).to(wide)

    def _weights(self, weight: Tensor | None, features: Tensor, y: Tensor) -> Tensor:
        """Return the weights of learned examples in the sums, ``(N, 1)``."""
        if weight is not None:
            return check_weights(weight, features, self.gram)
        own = torch.searchsorted(self.labels, y.to(self.labels)) if self.of_classes else self.labels[:1]
        return self.mean_weights[own].unsqueeze(1)

    def _columns(self, y: Tensor) -> Tensor:
        """Return the columns of classes, after room has been made for new ones."""
        self._make_room(y.unique())
        return torch.searchsorted(self.labels, y)

    def _make_room(self, labels: Tensor) -> None:
        """Add columns for classes that are new, so that labels stay in ascending order."""
        every = torch.cat([self.labels, labels]).unique()
        if len(every) == len(self.labels):
            return
        check_int("y", len(every), 0)
        if len(every) > _MOST:
            raise value_error("y", expected=f"at most {_MOST} classes", found=f"{len(every)}")
        place = torch.searchsorted(every, self.labels)
        cross = self.cross.new_zeros(len(self.cross), len(every))
        square = self.square.new_zeros(len(every))
        cross[:, place], square[place] = self.cross, self.square
        self.cross, self.square, self.labels = cross, square, every
