"""Gains and shifts of a modulation layer: access, initialization and checkpoints."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_int, check_number, value_error

__all__ = ["ModulationWeights"]


class ModulationWeights(nn.Module, ABC):
    """A layer with parameters ``gain`` and ``shift`` and with checkpoints of them, buffers ``gain_ckpt_0``, ..."""

    gain: nn.Parameter | None
    shift: nn.Parameter | None
    _num_features: tuple[int, ...]
    _no_weights: bool
    _no_gains: bool
    _no_shifts: bool
    _apply_gain_offset: bool
    _num_ckpts: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Modulate activations ``x``."""

    @property
    def neutral_gain(self) -> float:
        """Initial value of the gains: 0 with a gain offset, else 1."""
        return 0.0 if self._apply_gain_offset else 1.0

    @property
    def weights(self) -> nn.ParameterList | None:
        """Gains and shifts of the layer, or None."""
        own = [p for p in (self.gain, self.shift) if p is not None]
        return nn.ParameterList(own) if own else None

    @property
    def param_shapes(self) -> list[list[int]]:
        """Shapes of gains and shifts, whether parameters of the layer or not."""
        return [list(self._num_features) for _ in self.param_shapes_meta]

    @property
    def param_shapes_meta(self) -> list[str]:
        """Names of the entries of :attr:`param_shapes`: ``'gain'`` or ``'shift'``."""
        return ["gain"] * self.has_gains + ["shift"] * self.has_shifts

    @property
    def num_ckpts(self) -> int:
        """Number of checkpoints made by :meth:`checkpoint_weights`."""
        return self._num_ckpts

    @property
    def has_gains(self) -> bool:
        """True if the layer applies gains."""
        return not self._no_gains

    @property
    def has_shifts(self) -> bool:
        """True if the layer applies shifts."""
        return not self._no_shifts

    def checkpoint_weights(self, device: torch.device | str | None = None, no_reinit: bool = False) -> None:
        """Copy the present weights into buffers (a new checkpoint), then reset them unless ``no_reinit``."""
        self._require_weights()
        for name, value in (("gain", self.gain), ("shift", self.shift)):
            copy = None if value is None else value.detach().clone().to(device=device)
            self.register_buffer(f"{name}_ckpt_{self._num_ckpts}", copy)
        self._num_ckpts += 1
        if not no_reinit:
            self._reset()

    def get_weights(self, ckpt_id: int | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Return gains and shifts of checkpoint ``ckpt_id``, or the present ones if it is None or :attr:`num_ckpts`."""
        if ckpt_id is None or ckpt_id == self._num_ckpts:
            return self.gain, self.shift
        if check_int("ckpt_id", ckpt_id, 0) > self._num_ckpts:
            raise value_error("ckpt_id", expected=f"an integer up to {self._num_ckpts}", got=ckpt_id)
        return self._buffers[f"gain_ckpt_{ckpt_id}"], self._buffers[f"shift_ckpt_{ckpt_id}"]

    def normal_init(self, std: float = 1.0, generator: torch.Generator | None = None) -> None:
        """Draw weights from a normal distribution around no modulation."""
        self._require_weights()
        for value, mean in ((self.gain, self.neutral_gain), (self.shift, 0.0)):
            if value is not None:
                nn.init.normal_(value, mean=mean, std=std, generator=generator)

    def uniform_init(self, width: float = 1.0, generator: torch.Generator | None = None) -> None:
        """Draw weights uniformly within ``width`` of no modulation."""
        self._require_weights()
        for value, mean in ((self.gain, self.neutral_gain), (self.shift, 0.0)):
            if value is not None:
                nn.init.uniform_(value, mean - width, mean + width, generator=generator)

    def sparse_init(self, sparsity: float = 0.8, generator: torch.Generator | None = None) -> None:
        """Switch off the fraction ``sparsity`` of units by their gains; the others are not modulated."""
        self._require_weights()
        check_number("sparsity", sparsity, 0.0, 1.0)
        self._reset()
        if self.gain is not None:
            count = self.gain.numel()
            off = torch.randperm(count, generator=generator)[: int(count * sparsity)].to(self.gain.device)
            with torch.no_grad():
                self.gain.view(-1)[off] = -1.0 if self._apply_gain_offset else 0.0

    def _reset(self) -> None:
        """Set gains and shifts to no modulation."""
        if self.gain is not None:
            nn.init.constant_(self.gain, self.neutral_gain)
        if self.shift is not None:
            nn.init.zeros_(self.shift)

    def _require_weights(self) -> None:
        if self._no_weights:
            raise value_error("no_weights", expected="a layer that keeps its weights", found="no_weights=True")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Add checkpoints until there are as many as in the state, so that it can be loaded."""
        pattern = re.compile(re.escape(prefix) + r"(?:gain|shift)_ckpt_(\d+)")
        ids = [int(m.group(1)) for m in map(pattern.fullmatch, state_dict) if m]
        while self._num_ckpts <= max(ids, default=-1):
            self.checkpoint_weights(no_reinit=True)
        super()._load_from_state_dict(state_dict, prefix, *args)
