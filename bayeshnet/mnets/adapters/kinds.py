"""Adapters of low rank, of scales and shifts, and of shifts alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...errors import check_positive, check_size
from .base import CONVOLUTIONS, NORMS, Adapter
from .tensors import AdaptedTensor, LowRankChange, RowScale, RowShift

__all__ = ["BiasAdapter", "FiLMAdapter", "LowRankAdapter"]


class LowRankAdapter(Adapter):
    r"""Changes of low rank of the weights of linear and convolutional layers (LoRA).

    .. math:: W' = W + \frac{\alpha}{r} B A, \qquad A \in \mathbb{R}^{r \times d}, \quad B \in \mathbb{R}^{c \times r}.

    A kernel ``(c, ...)`` is the matrix with a row for each of its first indices. At first the entries of :math:`A` have
    variance :math:`1 / d`, and :math:`B = 0`. Under the priors of :mod:`bayeshnet.builders` :math:`A` has the scale of
    a layer's weights and :math:`B` that of biases, 0.1.

    Args:
        layers: see :class:`Adapter`.
        rank: the number :math:`r`; no more than rows or columns are made.
        alpha: the number :math:`\alpha`; None for :math:`r`, without scaling.

    References:
        LoRA: Low-Rank Adaptation of Large Language Models (Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen; 2021).

    Example:
        >>> from bayeshnet.mnets import ModuleMainNet
        >>> body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))
        >>> ModuleMainNet(body, adapter=LowRankAdapter(rank=2)).weight_spec.shapes
        ((2, 27), (8, 2), (2, 32), (5, 2))
    """

    def __init__(self, layers: str | Sequence[str] | None = None, *, rank: int = 4, alpha: float | None = None) -> None:
        super().__init__(layers)
        self.rank = check_size("rank", rank)
        self.alpha = None if alpha is None else check_positive("alpha", alpha)

    _wanted = "linear or convolutional layers"

    def tensors(self, layer: nn.Module) -> tuple[str, ...]:
        """Return the weight of a linear or convolutional layer."""
        return ("weight",) if isinstance(layer, (nn.Linear, CONVOLUTIONS)) and _has(layer, "weight") else ()

    def change(self, layer: nn.Module, name: str) -> AdaptedTensor:
        """Build a change of low rank."""
        tensor = layer.get_parameter(name)
        rank = min(self.rank, len(tensor), tensor[0].numel())
        return LowRankChange(tensor, rank, 1.0 if self.alpha is None else self.alpha / self.rank)


class FiLMAdapter(Adapter):
    r"""Scales and shifts of the outputs of layers, one of each for an output or a channel (FiLM).

    .. math:: y'_c = (1 + g_c) y_c + \beta_c, \qquad W'_{c \cdot} = (1 + g_c) W_{c \cdot}, \quad
       b'_c = (1 + g_c) b_c + \beta_c.

    Layers are those whose outputs weights and biases can scale and shift: linear, convolutional (not transposed) and
    normalization layers with a bias. In networks whose convolutions have none these are the normalization layers.

    Args:
        layers: see :class:`Adapter`.

    References:
        FiLM: Visual Reasoning with a General Conditioning Layer (Perez, Strub, de Vries, Dumoulin, Courville; 2018).

    Example:
        >>> from bayeshnet.mnets import ModuleMainNet
        >>> body = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)).eval()
        >>> ModuleMainNet(body, adapter=FiLMAdapter()).weight_spec.shapes
        ((8,), (8,))
    """

    _wanted = "linear, convolutional or normalization layers with a bias"
    _per_layer = True

    def __init__(self, layers: str | Sequence[str] | None = None) -> None:
        super().__init__(layers)

    def tensors(self, layer: nn.Module) -> tuple[str, ...]:
        """Return weight and bias of a layer with both."""
        fits = _scaled_by_rows(layer) and _has(layer, "weight") and _has(layer, "bias")
        return ("weight", "bias") if fits else ()

    def change(self, layer: nn.Module, name: str) -> AdaptedTensor:
        """Build the scale, or the shift of the layer whose scale has been registered."""
        if name == "weight":
            return RowScale(layer.get_parameter(name))
        scale = layer.get_submodule("parametrizations.weight.0")
        return RowShift(layer.get_parameter(name), scale if isinstance(scale, RowScale) else None)


class BiasAdapter(Adapter):
    """Shifts of the biases of linear, convolutional and normalization layers, which are zero at first.

    Args:
        layers: see :class:`Adapter`.

    References:
        BitFit: Simple Parameter-efficient Fine-tuning (Ben Zaken, Goldberg, Ravfogel; 2022).

    Example:
        >>> from bayeshnet.mnets import ModuleMainNet
        >>> ModuleMainNet(nn.Linear(3, 2), adapter=BiasAdapter()).weight_spec.names
        ('parametrizations.bias.0.shift',)
    """

    _wanted = "linear, convolutional or normalization layers with a bias"

    def __init__(self, layers: str | Sequence[str] | None = None) -> None:
        super().__init__(layers)

    def tensors(self, layer: nn.Module) -> tuple[str, ...]:
        """Return the bias of a layer that has one."""
        return ("bias",) if isinstance(layer, (nn.Linear, CONVOLUTIONS, *NORMS)) and _has(layer, "bias") else ()

    def change(self, layer: nn.Module, name: str) -> AdaptedTensor:
        """Build a shift."""
        return RowShift(layer.get_parameter(name))


def _has(layer: nn.Module, name: str) -> bool:
    """Return whether a layer has a parameter, of its own or parametrized."""
    own = layer._parameters.get(name) is not None
    return own or (parametrize.is_parametrized(layer, name) and isinstance(getattr(layer, name), Tensor))


def _scaled_by_rows(layer: nn.Module) -> bool:
    """Return whether the outputs of a layer scale with the rows of its weight."""
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):  # rows are inputs
        return False
    return isinstance(layer, (nn.Linear, CONVOLUTIONS, *NORMS))
