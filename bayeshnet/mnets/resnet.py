"""The residual network for small images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..errors import check_flags, check_size, value_error
from ..representation import shows_arguments
from .mnet_interface import Weights
from .parts.declarations import add_layer, finish
from .parts.forward_pass import ForwardPass
from .parts.images import ImageClassifier, check_image_shape, check_layout, to_maps
from .parts.modulation import Modulation
from .parts.residual import STRIDES, add_norms, check_maps, layer_outputs

__all__ = ["ResNet"]


class ResNet(ImageClassifier):
    r"""A residual network of :math:`6n + 2` layers: a convolution, three groups of ``n`` blocks, an output layer.

    A block computes :math:`a(c_2(a(c_1(h))) + h)`, where :math:`c` is a convolution, followed by modulation and batch
    norm if these are chosen, and :math:`a` is the rectifier. If the number of feature maps grows, :math:`h` is padded
    with zeros; if the resolution halves, it is subsampled.

    Args:
        in_shape: shape ``(H, W, C)`` of an image.
        num_classes: number of outputs (logits).
        use_bias: add biases to all layers.
        num_feature_maps: of the first convolution and of the three groups, not decreasing.
        verbose: log the size of the network.
        n: number of blocks in a group.
        k: factor by which the groups are widened.
        no_weights: pass all weights, including those of batch norm, to :meth:`forward` instead of keeping them as
            parameters.
        init_weights: initial values of the internal parameters.
        use_batch_norm: normalize after each convolution.
        bn_track_stats: keep running statistics; batch statistics are used otherwise.
        distill_bn_stats: count running statistics among :attr:`hyper_shapes_distilled`.
        context_mod_apply_pixel_wise: modulate each pixel rather than each feature map.
        layout: of the inputs, also of flattened ones: ``"HWC"``, or ``"CHW"`` as in torch; no other is taken then. None
            recognizes either by its shape and reads flattened images as ``"HWC"``.
        **kwargs: options of context modulation as in :class:`MLP`.

    Shape:
        inputs ``(N, H, W, C)``, ``(N, C, H, W)`` or ``(N, H * W * C)``, outputs ``(N, num_classes)``.

    References:
        He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016.

    Example:
        >>> ResNet(n=5, use_bias=False).num_params  # ResNet-32
        464144
    """

    @shows_arguments
    def __init__(
        self,
        in_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        use_bias: bool = True,
        num_feature_maps: Sequence[int] = (16, 16, 32, 64),
        verbose: bool = True,
        n: int = 5,
        k: int = 1,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        use_batch_norm: bool = True,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        context_mod_apply_pixel_wise: bool = False,
        *,
        layout: str | None = None,
        **kwargs: Any,
    ) -> None:
        check_flags(use_bias=use_bias, verbose=verbose, no_weights=no_weights)
        super().__init__(has_bias=use_bias, has_fc_out=True, mask_fc_out=True)
        self._in_shape, self._layout = check_image_shape(in_shape), check_layout(layout)
        self._num_classes = check_size("num_classes", num_classes, 1)
        self._n = check_size("n", n, 1)
        self._modulation = Modulation.of({"context_mod_apply_pixel_wise": context_mod_apply_pixel_wise, **kwargs})
        self._maps = check_maps(num_feature_maps, k)
        if any(b < a for a, b in pairwise(self._maps)):
            raise value_error(
                "num_feature_maps",
                expected="four integers that do not decrease",
                got=num_feature_maps,
                hint="Shortcuts are padded, which cannot remove feature maps.",
            )
        outputs = layer_outputs(self._in_shape, self._maps, n, num_classes)
        add_norms(
            self,
            self._modulation,
            self._in_shape,
            outputs,
            batch_norm=use_batch_norm,
            no_weights=no_weights,
            track=bn_track_stats,
            distill=distill_bn_stats,
        )
        before = self._in_shape[2]
        for i, (maps, *_) in enumerate(outputs):
            shape = [maps, before] if i == len(outputs) - 1 else [maps, before, 3, 3]
            add_layer(self, shape, 3 * i + 1, bias=use_bias, no_weights=no_weights)
            before = maps
        finish(self, init_weights, verbose)

    def forward(
        self,
        x: Tensor,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
    ) -> Tensor:
        """Compute logits ``(N, num_classes)``.

        Args:
            x: images in the layout of the constructor, flattened or not.
            weights: as in :meth:`MLP.forward`.
            distilled_params: running means and variances to use.
            condition: as in :meth:`MLP.forward`.
        """
        run, mod = ForwardPass(self, weights, distilled_params, condition), self._modulation
        h = run.inputs(to_maps(x, self._in_shape, self._layout))
        h = run.modulate(h) if mod.inputs else h
        h = self._convolve(run, h, 1, None)
        for group in range(1, 4):
            for block in range(self._n):
                stride = 1 if block else STRIDES[group]
                shortcut = _pad(h, self._maps[group], stride)
                h = self._convolve(run, h, stride, None)
                h = self._convolve(run, h, 1, shortcut)
        h = F.linear(h.mean((-2, -1)), *run.layer())
        return run.modulate(h) if mod.outputs else h

    def _convolve(self, run: ForwardPass, h: Tensor, stride: int, shortcut: Tensor | None) -> Tensor:
        """Apply convolution, modulation, batch norm, shortcut and rectifier (modulation last if so chosen)."""
        mod = self._modulation
        weight, bias = run.layer()
        h = F.conv2d(h, weight, bias, stride=stride, padding=1)
        if mod.before_activation:
            h = run.modulate(h)
        if self._batchnorm_layers is not None:
            h = run.normalize(h)
        h = F.relu(h if shortcut is None else h + shortcut)
        return run.modulate(h) if mod.after_activation else h


def _pad(h: Tensor, maps: int, stride: int) -> Tensor:
    """Subsample by ``stride`` and pad with zeros to ``maps`` feature maps."""
    h = h if stride == 1 else h[..., ::stride, ::stride]
    more = maps - h.shape[-3]
    return F.pad(h, (0, 0, 0, 0, more // 2, more - more // 2)) if more else h
