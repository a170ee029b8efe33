"""Features of a trained network: the outputs of any module, or of some of its layers, in evaluation mode."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_dtype, check_items
from ..errors import check_instance, check_size, type_error, value_error
from .base import FeatureMap, Features
from .scaling import Standardize

__all__ = ["Frozen"]

_INPUTS, _CHUNK = 2_000, 250
_POOLS = "a number of cells, or one (or None) for each layer"


class Frozen(Features):
    """Outputs of a trained module, or of layers inside it, standardized over the first task.

    The module is copied, put into evaluation mode and called without gradients. Nothing of it is trained; its tensors
    are saved with the map. It may be a trained backbone, or the main network as it is after the first task.

    Args:
        module: any module from inputs to a tensor.
        at: name of an inner layer (as in ``module.named_modules()``) whose output is taken, or names of several, whose
            outputs are joined; None for the module's own.
        dtype: dtype in which the module computes, such as ``torch.bfloat16``; None for that of the inputs. Features are
            returned in the dtype of the inputs.
        pool: number of cells along each side to which maps ``(N, C, H, W)`` are averaged, or one such number (or None)
            for each layer of ``at``; None for the outputs as they are.

    Example:
        >>> trunk = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> x = torch.randn(20, 3)
        >>> Frozen(trunk, at="1").fit(x)(x).shape
        torch.Size([20, 8])
        >>> maps = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 6, 3))
        >>> x = torch.randn(20, 1, 9, 9)
        >>> Frozen(maps, at=("0", "1"), pool=(2, 1)).fit(x)(x).shape
        torch.Size([20, 22])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        at: str | Sequence[str] | None = None,
        dtype: torch.dtype | None = None,
        pool: int | Sequence[int | None] | None = None,
    ) -> None:
        self.module = check_instance("module", module, nn.Module, "a torch.nn.Module")
        expected = "the name of an inner layer, names of several, or None"
        several = at is None or isinstance(at, str)
        self.at = at if several else check_items("at", at, expected, str, 1)
        self.dtype = check_dtype("dtype", dtype)
        self.pool = pool if pool is None or isinstance(pool, int) else tuple(check_items("pool", pool, _POOLS))
        known = dict(module.named_modules())
        for name in self._layers:
            if name not in known:
                names = ", ".join(repr(name) for name in known if name)
                raise value_error("at", expected=f"the name of a layer, one of {names}", got=name)
        for cells in self._pools:
            if cells is not None:
                check_size("pool", cells)
        if len(self._pools) != max(1, len(self._layers)):
            raise value_error("pool", expected=f"{_POOLS}: {max(1, len(self._layers))}", got=pool)

    @property
    def _layers(self) -> tuple[str, ...]:
        """Names of the layers whose outputs are taken; none for those of the module."""
        return () if self.at is None else (self.at,) if isinstance(self.at, str) else tuple(self.at)

    @property
    def _pools(self) -> tuple[int | None, ...]:
        """Number of cells for each output, or None."""
        return self.pool if isinstance(self.pool, tuple) else (self.pool,) * max(1, len(self._layers))

    def build(self, input_shape: Sequence[int], layout: str | None = None) -> FeatureMap:
        """Build the map, after one call of the module that tells the number of features.

        Inputs are taken in the shape that they have, whatever the layout.
        """
        module = copy.deepcopy(self.module).eval().requires_grad_(False)
        like = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), torch.zeros(()))
        probe = self._ran(module, torch.zeros(2, *input_shape, dtype=like.dtype, device=like.device))
        if probe is None:  # embeddings take integers
            probe = self._ran(module, torch.zeros(2, *input_shape, dtype=torch.long, device=like.device))
        if probe is None or probe.ndim < 2 or len(probe) != 2 or not probe.is_floating_point():
            expected = f"one whose outputs for inputs (N, {', '.join(map(str, input_shape))}) are one tensor (N, ...)"
            raise value_error("module", expected=expected, found=type(self.module).__name__)
        return FrozenMap(self, module, input_shape, probe[0].numel())

    def _ran(self, module: nn.Module, x: Tensor) -> Tensor | None:
        """Return the outputs for a trial input, or None if the module does not take it."""
        try:
            with torch.no_grad():
                return _outputs(module, self._layers, self._pools, x)
        except Exception:  # of any module of the user
            return None


class FrozenMap(FeatureMap):
    """The map of :class:`Frozen`."""

    def __init__(self, settings: Frozen, module: nn.Module, input_shape: Sequence[int], num_features: int) -> None:
        super().__init__(input_shape, num_features)
        self.layers, self.pools, self.dtype = settings._layers, settings._pools, settings.dtype
        self.module = module
        self.standardize = Standardize(num_features)

    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Standardize the outputs over some of the inputs."""
        some = torch.randperm(len(x), generator=generator)[:_INPUTS].to(x.device)
        self.standardize.learn(self.outputs(x[some]))

    def features(self, x: Tensor) -> Tensor:
        """Compute the standardized outputs."""
        found: Tensor = self.standardize(self.outputs(x))
        return found

    def outputs(self, x: Tensor) -> Tensor:
        """Compute outputs ``(N, D)`` in the dtype of the standardization."""
        if not len(x):
            return self.standardize.mean.new_zeros(0, self.num_features)
        return torch.cat([self._chunk(part) for part in x.split(_CHUNK)])

    def _chunk(self, x: Tensor) -> Tensor:
        own = self.standardize.mean.dtype
        compute = self.dtype or own
        inputs = x.to(compute) if x.is_floating_point() else x
        return _outputs(self.module.to(compute).eval(), self.layers, self.pools, inputs).to(own)


def _outputs(module: nn.Module, layers: Sequence[str], pools: Sequence[int | None], x: Tensor) -> Tensor:
    """Return the output of the module, or of its layers, averaged over cells and flattened, ``(N, D)``."""
    found = _called(module, layers, x) if layers else [module(x)]
    flat = []
    for output, cells in zip(found, pools, strict=True):
        check_instance("module", output, Tensor, "one that returns a tensor")
        maps = cells is not None and output.ndim == 4
        flat.append((nn.functional.adaptive_avg_pool2d(output, cells) if maps else output).flatten(1))
    return torch.cat(flat, 1)


def _called(module: nn.Module, layers: Sequence[str], x: Tensor) -> list[Any]:
    """Return the outputs of layers of the module, the last ones of layers that are called several times."""
    found: dict[str, Any] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            found[name] = output

        return hook

    handles = [module.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    try:
        module(x)
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        if name not in found:
            raise type_error("at", expected="a layer that is called", found=f"{name!r}, which is not")
    return [found[name] for name in layers]
