"""Any module as a main network, whose parameters, or some of them, are passed to ``forward``."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from ..checks import check_devices
from ..errors import check_choice, check_flags, check_floating, check_instance, check_shape, value_error
from ..functional import parameter_places
from ..representation import shows_arguments
from ..weights import WeightSpec
from .adapters import Adapter
from .adapters.tensors import AdaptedTensor, merge_adapters
from .mnet_interface import MainNetInterface, Weights
from .parts.selection import Selection, aliases, check_module, owner_of, select_names, to_buffer

__all__ = ["BATCH_NORM_POLICIES", "ModuleMainNet"]

BATCH_NORM_POLICIES = (None, "eval", "batch", "track")
"""Treatments of batch norm in a :class:`ModuleMainNet`."""

_META_NAMES = {"norm_scale": "bn_scale", "norm_shift": "bn_shift"}
_NORMS = nn.modules.batchnorm._NormBase


class ModuleMainNet(MainNetInterface):
    r"""A copy of any :class:`torch.nn.Module` whose selected parameters are passed to :meth:`forward`.

    Parameters that are not selected remain parameters of the network: frozen ones, unless ``train_rest`` is set. The
    values of selected ones are kept as buffers, which take part in no computation and are returned by
    :meth:`module_weights`. A tied parameter is one tensor, under its first name. For a parametrized one
    (``torch.nn.utils.parametrize``) the tensors are those from which the parametrization computes it.

    Args:
        module: the module to copy; it is not changed.
        select: the parameters to pass to :meth:`forward`: a pattern of names such as ``"head.*"``, several patterns, or
            a predicate of name and parameter; all by default.
        batch_norm: treatment of layers with running statistics. All weight samples share these statistics, so updates
            average over samples and must be chosen explicitly:

            - ``None``: follow ``train()`` and ``eval()``, but refuse training mode; ``"eval"`` for frozen layers;
            - ``"eval"``: always use running statistics and never update them;
            - ``"batch"``: always use the statistics of the batch;
            - ``"track"``: as in PyTorch, use the batch and update running statistics in training mode. Learners of
              :mod:`bayeshnet.continual` choose it where None is given, and keep statistics for each task.
        train_rest: True to leave the parameters that are not selected as they are in ``module``, trainable if they are
            there; False freezes them (``requires_grad=False``).
        adapter: a change of some layers by few numbers, such as a :class:`~bayeshnet.mnets.LowRankAdapter`.
            These are passed to :meth:`forward`, with the parameters that ``select`` names, if any.

    Shape:
        as for the module; a tuple of inputs becomes several arguments.

    Raises:
        ValueError: if nothing is selected, for lazy modules, and for parameters recomputed by hooks.
        TypeError: if ``module`` is not a module, or is a main network or a script already.

    Example:
        >>> import torch
        >>> body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> net = ModuleMainNet(body, select="2.*")
        >>> net.weight_spec.names, len(net.internal_params)
        (('2.weight', '2.bias'), 2)
        >>> net(torch.ones(3, 4), weights=[torch.zeros(2, 8), torch.ones(2)])[0]
        tensor([1., 1.])
    """

    @shows_arguments
    def __init__(
        self,
        module: nn.Module,
        select: Selection = None,
        batch_norm: str | None = None,
        *,
        train_rest: bool = False,
        adapter: Adapter | None = None,
    ) -> None:
        check_module(module)
        check_instance("adapter", adapter, (Adapter, type(None)), "an Adapter, or None")
        check_flags(train_rest=train_rest)
        check_choice("batch_norm", batch_norm, BATCH_NORM_POLICIES)
        wrapped = copy.deepcopy(module)
        selected = _selected(wrapped, select, adapter)
        spec = WeightSpec.of(wrapped)
        final = owner_of(wrapped, spec.names[-1])[0]
        weights = [e.name for e in spec.entries if e.role == "weight"]
        fc_out = bool(weights) and isinstance(owner_of(wrapped, weights[-1])[0], nn.Linear)
        super().__init__(
            has_bias=any(e.role == "bias" for e in spec.entries),
            has_fc_out=fc_out,
            mask_fc_out=fc_out and isinstance(final, nn.Linear),
        )
        self._batch_norm = batch_norm
        self.module = wrapped
        self._places = parameter_places(self.module)
        self._selected = selected
        self._declare_entries(spec)
        self._norms = [m for m in self.module.modules() if isinstance(m, _NORMS) and m.running_mean is not None]
        frozen = [] if train_rest or (select is None and adapter is None) else self._without_selected()
        self._still = self._norms if batch_norm == "eval" else frozen if batch_norm is None else []
        for name in self._selected:
            to_buffer(self.module, self._places[name])
        if not train_rest:
            self.module.requires_grad_(False)
        if batch_norm == "batch":
            for norm in self._norms:
                norm.running_mean, norm.running_var, norm.track_running_stats = None, None, False
        self.train(module.training)

    def _without_selected(self) -> list[nn.Module]:
        """Return the layers with running statistics of which no parameter is selected."""
        owners = {id(owner_of(self.module, place)[0]) for name in self._selected for place in self._places[name]}
        return [norm for norm in self._norms if id(norm) not in owners]

    def _declare_entries(self, spec: WeightSpec) -> None:
        """Declare all parameters; the submodules that own any are numbered as layers."""
        layers: dict[str, int] = {}
        for e in spec.entries:
            path = e.name.rpartition(".")[0]
            internal = e.name not in self._selected
            self._declare(
                e.shape,
                _META_NAMES.get(e.role, e.role),
                layers.setdefault(path, len(layers)),
                internal=internal,
                label=e.name,
                role=e.role,
                fan_in=e.fan_in,
                home=owner_of(self.module, e.name) if internal else None,
            )

    @property
    def fixed_trunk(self) -> bool:
        """True if the parameters of the layers before the first selected one are no fewer than all others.

        These layers need not be computed for each sample of the weights
        (:func:`~bayeshnet.functional.batched_forward`).
        """
        records = self._ledger.records
        first = [record.home is None for record in records].index(True)
        layer, adapted, _ = records[first].label.partition("parametrizations.")
        fixed = [r for r in records[:first] if not (adapted and r.label.startswith(layer))]
        trunk, whole = (sum(math.prod(r.shape) for r in part) for part in (fixed, records))
        return trunk >= whole - trunk

    def allow_updates(self) -> None:
        """Choose ``"track"`` where the treatment of batch norm was left open; frozen layers keep their statistics."""
        if self._batch_norm is None:
            self._batch_norm = "track"

    def train(self, mode: bool = True) -> ModuleMainNet:
        """Set the mode; batch norm that is frozen, or has the policy ``"eval"``, stays in evaluation mode."""
        super().train(mode)
        for norm in self._still:
            norm.eval()
        return self

    def forward(
        self,
        x: Any,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
    ) -> Any:
        """Call the module under the given weights.

        Args:
            x: its input, or a tuple of its inputs.
            weights: the selected parameters (list in the order of :attr:`weight_spec`, or dict by name).
            distilled_params: None; the module has no distillation targets.
            condition: None; the module does not depend on a condition.
        """
        if distilled_params is not None or condition is not None:
            name = "condition" if distilled_params is None else "distilled_params"
            raise value_error(name, expected="None for a wrapped module", found="a value")
        if self._batch_norm is None and any(norm.training for norm in self._norms):
            raise value_error(
                "batch_norm",
                expected="'eval', 'batch' or 'track' for a module with running statistics in training mode",
                got=None,
                hint="All weight samples would update the same statistics: choose the treatment of batch norm.",
            )
        tensors = self._resolve(weights)
        pairs = zip(self._ledger.records, tensors, strict=True)
        replaced = [(r.label, t) for r, t in pairs if r.home is None or t is not r.live]
        named = {alias: t for label, t in replaced for alias in self._places[label]}
        args = x if isinstance(x, tuple) else (x,)
        try:
            return functional_call(self.module, named, args, tie_weights=False)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            advice = "Take larger batches, or running statistics that are not updated: batch_norm='eval'."
            expected = "several examples, of which batch norm takes means and variances"
            raise value_error("x", expected=expected, got=x, hint=advice) from error

    def module_weights(self) -> Tensor:
        """Return the values of the selected parameters in the module, flat ``(P,)``."""
        return self.weight_spec.flatten([self.module.get_buffer(name) for name in self._selected])

    def to_module(self, weights: Tensor) -> nn.Module:
        """Return a copy of the module whose selected parameters have the values of the flat ``weights`` ``(P,)``.

        An adapter is merged into the layers that it changes: parameters, and the ``state_dict``, are those of the
        module that was given, so that this can load them.
        """
        check_shape("weights", check_floating("weights", weights), (self.weight_spec.numel,))
        check_devices("weights", weights, self.module_weights().device)
        module = copy.deepcopy(self.module)
        for label, value in self.weight_spec.unflatten(weights.detach()).items():
            parameter = nn.Parameter(value.clone())
            for name in self._places[label]:
                owner, leaf = owner_of(module, name)
                del owner._buffers[leaf]
                setattr(owner, leaf, parameter)  # Recurrent layers notice this, unlike register_parameter.
        merge_adapters(module)
        return module


def _selected(module: nn.Module, select: Selection, adapter: Adapter | None) -> list[str]:
    """Return the names of the parameters to be passed, in order, after registering the adapter on the module."""
    if adapter is None:
        return select_names(select, aliases(module), dict(module.named_parameters()))
    whole: list[str] = []
    if select is not None:
        whole = select_names(select, aliases(module), dict(module.named_parameters()))
    adapter.apply(module, whole)
    owners = {name: owner_of(module, name)[0] for name in aliases(module)}
    return [name for name, owner in owners.items() if name in whole or isinstance(owner, AdaptedTensor)]
