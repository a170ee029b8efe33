"""The contract of adapters: settings that say which layers are adapted and how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.utils import parametrize

from ...checks import check_items
from ...errors import value_error
from ...functional import parameter_places
from ...representation import Settings
from ..parts.selection import owner_of
from .tensors import AdaptedTensor

__all__ = ["CONVOLUTIONS", "NORMS", "Adapter"]

CONVOLUTIONS = nn.modules.conv._ConvNd
_EXPECTED = "names or patterns of layers, or None for all"
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Adapter(Settings, ABC):
    """Settings of a change of some layers by few numbers, which alone are passed to the network.

    A :class:`~bayeshnet.mnets.ModuleMainNet` with an adapter registers it on its copy of the module by
    ``torch.nn.utils.parametrize``. As it is registered it changes nothing; priors and posteriors that
    :mod:`bayeshnet.builders` makes are centered there, on the trained network.

    Args:
        layers: names of layers, or of what holds them, or patterns such as ``"blocks.*"``; None for all layers of the
            right kinds.
    """

    def __init__(self, layers: str | Sequence[str] | None = None) -> None:
        several = (
            None if layers is None or isinstance(layers, str) else check_items("layers", layers, _EXPECTED, str, 1)
        )
        self.layers = layers if several is None else several

    @abstractmethod
    def tensors(self, layer: nn.Module) -> tuple[str, ...]:
        """Return the names of the tensors of a layer that would change; none for a layer of another kind."""

    @abstractmethod
    def change(self, layer: nn.Module, name: str) -> AdaptedTensor:
        """Build the parametrization of a tensor of a layer."""

    @property
    @abstractmethod
    def _wanted(self) -> str:
        """The kinds of layers in words."""

    @property
    def _per_layer(self) -> bool:
        """True if the change is of a layer's outputs, so that a tensor of two layers has no one change."""
        return False

    def apply(self, module: nn.Module, whole: Collection[str] = ()) -> None:
        """Register the adapter on the layers of a module, in place.

        A tensor that several layers share has one change, in all of them.

        Args:
            module: the module.
            whole: names of parameters that are passed whole, and are not adapted.

        Raises:
            ValueError: if there is no such layer, or one whose tensors are parametrized already.
        """
        places = {name: names for names in parameter_places(module).values() for name in names}
        found = [(layer, leaf, name) for name, leaf, layer in self._chosen(module, whole)]
        for _, _, name in found:
            self._check_places(module, places.get(name, (name,)))
        done: set[str] = set()
        for layer, leaf, name in found:
            if name not in done:
                part = self.change(layer, leaf)
                for place in places[name]:
                    parametrize.register_parametrization(*owner_of(module, place), part)
                done.update(places[name])

    def _chosen(self, module: nn.Module, whole: Collection[str]) -> list[tuple[str, str, nn.Module]]:
        """Return the tensors to change: name, name in the layer, and layer."""
        names: dict[int, list[str]] = {}
        layers: dict[int, nn.Module] = {}
        for path, layer in module.named_modules(remove_duplicate=False):
            if self.tensors(layer):
                names.setdefault(id(layer), []).append(path)
                layers[id(layer)] = layer
        patterns = ["*"] if self.layers is None else [self.layers] if isinstance(self.layers, str) else self.layers
        for pattern in patterns:
            if not any(_matches(path, pattern) for paths in names.values() for path in paths):
                known = ", ".join(repr(paths[0]) for paths in names.values()) or "there is none"
                found = "no layer" if self.layers is None else repr(pattern)
                raise value_error("layers", expected=f"{self._wanted} of the module ({known})", found=found)
        chosen = []
        for key, paths in names.items():
            own = [(f"{paths[0]}.{leaf}" if paths[0] else leaf, leaf) for leaf in self.tensors(layers[key])]
            fits = any(_matches(path, pattern) for path in paths for pattern in patterns)
            if fits and not {name for name, _ in own} & set(whole):
                chosen += [(name, leaf, layers[key]) for name, leaf in own]
        if not chosen:
            raise value_error("layers", expected="a layer whose tensors are not passed whole", found="none")
        return chosen

    def _check_places(self, module: nn.Module, places: Sequence[str]) -> None:
        """Refuse a tensor that is parametrized, or that no adapter can change in all its places."""
        for name in places:
            owner, _ = owner_of(module, name)
            if parametrize.is_parametrized(owner):
                found = f"{name!r} in a layer that is parametrized already"
                advice = "Name other layers, or remove the parametrization."
                raise value_error("layers", expected="layers with plain tensors", found=found, hint=advice)
            if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)) and owner.max_norm is not None:
                expected = "layers that share no weights with an embedding with max_norm"
                raise value_error("layers", expected=expected, got=name)
        if self._per_layer and len(places) > 1:
            found = f"one tensor that is {' and '.join(places)}"
            advice = "Name other layers, or take the adapter 'lora'."
            raise value_error("layers", expected="layers with tensors of their own", found=found, hint=advice)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")
