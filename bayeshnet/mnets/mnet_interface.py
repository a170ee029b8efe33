"""The interface of main networks: networks whose weights are internal parameters or are passed to ``forward``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_choice
from .parts.ledger import NAMES, TensorLedger, TensorRecord, role_of, shape_of
from .parts.resolve import resolve
from .parts.views import TensorViews

__all__ = ["MainNetInterface"]

Weights = Sequence[Tensor] | Mapping[str, Any] | nn.ParameterList


class MainNetInterface(TensorViews):
    r"""A network :math:`y = f(x, w)` whose weights :math:`w` are all, in part or not at all parameters of its own.

    The other weights are *learned by a hypernetwork* and passed to :meth:`forward`.

    Writing a subclass: call ``super().__init__(...)`` and declare every tensor once, in order, by :meth:`_declare`;
    all lists of the interface (shapes, meta information, references, the weight specification) follow from the
    declarations. In ``forward``, :meth:`_resolve` turns the argument ``weights`` into one tensor per declaration::

        class Line(MainNetInterface):
            def __init__(self, no_weights=False):
                super().__init__(has_bias=False, has_fc_out=True, mask_fc_out=True)
                slope = self._declare((1, 1), "weight", layer=0, internal=not no_weights)
                if slope is not None:  # a new, uninitialized nn.Parameter, or None if not internal
                    nn.init.ones_(slope)

            def forward(self, x, weights=None, distilled_params=None, condition=None):
                (slope,) = self._resolve(weights)
                return x @ slope.T

    Declared parameters live in one registered container under their labels (``layer0.weight`` becomes
    ``params.layer0_weight`` in the ``state_dict``) or, with ``home``, in a submodule. They are looked up there at every
    use, so that ``.to``, ``deepcopy``, ``torch.func.functional_call`` and ``meta`` are safe.

    A network that computes outputs under many weight vectors faster than a loop overrides :meth:`batched_forward`; one
    of linear layers alone may override :meth:`gaussian_forward`.

    Args:
        has_bias: True if layers have bias vectors.
        has_fc_out: True if the output layer is fully connected.
        mask_fc_out: True if the last declared tensors are weight (and bias) of that output layer.
        has_linear_out: True if no nonlinearity follows the output layer.
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
        self._hyper_shapes_distilled = None
        self._batchnorm_layers = None
        self._context_mod_layers = None
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
            name: its name in ``param_shapes_meta``, one of ``weight``, ``bias``, ``bn_scale``, ``bn_shift``,
                ``cm_scale``, ``cm_shift``, ``embedding`` or None.
            layer: number of its layer, -1 if unspecified.
            internal: True for a parameter of the network, False for a tensor that is passed in.
            label: its name in :attr:`weight_spec`; ``layer{layer}.{name}`` by default.
            role: its role in :attr:`weight_spec`, derived from ``name`` by default.
            fan_in: its fan-in, derived from ``shape`` by default.
            group: a label for ``self._ledger.of_group`` (hypernetworks: ``"uncond"``, ``"cond0"``, ``"cond1"``, ...).
            home: ``(submodule, key)`` of an existing registered parameter that is this tensor; nothing is created.
            position: its place among the declared tensors, the end by default.
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
        """Return one tensor per declaration, from the argument ``weights`` and the internal parameters.

        A list has one tensor per entry of ``hyper_shapes_learned`` (if set) or of ``param_shapes``; a dict has tensors
        by name of :attr:`weight_spec` and may leave out internal parameters.
        """
        return resolve(self._ledger, weights)

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
                :attr:`weight_spec`; may be omitted if all weights are internal parameters.
            distilled_params: tensors of shapes :attr:`hyper_shapes_distilled`, by default those of
                :meth:`distillation_targets`.
            condition: context such as the identifier of the batch statistics.
        """

    def batched_forward(self, weights: Tensor, x: Tensor, *, per_sample_inputs: bool = False) -> Any | None:
        """Compute outputs under ``S`` weight vectors at once; return None if there is no faster way than a loop.

        This is a hook of :func:`bayeshnet.functional.batched_forward`, which is the function to call.

        Shape:
            ``weights`` ``(S, P)`` in the order of :attr:`weight_spec`; ``x`` ``(N, ...)``, or ``(S, N, ...)`` with
            ``per_sample_inputs``; result ``(S, N, ...)``.
        """
        return None

    def gaussian_forward(
        self, means: Sequence[Tensor], stds: Sequence[Tensor], x: Tensor, num: int, generator: torch.Generator | None
    ) -> Tensor | None:
        """Draw outputs ``(num, N, C)`` under independent Gaussian weights, layer by layer in the pre-activations.

        Return None for a network that does not consist of linear layers alone. This is a hook of
        :func:`bayeshnet.inference.bound.independent_outputs` and :func:`~bayeshnet.inference.bound.local_outputs`.

        Shape:
            ``means`` and ``stds`` as the weights of :meth:`forward`, the means also ``(num, *shape)``, a set for each
            sample; ``x`` ``(N, ...)``.
        """
        return None

    def distillation_targets(self) -> list[Tensor] | None:
        """Return the current running statistics of the batch-norm layers if they are to be distilled, else None."""
        if self._hyper_shapes_distilled is None:
            return None
        return [stat for layer in self._batchnorm_layers or () for stat in layer.get_stats()]  # type: ignore[operator]
