"""Local reparameterization: the output noise of a posterior is drawn in the pre-activations of linear layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...distributions import LowRankGaussian, MeanFieldGaussian, SemiImplicit, WeightDraw
from ...errors import type_error, value_error
from ...mnets import MainNetInterface
from ...mnets.inputs import Inputs, take

__all__ = ["independent_outputs", "local_outputs"]


def local_outputs(
    net: MainNetInterface, q: Any, draw: WeightDraw, x: Inputs, generator: torch.Generator | None = None
) -> Tensor:
    r"""Compute outputs ``(S, N, C)`` with the distribution, at each input, of those under noisy weights.

    Given the latent, a linear layer with :math:`W = M + \Sigma \odot E` has Gaussian pre-activations,

    .. math:: x W^\top + b \sim N\big(x M^\top + m, \; x^2 (\Sigma^2)^\top + s^2\big),

    from which noise is drawn independently for each input. The expected log-likelihood, a sum over inputs, is
    unchanged, and its gradient has less variance; but the inputs of a batch share no weight vector, so this is for
    training only. It is exact for weights that are used once, in a linear layer on inputs ``(N, d)``. Noise of all
    other weights (of convolutions, norms, recurrent or repeated layers) is drawn in weight space as usual. A multilayer
    perceptron computes all samples in one pass, other networks take a pass for each.

    Args:
        net: the main network.
        q: the distribution: of a hypernetwork with independent noise, mean-field or low-rank Gaussian.
        draw: draws from ``q``, of which the latents are used, and the noise of the other weights.
        x: inputs ``(N, ...)``.
        generator: of the local noise.

    References:
        Kingma, Salimans, Welling, "Variational dropout and the local reparameterization trick", 2015.
    """
    mean, std = _conditional(q, draw)
    spec = net.weight_spec
    if isinstance(x, Tensor):
        together = net.gaussian_forward(spec.split(mean), spec.split(std), x, len(mean), generator)
        if together is not None:
            return together
    local = _local_names(net, mean[0], x)
    if not local:
        advice = "Take num_particles larger, or networks with linear layers."
        raise value_error("net", expected="a network with linear layers on inputs (N, d)", found="none", hint=advice)
    use_mean = spec.mask(lambda entry: entry.name in local).to(mean.device, non_blocking=True)
    weights = torch.where(use_mean, mean, draw.w)
    stds = {name: value for name, value in spec.unflatten(std).items() if name in local}
    outputs = []
    for flat in weights.unbind(0):
        tensors = spec.unflatten(flat)
        noisy = {id(tensors[name]): value for name, value in stds.items()}
        with _NoisyLinear(noisy, generator):
            made = net(x, weights=list(tensors.values()))
        if not isinstance(made, Tensor):
            raise type_error("net", expected="a network that returns one floating tensor", got=made)
        outputs.append(made)
    return torch.stack(outputs)


def independent_outputs(
    net: MainNetInterface, q: Any, num: int, x: Inputs, generator: torch.Generator | None = None
) -> Tensor | None:
    """Compute outputs ``(num, N, C)`` distributed as those of :func:`local_outputs`, without drawing any weights.

    For independent weights and networks that consist of linear layers, all samples are computed in one network pass:
    quicker than noise in weight space.

    Args:
        net: the main network.
        q: the distribution.
        num: number of samples.
        x: inputs ``(N, ...)``.
        generator: of the noise.

    Returns:
        The outputs; None for other distributions and networks.
    """
    if not isinstance(q, MeanFieldGaussian) or not isinstance(x, Tensor):
        return None
    spec = net.weight_spec
    return net.gaussian_forward(spec.split(q.loc), spec.split(q.scale), x, num, generator)


def _conditional(q: Any, draw: WeightDraw) -> tuple[Tensor, Tensor]:
    """Return mean ``(S, P)`` and standard deviation ``(P,)`` of the weights given the latents of the draw."""
    if isinstance(q, SemiImplicit) and draw.eps is not None:
        std = (q.scale * q.sigma).expand(draw.w.shape[1])
    elif isinstance(q, MeanFieldGaussian) and draw.eps is not None:
        std = q.scale
    elif isinstance(q, LowRankGaussian) and draw.eps is not None:
        std = q.diag.sqrt()
    elif isinstance(q, SemiImplicit):
        advice = "Leave local_noise off, or block_size."
        raise value_error("q", expected="one whose draws have their noise", found="one with block_size", hint=advice)
    else:
        expected = "a distribution whose weights are independent given the latent"
        raise type_error("q", expected=expected, found=type(q).__name__, hint="Leave local_noise off for this one.")
    return draw.w - std * draw.eps, std


class _NoisyLinear(TorchFunctionMode):
    """Mode that adds the noise of weights and biases, recognized by their identity, to the results of linear layers."""

    def __init__(self, stds: Mapping[int, Tensor], generator: torch.Generator | None) -> None:
        super().__init__()
        self.stds, self.generator = stds, generator

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not F.linear:
            return result
        x, weight, bias = _linear_arguments(args, kwargs or {})
        variance = None
        if id(weight) in self.stds:
            variance = F.linear(x.square(), self.stds[id(weight)].square())
        if bias is not None and id(bias) in self.stds:
            own = self.stds[id(bias)].square()
            variance = own.expand(result.shape) if variance is None else variance + own
        if variance is None:
            return result
        eps = torch.randn(result.shape, dtype=result.dtype, device=result.device, generator=self.generator)
        return result + variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt() * eps


class _Uses(TorchFunctionMode):
    """Mode that counts uses of tensors, recognized by identity, in linear layers on inputs ``(N, d)`` and elsewhere."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.linear: dict[str, int] = {}
        self.other: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and _linear_arguments(args, kwargs)[0].ndim == 2:
            for tensor in _linear_arguments(args, kwargs)[1:]:
                if id(tensor) in self.names:
                    name = self.names[id(tensor)]
                    self.linear[name] = self.linear.get(name, 0) + 1
        elif not _reads_attributes(func):
            self.other |= {self.names[id(a)] for a in _tensors([*args, *kwargs.values()]) if id(a) in self.names}
        return func(*args, **kwargs)


@torch.no_grad()
def _local_names(net: MainNetInterface, flat: Tensor, x: Inputs) -> set[str]:
    """Return names of the weights that are used once, in a linear layer on inputs ``(N, d)``."""
    tensors = net.weight_spec.unflatten(flat)
    with _Uses({id(tensor): name for name, tensor in tensors.items()}) as uses:
        net(take(x, slice(1)), weights=list(tensors.values()))
    found: set[str] = {name for name, count in uses.linear.items() if count == 1} - uses.other
    return found


def _linear_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
    names = ("input", "weight", "bias")
    given = dict(zip(names, args, strict=False)) | {name: kwargs[name] for name in names if name in kwargs}
    return given["input"], given["weight"], given.get("bias")


def _reads_attributes(func: Callable[..., Any]) -> bool:
    """Return whether a function only reads attributes of a tensor."""
    return getattr(func, "__name__", "") in {"__get__", "size", "dim", "stride", "numel", "is_floating_point"}


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found
