"""A network under many weight vectors at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .errors import check_choice, check_int, check_shape, type_error, value_error
from .weights import WeightSpec

__all__ = ["STRATEGIES", "batched_forward"]

STRATEGIES = ("auto", "vmap", "loop", "bmm")
"""How outputs under many weight vectors can be computed."""

_VMAP_WORK = 2**17
"""Multiplications per sample (weights times inputs, roughly) up to which one ``vmap`` beats a loop on a CPU."""


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
    r"""Outputs of ``net`` under each of ``S`` weight vectors, :math:`y_s = f(x, w_s)`.

    All strategies give the same values and gradients; they differ in speed. ``loop`` always works and serves the others
    as oracle. ``vmap`` vectorises the loop by :func:`torch.func.vmap`; random layers such as dropout draw differently
    for each sample. ``bmm`` is the network's own way, if it has one (:meth:`MainNetInterface.batched_forward`).
    ``auto`` takes the network's own way, else ``vmap`` where it pays (small networks, where the overhead of Python
    rules) and works, else the loop: recurrent layers of torch, batch norm that updates running statistics and spectral
    norm in training mode are looped over.

    Args:
        net: a main network, or any module, all of whose parameters are then taken from ``weights`` in the order of
            ``WeightSpec.of(net)``.
        weights: flat weight vectors in the order of the network's ``weight_spec``.
        x: inputs that all samples share.
        strategy: one of :data:`STRATEGIES`.
        chunk_size: how many samples to compute at a time, which bounds memory; all by default.
        per_sample_inputs: whether ``x`` has a leading dimension of samples.
        condition: handed to the ``forward`` of a main network.
        distilled_params: handed to the ``forward`` of a main network.

    Shape:
        ``weights`` ``(S, P)``; ``x`` ``(N, ...)`` or ``(S, N, ...)``; result ``(S, N, ...)``. Where the network returns
        a tuple, list or dict of tensors, so does this function.

    Raises:
        ValueError: if shapes do not fit, or the network has no own way and ``bmm`` is asked for.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> batched_forward(net, torch.zeros(5, 8), torch.ones(4, 3)).shape
        torch.Size([5, 4, 2])
    """
    check_choice("strategy", strategy, STRATEGIES)
    if not isinstance(net, nn.Module):
        raise type_error("net", "a torch.nn.Module", net)
    spec = _spec(net)
    check_shape("weights", weights, (None, spec.numel), "Use weight_spec.flatten(tensors).")
    samples = weights.shape[0]
    if samples == 0:
        raise value_error("weights", "at least one weight vector", weights)
    if per_sample_inputs and x.shape[0] != samples:
        raise value_error("x", f"inputs (S, N, ...) with S = {samples}", x)
    call = _caller(net, spec, condition, distilled_params)
    own = condition is None and distilled_params is None
    size = samples if chunk_size is None else check_int("chunk_size", chunk_size, 1)
    outputs = []
    for start in range(0, samples, size):
        part = weights if size >= samples else weights[start : start + size]
        inputs = x[start : start + size] if per_sample_inputs and size < samples else x
        outputs.append(_run(net, call, part, inputs, strategy, per_sample_inputs, own))
    return outputs[0] if len(outputs) == 1 else _gather(torch.cat, outputs)


def _run(
    net: nn.Module,
    call: Callable[[Tensor, Any], Any],
    weights: Tensor,
    x: Any,
    strategy: str,
    per_sample: bool,
    own: bool,
) -> Any:
    """Outputs of one chunk of samples."""
    hook = getattr(net, "batched_forward", None) if own else None
    if strategy in ("auto", "bmm"):
        outputs = hook(weights, x, per_sample_inputs=per_sample) if hook is not None else None
        if outputs is not None:
            return outputs
        if strategy == "bmm":
            raise value_error("strategy", "one that the network offers", strategy,
                              "It has no batched forward of its own for these arguments; use 'auto'.")  # fmt: skip
    if strategy == "vmap":
        return _vmap(call, weights, x, per_sample)
    if strategy == "auto" and _vmap_pays(net, weights, x, per_sample):
        try:
            return _vmap(call, weights, x, per_sample)
        except RuntimeError:  # An operation without a batching rule, which cannot be known beforehand.
            pass
    return _loop(call, weights, x, per_sample)


def _loop(call: Callable[[Tensor, Any], Any], weights: Tensor, x: Any, per_sample: bool) -> Any:
    # unbind has a backward pass of linear cost; indexing would fill a whole gradient per sample.
    inputs = x.unbind(0) if per_sample else [x] * weights.shape[0]
    return _gather(torch.stack, [call(w, one) for w, one in zip(weights.unbind(0), inputs, strict=True)])


def _vmap(call: Callable[[Tensor, Any], Any], weights: Tensor, x: Any, per_sample: bool) -> Any:
    return torch.func.vmap(call, in_dims=(0, 0 if per_sample else None), randomness="different")(weights, x)


def _vmap_pays(net: nn.Module, weights: Tensor, x: Any, per_sample: bool) -> bool:
    """Whether ``vmap`` is possible as far as can be told, and quicker than a loop."""
    if weights.shape[0] < 3 or any(_changes_state(m) for m in net.modules()):
        return False
    if weights.device.type != "cpu":
        return True
    rows = x.shape[int(per_sample)] if isinstance(x, Tensor) and x.ndim > int(per_sample) else 1
    return rows * weights.shape[1] <= _VMAP_WORK


def _changes_state(module: nn.Module) -> bool:
    """Whether a forward pass of ``module`` writes into buffers or otherwise has no batching rule."""
    if isinstance(module, nn.RNNBase):
        return True
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.training and module.track_running_stats
    if isinstance(module, nn.utils.parametrizations._SpectralNorm):
        return module.training
    return bool(getattr(module, "updates_stats", False))


def _spec(net: nn.Module) -> WeightSpec:
    spec = getattr(net, "weight_spec", None)
    return spec if isinstance(spec, WeightSpec) else WeightSpec.of(net)


def _caller(
    net: nn.Module, spec: WeightSpec, condition: Any, distilled_params: Sequence[Tensor] | None
) -> Callable[[Tensor, Any], Any]:
    """The network as a function of one flat weight vector and inputs."""
    if isinstance(getattr(net, "weight_spec", None), WeightSpec):
        extra: dict[str, Any] = {} if condition is None else {"condition": condition}
        if distilled_params is not None:
            extra["distilled_params"] = distilled_params
        return lambda w, x: net(x, weights=spec.split(w), **extra)
    if condition is not None or distilled_params is not None:
        raise value_error("condition, distilled_params", "None for a module that is no main network", "one given",
                          said=True)  # fmt: skip
    return lambda w, x: torch.func.functional_call(net, spec.unflatten(w), (x,))


def _gather(join: Callable[[list[Tensor]], Tensor], outputs: list[Any]) -> Any:
    """Join outputs, which may be nested in tuples, lists and dicts, along the samples."""
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
    raise type_error("net", "a network whose outputs are tensors, nested or not", first)
