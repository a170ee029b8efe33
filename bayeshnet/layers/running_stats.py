"""Several sets of running statistics in one layer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_int, value_error

__all__ = ["RunningStats"]


class RunningStats(nn.Module, ABC):
    """A layer with sets of running means and variances, which are buffers or parameters ``mean_0``, ``var_0``, ...

    With ``momentum=None`` a buffer ``count_0``, ... has the number of batches that each set averages.
    """

    _num_features: int
    _momentum: float | None
    _track_running_stats: bool
    _learnable_stats: bool
    _num_stats: int
    _like: Tensor
    """An empty tensor of the dtype and on the device of the first set."""

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Normalize ``inputs``."""

    @property
    def num_stats(self) -> int:
        """Number of sets of running statistics."""
        return self._num_stats

    def checkpoint_stats(self, device: torch.device | str | None = None) -> None:
        """Start a new set of running statistics (mean 0, variance 1), on ``device`` or on that of the last set."""
        if not (self._track_running_stats or self._learnable_stats):
            raise value_error("track_running_stats", expected="True where statistics are checkpointed", got=False)
        self._add_stats(device)

    def drop_stats(self) -> None:
        """Give up all running statistics: from now on the layer normalizes by the statistics of the batch."""
        if self._learnable_stats:
            raise value_error("learnable_stats", expected="False where statistics are given up", got=True)
        for name in [name for name in self._buffers if name != "_like"]:
            delattr(self, name)
        self._track_running_stats, self._num_stats = False, 0

    def _add_stats(self, device: torch.device | str | None = None) -> None:
        like = self.get_stats()[0] if self._num_stats else self._like
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device if device is None else device}
        mean, var = torch.zeros(self._num_features, **where), torch.ones(self._num_features, **where)
        for name, value in ((f"mean_{self._num_stats}", mean), (f"var_{self._num_stats}", var)):
            if self._learnable_stats:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        if self._momentum is None:
            self.register_buffer(f"count_{self._num_stats}", torch.zeros((), dtype=torch.long, device=where["device"]))
        self._num_stats += 1

    def get_stats(self, stats_id: int | None = None) -> tuple[Tensor, Tensor]:
        """Return running mean and variance ``(C,)`` of set ``stats_id``, by default of the most recent one."""
        if self._num_stats == 0:
            raise value_error("stats_id", expected="a layer that keeps statistics", found="track_running_stats=False")
        i = self._num_stats - 1 if stats_id is None else self._stats_id(stats_id)
        store: Mapping[str, Any] = self._parameters if self._learnable_stats else self._buffers
        return store[f"mean_{i}"], store[f"var_{i}"]

    def _stats_id(self, stats_id: int | None) -> int:
        """Check the number of a set; None is the only set, and an error if there are several."""
        expected = f"an integer below {self._num_stats}"
        if stats_id is None:
            if self._num_stats > 1:
                hint = "The layer has several sets of statistics."
                raise value_error("stats_id", expected=expected, got=None, hint=hint)
            return 0
        if check_int("stats_id", stats_id, 0) >= self._num_stats:
            hint = "checkpoint_stats() adds a set of statistics."
            raise value_error("stats_id", expected=expected, got=stats_id, hint=hint)
        return int(stats_id)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Add sets of statistics until there are as many as in the state, so that it can be loaded."""
        found = [re.fullmatch(re.escape(prefix) + r"mean_(\d+)", key) for key in state_dict]
        for _ in range(self._num_stats, sum(m is not None for m in found)):
            self._add_stats()
        super()._load_from_state_dict(state_dict, prefix, *args)
