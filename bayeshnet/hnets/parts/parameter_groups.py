"""Unconditional and conditional parameters of hypernetworks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor, nn

from ...errors import check_int, check_tensors, type_error, value_error
from ...mnets.mnet_interface import MainNetInterface

__all__ = ["ParameterGroups"]


class ParameterGroups(MainNetInterface):
    """The part of :class:`bayeshnet.hnets.HyperNetInterface` that lists its parameters by group."""

    @property
    def unconditional_params(self) -> list[Tensor] | None:
        """Internal parameters that belong to no condition, or None."""
        return [r.live for r in self._ledger.unconditional if r.home is not None] or None

    @property
    def unconditional_params_ref(self) -> list[int] | None:
        """Index into :attr:`internal_params` of each entry of :attr:`unconditional_params`, or None."""
        return [i for i, r in enumerate(self._ledger.internal) if not r.conditional] or None

    @property
    def unconditional_param_shapes(self) -> list[list[int]]:
        """Shapes of all unconditional tensors, internal or passed in."""
        return [list(r.shape) for r in self._ledger.unconditional]

    @property
    def unconditional_param_shapes_ref(self) -> list[int]:
        """Index into :attr:`param_shapes` of each entry of :attr:`unconditional_param_shapes`."""
        return self._ledger.refs(self._ledger.unconditional)

    @property
    def conditional_params(self) -> list[Tensor] | None:
        """Internal parameters that belong to a condition, such as embeddings, or None."""
        return [r.live for r in self._ledger.conditional if r.home is not None] or None

    @property
    def conditional_param_shapes(self) -> list[list[int]]:
        """Shapes of all conditional tensors, internal or passed in."""
        return [list(r.shape) for r in self._ledger.conditional]

    @property
    def conditional_param_shapes_ref(self) -> list[int]:
        """Index into :attr:`param_shapes` of each entry of :attr:`conditional_param_shapes`."""
        return self._ledger.refs(self._ledger.conditional)

    def add_to_uncond_params(self, dparams: Sequence[Tensor], params: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Return the sums of ``params`` (by default :attr:`unconditional_params`) and the perturbations ``dparams``."""
        params = self.unconditional_params if params is None else params
        if params is None:
            hint = "The hypernetwork keeps no such parameters."
            raise value_error("params", expected="a list of tensors", got=None, hint=hint)
        if not isinstance(params, (list, tuple, nn.ParameterList)):
            raise type_error("params", expected="a list of tensors", got=params)
        check_tensors("dparams", dparams, [p.shape for p in params])
        return [p + d for p, d in zip(params, dparams, strict=True)]

    def get_task_embs(self) -> list[Tensor] | None:
        """Return :attr:`conditional_params`; deprecated."""
        warnings.warn("get_task_embs is deprecated, use conditional_params instead.", DeprecationWarning, stacklevel=2)
        return self.conditional_params

    def get_task_emb(self, task_id: int) -> Tensor:
        """Return one element of :attr:`conditional_params`; deprecated."""
        warnings.warn("get_task_emb is deprecated, use conditional_params instead.", DeprecationWarning, stacklevel=2)
        params = self.conditional_params or []
        if not 0 <= check_int("task_id", task_id) < len(params):
            raise value_error("task_id", expected=f"an integer below {len(params)}", got=task_id)
        return params[task_id]
