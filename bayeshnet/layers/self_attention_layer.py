"""Self-attention over the positions of feature maps, whose weights may be passed to ``forward``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_flags, check_size, check_tensors, value_error
from ..representation import ModuleSettings
from .initializers import check_initial, init_params
from .spectral_norm import SpectralNorm

__all__ = ["SelfAttnLayerV2"]


class SelfAttnLayerV2(ModuleSettings, nn.Module):
    r"""Self-attention that mixes global information into local features, :math:`y = x + \gamma\, o`.

    With :math:`1 \times 1` convolutions query :math:`f`, key :math:`g` and value :math:`v`,
    :math:`o_j = \sum_i \mathrm{softmax}_i(f_j^\top g_i)\, v_i`. The gate :math:`\gamma` is 0 at first.

    Args:
        in_dim: number of channels :math:`C`, at least 8.
        use_spectral_norm: divide the three convolution kernels by their spectral norm.
        no_weights: pass all weights to :meth:`forward` instead of keeping them as parameters.
        init_weights: initial values, of shapes :attr:`weight_shapes`.

    Shape:
        feature maps ``(N, C, H, W)``, output alike; attention ``(N, H * W, H * W)``, whose rows sum to one.

    References:
        Zhang, Goodfellow, Metaxas, Odena, "Self-attention generative adversarial networks", 2018.

    Example:
        >>> layer = SelfAttnLayerV2(8, False)
        >>> x = torch.randn(2, 8, 4, 4)
        >>> torch.equal(layer(x), x)  # the gate is closed
        True
    """

    def __init__(
        self,
        in_dim: int,
        use_spectral_norm: bool,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        check_flags(use_spectral_norm=use_spectral_norm, no_weights=no_weights)
        if no_weights and init_weights is not None:
            raise value_error("init_weights", expected="None when no_weights is chosen", found="a list of tensors")
        channels = check_size("in_dim", in_dim, 8, "An eighth of the channels are used for queries and keys.")
        small = channels // 8
        self.channel_in = self._in_dim = channels
        self._use_spectral_norm, self._no_weights = use_spectral_norm, no_weights
        self._weight_shapes = [
            *([small, channels, 1, 1], [small]),
            *([small, channels, 1, 1], [small]),
            *([channels, channels, 1, 1], [channels]),
            [1],
        ]
        kernels = self._weight_shapes[:6:2]
        self.spectral = nn.ModuleList([SpectralNorm(s) for s in kernels]) if use_spectral_norm else None
        self._weights = None if no_weights else nn.ParameterList([torch.empty(s) for s in self._weight_shapes])
        if self._weights is not None and init_weights is None:
            for i in (0, 2, 4):
                init_params(self._weights[i], self._weights[i + 1])
            nn.init.zeros_(self._weights[6])
        elif self._weights is not None and init_weights is not None:
            with torch.no_grad():
                values = check_tensors("init_weights", init_weights, self._weight_shapes)
                for own, value in zip(self._weights, values, strict=True):
                    own.copy_(check_initial("init_weights", value))

    @property
    def weight_shapes(self) -> list[list[int]]:
        """Shapes of all weights: query, key and value (kernel and bias of each), and the gate."""
        return self._weight_shapes

    @property
    def weights(self) -> nn.ParameterList | None:
        """All weights, or None if they are passed to :meth:`forward`."""
        return self._weights

    def forward(
        self,
        x: Tensor,
        ret_attention: bool = False,
        weights: Sequence[Tensor] | None = None,
        dWeights: Sequence[Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend over the positions of ``x``.

        Args:
            x: feature maps ``(N, C, H, W)``.
            ret_attention: return the attention map as well.
            weights: tensors of :attr:`weight_shapes` to use instead of those of the layer.
            dWeights: tensors of :attr:`weight_shapes` to add to the weights.
        """
        if weights is None:
            if self._weights is None:
                raise value_error(
                    "weights", expected=f"{len(self._weight_shapes)} tensors", got=None, hint="The layer keeps none."
                )
            used = list(self._weights)
        else:
            used = check_tensors("weights", weights, self._weight_shapes)
        if dWeights is not None:
            changes = check_tensors("dWeights", dWeights, self._weight_shapes)
            used = [w + d for w, d in zip(used, changes, strict=True)]
        if self.spectral is not None:
            for i, norm in enumerate(self.spectral):
                used[2 * i] = norm(used[2 * i])
        query = F.conv2d(x, used[0], used[1]).flatten(2).transpose(1, 2)
        key = F.conv2d(x, used[2], used[3]).flatten(2)
        attention = torch.softmax(query @ key, dim=-1)
        value = F.conv2d(x, used[4], used[5]).flatten(2)
        out = used[6] * (value @ attention.transpose(1, 2)).view_as(x) + x
        return (out, attention) if ret_attention else out
