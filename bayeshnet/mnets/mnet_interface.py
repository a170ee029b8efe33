"""The interface of main networks: networks whose weights may be their own or be handed to ``forward``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_choice, check_shape, type_error, value_error
from .parts.ledger import NAMES, TensorLedger, TensorRecord, role_of, shape_of
from .parts.views import TensorViews

__all__ = ["MainNetInterface"]

Weights = Sequence[Tensor] | Mapping[str, Any] | nn.ParameterList


class MainNetInterface(nn.Module, TensorViews, ABC):
    r"""A network :math:`y = f(x, w)` that keeps its weights :math:`w`, or some of them, or none.

    Weights that the network does not keep are *learned by a hypernetwork* and handed to :meth:`forward`.

    Writing a subclass: call ``super().__init__(...)`` and declare every tensor once, in order, by :meth:`_declare`;
    all lists of the interface (shapes, meta information, references, the weight specification) follow from the
    declarations. In ``forward``, :meth:`_resolve` turns what the caller gave into one tensor per declaration::

        class Line(MainNetInterface):
            def __init__(self, no_weights=False):
                super().__init__(has_bias=False, has_fc_out=True, mask_fc_out=True)
                slope = self._declare((1, 1), "weight", layer=0, internal=not no_weights)
                if slope is not None:  # a new, uninitialized nn.Parameter; None if it comes from outside
                    nn.init.ones_(slope)

            def forward(self, x, weights=None, distilled_params=None, condition=None):
                (slope,) = self._resolve(weights)
                return x @ slope.T

    Declared parameters live in one registered container under their labels (``layer0.weight`` becomes
    ``params.layer0_weight`` in the ``state_dict``) or, with ``home``, in a submodule; they are looked up where they
    live at every use, so that ``.to``, ``deepcopy``, ``torch.func.functional_call`` and ``meta`` are safe.

    Args:
        has_bias: whether layers have bias vectors.
        has_fc_out: whether the output layer is fully connected.
        mask_fc_out: whether the last declared tensors are weight (and bias) of that output layer.
        has_linear_out: whether no nonlinearity follows the output layer.
    """

    def __init__(
        self,
        *,
        has_bias: bool = True,
        has_fc_out: bool = False,
        mask_fc_out: bool = False,
        has_linear_out: bool = True,
    ) -> None:
        super().__init__()
        self._has_bias, self._has_fc_out = has_bias, has_fc_out
        self._mask_fc_out, self._has_linear_out = mask_fc_out, has_linear_out
        self._ledger = TensorLedger()
        self._hyper_shapes_distilled: list[list[int]] | None = None
        self._batchnorm_layers: nn.ModuleList | None = None
        self._context_mod_layers: nn.ModuleList | None = None
        self.params = nn.ParameterDict()

    def _declare(
        self,
        shape: Sequence[int],
        name: str | None = None,
        layer: int = -1,
        *,
        internal: bool = True,
        label: str | None = None,
        role: str | None = None,
        fan_in: int | None = None,
        group: str | None = None,
        home: tuple[nn.Module, str] | None = None,
        position: int | None = None,
    ) -> nn.Parameter | None:
        """Declare the next tensor of the network; return its new, uninitialized parameter, or None if ``not internal``.

        Args:
            shape: of the tensor.
            name: what ``param_shapes_meta`` calls it, one of ``weight``, ``bias``, ``bn_scale``, ``bn_shift``,
                ``cm_scale``, ``cm_shift``, ``embedding`` or None.
            layer: number of the layer it belongs to, -1 if unspecified.
            internal: whether the network keeps it.
            label: its name in :attr:`weight_spec`; ``layer{layer}.{name}`` by default.
            role: its role in :attr:`weight_spec`, derived from ``name`` by default.
            fan_in: its fan-in, derived from ``shape`` by default.
            group: a mark of the subclass (hypernetworks: ``"cond"`` or ``"uncond"``), for ``self._ledger.of_group``.
            home: ``(submodule, key)`` of an existing registered parameter that is this tensor; nothing is created.
            position: where to insert it among the declared tensors, at the end by default.
        """
        check_choice("name", name, NAMES)
        size = shape_of(shape)
        if label is None:
            label = self._ledger.free_label(f"layer{layer}.{name or 'tensor'}" if layer >= 0 else name or "tensor")
        parameter: nn.Parameter | None = None
        if home is not None:
            parameter = home[0]._parameters[home[1]]
        elif internal:
            key = label.replace(".", "_")
            while key in self.params:
                key += "_"
            parameter = self.params[key] = nn.Parameter(torch.empty(size))
            home = (self.params, key)
        role = role or role_of(name, size)
        self._ledger.add(TensorRecord(size, name, layer, label, role, fan_in, group, home), position)
        return parameter

    def _resolve(self, weights: Weights | None = None) -> list[Tensor]:
        """One tensor per declaration, from the caller's ``weights`` (list or dict) and the network's own.

        A list has one tensor per entry of ``hyper_shapes_learned`` (if set) or of ``param_shapes``; a dict has tensors
        by name of :attr:`weight_spec` and may be partial where the network keeps the rest.
        """
        records, learned = self._ledger.records, self._ledger.learned
        if weights is None:
            if learned:
                raise value_error(
                    "weights",
                    expected=f"{len(learned)} tensors of shapes hyper_shapes_learned",
                    got=None,
                    hint="This network does not keep all of its weights.",
                )
            return [r.live for r in records]
        if isinstance(weights, Mapping):
            unknown = sorted(set(weights) - {r.label for r in records})
            if unknown:
                raise value_error(
                    "weights", expected="a dict by names of weight_spec", found=f"unknown names {unknown}"
                )
            given = [weights[r.label] if r.label in weights else r.live for r in records]  # noqa: SIM401 (live may raise)
        elif not isinstance(weights, (Sequence, nn.ParameterList)):
            raise type_error(
                "weights", expected="a list or dict of tensors", got=weights, hint="Use weight_spec.split(flat)."
            )
        elif learned and len(weights) == len(learned):
            rest = iter(weights)
            given = [next(rest) if r.home is None else r.live for r in records]
        elif len(weights) == len(records):
            given = list(weights)
        else:
            count = " or ".join(str(n) for n in sorted({len(learned) or len(records), len(records)}))
            raise value_error("weights", expected=f"{count} tensors", found=f"{len(weights)}")
        for record, tensor in zip(records, given, strict=True):
            if tensor.shape != record.shape:
                self._check_weight(record, tensor)
        return given

    def _check_weight(self, record: TensorRecord, tensor: Tensor) -> None:
        """Refuse a tensor of a wrong shape; context modulation may have leading batch dimensions."""
        per_sample = record.name in ("cm_scale", "cm_shift")
        check_shape(f"weights[{record.label!r}]", tensor, (-1, *record.shape) if per_sample else record.shape)

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
    ) -> Any:
        """Compute the output of the network for inputs ``x``.

        Args:
            x: inputs ``(N, ...)``.
            weights: tensors of shapes :attr:`hyper_shapes_learned`, or of :attr:`param_shapes`, or a dict by names of
                :attr:`weight_spec`; may be left out if the network keeps all of its weights.
            distilled_params: tensors of shapes :attr:`hyper_shapes_distilled`, by default those of
                :meth:`distillation_targets`.
            condition: context such as the identifier of the batch statistics.
        """

    def batched_forward(self, weights: Tensor, x: Tensor, *, per_sample_inputs: bool = False) -> Any | None:
        """Outputs under ``S`` weight vectors at once, or None where the network knows no faster way than a loop.

        This is the hook of :func:`bayeshnet.functional.batched_forward`, which is what to call.

        Shape:
            ``weights`` ``(S, P)`` in the order of :attr:`weight_spec`; ``x`` ``(N, ...)``, or ``(S, N, ...)`` with
            ``per_sample_inputs``; result ``(S, N, ...)``.
        """
        return None

    def gaussian_forward(
        self, means: Sequence[Tensor], stds: Sequence[Tensor], x: Tensor, num: int, generator: torch.Generator | None
    ) -> Tensor | None:
        """Outputs ``(num, N, C)`` with the noise of independent weights drawn in each layer's pre-activations.

        None where the network is not made of linear layers alone. This is the hook of
        :func:`bayeshnet.inference.local_noise.independent_outputs`.

        Shape:
            ``means`` and ``stds`` as the weights of :meth:`forward`; ``x`` ``(N, ...)``.
        """
        return None

    def distillation_targets(self) -> list[Tensor] | None:
        """Current running statistics of the batch-norm layers, if they are to be distilled; else None."""
        if self._hyper_shapes_distilled is None:
            return None
        return [stat for layer in self._batchnorm_layers or () for stat in layer.get_stats()]  # type: ignore[operator]
