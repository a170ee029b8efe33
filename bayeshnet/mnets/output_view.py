"""A main network that returns a part of another one's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_items
from ..errors import check_instance, check_int, check_ints, value_error
from ..representation import shows_arguments
from .mnet_interface import MainNetInterface, Weights

__all__ = ["OutputView", "pieces_between", "take_pieces"]


class OutputView(MainNetInterface):
    """The outputs ``start, ..., stop - 1`` of a network, or some of them, as a network with the same weights.

    A network for many tasks has outputs for each of them; a view selects the outputs of one task.

    Args:
        net: the network.
        start: first output of the view.
        stop: end of the outputs of the view, exclusive.
        gaps: ranges ``(start, stop)`` of outputs of the network that are left out, in ascending order.

    Shape:
        ``x`` ``(N, ...)`` -> ``(N, stop - start)``, less the outputs that are left out.

    Example:
        >>> import torch
        >>> from bayeshnet.mnets import MLP
        >>> net = MLP(n_in=3, n_out=6, hidden_layers=[4], verbose=False)
        >>> OutputView(net, 2, 4)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
        >>> OutputView(net, 0, 6, gaps=[(2, 3)])(torch.zeros(5, 3)).shape
        torch.Size([5, 5])
    """

    @shows_arguments
    def __init__(self, net: MainNetInterface, start: int, stop: int, *, gaps: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        check_instance("net", net, MainNetInterface, "a main network (MainNetInterface)")
        if check_int("stop", stop, 1) <= check_int("start", start, 0):
            raise value_error("start, stop", expected="0 <= start < stop", found=f"{start}, {stop}")
        self.net = net
        self.start, self.stop = start, stop
        ranges = [check_ints("gaps", gap, 0, 2) for gap in check_items("gaps", gaps, "a list of ranges (start, stop)")]
        self._pieces = pieces_between(start, stop, [(first, last) for first, last in ranges])
        self._ledger = net._ledger

    def forward(
        self,
        x: Tensor,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
    ) -> Any:
        """Compute the outputs of the view; see :meth:`MainNetInterface.forward`."""
        return self._select(self.net(x, weights=weights, distilled_params=distilled_params, condition=condition), 1)

    def batched_forward(self, weights: Tensor, x: Tensor, *, per_sample_inputs: bool = False) -> Any | None:
        """Compute the outputs of the view by the batched forward pass of the network, if it has one."""
        outputs = self.net.batched_forward(weights, x, per_sample_inputs=per_sample_inputs)
        return None if outputs is None else self._select(outputs, 2)

    def gaussian_forward(
        self, means: Sequence[Tensor], stds: Sequence[Tensor], x: Tensor, num: int, generator: torch.Generator | None
    ) -> Tensor | None:
        """Draw the outputs of the view by the Gaussian forward pass of the network, if it has one."""
        outputs = self.net.gaussian_forward(means, stds, x, num, generator)
        return None if outputs is None else self._select(outputs, 2)

    def _select(self, outputs: Tensor, batch_dims: int) -> Tensor:
        if outputs.ndim == batch_dims:
            outputs = outputs.unsqueeze(-1)
        if outputs.shape[-1] < self.stop:
            raise value_error(
                "net", expected=f"a network of at least {self.stop} outputs", found=f"{outputs.shape[-1]}"
            )
        return take_pieces(outputs, self._pieces)


def pieces_between(start: int, stop: int, gaps: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges that are left of ``start, ..., stop - 1`` without ``gaps``.

    Example:
        >>> pieces_between(0, 9, [(2, 3), (5, 9)])
        [(0, 2), (3, 5)]
    """
    edges = [start, *(edge for gap in gaps for edge in gap), stop]
    if edges != sorted(edges):
        raise value_error("gaps", expected=f"ranges between {start} and {stop} in ascending order", got=list(gaps))
    pieces = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
    if not pieces:
        raise value_error("gaps", expected="ranges that leave an output", got=list(gaps))
    return pieces


def take_pieces(outputs: Tensor, pieces: Sequence[tuple[int, int]]) -> Tensor:
    """Return the columns of ``outputs`` ``(*B, C)`` that are in the ranges ``pieces``."""
    parts = [outputs[..., start:stop] for start, stop in pieces]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
