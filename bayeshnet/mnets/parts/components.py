"""What main networks are put together from: context modulation, batch norm, layers, and the pass through them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import check_flags, check_number, check_shape, value_error
from ...layers import BatchNormLayer, ContextModLayer, init_params
from ..mnet_interface import MainNetInterface, Weights

__all__ = ["Modulation", "Pass", "add_batch_norm", "add_context_mod", "add_layer", "check_dropout", "finish"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Modulation:
    """The options of context modulation that all main networks share, with their documented defaults."""

    use_context_mod: bool = False
    context_mod_inputs: bool = False
    no_last_layer_context_mod: bool = False
    context_mod_no_weights: bool = False
    context_mod_post_activation: bool = False
    context_mod_gain_offset: bool = False
    context_mod_gain_softplus: bool = False
    context_mod_apply_pixel_wise: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_flags(**asdict(self))
        if self.context_mod_gain_offset and self.context_mod_gain_softplus:
            raise value_error(
                "context_mod_gain_softplus", expected="False when context_mod_gain_offset is chosen", got=True
            )

    @classmethod
    def of(cls, kwargs: Mapping[str, Any], *, pixel_wise: bool = True) -> Modulation:
        """Options from a network's ``**kwargs``; unknown ones are refused."""
        known = [f.name for f in fields(cls) if pixel_wise or f.name != "context_mod_apply_pixel_wise"]
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise TypeError(f"kwargs: expected some of {', '.join(known)}, got {', '.join(unknown)}.")
        return cls(**kwargs)

    def shapes(self, inputs: Sequence[int], outputs: Sequence[Sequence[int]]) -> list[list[int]]:
        """Shapes of the modulation layers of a network with input shape ``inputs`` and layer ``outputs`` (CHW)."""
        wanted = [inputs] * self.context_mod_inputs + list(outputs[: len(outputs) - self.no_last_layer_context_mod])
        per_map = not self.context_mod_apply_pixel_wise
        return [[s[0], 1, 1] if len(s) == 3 and per_map else list(s) for s in wanted]


def add_context_mod(
    net: MainNetInterface,
    options: Modulation,
    shapes: Sequence[Sequence[int]],
    layers: Sequence[int],
    steps: Sequence[Sequence[int]] | None = None,
) -> None:
    """Add one modulation layer per entry of ``shapes``; ``steps`` are leading dimensions of tensors, in time."""
    if not options.use_context_mod:
        return
    net._context_mod_layers = nn.ModuleList()
    internal = not options.context_mod_no_weights
    # Offset and softplus act on raw gains that are centered at zero.
    centered = options.context_mod_gain_offset or options.context_mod_gain_softplus
    for i, (shape, number) in enumerate(zip(shapes, layers, strict=True)):
        layer = ContextModLayer(
            shape,
            no_weights=not internal,
            apply_gain_offset=options.context_mod_gain_offset,
            apply_gain_softplus=options.context_mod_gain_softplus,
        )
        net._context_mod_layers.append(layer)
        leading = [] if steps is None else list(steps[i])
        for key, name in (("gain", "cm_scale"), ("shift", "cm_shift")):
            home = (layer, key) if internal else None
            role = "norm_shift" if name == "cm_shift" or centered else "norm_scale"
            net._declare([*leading, *shape], name, number, internal=internal, home=home, role=role)


def add_batch_norm(
    net: MainNetInterface,
    sizes: Sequence[int],
    layers: Sequence[int],
    *,
    no_weights: bool,
    track: bool,
    distill: bool,
) -> None:
    """Add one batch-norm layer per entry of ``sizes``."""
    if distill and not track:
        raise value_error("distill_bn_stats", expected="False where bn_track_stats is False", got=True)
    net._batchnorm_layers = nn.ModuleList()
    for size, number in zip(sizes, layers, strict=True):
        layer = BatchNormLayer(size, affine=not no_weights, track_running_stats=track)
        net._batchnorm_layers.append(layer)
        for key, name in (("scale", "bn_scale"), ("bias", "bn_shift")):
            home = None if no_weights else (layer, key)
            net._declare([size], name, number, internal=not no_weights, home=home)
    if distill:
        net._hyper_shapes_distilled = [[size] for size in sizes for _ in range(2)]


