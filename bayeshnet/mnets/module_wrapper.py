"""Any module as a main network: its parameters, or some of them, are given from outside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import check_choice, check_shape, type_error, value_error
from ..functional import parameter_places
from ..weights import WeightSpec
from .mnet_interface import MainNetInterface, Weights

__all__ = ["BATCH_NORM_POLICIES", "ModuleMainNet"]

BATCH_NORM_POLICIES = (None, "eval", "batch", "track")
"""What batch norm does in a :class:`ModuleMainNet`."""

Selection = str | Sequence[str] | Callable[[str, nn.Parameter], bool] | None

_META_NAMES = {"norm_scale": "bn_scale", "norm_shift": "bn_shift"}
_NORMS = nn.modules.batchnorm._NormBase


class ModuleMainNet(MainNetInterface):
    r"""A copy of any :class:`torch.nn.Module` whose selected parameters come from outside.

    Parameters that are not selected stay trainable parameters of the network. The values of selected ones stay as
    buffers: they take part in no computation, and :meth:`module_weights` tells them. Buffers are kept. A tied parameter
    is one tensor, under its first name. A parametrized one (``torch.nn.utils.parametrize``) is given by what its
    parametrization is computed from.

    Args:
        module: what to copy; it is left as it is.
        select: which parameters to give from outside: a pattern of names such as ``"head.*"`` (or several), or a
            predicate of name and parameter; all by default.
        batch_norm: what layers with running statistics do. Weight samples share these statistics, so that updating
            them averages over samples and must be asked for:

            - ``None``: they follow ``train()`` and ``eval()``, but training mode is refused;
            - ``"eval"``: they always use running statistics and never update them;
            - ``"batch"``: they always use the statistics of the batch;
            - ``"track"``: they do as in PyTorch: in training mode they use the batch and update running statistics.

    Shape:
        whatever the module takes and returns; a tuple of inputs becomes several arguments.

    Raises:
        ValueError: if nothing is selected, for lazy modules, and for parameters recomputed by hooks.
        TypeError: if ``module`` is not a module, or is a main network or a script already.

    Example:
        >>> body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> net = ModuleMainNet(body, select="2.*")
        >>> net.weight_spec.names, len(net.internal_params)
        (('2.weight', '2.bias'), 2)
        >>> net(torch.ones(3, 4), weights=[torch.zeros(2, 8), torch.ones(2)])[0]
        tensor([1., 1.], grad_fn=<SelectBackward0>)
    """

    def __init__(self, module: nn.Module, select: Selection = None, batch_norm: str | None = None) -> None:
        _check_module(module)
        check_choice("batch_norm", batch_norm, BATCH_NORM_POLICIES)
        spec = WeightSpec.of(module)
        final = _owner(module, spec.names[-1])[0]
        weights = [e.name for e in spec.entries if e.role == "weight"]
        fc_out = bool(weights) and isinstance(_owner(module, weights[-1])[0], nn.Linear)
        super().__init__(
            has_bias=any(e.role == "bias" for e in spec.entries),
            has_fc_out=fc_out,
            mask_fc_out=fc_out and isinstance(final, nn.Linear),
        )
        self._batch_norm = batch_norm
        self.module = copy.deepcopy(module)
        self._places = parameter_places(self.module)
        self._selected = _select(select, _aliases(self.module), dict(self.module.named_parameters()))
        self._declare_entries(spec)
        for name in self._selected:
            _to_buffer(self.module, self._places[name])
        self._norms = [m for m in self.module.modules() if isinstance(m, _NORMS) and m.running_mean is not None]
        if batch_norm == "batch":
            for norm in self._norms:
                norm.running_mean, norm.running_var, norm.track_running_stats = None, None, False
        self.train(module.training)

    def _declare_entries(self, spec: WeightSpec) -> None:
        """Declare all parameters, numbering the submodules that own some as layers."""
        layers: dict[str, int] = {}
        for e in spec.entries:
            path = e.name.rpartition(".")[0]
            inside = e.name not in self._selected
            self._declare(
                e.shape,
                _META_NAMES.get(e.role, e.role),
                layers.setdefault(path, len(layers)),
                internal=inside,
                label=e.name,
                role=e.role,
                fan_in=e.fan_in,
                home=_owner(self.module, e.name) if inside else None,
            )

    def train(self, mode: bool = True) -> ModuleMainNet:
        """Set the mode; with the batch-norm policy ``"eval"``, batch norm stays in evaluation mode."""
        super().train(mode)
        if self._batch_norm == "eval":
            for norm in self._norms:
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
            distilled_params: None, as the module has nothing to distil.
            condition: None, as the module knows no conditions.
        """
        if distilled_params is not None or condition is not None:
            name = "condition" if distilled_params is None else "distilled_params"
            raise value_error(name, expected="None for a wrapped module", found="a value")
        if self._batch_norm is None and any(norm.training for norm in self._norms):
            raise value_error(
                "batch_norm",
                expected="'eval', 'batch' or 'track' for a module with running statistics in training mode",
                got=None,
                hint="All weight samples would update the same statistics: choose what batch norm is to do.",
            )
        tensors = self._resolve(weights)
        pairs = zip(self._ledger.records, tensors, strict=True)
        given = [(r.label, t) for r, t in pairs if r.home is None or t is not r.live]
        named = {alias: t for label, t in given for alias in self._places[label]}
        args = x if isinstance(x, tuple) else (x,)
        return functional_call(self.module, named, args, tie_weights=False)

    def module_weights(self) -> Tensor:
        """Flat values ``(P,)`` that the selected parameters have in the module."""
        return self.weight_spec.flatten([self.module.get_buffer(name) for name in self._selected])

    def to_module(self, weights: Tensor) -> nn.Module:
        """A copy of the module, with parameters again, under the flat ``weights`` ``(P,)``."""
        check_shape("weights", weights, (self.weight_spec.numel,))
        module = copy.deepcopy(self.module)
        for label, value in self.weight_spec.unflatten(weights.detach()).items():
            parameter = nn.Parameter(value.clone())
            for name in self._places[label]:
                owner, leaf = _owner(module, name)
                del owner._buffers[leaf]
                setattr(owner, leaf, parameter)  # Unlike register_parameter, this tells recurrent layers.
        return module


