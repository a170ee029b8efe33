"""Properties and helpers of main networks that are derived from the ledger of their tensors."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import check_int, check_shape, check_tensors, value_error
from ...layers import BatchNormLayer
from ...layers.initializers import check_initial
from ...weights import WeightSpec
from .ledger import TensorLedger, pair_biases

__all__ = ["TensorViews"]


class TensorViews(nn.Module, ABC):
    """The part of :class:`bayeshnet.mnets.MainNetInterface` that depends on its ledger and its flags alone."""

    _ledger: TensorLedger
    _has_bias: bool
    _has_fc_out: bool
    _mask_fc_out: bool
    _has_linear_out: bool
    _hyper_shapes_distilled: list[list[int]] | None
    _batchnorm_layers: nn.ModuleList | None
    _context_mod_layers: nn.ModuleList | None
    _arguments = ""
    _counts: ClassVar[dict[str, str]] = {"num_params": "weights", "num_internal_params": "internal"}
    """Properties that a representation shows, with what they count."""

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output of the network."""

    def extra_repr(self) -> str:
        """Show the arguments of the constructor that are not at their defaults, and the numbers of weights."""
        counts = [f"{getattr(self, name)} {counted}" for name, counted in self._counts.items()]
        return ", ".join([self._arguments, *counts] if self._arguments else counts)

    @property
    def weight_spec(self) -> WeightSpec:
        """Names, shapes and roles of the tensors of :attr:`hyper_shapes_learned` (if set) or :attr:`param_shapes`."""
        return self._ledger.spec

    @property
    def internal_params(self) -> nn.ParameterList | None:
        """Parameters of the network itself, for an optimizer, or None if all tensors are passed in."""
        found = [r.live for r in self._ledger.internal]
        return nn.ParameterList(found) if found else None

    @property
    def weights(self) -> nn.ParameterList | None:
        """Deprecated name of :attr:`internal_params`."""
        warnings.warn("weights is deprecated, use internal_params instead.", DeprecationWarning, stacklevel=2)
        return self.internal_params

    @property
    def internal_params_ref(self) -> list[int] | None:
        """Index into :attr:`param_shapes` of each internal parameter, or None if there are none."""
        return self._ledger.refs(self._ledger.internal) or None

    @property
    def param_shapes(self) -> list[list[int]]:
        """Shapes of all tensors, internal or passed in."""
        return [list(r.shape) for r in self._ledger.records]

    @property
    def param_shapes_meta(self) -> list[dict[str, Any]]:
        """For each entry of :attr:`param_shapes` its ``name``, ``index`` in :attr:`internal_params` and ``layer``."""
        return self._ledger.meta

    @property
    def hyper_shapes_learned(self) -> list[list[int]] | None:
        """Shapes of the tensors that must be passed to :meth:`forward`, or None if there are none."""
        return [list(r.shape) for r in self._ledger.learned] or None

    @property
    def hyper_shapes_learned_ref(self) -> list[int] | None:
        """Index into :attr:`param_shapes` of each entry of :attr:`hyper_shapes_learned`."""
        return self._ledger.refs(self._ledger.learned) or None

    @property
    def hyper_shapes_distilled(self) -> list[list[int]] | None:
        """Shapes of tensors that are computed in training and may be distilled afterwards (batch statistics)."""
        return self._hyper_shapes_distilled

    @property
    def has_bias(self) -> bool:
        """True if layers have bias vectors."""
        return self._has_bias

    @property
    def has_fc_out(self) -> bool:
        """True if the output layer is fully connected."""
        return self._has_fc_out

    @property
    def mask_fc_out(self) -> bool:
        """True if the last of :attr:`param_shapes` are weight (and bias) of a fully connected output layer."""
        return self._mask_fc_out

    @property
    def has_linear_out(self) -> bool:
        """True if no nonlinearity follows the output layer."""
        return self._has_linear_out

    @property
    def num_params(self) -> int:
        """Number of weights in :attr:`param_shapes`."""
        return self.shapes_to_num_weights(self.param_shapes)

    @property
    def num_internal_params(self) -> int:
        """Number of weights that are parameters of the network itself."""
        return sum(math.prod(r.shape) for r in self._ledger.internal)

    @property
    def layer_weight_tensors(self) -> nn.ParameterList:
        """Internal weight tensors of the layers (matrices and kernels)."""
        return nn.ParameterList([r.live for r in self._ledger.internal if r.name == "weight"])

    @property
    def layer_bias_vectors(self) -> nn.ParameterList:
        """Bias vectors of :attr:`layer_weight_tensors`, None for a weight without; empty if there are none at all."""
        biases = [b for _, b in pair_biases(self._ledger.internal)]
        return nn.ParameterList([None if b is None else b.live for b in biases] if any(biases) else [])

    @property
    def batchnorm_layers(self) -> nn.ModuleList | None:
        """Batch-norm layers anywhere in the network, or None."""
        return nn.ModuleList(m for m in self.modules() if isinstance(m, BatchNormLayer)) or None

    @property
    def context_mod_layers(self) -> nn.ModuleList | None:
        """Context-modulation layers, or None."""
        return self._context_mod_layers

    @staticmethod
    def shapes_to_num_weights(dims: Sequence[Sequence[int]]) -> int:
        """Count the weights in tensors of shapes ``dims``."""
        return sum(math.prod(shape) for shape in dims)

    def custom_init(self, normal_init: bool = False, normal_std: float = 0.02, zero_bias: bool = True) -> None:
        """Initialize internal weights by Xavier's uniform rule, or from ``N(0, normal_std^2)``; zero the biases."""
        for weight in self.layer_weight_tensors:
            if normal_init:
                nn.init.normal_(weight, mean=0.0, std=normal_std)
            else:
                nn.init.xavier_uniform_(weight)
        if zero_bias:
            for bias in self.layer_bias_vectors:
                if bias is not None:
                    nn.init.zeros_(bias)

    def get_output_weight_mask(
        self, out_inds: Sequence[int] | None = None, device: torch.device | str | None = None
    ) -> list[Tensor | None]:
        """Return masks of the weights that feed the output units ``out_inds`` (all if None).

        Returns:
            One entry per tensor of :attr:`param_shapes`: a boolean mask of its shape for weight and bias of the output
            layer, None for all others.

        Raises:
            ValueError: if the network does not end in a fully connected layer that can be masked.
        """
        if not (self.has_fc_out and self.mask_fc_out):
            raise value_error("network", expected="one with has_fc_out and mask_fc_out", found=type(self).__name__)
        records = self._ledger.records
        weight = max(i for i, r in enumerate(records) if r.name == "weight")
        units = None if out_inds is None else [check_int("out_inds", i) for i in out_inds]
        masks: list[Tensor | None] = [None] * len(records)
        for i in range(weight, len(records)):
            shape = records[i].shape
            if units is not None and any(not -shape[0] <= u < shape[0] for u in units):
                raise value_error("out_inds", expected=f"output units below {shape[0]}", got=out_inds)
            mask = torch.full(shape, units is None, dtype=torch.bool, device=device)
            if units is not None:
                mask[units] = True
            masks[i] = mask
        return masks

    def overwrite_internal_params(self, new_params: Sequence[Tensor]) -> None:
        """Copy the values of ``new_params``, one tensor per internal parameter, into the network."""
        self._overwrite("new_params", new_params)

    def _overwrite(self, argument: str, new_params: Any) -> None:
        records = self._ledger.internal
        check_tensors(argument, new_params, [r.shape for r in records], [r.label for r in records])
        with torch.no_grad():
            for record, new in zip(records, new_params, strict=True):
                record.live.copy_(check_initial(argument, new))

    @staticmethod
    def flatten_params(
        params: Sequence[Tensor] | Tensor, param_shapes: Sequence[Sequence[int]] | None = None, unflatten: bool = False
    ) -> Any:
        """Join tensors into one vector; with ``unflatten``, split a vector into tensors of ``param_shapes``."""
        if not unflatten:
            return torch.cat([p.flatten() for p in params])
        if param_shapes is None:
            raise value_error(
                "param_shapes", expected="a list of shapes", got=None, hint="The vector is split by these shapes."
            )
        sizes = [math.prod(s) for s in param_shapes]
        check_shape("params", params, (sum(sizes),))
        parts = torch.split(params, sizes)  # type: ignore[arg-type]
        return [part.view(*s) for part, s in zip(parts, param_shapes, strict=True)]