def add_layer(
    net: MainNetInterface, shape: Sequence[int], number: int, *, bias: bool, no_weights: bool, label: str | None = None
) -> None:
    """Add the weight (and bias) of a linear or convolutional layer, initialized as PyTorch does."""
    weight = net._declare(shape, "weight", number, internal=not no_weights, label=label)
    shift = net._declare([shape[0]], "bias", number, internal=not no_weights) if bias else None
    if weight is not None:
        init_params(weight, shift)


def check_dropout(rate: float, maximum: float = 1.0) -> float | None:
    """Return the dropout rate, or None where -1 (or 1, as in hypernetworks) says that there is none."""
    if check_number("dropout_rate", rate) in (-1, 1):
        return None
    return check_number("dropout_rate", rate, 0.0, maximum, "Use -1 for no dropout.")


def finish(net: MainNetInterface, init_weights: Sequence[Tensor] | None, verbose: bool) -> None:
    """Set the internal parameters to ``init_weights`` (if given) and log the size of the network."""
    if init_weights is not None:
        if net.internal_params is None:
            raise value_error("init_weights", expected="None for a network that keeps no weights", found="a list")
        net._overwrite("init_weights", init_weights)
    if verbose:
        logger.info(
            "%s with %d weights, %d of them internal.", type(net).__name__, net.num_params, net.num_internal_params
        )


@dataclass(frozen=True)
class Modulator:
    """A modulation layer with the gains and shifts of this pass."""

    layer: ContextModLayer
    gain: Tensor
    shift: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        """Modulate activations."""
        return h * self.layer.preprocess_gain(self.gain) + self.shift

    def at(self, step: int) -> Modulator:
        """Gains and shifts of one time step, where they are ``(T, n)``."""
        return Modulator(self.layer, self.gain[step], self.shift[step])


