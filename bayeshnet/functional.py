"""The batched forward: outputs of a network under many weight vectors at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .checks import check_devices, naming
from .errors import (
    check_choice,
    check_flags,
    check_floating,
    check_instance,
    check_int,
    check_shape,
    type_error,
    value_error,
)
from .memo import transforms_active
from .weights import WeightSpec

__all__ = ["STRATEGIES", "batched_forward", "parameter_places"]

STRATEGIES = ("auto", "vmap", "loop", "bmm")
"""Names of the ways to compute outputs under many weight vectors."""

# Up to these sizes one batched call is faster than a loop on a CPU, since it saves the overhead of Python; see
# benchmarks/batched_forward.py. Number of weights; weights times inputs; the same for convolutions, with all pixels. Of
# more activations of a layer than the last one, a network's own implementation computes some at a time, in the cache.
_WIDE, _WORK, _CONV_WORK, _GROUP = 2**18, 2**22, 2**20, 3 * 2**17


def batched_forward(
    net: nn.Module,
    weights: Tensor,
    x: Any,
    strategy: str = "auto",
    chunk_size: int | None = None,
    *,
    per_sample_inputs: bool = False,
    condition: Any = None,
    distilled_params: Sequence[Tensor] | None = None,
) -> Any:
    r"""Compute the outputs of ``net`` under each of ``S`` weight vectors, :math:`y_s = f(x, w_s)`.

    All strategies give the same values and gradients; they differ in speed. ``loop`` always works, and the others are
    tested against it. ``vmap`` vectorizes the loop by :func:`torch.func.vmap`; random layers such as dropout draw anew
    for each sample. ``bmm`` is the network's own implementation, if it has one
    (:meth:`MainNetInterface.batched_forward`). ``auto`` takes the network's own implementation if it has one, then
    ``vmap`` if it is possible and faster, and otherwise the loop. It is faster for small networks, whose run time is
    dominated by the overhead of Python, and for random layers on a fixed trunk, which it computes once for all samples.
    ``auto`` loops for recurrent layers of torch, batch norm that updates running statistics and spectral norm in
    training mode.

    Args:
        net: a main network, or any module; all parameters of the latter are taken from ``weights`` in the order of
            ``WeightSpec.of(net)``.
        weights: flat weight vectors in the order of the network's ``weight_spec``.
        x: inputs, the same for all samples; a module that is not a main network may also take a tuple of several.
        strategy: one of :data:`STRATEGIES`.
        chunk_size: number of samples to compute at a time, which bounds memory; all by default.
        per_sample_inputs: True if ``x`` has a leading dimension of samples.
        condition: argument of the ``forward`` of a main network.
        distilled_params: argument of the ``forward`` of a main network.

    Shape:
        ``weights`` ``(S, P)``; ``x`` ``(N, ...)`` or ``(S, N, ...)``; result ``(S, N, ...)``. If the network returns a
        tuple, list or dict of tensors, so does this function.

    Raises:
        ValueError: if shapes do not match, or ``bmm`` is chosen for a network without an implementation of its own.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> batched_forward(net, torch.zeros(5, 8), torch.ones(4, 3)).shape
        torch.Size([5, 4, 2])
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_instance("net", net, nn.Module, "a torch.nn.Module")
    check_flags(per_sample_inputs=per_sample_inputs)
    check_instance("distilled_params", distilled_params, (Sequence, type(None)), "a list of tensors, or None")
    job = _Job.of(net, per_sample_inputs, condition, distilled_params)
    check_shape("weights", check_floating("weights", weights), (None, job.spec.numel), "Use weight_spec.flatten.")
    samples = weights.shape[0]
    if samples == 0:
        raise value_error("weights", expected="at least one weight vector", got=weights)
    if per_sample_inputs and not isinstance(x, Tensor):
        raise type_error("x", expected="a tensor (S, N, ...) where per_sample_inputs is chosen", got=x)
    if per_sample_inputs and x.shape[0] != samples:
        raise value_error("x", expected=f"inputs (S, N, ...) with S = {samples}", got=x)
    check_devices("x", x, weights.device)
    size = samples if chunk_size is None else check_int("chunk_size", chunk_size, 1)
    plain = strategy == "vmap" or transforms_active()
    with nullcontext() if plain else naming("x", "inputs that the network takes under these weights"):
        if size >= samples:
            return job.run(weights, x, strategy)
        parts = weights.split(size)
        inputs = x.split(size) if per_sample_inputs else [x] * len(parts)
        return _gather(torch.cat, [job.run(w, one, strategy) for w, one in zip(parts, inputs, strict=True)])


