"""Adapters by name: a trained module as a main network of which few numbers are random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..checks import refusing
from ..errors import check_choice, value_error
from .adapters import Adapter, BiasAdapter, FiLMAdapter, LowRankAdapter
from .adapters.base import CONVOLUTIONS
from .module_wrapper import ModuleMainNet
from .parts.selection import check_module

__all__ = ["ADAPTERS", "adapt"]

ADAPTERS = ("lora", "film", "bias", "last_layer")
"""Names of the changes of a module that :func:`adapt` makes."""

_KINDS: dict[str, type[Adapter]] = {"lora": LowRankAdapter, "film": FiLMAdapter, "bias": BiasAdapter}


def adapt(
    module: nn.Module,
    kind: str = "lora",
    *,
    layers: str | Sequence[str] | None = None,
    select: str | Sequence[str] | None = None,
    batch_norm: str | None = None,
    **options: Any,
) -> ModuleMainNet:
    r"""Make a main network of a trained module, all of which is frozen but few numbers that are passed in.

    - ``"lora"``: :math:`W + \frac{\alpha}{r} B A` in linear and convolutional layers
      (:class:`~bayeshnet.mnets.LowRankAdapter`, with the options ``rank`` and ``alpha``);
    - ``"film"``: scales and shifts of outputs (:class:`~bayeshnet.mnets.FiLMAdapter`);
    - ``"bias"``: shifts of biases (:class:`~bayeshnet.mnets.BiasAdapter`);
    - ``"last_layer"``: the parameters of the last linear or convolutional layer, whole.

    With these numbers as they are made (``net.module_weights()``) the network is the module. Any weight posterior over
    ``net.weight_spec`` makes them random, or a hypernetwork generates them for each task; ``net.to_module(weights)``
    merges a draw into a plain module. Many draws share one pass through the layers before the first that is adapted.

    Args:
        module: the module; it is copied and not changed.
        kind: one of :data:`ADAPTERS`.
        layers: names of layers, or of what holds them, or patterns; None for all that the kind can change. For
            ``"last_layer"`` the one layer.
        select: patterns of further parameters that are passed whole, such as those of a new last layer.
        batch_norm: as for :class:`ModuleMainNet`; statistics of layers that are not selected stay as they are.
        **options: of the kind.

    Raises:
        ValueError: for an unknown kind, and if there is no such layer, or one that is parametrized already.

    References:
        LoRA: Low-Rank Adaptation of Large Language Models (Hu et al.; 2021); FiLM: Visual Reasoning with a General
        Conditioning Layer (Perez et al.; 2018).

    Example:
        >>> import torch
        >>> trained = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> net, x = adapt(trained, "lora", rank=2), torch.randn(4, 6)
        >>> net.weight_spec.shapes
        ((2, 6), (16, 2), (2, 16), (3, 2))
        >>> weights = net.module_weights()
        >>> torch.equal(net(x, weights=net.weight_spec.split(weights)), trained(x))
        True
        >>> trained.load_state_dict(net.to_module(weights).state_dict())
        <All keys matched successfully>
    """
    check_module(module)
    check_choice("kind", kind, ADAPTERS)
    if kind != "last_layer":
        build = refusing("options", _KINDS[kind], f"those of {_KINDS[kind].__name__}")
        return ModuleMainNet(module, select, batch_norm, adapter=build(layers, **options))
    if options:
        raise value_error("options", expected="none for 'last_layer'", got=options)
    further = [] if select is None else [select] if isinstance(select, str) else list(select)
    return ModuleMainNet(module, [*_last_layer(module, layers), *further], batch_norm)


def _last_layer(module: nn.Module, layers: Any) -> list[str]:
    """Return the names of the parameters of the last linear or convolutional layer, or of the one that is named."""
    found = [
        path
        for path, part in module.named_modules()
        if isinstance(part, (nn.Linear, CONVOLUTIONS)) and part._parameters
    ]
    if layers is not None and layers not in found:
        known = ", ".join(map(repr, found))
        raise value_error("layers", expected=f"the name of one linear or convolutional layer ({known})", got=layers)
    if not found:
        raise value_error("module", expected="one with a linear or convolutional layer", found=type(module).__name__)
    path = found[-1] if layers is None else layers
    return [f"{path}.{name}" if path else name for name, _ in module.get_submodule(path).named_parameters()]