def _check_module(module: nn.Module) -> None:
    """Refuse what cannot be called under other parameters."""
    if not isinstance(module, nn.Module):
        raise type_error("module", expected="a torch.nn.Module", got=module)
    if isinstance(module, (MainNetInterface, torch.jit.ScriptModule)):
        advice = "It takes weights itself." if isinstance(module, MainNetInterface) else "Wrap it before scripting."
        raise type_error("module", expected="an ordinary module", found=type(module).__name__, hint=advice)
    for name, parameter in module.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise value_error(
                "module",
                expected="a module whose shapes are known",
                found=f"the lazy parameter {name!r}",
                hint="Call the module on one batch before wrapping it.",
            )
    for path, part in module.named_modules():
        for hook in part._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils."):
                raise value_error(
                    "module",
                    expected="parameters that no hook recomputes",
                    found=f"{type(hook).__name__} on {path or 'the module itself'!r}",
                    hint="Use torch.nn.utils.parametrizations, or remove the hook.",
                )


def _aliases(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """All names of each parameter, by its first."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {found[0]: tuple(found) for found in names.values()}


def _select(select: Selection, aliases: dict[str, tuple[str, ...]], named: dict[str, nn.Parameter]) -> list[str]:
    """First names of the selected parameters, in order."""
    if select is None:
        return list(aliases)
    if callable(select):
        chosen = [name for name, all_names in aliases.items() if any(select(n, named[name]) for n in all_names)]
        if not chosen:
            raise value_error("select", expected="a predicate that holds for some parameter", got=select)
        return chosen
    if not isinstance(select, (str, list, tuple)):
        raise type_error("select", expected="a pattern, several patterns or a predicate", got=select)
    patterns = [select] if isinstance(select, str) else list(select)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise type_error("select", expected="a pattern, several patterns or a predicate", got=pattern)
        if not any(fnmatchcase(n, pattern) for all_names in aliases.values() for n in all_names):
            raise value_error("select", expected="patterns of " + ", ".join(aliases), got=pattern)
    if not patterns:
        raise value_error("select", expected="at least one pattern", got=select)
    return [name for name, all_names in aliases.items() if any(fnmatchcase(n, p) for p in patterns for n in all_names)]


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def _to_buffer(module: nn.Module, names: Sequence[str]) -> None:
    """Turn a parameter, in all its places, into buffers with its value."""
    for name in names:
        owner, leaf = _owner(module, name)
        if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)) and owner.max_norm is not None:
            raise value_error(
                "select", expected="no embeddings with max_norm, which changes given weights in place", got=name
            )
        owner.register_buffer(leaf, owner._parameters.pop(leaf).detach())  # type: ignore[union-attr]
