"""LeNet, the early convolutional network, in three sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..errors import check_choice, check_flags, check_size
from ..representation import shows_arguments
from .mnet_interface import Weights
from .parts.declarations import add_layer, check_dropout, finish
from .parts.forward_pass import ForwardPass, dropout
from .parts.images import ImageClassifier, check_image_shape, check_layout, to_maps
from .parts.modulation import Modulation, add_context_mod

__all__ = ["LeNet"]

# Input shape, feature maps of the two 5 x 5 convolutions, units of the hidden layer.
_ARCHITECTURES = {
    "mnist_small": ((28, 28, 1), 10, 20, 50),
    "mnist_large": ((28, 28, 1), 20, 50, 500),
    "cifar": ((32, 32, 3), 192, 192, 1000),
}
_KERNEL = 5


class LeNet(ImageClassifier):
    """Two convolutions, each followed by pooling, a hidden layer and an output layer.

    Args:
        in_shape: shape ``(H, W, C)`` of an image; ``(28, 28, 1)``, or ``(32, 32, 3)`` for ``'cifar'``.
        num_classes: number of outputs (logits).
        verbose: log the size of the network.
        arch: ``'mnist_small'`` (21,840 weights), ``'mnist_large'`` (431,080) or ``'cifar'`` (5,747,394).
        no_weights: pass all weights to :meth:`forward` instead of keeping them as parameters.
        init_weights: initial values of the internal parameters.
        dropout_rate: dropout after convolutions (of whole feature maps) and the hidden layer; -1 (or 1) for none.
        layout: of the inputs, also of flattened ones: ``"HWC"``, or ``"CHW"`` as in torch; no other is taken then. None
            recognizes either by its shape and reads flattened images as ``"HWC"``.
        **kwargs: options of context modulation as in :class:`MLP`, and ``context_mod_apply_pixel_wise`` for gains and
            shifts per pixel rather than per feature map.

    Shape:
        inputs ``(N, H, W, C)``, ``(N, C, H, W)`` or ``(N, H * W * C)``, outputs ``(N, num_classes)``.

    References:
        LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.

    Example:
        >>> LeNet(arch="mnist_small").num_params
        21840
    """

    @shows_arguments
    def __init__(
        self,
        in_shape: Sequence[int] = (28, 28, 1),
        num_classes: int = 10,
        verbose: bool = True,
        arch: str = "mnist_large",
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        dropout_rate: float = -1,
        *,
        layout: str | None = None,
        **kwargs: Any,
    ) -> None:
        check_flags(verbose=verbose, no_weights=no_weights)
        super().__init__(has_bias=True, has_fc_out=True, mask_fc_out=True)
        shape, first, second, hidden = _ARCHITECTURES[check_choice("arch", arch, list(_ARCHITECTURES))]
        self._in_shape = check_image_shape(in_shape, exactly=shape)
        self._layout = check_layout(layout)
        self._num_classes = check_size("num_classes", num_classes, 1)
        self._modulation = Modulation.of(kwargs)
        self._dropout_rate = check_dropout(dropout_rate)
        height, width, channels = self._in_shape
        # A convolution reduces height and width by 4, pooling halves them.
        sizes = [((height - 4) // 2, (width - 4) // 2)]
        sizes.append(((sizes[0][0] - 4) // 2, (sizes[0][1] - 4) // 2))
        outputs = [[first, *sizes[0]], [second, *sizes[1]], [hidden], [num_classes]]
        shapes = self._modulation.shapes([channels, height, width], outputs)
        numbers = [0] * self._modulation.context_mod_inputs + [2, 4, 6, 8]
        add_context_mod(self, self._modulation, shapes, numbers[: len(shapes)])
        flat = second * sizes[1][0] * sizes[1][1]
        kernels = [[first, channels, _KERNEL, _KERNEL], [second, first, _KERNEL, _KERNEL]]
        for i, kernel in enumerate([*kernels, [hidden, flat], [num_classes, hidden]]):
            add_layer(self, kernel, 2 * i + 1, bias=True, no_weights=no_weights)
        finish(self, init_weights, verbose)

    def forward(
        self,
        x: Tensor,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
    ) -> Tensor:
        """Compute logits ``(N, num_classes)``; ``condition`` is the checkpoint of the modulation layers.

        Args:
            x: images in the layout of the constructor, flattened or not.
            weights: as in :meth:`MLP.forward`.
            distilled_params: None.
            condition: a number (used if there is modulation) or a dict with key ``cmod_ckpt_id``.
        """
        run, mod = ForwardPass(self, weights, distilled_params, condition, "cmod_ckpt_id"), self._modulation
        h = run.inputs(to_maps(x, self._in_shape, self._layout))
        h = run.modulate(h) if mod.inputs else h
        for _ in range(2):
            weight, bias = run.layer()
            h = dropout(F.conv2d(h, weight, bias), self._dropout_rate, self.training)
            h = self._activate(run, F.max_pool2d(h, 2))
        h = self._activate(run, F.linear(h.flatten(1), *run.layer()))
        h = F.linear(dropout(h, self._dropout_rate, self.training), *run.layer())
        return run.modulate(h) if mod.outputs else h

    def _activate(self, run: ForwardPass, h: Tensor) -> Tensor:
        """Apply the nonlinearity, with modulation before or after it."""
        h = F.relu(run.modulate(h) if self._modulation.before_activation else h)
        return run.modulate(h) if self._modulation.after_activation else h
