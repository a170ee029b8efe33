"""Features of a trained network: the outputs of any module, or of one of its layers, in evaluation mode."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_dtype, check_text
from ..errors import check_instance, type_error, value_error
from .base import FeatureMap, Features
from .scaling import Standardize

__all__ = ["Frozen"]

_INPUTS, _CHUNK = 2_000, 250


class Frozen(Features):
    """Outputs of a trained module, or of a layer inside it, standardized over the first task.

    The module is copied, put into evaluation mode and called without gradients. Nothing of it is trained; its tensors
    are saved with the map. It may be a trained backbone, or the main network as it is after the first task.

    Args:
        module: any module from inputs to a tensor.
        at: name of an inner layer (as in ``module.named_modules()``) whose output is taken; None for the module's own.
        dtype: dtype in which the module computes, such as ``torch.bfloat16``; None for that of the inputs. Features are
            returned in the dtype of the inputs.

    Example:
        >>> trunk = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> x = torch.randn(20, 3)
        >>> Frozen(trunk, at="1").fit(x)(x).shape
        torch.Size([20, 8])
    """

    def __init__(self, module: nn.Module, *, at: str | None = None, dtype: torch.dtype | None = None) -> None:
        self.module = check_instance("module", module, nn.Module, "a torch.nn.Module")
        self.at = None if at is None else check_text("at", at, "the name of an inner layer, or None")
        self.dtype = check_dtype("dtype", dtype)
        if self.at is not None and self.at not in dict(module.named_modules()):
            names = ", ".join(repr(name) for name, _ in module.named_modules() if name)
            raise value_error("at", expected=f"the name of a layer, one of {names}", got=at)

    def build(self, input_shape: Sequence[int], layout: str | None = None) -> FeatureMap:
        """Build the map, after one call of the module that tells the number of features.

        Inputs are taken in the shape that they have, whatever the layout.
        """
        module = copy.deepcopy(self.module).eval().requires_grad_(False)
        like = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), torch.zeros(()))
        probe = _ran(module, self.at, torch.zeros(2, *input_shape, dtype=like.dtype, device=like.device))
        if probe is None:  # embeddings take integers
            probe = _ran(module, self.at, torch.zeros(2, *input_shape, dtype=torch.long, device=like.device))
        if probe is None or probe.ndim < 2 or len(probe) != 2 or not probe.is_floating_point():
            expected = f"one whose outputs for inputs (N, {', '.join(map(str, input_shape))}) are one tensor (N, ...)"
            raise value_error("module", expected=expected, found=type(self.module).__name__)
        return FrozenMap(self, module, input_shape, probe[0].numel())


class FrozenMap(FeatureMap):
    """The map of :class:`Frozen`."""

    def __init__(self, settings: Frozen, module: nn.Module, input_shape: Sequence[int], num_features: int) -> None:
        super().__init__(input_shape, num_features)
        self.at, self.dtype = settings.at, settings.dtype
        self.module = module
        self.standardize = Standardize(num_features)

    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Standardize the outputs over some of the inputs."""
        some = torch.randperm(len(x), generator=generator)[:_INPUTS].to(x.device)
        self.standardize.learn(self.outputs(x[some]))

    def features(self, x: Tensor) -> Tensor:
        """Compute the standardized outputs."""
        return self.standardize(self.outputs(x))

    def outputs(self, x: Tensor) -> Tensor:
        """Compute outputs ``(N, D)`` in the dtype of the standardization."""
        if not len(x):
            return self.standardize.mean.new_zeros(0, self.num_features)
        return torch.cat([self._chunk(part) for part in x.split(_CHUNK)])

    def _chunk(self, x: Tensor) -> Tensor:
        own = self.standardize.mean.dtype
        compute = self.dtype or own
        found = _called(self.module.to(compute).eval(), self.at, x.to(compute) if x.is_floating_point() else x)
        return check_instance("module", found, Tensor, "one that returns a tensor").flatten(1).to(own)


def _ran(module: nn.Module, at: str | None, x: Tensor) -> Tensor | None:
    """Return the output for a trial input, or None if the module does not take it."""
    try:
        with torch.no_grad():
            found = _called(module, at, x)
    except Exception:  # of any module of the user
        return None
    return found if isinstance(found, Tensor) else None


def _called(module: nn.Module, at: str | None, x: Tensor) -> Any:
    """Return the output of the module, or of its layer ``at``."""
    if at is None:
        return module(x)
    found: list[Any] = []
    handle = module.get_submodule(at).register_forward_hook(lambda layer, inputs, output: found.append(output))
    try:
        module(x)
    finally:
        handle.remove()
    if not found:
        raise type_error("at", expected="a layer that is called", found=f"{at!r}, which is not")
    return found[-1]
