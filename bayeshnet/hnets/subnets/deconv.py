"""Transposed convolutions with self-attention as the network inside a hypernetwork."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import check_function
from ...layers import BatchNormLayer, SelfAttnLayerV2, SpectralNorm
from ...layers.elementwise import Activation
from ...layers.initializers import init_params
from .base import Subnet
from .deconv_plan import DeconvPlan, LayerPlan
from .mlp_forward import add_chunks

__all__ = ["DeconvSubnet"]

POWER_ITERATIONS = 15
"""Power iterations of spectral norms at construction."""


class DeconvSubnet(Subnet):
    """A fully connected layer and transposed convolutions, which output the pixels of an image.

    Args:
        plan: sizes of all layers.
        inputs: sizes of unconditional input, chunk embedding and conditional input.
        activation_fn: hidden activation, or None.
        use_bias: add biases to all layers.
        spectral: divide hidden weights, and those of self-attention, by their spectral norm.
        batch_norm: normalize hidden layers.
        internal: True if gains and shifts of batch norm are parameters.
    """

    def __init__(
        self,
        plan: DeconvPlan,
        inputs: tuple[int, int, int],
        activation_fn: Activation,
        use_bias: bool,
        *,
        spectral: bool,
        batch_norm: bool,
        internal: bool,
    ) -> None:
        super().__init__()
        self.plan, self.input_sizes, self.use_bias = plan, inputs, use_bias
        self.activation_fn = check_function("activation_fn", activation_fn)
        channels = plan.channels
        self.norms = nn.ModuleList([BatchNormLayer(c, affine=internal) for c in channels] if batch_norm else [])
        units = {str(u): SelfAttnLayerV2(channels[u], spectral, no_weights=True) for u in sorted(plan.attention)}
        self.attention = nn.ModuleDict(units)
        hidden = self._shapes()[:-1]
        norms = [SpectralNorm(shape, dim=0 if k == 0 else 1) for k, shape in enumerate(hidden)]
        self.spectral = nn.ModuleList(norms) if spectral else None

    def _shapes(self) -> list[tuple[int, ...]]:
        """Return the weight shapes of all layers: ``(out, in)``, then ``(in, out, height, width)``."""
        first, height, width = self.plan.first
        convolutions = [(*layer.channels, *layer.kernel) for layer in self.plan.layers]
        return [(first * height * width, sum(self.input_sizes)), *convolutions]

    def declare(self, net: Any, internal: bool) -> None:
        """Declare gains and shifts, then each layer and the self-attention after it, and initialize parameters."""
        for i, norm in enumerate(self.norms):
            for name, key in (("bn_scale", "scale"), ("bn_shift", "bias")):
                home = (norm, key) if internal else None
                net._declare((self.plan.channels[i],), name, 2 * i + 2, internal=internal, group="uncond", home=home)
        for k, shape in enumerate(self._shapes()):
            fan_in = shape[1] if k == 0 else shape[0] * shape[2] * shape[3]
            weight = net._declare(shape, "weight", 2 * k + 1, internal=internal, group="uncond", fan_in=fan_in)
            outs = shape[0] if k == 0 else shape[1]
            bias = (
                net._declare((outs,), "bias", 2 * k + 1, internal=internal, group="uncond") if self.use_bias else None
            )
            if weight is not None:
                init_params(weight if k == 0 else weight.transpose(0, 1), bias)
                self._estimate_norm(k, weight)
            if str(k) in self.attention:
                self._declare_attention(net, k, internal)

    def _estimate_norm(self, k: int, weight: Tensor) -> None:
        """Let the estimate of the spectral norm of layer ``k`` converge."""
        if self.spectral is not None and k < len(self.spectral):
            for _ in range(POWER_ITERATIONS):
                self.spectral[k](weight)

    def _declare_attention(self, net: Any, k: int, internal: bool) -> None:
        """Declare the tensors of the self-attention after layer ``k``."""
        unit: Any = self.attention[str(k)]
        for map_name, i in (("query", 0), ("key", 2), ("value", 4)):
            kernel, bias = (
                net._declare(
                    unit.weight_shapes[i + j],
                    name,
                    -1,
                    internal=internal,
                    group="uncond",
                    label=f"attention{k}.{map_name}_{name}",
                )
                for j, name in enumerate(("weight", "bias"))
            )
            if kernel is not None:
                init_params(kernel, bias)
                if unit.spectral is not None:
                    for _ in range(POWER_ITERATIONS):
                        unit.spectral[i // 2](kernel)
        gate = net._declare((1,), None, -1, internal=internal, group="uncond", label=f"attention{k}.gate")
        if gate is not None:
            nn.init.zeros_(gate)

    def run(
        self, tensors: Sequence[Tensor], uncond: Tensor | None, cond: Tensor | None, chunk: Tensor | None, stats_id: Any
    ) -> Tensor:
        """Compute pixels ``(B, N)``, with chunks ``(B, C, N)``."""
        rest = iter(tensors)
        scales = [(next(rest), next(rest)) for _ in self.norms]
        x = self._first(rest, uncond, cond, chunk)
        chunks = 0 if chunk is None else chunk.shape[-2]
        x = x.reshape(-1, *self.plan.first)
        for k in range(len(self.plan.layers) + 1):
            if k:
                x = self._convolve(k, x, rest)
            if k == len(self.plan.layers):
                break
            if scales:
                x = self.norms[k](x, weight=scales[k][0], bias=scales[k][1], stats_id=stats_id)
            if self.activation_fn is not None:
                x = self.activation_fn(x)
            if str(k) in self.attention:
                unit = self.attention[str(k)]
                x = unit(x, weights=[next(rest) for _ in unit.weight_shapes])  # type: ignore[union-attr]
        return x.flatten(1).unflatten(0, (-1, chunks)) if chunks else x.flatten(1)

    def geometry(
        self, tensors: Sequence[Tensor], cond: Tensor | None, chunk: Tensor | None, stats_id: Any, num_outputs: int
    ) -> None:
        """Return None: there is no closed form."""

    def run_batched(self, tensors: Sequence[Tensor], uncond: Tensor, chunk: Tensor | None) -> None:
        """Return None: there is no batched pass."""

    def _weights(self, k: int, rest: Iterator[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Take weight and bias of layer ``k`` from the remaining tensors, and apply its spectral norm."""
        weight = next(rest)
        bias = next(rest) if self.use_bias else None
        if self.spectral is not None and k < len(self.spectral):
            weight = self.spectral[k](weight)
        return weight, bias

    def _first(self, rest: Iterator[Tensor], uncond: Any, cond: Any, chunk: Tensor | None) -> Tensor:
        """Apply the fully connected layer, linear in its three inputs, whose parts are computed once and added."""
        weight, bias = self._weights(0, rest)
        w_uncond, w_chunk, w_cond = weight.split(list(self.input_sizes), dim=1)
        parts = [F.linear(part, w) for part, w in ((uncond, w_uncond), (cond, w_cond)) if part is not None]
        if chunk is None:
            x = parts[0] if len(parts) == 1 else parts[0] + parts[1]
            return x if bias is None else x + bias
        return add_chunks(chunk, w_chunk, bias, parts)

    def _convolve(self, k: int, x: Tensor, rest: Iterator[Tensor]) -> Tensor:
        """Apply transposed convolution ``k``."""
        layer: LayerPlan = self.plan.layers[k - 1]
        weight, bias = self._weights(k, rest)
        x = F.conv_transpose2d(x, weight, bias, layer.stride, layer.padding, layer.output_padding)
        height, width = layer.size_out
        return x if x.shape[-2:] == layer.size_out else x[..., :height, :width]
