"""Context-dependent modulation: gains and shifts on activations, per condition or per sample."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_flags, check_positive, check_shape, check_sizes, value_error
from ..representation import ModuleSettings
from .modulation_weights import ModulationWeights

__all__ = ["ContextModLayer"]


class ContextModLayer(ModuleSettings, ModulationWeights):
    r"""Gain and shift modulation of activations, :math:`y = x \odot g + s`.

    Args:
        num_features: shape of gains and shifts (an int is one dimension); they are broadcast against the activations,
            for example ``(C, 1, 1)`` for one gain per feature map.
        no_weights: always pass gains and shifts to :meth:`forward` instead of keeping them as parameters.
        no_gains: apply no gains.
        no_shifts: apply no shifts.
        apply_gain_offset: use :math:`1 + g` for :math:`g`, so that zero means no modulation.
        apply_gain_softplus: use :math:`\log(1 + e^{c g}) / c` for :math:`g`, so that gains are positive.
        softplus_scale: the :math:`c` of the softplus.

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
        self._num_features = tuple(check_sizes("num_features", sizes, 1))
        self._no_weights, self._no_gains, self._no_shifts = no_weights, no_gains, no_shifts
        self._apply_gain_offset, self._apply_gain_softplus = apply_gain_offset, apply_gain_softplus
        self._softplus_scale = check_positive("softplus_scale", softplus_scale)
        self._num_ckpts = 0
        has_gain, has_shift = not (no_weights or no_gains), not (no_weights or no_shifts)
        self.gain = nn.Parameter(torch.empty(self._num_features)) if has_gain else None
        self.shift = nn.Parameter(torch.empty(self._num_features)) if has_shift else None
        self._reset()

    @property
    def gain_offset_applied(self) -> bool:
        """True if 1 is added to gains."""
        return self._apply_gain_offset

    @property
    def gain_softplus_applied(self) -> bool:
        """True if a softplus is applied to gains."""
        return self._apply_gain_softplus

    def forward(
        self, x: Tensor, weights: Sequence[Tensor] | None = None, ckpt_id: int | None = None, bs_dim: int = 0
    ) -> Tensor:
        """Modulate activations ``x``.

        Args:
            x: activations.
            weights: tensors of :attr:`param_shapes` to use instead of those of the layer, or with a leading batch
                dimension.
            ckpt_id: the checkpoint of the layer's weights to use.
            bs_dim: the batch dimension of ``x``.
        """
        if weights is None:
            tensors = [w for w in self.get_weights(ckpt_id) if w is not None]
            if not tensors:
                raise value_error("weights", expected="gains and shifts", got=None, hint="The layer keeps none.")
        else:
            if ckpt_id is not None:
                warnings.warn("ckpt_id is ignored since weights are given.", stacklevel=2)
            tensors = self._checked(weights, x.shape[bs_dim])
        parts = dict(zip(self.param_shapes_meta, tensors, strict=True))
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
        if self._apply_gain_softplus:
            return F.softplus(gain * self._softplus_scale) / self._softplus_scale
        return gain + 1.0 if self._apply_gain_offset else gain
