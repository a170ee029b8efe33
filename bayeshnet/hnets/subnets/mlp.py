"""A perceptron as the network inside a hypernetwork."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import check_function, check_number, value_error
from ...geometry.head import HeadGeometry
from ...layers import BatchNormLayer, SpectralNorm
from ...layers.elementwise import Activation, elementwise
from ...layers.initializers import init_params
from .base import Subnet
from .mlp_batched import run_mlps
from .mlp_body import MLPBody
from .mlp_forward import run_mlp
from .mlp_layers import MLPLayers, MLPSizes

__all__ = ["MLPSubnet", "check_skip"]

POWER_ITERATIONS = 15
"""Power iterations of spectral norms at construction."""


def check_skip(linear_skip: bool, hidden: Sequence[int], uncond_in_size: int) -> None:
    """Refuse a linear skip connection without hidden layers or without an unconditional input."""
    if linear_skip and not (hidden and uncond_in_size):
        raise value_error(
            "linear_skip", expected="False without hidden layers or without unconditional input", got=True
        )


class MLPSubnet(Subnet):
    """A perceptron with its activation, dropout, batch norms and spectral norms.

    Args:
        sizes: sizes of all layers.
        activation_fn: hidden activation, or None.
        dropout_rate: probability of dropping hidden units; -1 or 1 for no dropout.
        use_spectral_norm: divide hidden weight matrices by their spectral norm.
        internal: True if gains and shifts of batch norm are parameters.
    """

    def __init__(
        self, sizes: MLPSizes, activation_fn: Activation, dropout_rate: float, use_spectral_norm: bool, internal: bool
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.activation_fn = check_function("activation_fn", activation_fn)
        rate = check_number("dropout_rate", dropout_rate)
        if rate != -1 and not 0 <= rate <= 1:
            raise value_error(
                "dropout_rate", expected="a number in [0, 1), or -1 (or 1) for no dropout", got=dropout_rate
            )
        self.dropout = nn.Dropout(rate) if 0 < rate < 1 else None
        norms = [BatchNormLayer(size, affine=internal) for size in sizes.layers] if sizes.batch_norm else []
        self.norms = nn.ModuleList(norms)
        shapes = list(zip(sizes.layers, sizes.widths, strict=False))
        self.spectral = nn.ModuleList([SpectralNorm(shape) for shape in shapes]) if use_spectral_norm else None

    def declare(self, net: Any, internal: bool) -> None:
        """Declare gains and shifts, then weights and biases, with PyTorch's initialization of linear layers."""
        for i, norm in enumerate(self.norms):
            for name, key in (("bn_scale", "scale"), ("bn_shift", "bias")):
                home = (norm, key) if internal else None
                net._declare((self.sizes.layers[i],), name, 2 * i + 2, internal=internal, group="uncond", home=home)
        outs = (*self.sizes.layers, self.sizes.out)
        for i, (size_out, size_in) in enumerate(zip(outs, self.sizes.widths, strict=True)):
            weight = net._declare((size_out, size_in), "weight", 2 * i + 1, internal=internal, group="uncond")
            bias = None
            if self.sizes.use_bias:
                bias = net._declare((size_out,), "bias", 2 * i + 1, internal=internal, group="uncond")
            if weight is not None:
                init_params(weight, bias)
        if self.sizes.stretch:
            stretch = net._declare(
                (self.sizes.uncond,) * 2, None, -1, internal=internal, group="uncond", label="stretch"
            )
            if stretch is not None:
                nn.init.zeros_(stretch)
        if self.spectral is not None and internal:
            self._estimate_norms(net.layer_weight_tensors)

    def _estimate_norms(self, weights: Sequence[Tensor]) -> None:
        """Let the estimates of the spectral norms converge before the first training step."""
        for norm, weight in zip(self.spectral or (), weights, strict=False):
            for _ in range(POWER_ITERATIONS):
                norm(weight)

    def layers(self, tensors: Sequence[Tensor]) -> MLPLayers:
        """Return the layers made of ``tensors``, in the order of :meth:`declare`."""
        start = 2 * len(self.norms)
        norms = [(norm, tensors[2 * i], tensors[2 * i + 1]) for i, norm in enumerate(self.norms)]
        count = len(self.sizes.layers) + 1
        step = 2 if self.sizes.use_bias else 1
        weights = list(tensors[start : start + step * count : step])
        biases = list(tensors[start + 1 : start + step * count : step]) if self.sizes.use_bias else [None] * count
        if self.spectral is not None:
            weights[:-1] = [norm(weight) for norm, weight in zip(self.spectral, weights, strict=False)]
        stretch = tensors[start + step * count].tril(-1) if self.sizes.stretch else None
        between = self.activation_fn, self.dropout, stretch
        return MLPLayers(self.sizes, weights, biases, norms, *between)  # type: ignore[arg-type]

    def run(
        self, tensors: Sequence[Tensor], uncond: Tensor | None, cond: Tensor | None, chunk: Tensor | None, stats_id: Any
    ) -> Tensor:
        """Compute outputs ``(B, out)``, with chunks ``(B, C, out)``."""
        return run_mlp(self.layers(tensors), uncond, cond, chunk, stats_id)

    def geometry(
        self, tensors: Sequence[Tensor], cond: Tensor | None, chunk: Tensor | None, stats_id: Any, num_outputs: int
    ) -> HeadGeometry:
        """Return the geometry through the linear output head."""
        layers = self.layers(tensors)
        body = MLPBody(layers, cond, chunk, stats_id)
        return HeadGeometry(body, layers.weights[-1], layers.biases[-1], num_outputs)

    def run_batched(self, tensors: Sequence[Tensor], uncond: Tensor, chunk: Tensor | None) -> Tensor | None:
        """Compute outputs by batched matrix products, for elementwise activations without norms, skip or dropout."""
        sizes, act = self.sizes, self.activation_fn
        active_dropout = self.dropout is not None and self.training
        normalized = bool(self.norms) or self.spectral is not None
        if normalized or active_dropout or sizes.skip or sizes.cond or not elementwise(act):
            return None
        return run_mlps(sizes, act, tensors, uncond, chunk)
