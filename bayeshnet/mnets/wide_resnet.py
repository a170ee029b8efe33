"""The wide residual network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..errors import check_flags, check_size, value_error
from ..representation import shows_arguments
from .mnet_interface import Weights
from .parts.declarations import add_layer, check_dropout, finish
from .parts.forward_pass import ForwardPass
from .parts.images import ImageClassifier, check_image_shape, check_layout, to_maps
from .parts.modulation import Modulation
from .parts.residual import STRIDES, add_norms, check_maps, layer_outputs

__all__ = ["WRN"]


class WRN(ImageClassifier):
    r"""A wide residual network ``WRN-d-k-B(3,3)`` of three groups of ``n`` blocks.

    A block computes :math:`h + c_2(d(c_1(h)))`, where :math:`c` is (modulation,) batch norm, rectifier and convolution,
    in this order, and :math:`d` is dropout. If the number of feature maps or the resolution changes, a convolution of
    size 1 without bias replaces the identity; it counts as a convolution in the depth ``d`` of the name.

    Args:
        in_shape: shape ``(H, W, C)`` of an image.
        num_classes: number of outputs (logits).
        n: number of blocks in a group.
        k: factor by which the groups are widened.
        num_feature_maps: of the first convolution and, before widening, of the three groups.
        use_bias: add biases to convolutions.
        use_fc_bias: add a bias to the output layer; as ``use_bias`` if None.
        no_weights: pass all weights, including those of batch norm, to :meth:`forward` instead of keeping them as
            parameters.
        use_batch_norm: normalize before each rectifier.
        bn_track_stats: keep running statistics; batch statistics are used otherwise.
        distill_bn_stats: count running statistics among :attr:`hyper_shapes_distilled`.
        dropout_rate: dropout after the first convolution of a block; -1 (or 1) for none.
        chw_input_format: the same as ``layout="CHW"``.
        verbose: log the size of the network.
        layout: of the inputs, also of flattened ones: ``"HWC"``, or ``"CHW"`` as in torch; no other is taken then. None
            recognizes either by its shape and reads flattened images as ``"HWC"``.
        **kwargs: options of context modulation as in :class:`MLP`, and ``context_mod_apply_pixel_wise``.

    Shape:
        inputs ``(N, H, W, C)``, ``(N, C, H, W)`` or ``(N, H * W * C)``, outputs ``(N, num_classes)``.

    References:
        Zagoruyko, Komodakis, "Wide residual networks", 2016.

    Example:
        >>> net = WRN(n=4, k=10, use_bias=False, no_weights=True)
        >>> str(net), net.num_params
        ('WRN-28-10-B(3,3)', 36479184)
    """

    @shows_arguments
    def __init__(
        self,
        in_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        n: int = 4,
        k: int = 10,
        num_feature_maps: Sequence[int] = (16, 16, 32, 64),
        use_bias: bool = True,
        use_fc_bias: bool | None = None,
        no_weights: bool = False,
        use_batch_norm: bool = True,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        dropout_rate: float = -1,
        chw_input_format: bool = False,
        verbose: bool = True,
        *,
        layout: str | None = None,
        **kwargs: Any,
    ) -> None:
        fc_bias = use_bias if use_fc_bias is None else use_fc_bias
        check_flags(
            use_bias=use_bias,
            use_fc_bias=fc_bias,
            verbose=verbose,
            no_weights=no_weights,
            chw_input_format=chw_input_format,
        )
        super().__init__(has_bias=use_bias and fc_bias, has_fc_out=True, mask_fc_out=True)
        self._in_shape, self._layout = check_image_shape(in_shape), check_layout(layout)
        if chw_input_format:
            self.read_as("CHW")
        self._num_classes = check_size("num_classes", num_classes, 1)
        self._n, self._k, self._mixed_bias = check_size("n", n, 1), k, bool(use_bias) != bool(fc_bias)
        self._dropout_rate = check_dropout(dropout_rate)
        self._modulation, maps = Modulation.of(kwargs), check_maps(num_feature_maps, k)
        outputs = layer_outputs(self._in_shape, maps, n, num_classes)
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
        self._has_skip = [maps[g - 1] != maps[g] or STRIDES[g] != 1 for g in range(1, 4)]
        for group in (g for g in range(1, 4) if self._has_skip[g - 1]):
            shape = [maps[group], maps[group - 1], 1, 1]
            add_layer(self, shape, -1, bias=False, no_weights=no_weights, label=f"skip{group}.weight")
        before = self._in_shape[2]
        for i, (size, *_) in enumerate(outputs):
            last = i == len(outputs) - 1
            shape = [size, before] if last else [size, before, 3, 3]
            add_layer(self, shape, 3 * i + 1, bias=fc_bias if last else use_bias, no_weights=no_weights)
            before = size
        finish(self, None, verbose)

    @property
    def has_bias(self) -> bool:
        """True if layers, other than those of shortcuts, have biases; an error if only some have."""
        if self._mixed_bias:
            raise value_error(
                "use_fc_bias", expected="the value of use_bias where has_bias is asked for", found="another"
            )
        return self._has_bias

    def __str__(self) -> str:
        """Name of the architecture, as in the paper."""
        return f"WRN-{1 + 6 * self._n + sum(self._has_skip)}-{self._k}-B(3,3)"

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
        skips = [run.layer()[0] if skip else None for skip in self._has_skip]
        h = run.modulate(h) if mod.inputs else h
        weight, bias = run.layer()
        h = F.conv2d(h, weight, bias, padding=1)
        for group, skip in enumerate(skips, 1):
            for block in range(self._n):
                stride = 1 if block else STRIDES[group]
                # Subsample first: torch's convolution of size 1 and stride 2 of few maps can corrupt memory on a CPU.
                shortcut = h if skip is None or block else F.conv2d(h[..., ::stride, ::stride], skip)
                h = self._convolve(run, h, stride)
                if self._dropout_rate is not None:
                    h = F.dropout(h, self._dropout_rate, self.training)
                h = self._convolve(run, h, 1) + shortcut
        h = F.linear(self._activate(run, h).mean((-2, -1)), *run.layer())
        return run.modulate(h) if mod.outputs else h

    def _activate(self, run: ForwardPass, h: Tensor) -> Tensor:
        """Apply modulation, batch norm and rectifier (modulation last if so chosen)."""
        mod = self._modulation
        if mod.before_activation:
            h = run.modulate(h)
        if self._batchnorm_layers is not None:
            h = run.normalize(h)
        h = F.relu(h)
        return run.modulate(h) if mod.after_activation else h

    def _convolve(self, run: ForwardPass, h: Tensor, stride: int) -> Tensor:
        h = self._activate(run, h)
        weight, bias = run.layer()
        return F.conv2d(h, weight, bias, stride=stride, padding=1)
