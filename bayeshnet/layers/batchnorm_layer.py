"""Batch normalization with several sets of statistics, whose tensors may be passed to ``forward``."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_flags, check_number, check_size, value_error
from ..representation import ModuleSettings
from .running_stats import RunningStats

__all__ = ["BatchNormLayer"]


class BatchNormLayer(ModuleSettings, RunningStats):
    r"""Batch normalization with several sets of running statistics and optional external tensors.

    .. math::

        y = \frac{x - m^{(t)}}{\sqrt{v^{(t)} + \epsilon}} \, \gamma^{(t)} + \beta^{(t)}

    The layer has statistics :math:`m^{(t)}, v^{(t)}` for each condition :math:`t`: one set at construction, one more
    after each :meth:`checkpoint_stats`. Statistics, gains and shifts can also be passed to :meth:`forward`.

    In training mode the batch is normalized by its own statistics and the running ones are updated (those passed to
    :meth:`forward` in place, unless they require a gradient); in evaluation mode the running ones are used. Frozen
    statistics stay at mean 0 and variance 1 and are used in both modes. Without running statistics those of the batch
    are always used.

    Args:
        num_features: number of channels :math:`C`.
        momentum: weight of the new batch in the running statistics; None averages all batches equally.
        affine: have gains and shifts as parameters of the layer.
        track_running_stats: have running statistics.
        frozen_stats: keep the statistics at mean 0 and variance 1 (needs ``track_running_stats=False``).
        learnable_stats: make the running statistics parameters, which receive gradients in evaluation mode and are
            updated from batches in training mode (needs ``track_running_stats=False``).

    Shape:
        inputs ``(N, C, ...)``, output alike; statistics, gains and shifts ``(C,)``.

    Raises:
        ValueError: for options that exclude each other.

    References:
        Ioffe, Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift",
        2015. Von Oswald, Henning, Grewe, Sacramento, "Continual learning with hypernetworks", 2020.

    Example:
        >>> layer = BatchNormLayer(3)
        >>> layer.checkpoint_stats()
        >>> layer.num_stats, layer(torch.randn(8, 3), stats_id=1).shape
        (2, torch.Size([8, 3]))
    """

    eps = 1e-5

    def __init__(
        self,
        num_features: int,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        frozen_stats: bool = False,
        learnable_stats: bool = False,
    ) -> None:
        super().__init__()
        check_flags(
            affine=affine,
            track_running_stats=track_running_stats,
            frozen_stats=frozen_stats,
            learnable_stats=learnable_stats,
        )
        if (frozen_stats or learnable_stats) and track_running_stats:
            which = "frozen_stats" if frozen_stats else "learnable_stats"
            raise value_error("track_running_stats", expected=f"False when {which} is chosen", got=True)
        if frozen_stats and learnable_stats:
            raise value_error("learnable_stats", expected="False when frozen_stats is chosen", got=True)
        self._num_features = check_size("num_features", num_features, 1)
        self._momentum = None if momentum is None else check_number("momentum", momentum, 0.0, 1.0)
        self._affine, self._track_running_stats = affine, track_running_stats
        self._frozen_stats, self._learnable_stats = frozen_stats, learnable_stats
        self.scale = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("_like", torch.empty(0), persistent=False)
        self._num_stats = 0
        if track_running_stats or frozen_stats or learnable_stats:
            self._add_stats()

    @property
    def weights(self) -> nn.ParameterList | None:
        """Gains and shifts of the layer, or None."""
        return nn.ParameterList([self.scale, self.bias]) if self._affine else None

    @property
    def param_shapes(self) -> list[list[int]]:
        """Shapes of gains and shifts, whether parameters of the layer or not."""
        return [[self._num_features], [self._num_features]]

    @property
    def hyper_shapes(self) -> list[list[int]] | None:
        """Shapes of the gains and shifts that may be passed to :meth:`forward`, or None if the layer has its own."""
        return None if self._affine else self.param_shapes

    @property
    def uses_batch(self) -> bool:
        """True if the layer normalizes by the statistics of the batch in the present mode."""
        tracked = self._track_running_stats or self._learnable_stats
        return not self._frozen_stats and (self.training or not tracked)

    @property
    def updates_stats(self) -> bool:
        """True if a forward pass changes running statistics in the present mode."""
        return self.training and (self._track_running_stats or self._learnable_stats)

    def forward(
        self,
        inputs: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        stats_id: int | None = None,
    ) -> Tensor:
        """Normalize ``inputs``.

        Args:
            inputs: activations ``(N, C, ...)``.
            running_mean: statistics to use instead of those of the layer; needs ``running_var``.
            running_var: see ``running_mean``.
            weight: gains to use instead of those of the layer.
            bias: shifts to use instead of those of the layer.
            stats_id: number of the layer's set of statistics to use; required if there are several.
        """
        weight = self.scale if weight is None else weight
        bias = self.bias if bias is None else bias
        if (running_mean is None) != (running_var is None):
            raise value_error("running_mean, running_var", expected="both or neither", found="one of them")
        momentum = self._momentum
        if running_mean is not None and running_var is not None:
            if stats_id is not None:
                warnings.warn("stats_id is ignored since running statistics are given.", stacklevel=2)
            if momentum is None and self.training:
                raise value_error("momentum", expected="a number when statistics are given in training mode", got=None)
            return self._normalize(inputs, running_mean, running_var, weight, bias, self.training, momentum)
        if self._num_stats == 0:
            return F.batch_norm(inputs, None, None, weight, bias, training=True, eps=self.eps)
        mean, var = self.get_stats(self._stats_id(stats_id))
        if self.updates_stats and momentum is None:
            count = self._buffers[f"count_{self._stats_id(stats_id)}"]
            count.add_(1)  # type: ignore[union-attr]
            momentum = 1.0 / float(count)  # type: ignore[arg-type]
        return self._normalize(inputs, mean, var, weight, bias, self.uses_batch, momentum)

    def _normalize(
        self,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        batch: bool,
        momentum: float | None,
    ) -> Tensor:
        """Normalize by the batch (updating ``mean`` and ``var``) or by ``mean`` and ``var``."""
        differentiable = mean.requires_grad or var.requires_grad
        if batch and not differentiable:
            return F.batch_norm(x, mean, var, weight, bias, True, momentum or 0.0, self.eps)
        if batch and self._learnable_stats:
            with torch.no_grad():
                F.batch_norm(x, mean.data, var.data, None, None, True, momentum or 0.0, self.eps)
        if batch:
            return F.batch_norm(x, None, None, weight, bias, True, eps=self.eps)
        if not differentiable:
            return F.batch_norm(x, mean, var, weight, bias, False, eps=self.eps)
        # torch's kernel has no gradient with respect to the statistics.
        scale = torch.rsqrt(var + self.eps) * (1.0 if weight is None else weight)
        shift = (0.0 if bias is None else bias) - mean * scale
        view = (-1,) + (1,) * (x.ndim - 2)
        return x * scale.view(view) + shift.view(view)