@dataclass(frozen=True)
class _Job:
    """A network as a function of one flat weight vector and inputs.

    Args:
        net: the network.
        spec: specification of its weights.
        call: the function.
        hook: the network's own implementation for many weight vectors, or None.
        per_sample: True if inputs have a leading dimension of samples.
    """

    net: nn.Module
    spec: WeightSpec
    call: Callable[[Tensor, Any], Any]
    hook: Callable[..., Any] | None
    per_sample: bool

    @classmethod
    def of(cls, net: nn.Module, per_sample: bool, condition: Any, distilled_params: Sequence[Tensor] | None) -> _Job:
        extra = {"condition": condition, "distilled_params": distilled_params}
        extra = {key: value for key, value in extra.items() if value is not None}
        spec = getattr(net, "weight_spec", None)
        if isinstance(spec, WeightSpec):
            main: Any = net
            hook = getattr(net, "batched_forward", None) if not extra else None
            return cls(net, spec, lambda w, x: main(x, weights=spec.split(w), **extra), hook, per_sample)
        if extra:
            raise value_error(", ".join(extra), expected="None for a module that is no main network", found="a value")
        own = WeightSpec.of(net)
        return cls(net, own, _functional(net, own), None, per_sample)

    def run(self, weights: Tensor, x: Any, strategy: str) -> Any:
        """Compute the outputs of one chunk of samples."""
        if strategy == "auto" and weights.device.type == "cpu" and self.spec.numel > _WIDE and not self.one_trunk:
            strategy = "loop"
        if strategy in ("auto", "bmm"):
            outputs = self.own(weights, x, strategy) if isinstance(x, Tensor) else None
            if outputs is not None:
                return outputs
            if strategy == "bmm":
                advice = "It has no batched forward of its own for these arguments; use 'auto'."
                raise value_error("strategy", expected="one that the network offers", got=strategy, hint=advice)
        if strategy == "vmap":
            return self.vmap(weights, x)
        if strategy == "auto" and self.vmap_pays(weights, x):
            return vectorized_or_not(lambda: self.vmap(weights, x), lambda: self.loop(weights, x))
        return self.loop(weights, x)

    def own(self, weights: Tensor, x: Tensor, strategy: str) -> Any:
        """Compute the outputs by the network's own implementation, which returns None where it does not apply."""
        if self.hook is None:
            return None
        if (size := self.group(weights, x) if strategy == "auto" else len(weights)) >= len(weights):
            return self.hook(weights, x, per_sample_inputs=self.per_sample)
        inputs = x.split(size) if self.per_sample else [x] * -(-len(weights) // size)
        parts = zip(weights.split(size), inputs, strict=True)
        outputs = [self.hook(w, one, per_sample_inputs=self.per_sample) for w, one in parts]
        return None if outputs[0] is None else _gather(torch.cat, outputs)

    def group(self, weights: Tensor, x: Tensor) -> int:
        """Return the number of samples that the network's own implementation treats together."""
        if weights.device.type != "cpu" or transforms_active():
            return len(weights)
        rows = x.shape[self.per_sample] if x.ndim > self.per_sample else 1
        entries = rows * max((e.shape[0] for e in self.spec.entries if e.role == "weight" and e.shape), default=1)
        # Gradients of long weight vectors would be joined again, which costs more than the cache saves.
        return len(weights) if entries < self.spec.numel else max(1, _GROUP // max(1, entries))

    def loop(self, weights: Tensor, x: Any) -> Any:
        # The backward pass of unbind has linear cost; indexing would fill a whole gradient per sample.
        inputs = x.unbind(0) if self.per_sample else [x] * weights.shape[0]
        rows = (weights.squeeze(0),) if len(weights) == 1 else weights.unbind(0)
        return _gather(torch.stack, [self.call(w, one) for w, one in zip(rows, inputs, strict=True)])

    def vmap(self, weights: Tensor, x: Any) -> Any:
        mapped = torch.func.vmap(self.call, in_dims=(0, 0 if self.per_sample else None), randomness="different")
        with _vmap_surroundings():
            return mapped(weights, x)

    @property
    def one_trunk(self) -> bool:
        """True if fixed layers come first, which ``vmap`` computes once, and a loop once for each sample."""
        return bool(getattr(self.net, "fixed_trunk", False)) and not self.per_sample

    def vmap_pays(self, weights: Tensor, x: Any) -> bool:
        """Return whether ``vmap`` seems possible and faster than a loop."""
        if weights.shape[0] < 3 or any(_changes_state(m) for m in self.net.modules()):
            return False
        if weights.device.type != "cpu" or self.one_trunk:
            return True
        if not isinstance(x, Tensor) or x.ndim <= self.per_sample:
            return self.spec.numel <= _CONV_WORK
        shape = x.shape[1:] if self.per_sample else x.shape
        if any(e.role == "weight" and len(e.shape) > 2 for e in self.spec.entries):
            return math.prod(shape) * self.spec.numel <= _CONV_WORK
        return shape[0] * self.spec.numel <= _WORK


def vectorized_or_not(vectorized: Callable[[], Any], looped: Callable[[], Any]) -> Any:
    """Return ``vectorized()``, which vectorizes a network by ``torch.func``, or ``looped()`` if that is impossible.

    A network may look at values, change its buffers or use an operation without a batching rule, which only trying can
    tell. What then fails in the loop is a fault of the network, whose message is the one to be seen.
    """
    try:
        with _vmap_surroundings():
            return vectorized()
    except RuntimeError:
        pass
    return looped()


@contextmanager
def _vmap_surroundings() -> Iterator[None]:
    """Adapt torch's own modules to ``vmap``: attention takes its differentiable path, and a warning is silenced."""
    fast = torch.backends.mha.get_fastpath_enabled()
    # In evaluation mode attention would take a path without gradients, as it cannot see that batched weights need them.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            # The warning is about operations that vmap loops over, whose results are still correct.
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _changes_state(module: nn.Module) -> bool:
    """Return whether a forward pass of ``module`` writes into buffers or otherwise has no batching rule."""
    if isinstance(module, nn.RNNBase):
        return True
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.training and module.track_running_stats
    if isinstance(module, nn.utils.parametrizations._SpectralNorm):
        return module.training
    return bool(getattr(module, "updates_stats", False))


def _functional(net: nn.Module, spec: WeightSpec) -> Callable[[Tensor, Any], Any]:
    """Make the module a function of one flat weight vector and an input, or a tuple of inputs."""
    places = parameter_places(net)

    def call(weights: Tensor, x: Any) -> Any:
        named = {place: t for name, t in spec.unflatten(weights).items() for place in places[name]}
        return call_with(net, named, x if isinstance(x, tuple) else (x,))

    return call


def call_with(module: nn.Module, named: dict[str, Tensor], args: tuple[Any, ...]) -> Any:
    """Call a module with other parameters; what hooks (``weight_norm``) computed from them is not left in it."""
    hooked = [part for part in module.modules() if part._forward_pre_hooks]
    kept = [(part, name, t) for part in hooked for name, t in vars(part).items() if isinstance(t, Tensor)]
    try:
        return functional_call(module, named, args, tie_weights=False)
    finally:
        for part, name, value in kept:
            setattr(part, name, value.detach())  # a leaf, so that the module can be copied


def parameter_places(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the names of all places that hold each parameter (several if it is tied), by its first name.

    A submodule with several names is one place: replacing its tensors twice would not restore the original ones.
    """
    check_instance("module", module, nn.Module, "a torch.nn.Module")
    owners = dict(module.named_modules(remove_duplicate=False))
    found: dict[int, list[str]] = {}
    seen: set[tuple[int, str]] = set()
    for name, parameter in module.named_parameters(remove_duplicate=False):
        path, _, leaf = name.rpartition(".")
        if (id(owners[path]), leaf) not in seen:
            seen.add((id(owners[path]), leaf))
            found.setdefault(id(parameter), []).append(name)
    return {names[0]: tuple(names) for names in found.values()}


def _gather(join: Callable[[list[Tensor]], Tensor], outputs: list[Any]) -> Any:
    """Join outputs, possibly nested in tuples, lists and dicts, along the samples."""
    first = outputs[0]
    if isinstance(first, Tensor):
        return join(outputs)
    if isinstance(first, dict):
        return {key: _gather(join, [o[key] for o in outputs]) for key in first}
    if isinstance(first, (tuple, list)):
        parts = [_gather(join, list(items)) for items in zip(*outputs, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if first is None:
        return None
    raise type_error("net", expected="a network whose outputs are tensors, nested or not", got=first)
