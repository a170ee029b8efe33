"""Some of the outputs of a main network, as a main network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import value_error
from ..weights import WeightSpec
from .mnet_interface import MainNetInterface, Weights

__all__ = ["OutputView"]


class OutputView(MainNetInterface):
    """The outputs ``start, ..., stop - 1`` of a network, which keeps its weights and their order.

    A network for many tasks has outputs for each of them; a view is the network as one task sees it.

    Args:
        net: the network.
        start: first output that is seen.
        stop: first output after it that is not.

    Shape:
        ``x`` ``(N, ...)`` -> ``(N, stop - start)``.

    Example:
        >>> import torch
        >>> from bayeshnet.mnets import MLP
        >>> net = MLP(n_in=3, n_out=6, hidden_layers=[4], verbose=False)
        >>> OutputView(net, 2, 4)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, net: MainNetInterface, start: int, stop: int) -> None:
        super().__init__()
        if not 0 <= start < stop:
            raise value_error("start, stop", expected="0 <= start < stop", found=f"{start}, {stop}")
        self.net = net
        self.start, self.stop = start, stop

    @property
    def weight_spec(self) -> WeightSpec:
        """Names and shapes of the weights of the whole network."""
        return self.net.weight_spec

    def forward(
        self,
        x: Tensor,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
    ) -> Any:
        """Outputs that are seen; see :meth:`MainNetInterface.forward`."""
        return self._seen(self.net(x, weights=weights, distilled_params=distilled_params, condition=condition))

    def batched_forward(self, weights: Tensor, x: Tensor, *, per_sample_inputs: bool = False) -> Any | None:
        """Outputs that are seen, by the network's own fast way, if it has one."""
        outputs = self.net.batched_forward(weights, x, per_sample_inputs=per_sample_inputs)
        return None if outputs is None else self._seen(outputs)

    def gaussian_forward(
        self, means: Sequence[Tensor], stds: Sequence[Tensor], x: Tensor, num: int, generator: torch.Generator | None
    ) -> Tensor | None:
        """Outputs that are seen, by the network's own fast way, if it has one."""
        outputs = self.net.gaussian_forward(means, stds, x, num, generator)
        return None if outputs is None else self._seen(outputs)

    def _seen(self, outputs: Tensor) -> Tensor:
        if outputs.shape[-1] < self.stop:
            raise value_error(
                "net", expected=f"a network of at least {self.stop} outputs", found=f"{outputs.shape[-1]}"
            )
        return outputs[..., self.start : self.stop]
