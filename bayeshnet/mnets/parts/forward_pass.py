"""One forward pass through a main network: its tensors layer by layer, batch norm, modulation and dropout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import check_shape, type_error, value_error
from ..mnet_interface import MainNetInterface, Weights
from .modulation import Modulator

__all__ = ["ForwardPass", "dropout"]


class ForwardPass:
    """One pass through a network: returns its layers in order, modulates and normalizes.

    Args:
        net: the network, whose tensors are declared in the order modulation, batch norm, layers.
        weights: as in ``forward``, or a dict with ``internal_weights`` and/or ``mod_weights``, or a list of the
            modulation tensors alone.
        distilled_params: as in ``forward``.
        condition: a number, or a dict with ``bn_stats_id`` and/or ``cmod_ckpt_id``.
        number_means: the key for which a ``condition`` that is a number stands.
    """

    def __init__(
        self,
        net: MainNetInterface,
        weights: Weights | None,
        distilled_params: Sequence[Tensor] | None,
        condition: Any,
        number_means: str = "bn_stats_id",
    ) -> None:
        modulation: list[Any] = list(net._context_mod_layers or ())
        norms: list[Any] = list(net._batchnorm_layers or ())
        self.stats_id, ckpt_id = _parse_condition(condition, number_means, bool(norms), bool(modulation))
        count = 2 * len(modulation)
        weights = _by_label(net, weights, count)
        if ckpt_id is not None:
            _refuse_modulation(net, weights, count)
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

    def inputs(self, x: Tensor) -> Tensor:
        """Return inputs if they are of the type of the weights, or autocast is on; torch names neither."""
        wanted = self.layers[0][0].dtype
        if x.dtype != wanted and not torch.is_autocast_enabled(x.device.type):
            raise type_error("x", expected=f"inputs of {wanted}, like the weights", got=x)
        return x

    def layer(self) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of the next layer."""
        return next(self._layers)

    def modulate(self, h: Tensor) -> Tensor:
        """Apply the next modulation layer."""
        return next(self._modulators)(h)

    def normalize(self, h: Tensor) -> Tensor:
        """Apply the next batch-norm layer."""
        mean, var = next(self._stats)
        scale, shift = next(self._norm_weights), next(self._norm_weights)
        found: Tensor = next(self._norms)(h, mean, var, scale, shift, self.stats_id if mean is None else None)
        return found


def dropout(h: Tensor, rate: float | None, training: bool) -> Tensor:
    """Apply dropout unless ``rate`` is None: to whole feature maps if ``h`` is ``(N, C, H, W)``."""
    if rate is None or not training:
        return h
    return torch.feature_dropout(h, rate, True) if h.ndim == 4 else torch.dropout(h, rate, True)


def _layers(names: Sequence[str | None], tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield pairs of weight and bias (None if no bias follows)."""
    for i, name in enumerate(names):
        if name == "weight":
            yield tensors[i], tensors[i + 1] if i + 1 < len(names) and names[i + 1] == "bias" else None


def _parse_condition(
    condition: Any, number_means: str, has_norm: bool, has_modulation: bool
) -> tuple[int | None, int | None]:
    """Return the identifiers of the batch statistics and of the modulation checkpoint."""
    if condition is None:
        return None, None
    if not isinstance(condition, Mapping):
        # A number is ignored by a network without the layers that it selects.
        applies = has_norm if number_means == "bn_stats_id" else has_modulation
        condition = {number_means: condition if applies else None}
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


def _by_label(net: MainNetInterface, weights: Weights | None, count: int) -> Weights | None:
    """Turn the documented dict, or a list of the ``count`` modulation tensors alone, into a dict by label."""
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


def _refuse_modulation(net: MainNetInterface, weights: Weights | None, count: int) -> None:
    """Refuse modulation weights in ``weights``, where those of a checkpoint are used."""
    modulation = {r.label for r in net._ledger.records[:count]}
    if isinstance(weights, Mapping) and modulation & set(weights):
        raise value_error("weights", expected="no modulation weights together with a cmod_ckpt_id", found="both")


def _statistics(
    net: MainNetInterface, distilled: Sequence[Tensor] | None, stats_id: int | None
) -> list[tuple[Tensor | None, Tensor | None]]:
    """Return running statistics for each batch-norm layer; (None, None) where the layer chooses them itself."""
    norms: list[Any] = list(net._batchnorm_layers or ())
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
