"""The convolutional network of the experiments on split CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..errors import check_choice, check_flags, check_size, value_error
from ..representation import shows_arguments
from .mnet_interface import Weights
from .parts.declarations import add_layer, check_dropout, finish
from .parts.forward_pass import ForwardPass, dropout
from .parts.images import ImageClassifier, check_image_shape, check_layout, to_maps

__all__ = ["ZenkeNet"]


class ZenkeNet(ImageClassifier):
    """Four convolutions in two blocks, each block followed by pooling, a hidden layer and an output layer.

    Args:
        in_shape: shape ``(H, W, C)`` of an image, ``(32, 32, 3)``.
        num_classes: number of outputs (logits).
        verbose: log the size of the network.
        arch: ``'cifar'``.
        no_weights: pass all weights to :meth:`forward` instead of keeping them as parameters.
        init_weights: initial values of the internal parameters.
        dropout_rate: dropout after pooling (of whole feature maps), at most 0.5; twice that after the hidden layer; -1
            (or 1) for none.
        layout: of the inputs, also of flattened ones: ``"HWC"``, or ``"CHW"`` as in torch; no other is taken then. None
            recognizes either by its shape and reads flattened images as ``"HWC"``.

    Shape:
        inputs ``(N, H, W, C)``, ``(N, C, H, W)`` or ``(N, H * W * C)``, outputs ``(N, num_classes)``.

    References:
        Zenke, Poole, Ganguli, "Continual learning through synaptic intelligence", 2017.

    Example:
        >>> ZenkeNet().num_params
        1250858
    """

    @shows_arguments
    def __init__(
        self,
        in_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        verbose: bool = True,
        arch: str = "cifar",
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        dropout_rate: float = 0.25,
        *,
        layout: str | None = None,
    ) -> None:
        check_flags(verbose=verbose, no_weights=no_weights)
        super().__init__(has_bias=True, has_fc_out=True, mask_fc_out=True)
        check_choice("arch", arch, ("cifar",))
        self._in_shape = check_image_shape(in_shape, exactly=(32, 32, 3))
        self._layout = check_layout(layout)
        self._num_classes = check_size("num_classes", num_classes, 1)
        self._dropout_rate = check_dropout(dropout_rate, 0.5)
        shapes = [[32, 3, 3, 3], [32, 32, 3, 3], [64, 32, 3, 3], [64, 64, 3, 3], [512, 2304], [num_classes, 512]]
        for i, shape in enumerate(shapes):
            add_layer(self, shape, i, bias=True, no_weights=no_weights)
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
            weights: as in :class:`MainNetInterface`.
            distilled_params: None.
            condition: None; the network does not depend on a condition.
        """
        if condition is not None:
            raise value_error("condition", expected="None for this network", got=condition)
        run = ForwardPass(self, weights, distilled_params, None)
        h, rate = run.inputs(to_maps(x, self._in_shape, self._layout)), self._dropout_rate
        for _ in range(2):
            weight, bias = run.layer()
            h = F.relu(F.conv2d(h, weight, bias, padding=1))
            h = F.max_pool2d(F.relu(F.conv2d(h, *run.layer())), 2)
            h = dropout(h, rate, self.training)
        h = F.relu(F.linear(h.flatten(1), *run.layer()))
        h = dropout(h, None if rate is None else 2 * rate, self.training)
        return F.linear(h, *run.layer())
