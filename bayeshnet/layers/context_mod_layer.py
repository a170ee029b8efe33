"""Context-dependent modulation: gains and shifts on activations, which a condition or a sample may have of its own."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_flags, check_int, check_ints, check_number, check_positive, check_shape, value_error

__all__ = ["ContextModLayer"]


class ContextModLayer(nn.Module):
    r"""Gain and shift modulation of activations, :math:`y = x \odot g + s`.

    Args:
        num_features: shape of gains and shifts (an int counts as one dimension); they broadcast against the
            activations, for example ``(C, 1, 1)`` for one gain per feature map.
        no_weights: whether gains and shifts are always given to :meth:`forward`.
        no_gains: whether there are no gains.
        no_shifts: whether there are no shifts.
        apply_gain_offset: use :math:`1 + g` for :math:`g`, so that zero means no modulation.
        apply_gain_softplus: use :math:`\log(1 + e^{s g}) / s` for :math:`g`, so that gains are positive.
        softplus_scale: the :math:`s` of the softplus.

    Shape:
        activations ``(N, ...)``; gains and shifts ``num_features``, or ``(N, *num_features)`` with a set per sample.

    Raises:
        ValueError: for options that exclude each other.

    Example:
        >>> layer = ContextModLayer(3, no_weights=True)
        >>> layer(torch.ones(2, 3), weights=[torch.full((3,), 2.0), torch.ones(3)])
        tensor([[3., 3., 3.],
                [3., 3., 3.]])
    """

    def __init__(
        self,
        num_features: int | Sequence[int],
        no_weights: bool = False,
        no_gains: bool = False,
        no_shifts: bool = False,
        apply_gain_offset: bool = False,
        apply_gain_softplus: bool = False,
        softplus_scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_flags(
            no_weights=no_weights,
            no_gains=no_gains,
            no_shifts=no_shifts,
            apply_gain_offset=apply_gain_offset,
            apply_gain_softplus=apply_gain_softplus,
        )
        if no_gains and no_shifts:
            raise value_error("no_shifts", expected="False when no_gains is chosen", got=True)
        if apply_gain_offset and apply_gain_softplus:
            raise value_error("apply_gain_softplus", expected="False when apply_gain_offset is chosen", got=True)
        sizes = num_features if isinstance(num_features, Sequence) else [num_features]
        self._num_features = tuple(check_ints("num_features", sizes, 1))
        self._no_weights, self._no_gains, self._no_shifts = no_weights, no_gains, no_shifts
        self._offset, self._softplus = apply_gain_offset, apply_gain_softplus
        self._softplus_scale = check_positive("softplus_scale", softplus_scale)
        self._num_ckpts = 0
        has_gain, has_shift = not (no_weights or no_gains), not (no_weights or no_shifts)
        self.gain = nn.Parameter(torch.empty(self._num_features)) if has_gain else None
        self.shift = nn.Parameter(torch.empty(self._num_features)) if has_shift else None
        self._reset()

    @property
    def neutral_gain(self) -> float:
        """Initial value of the gains: 0 with a gain offset, else 1."""
        return 0.0 if self._offset else 1.0

    def _reset(self) -> None:
        if self.gain is not None:
            nn.init.constant_(self.gain, self.neutral_gain)
        if self.shift is not None:
            nn.init.zeros_(self.shift)

    @property
    def weights(self) -> nn.ParameterList | None:
        """Gains and shifts that the layer keeps, or None."""
        kept = [p for p in (self.gain, self.shift) if p is not None]
        return nn.ParameterList(kept) if kept else None

    @property
    def param_shapes(self) -> list[list[int]]:
        """Shapes of gains and shifts, kept or not."""
        return [list(self._num_features) for _ in self.param_shapes_meta]

    @property
    def param_shapes_meta(self) -> list[str]:
        """What the entries of :attr:`param_shapes` are: ``'gain'`` or ``'shift'``."""
        return ["gain"] * self.has_gains + ["shift"] * self.has_shifts

    @property
    def num_ckpts(self) -> int:
        """Number of checkpoints made by :meth:`checkpoint_weights`."""
        return self._num_ckpts

    @property
    def gain_offset_applied(self) -> bool:
        """Whether 1 is added to gains."""
        return self._offset

    @property
    def gain_softplus_applied(self) -> bool:
        """Whether gains pass a softplus."""
        return self._softplus

    @property
    def has_gains(self) -> bool:
        """Whether the layer applies gains."""
        return not self._no_gains

    @property
    def has_shifts(self) -> bool:
        """Whether the layer applies shifts."""
        return not self._no_shifts

    def forward(
        self, x: Tensor, weights: Sequence[Tensor] | None = None, ckpt_id: int | None = None, bs_dim: int = 0
    ) -> Tensor:
        """Modulate activations ``x``.

        Args:
            x: activations.
            weights: tensors as in :attr:`param_shapes` to use instead of the layer's own, or with a leading dimension
                of the size of the batch.
            ckpt_id: which checkpoint of the layer's own weights to use.
            bs_dim: the batch dimension of ``x``.
        """
        if weights is None:
            given = [w for w in self.get_weights(ckpt_id) if w is not None]
            if not given:
                raise value_error("weights", expected="gains and shifts", got=None, hint="The layer keeps none.")
        else:
            if ckpt_id is not None:
                warnings.warn("ckpt_id is ignored since weights are given.", stacklevel=2)
            given = self._checked(weights, x.shape[bs_dim])
        parts = dict(zip(self.param_shapes_meta, given, strict=True))
        if "gain" in parts:
            x = x * self.preprocess_gain(parts["gain"])
        return x + parts["shift"] if "shift" in parts else x

    def _checked(self, weights: Sequence[Tensor], batch_size: int) -> list[Tensor]:
        names = self.param_shapes_meta
        if len(weights) != len(names):
            raise value_error("weights", expected=f"{len(names)} tensors", found=f"{len(weights)}")
        for name, tensor in zip(names, weights, strict=True):
            per_sample = tensor.ndim > len(self._num_features)
            shape = (batch_size, *self._num_features) if per_sample else self._num_features
            check_shape(f"weights ({name})", tensor, shape)
        return list(weights)

    def preprocess_gain(self, gain: Tensor) -> Tensor:
        """Turn raw gains into those that are applied (offset or softplus)."""
        if self._softplus:
            return F.softplus(gain * self._softplus_scale) / self._softplus_scale
        return gain + 1.0 if self._offset else gain

    def checkpoint_weights(self, device: torch.device | str | None = None, no_reinit: bool = False) -> None:
        """Copy the present weights into buffers (a new checkpoint), then reset them unless ``no_reinit``."""
        self._refuse_weightless()
        for name, value in (("gain", self.gain), ("shift", self.shift)):
            copy = None if value is None else value.detach().clone().to(device=device)
            self.register_buffer(f"{name}_ckpt_{self._num_ckpts}", copy)
        self._num_ckpts += 1
        if not no_reinit:
            self._reset()

    def get_weights(self, ckpt_id: int | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Gains and shifts of checkpoint ``ckpt_id``; the present ones if it is None or :attr:`num_ckpts`."""
        if ckpt_id is None or ckpt_id == self._num_ckpts:
            return self.gain, self.shift
        if check_int("ckpt_id", ckpt_id, 0) > self._num_ckpts:
            raise value_error("ckpt_id", expected=f"an integer up to {self._num_ckpts}", got=ckpt_id)
        return self._buffers[f"gain_ckpt_{ckpt_id}"], self._buffers[f"shift_ckpt_{ckpt_id}"]

    def _refuse_weightless(self) -> None:
        if self._no_weights:
            raise value_error("no_weights", expected="a layer that keeps its weights", found="no_weights=True")

    def normal_init(self, std: float = 1.0, generator: torch.Generator | None = None) -> None:
        """Draw weights from a normal distribution around no modulation."""
        self._refuse_weightless()
        for value, mean in ((self.gain, self.neutral_gain), (self.shift, 0.0)):
            if value is not None:
                nn.init.normal_(value, mean=mean, std=std, generator=generator)

    def uniform_init(self, width: float = 1.0, generator: torch.Generator | None = None) -> None:
        """Draw weights uniformly within ``width`` of no modulation."""
        self._refuse_weightless()
        for value, mean in ((self.gain, self.neutral_gain), (self.shift, 0.0)):
            if value is not None:
                nn.init.uniform_(value, mean - width, mean + width, generator=generator)

    def sparse_init(self, sparsity: float = 0.8, generator: torch.Generator | None = None) -> None:
        """Switch off the share ``sparsity`` of units by their gains; the others are not modulated."""
        self._refuse_weightless()
        check_number("sparsity", sparsity, 0.0, 1.0)
        self._reset()
        if self.gain is not None:
            count = self.gain.numel()
            off = torch.randperm(count, generator=generator)[: int(count * sparsity)].to(self.gain.device)
            with torch.no_grad():
                self.gain.view(-1)[off] = -1.0 if self._offset else 0.0

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make room for all checkpoints in the state."""
        pattern = re.compile(re.escape(prefix) + r"(?:gain|shift)_ckpt_(\d+)")
        ids = [int(m.group(1)) for m in map(pattern.fullmatch, state_dict) if m]
        while self._num_ckpts <= max(ids, default=-1):
            self.checkpoint_weights(no_reinit=True)
        super()._load_from_state_dict(state_dict, prefix, *args)