class Pass:
    """One pass through a network: hands out layers in order, modulates and normalizes.

    Args:
        net: the network, whose tensors are declared in the order modulation, batch norm, layers.
        weights: as in ``forward``, or a dict with ``internal_weights`` and/or ``mod_weights``, or a list of the
            modulation tensors alone.
        distilled_params: as in ``forward``.
        condition: a number, or a dict with ``bn_stats_id`` and/or ``cmod_ckpt_id``.
        number: which of the two a number stands for.
    """

    def __init__(
        self,
        net: MainNetInterface,
        weights: Weights | None,
        distilled_params: Sequence[Tensor] | None,
        condition: Any,
        number: str = "bn_stats_id",
    ) -> None:
        modulation: list[Any] = list(net.context_mod_layers or ())
        norms: list[Any] = list(net.batchnorm_layers or ())
        self.stats_id, ckpt_id = _parse_condition(condition, number, bool(norms), bool(modulation))
        count = 2 * len(modulation)
        if ckpt_id is not None:
            weights = _without_modulation(net, weights, count)
        else:
            weights = _join(net, weights, count)
        tensors = net._resolve(weights)
        names = [r.name for r in net._ledger.records]
        self.modulators = [
            Modulator(layer, *(layer.get_weights(ckpt_id) if ckpt_id is not None else tensors[2 * i : 2 * i + 2]))
            for i, layer in enumerate(modulation)
        ]
        self._modulators = iter(self.modulators)
        end = count + 2 * len(norms)
        self._norms: Iterator[Any] = iter(norms)
        self._norm_weights = iter(tensors[count:end])
        self._stats = iter(_statistics(net, distilled_params, self.stats_id))
        self.layers = list(_layers(names[end:], tensors[end:]))
        self._layers = iter(self.layers)

    def layer(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the next layer."""
        return next(self._layers)

    def modulate(self, h: Tensor) -> Tensor:
        """Apply the next modulation layer."""
        return next(self._modulators)(h)

    def normalize(self, h: Tensor) -> Tensor:
        """Apply the next batch-norm layer."""
        mean, var = next(self._stats)
        scale, shift = next(self._norm_weights), next(self._norm_weights)
        return next(self._norms)(h, mean, var, scale, shift, self.stats_id if mean is None else None)


def _layers(names: Sequence[str | None], tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Pairs of weight and bias (None where no bias follows)."""
    for i, name in enumerate(names):
        if name == "weight":
            yield tensors[i], tensors[i + 1] if i + 1 < len(names) and names[i + 1] == "bias" else None


def _parse_condition(
    condition: Any, number: str, has_norm: bool, has_modulation: bool
) -> tuple[int | None, int | None]:
    """Identifiers of batch statistics and of the modulation checkpoint."""
    if condition is None:
        return None, None
    if not isinstance(condition, Mapping):
        # A number means nothing to a network without the layers that it is for.
        applies = has_norm if number == "bn_stats_id" else has_modulation
        condition = {number: condition if applies else None}
    unknown = sorted(set(condition) - {"bn_stats_id", "cmod_ckpt_id"})
    if unknown or not condition:
        raise value_error(
            "condition", expected="an int or a dict with keys 'bn_stats_id', 'cmod_ckpt_id'", got=condition
        )
    stats, checkpoint = condition.get("bn_stats_id"), condition.get("cmod_ckpt_id")
    if stats is not None and not has_norm:
        raise value_error("condition", expected="no bn_stats_id for a network without batch norm", got=condition)
    if checkpoint is not None and not has_modulation:
        raise value_error("condition", expected="no cmod_ckpt_id for a network without modulation", got=condition)
    return stats, checkpoint


def _join(net: MainNetInterface, weights: Weights | None, count: int) -> Weights | None:
    """Turn the documented dict, or a list of modulation tensors alone, into a dict by label."""
    labels = [r.label for r in net._ledger.records]
    if isinstance(weights, Mapping) and {"internal_weights", "mod_weights"} & set(weights):
        named: dict[str, Tensor] = {}
        for key, wanted in (("mod_weights", labels[:count]), ("internal_weights", labels[count:])):
            tensors = weights.get(key)
            if tensors is not None:
                if len(tensors) != len(wanted):
                    raise value_error(f"weights[{key!r}]", expected=f"{len(wanted)} tensors", found=f"{len(tensors)}")
                named.update(zip(wanted, tensors, strict=True))
        return named
    if count and isinstance(weights, (Sequence, nn.ParameterList)) and len(weights) == count:
        learned = net._ledger.learned
        if len(learned) != count and len(labels) != count:
            return dict(zip(labels[:count], weights, strict=True))
    return weights


def _without_modulation(net: MainNetInterface, weights: Weights | None, count: int) -> Weights | None:
    """Weights for a pass under checkpointed modulation, which must not be given as well."""
    modulation = {r.label for r in net._ledger.records[:count]}
    joined = _join(net, weights, count)
    if isinstance(joined, Mapping) and modulation & set(joined):
        raise value_error("weights", expected="no modulation weights together with a cmod_ckpt_id", found="both")
    return joined


def _statistics(
    net: MainNetInterface, distilled: Sequence[Tensor] | None, stats_id: int | None
) -> list[tuple[Tensor | None, Tensor | None]]:
    """Running statistics per batch-norm layer; (None, None) where the layer decides."""
    norms: list[Any] = list(net.batchnorm_layers or ())
    if distilled is not None:
        shapes = net.hyper_shapes_distilled
        if shapes is None or len(distilled) != len(shapes):
            expected = "None for a network without distillation targets" if shapes is None else f"{len(shapes)} tensors"
            raise value_error("distilled_params", expected=expected, found=f"{len(distilled)} tensors")
        for i, (tensor, shape) in enumerate(zip(distilled, shapes, strict=True)):
            check_shape(f"distilled_params[{i}]", tensor, shape)
        return list(zip(distilled[::2], distilled[1::2], strict=True))
    if stats_id is None:
        return [layer.get_stats() if layer.num_stats else (None, None) for layer in norms]
    return [(None, None)] * len(norms)


def dropout(h: Tensor, rate: float | None, training: bool) -> Tensor:
    """Apply dropout where there is a rate; to whole feature maps, where there are any."""
    if rate is None or not training:
        return h
    return torch.feature_dropout(h, rate, True) if h.ndim == 4 else torch.dropout(h, rate, True)
