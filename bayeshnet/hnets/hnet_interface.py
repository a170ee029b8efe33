"""The interface of hypernetworks: networks that generate the weights of other networks."""

from __future__ import annotations

import logging
import re
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_choice, check_int, check_shape, type_error, value_error
from ..geometry.base import Geometry
from ..geometry.jacobian import JacobianGeometry
from ..layers import BatchNormLayer
from ..mnets.mnet_interface import MainNetInterface
from .parts.arguments import Given, check_ids, one_row, resolve_weights
from .parts.deterministic import refuse_noise, settled
from .parts.formats import FORMATS, convert_format, to_format
from .parts.geometry_methods import GeometryMethods

__all__ = ["HyperNetInterface"]

_LOG = logging.getLogger(__name__)

HnetWeights = Sequence[Tensor] | Mapping[str, Any] | nn.ParameterList


class HyperNetInterface(MainNetInterface, GeometryMethods):
    r"""A network :math:`h(x, e; \theta)` whose outputs are the weights of another network.

    Its inputs are an unconditional :math:`x` (noise) and a conditional :math:`e` (the embedding of a task); its
    parameters are unconditional (:math:`\theta`) or belong to a condition (:math:`e`). Each of them may be kept by the
    hypernetwork or come from outside.

    Writing a subclass: declare tensors as for :class:`~bayeshnet.mnets.MainNetInterface`, with ``group="cond3"`` and a
    label that starts with ``cond3.`` for a tensor of condition 3. In ``forward``, :meth:`_given` turns the argument
    ``weights`` into one tensor per declaration and :meth:`_formatted` brings the flat output into a format. The
    geometry works without further code, by Jacobians.

    Args:
        target_shapes: shapes of the tensors that are generated.
        uncond_in_size: size of unconditional inputs.
        num_known_conds: number of conditions.
        flags: ``has_bias``, ``has_fc_out``, ``mask_fc_out`` and ``has_linear_out`` of the base class.

    References:
        Ha, Dai, Le, "HyperNetworks", 2017.
    """

    def __init__(
        self, target_shapes: Sequence[Sequence[int]], uncond_in_size: int = 0, num_known_conds: int = 0, **flags: bool
    ) -> None:
        super().__init__(**flags)
        self._target_shapes = _check_shapes(target_shapes)
        self._uncond_in_size = check_int("uncond_in_size", uncond_in_size, 0)
        self._num_known_conds = check_int("num_known_conds", num_known_conds, 0)

    @abstractmethod
    def forward(  # type: ignore[override]
        self,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        cond_id: int | Sequence[int] | Tensor | None = None,
        weights: HnetWeights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
        ret_format: str = "squeezed",
    ) -> Any:
        """Generate weights.

        Args:
            uncond_input: unconditional inputs ``(B, uncond_in_size)``.
            cond_input: conditional inputs ``(B, cond_in_size)``; excludes ``cond_id``.
            cond_id: one condition, or a list or tensor of ``B`` of them, each in ``[0, num_known_conds)``.
            weights: tensors to use as parameters: a list of shapes ``hyper_shapes_learned`` (if set) or
                ``param_shapes``, or a dict with the keys ``uncond_weights`` and (or) ``cond_weights``, or a dict by
                names of ``weight_spec``. What is not given is the hypernetwork's own.
            distilled_params: tensors of ``hyper_shapes_distilled``, where there are any.
            condition: identifier of the batch statistics, if there is batch norm.
            ret_format: ``"flattened"``: a tensor ``(B, num_outputs)``. ``"sequential"``: a list of ``B`` lists of
                tensors of ``target_shapes``. ``"squeezed"``: the same, but for ``B = 1`` the inner list itself.

        Inputs with a batch of one are repeated to the batch size of the others.
        """

    def _given(self, weights: HnetWeights | None, extra_keys: Sequence[str] = ()) -> Given:
        """One tensor per declaration, from the argument ``weights`` and the hypernetwork's own."""
        return resolve_weights(self._ledger, weights, extra_keys)

    def _formatted(self, flat: Tensor, ret_format: str) -> Any:
        """Bring a flat output ``(B, P)`` (columns behind ``P`` are dropped) into ``ret_format``."""
        return to_format(flat, self._target_shapes, ret_format)

    @staticmethod
    def _check_call(ret_format: str, distilled_params: Any = None) -> None:
        """Refuse unknown formats, and distilled parameters where nothing is distilled."""
        check_choice("ret_format", ret_format, FORMATS)
        if distilled_params is not None:
            expected = "None: this hypernetwork distils nothing"
            raise value_error("distilled_params", expected=expected, got=distilled_params)

    def _announce(self, verbose: bool) -> None:
        """Log a summary at the end of construction."""
        if verbose:
            _LOG.info("Created %s: %s.", type(self).__name__, self.extra_repr())

    def extra_repr(self) -> str:
        """Count weights and outputs."""
        kept = self.num_internal_params
        return f"{self.num_params} weights ({kept} kept), {self.num_outputs} outputs, {self.num_known_conds} conditions"

    def convert_out_format(self, hnet_out: Any, src_format: str, trgt_format: str) -> Any:
        """Convert what :meth:`forward` returned in ``src_format`` into ``trgt_format``."""
        return convert_format(hnet_out, src_format, trgt_format, self._target_shapes)

    def add_to_uncond_params(self, dparams: Sequence[Tensor], params: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Sum of ``params`` (by default :attr:`unconditional_params`) and the perturbations ``dparams``."""
        params = self.unconditional_params if params is None else params
        if params is None:
            hint = "The hypernetwork keeps no such parameters."
            raise value_error("params", expected="a list of tensors", got=None, hint=hint)
        for name, tensors in (("params", params), ("dparams", dparams)):
            if not isinstance(tensors, (list, tuple, nn.ParameterList)):
                raise type_error(name, expected="a list of tensors", got=tensors)
        if len(params) != len(dparams):
            raise value_error("dparams", expected=f"{len(params)} tensors", found=f"{len(dparams)}")
        pairs = enumerate(zip(params, dparams, strict=True))
        return [p + check_shape(f"dparams[{i}]", d, p.shape) for i, (p, d) in pairs]

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        """Add ``num`` conditions; parameters that exist stay the same objects, so optimizers keep working.

        Returns:
            The new parameters, for ``optimizer.add_param_group({"params": ...})``; empty if they are kept outside.
        """
        check_int("num", num, 1)
        if not self._num_known_conds:
            hint = "Set num_cond_embs."
            raise value_error("num", expected="a hypernetwork with conditions", found="one without", hint=hint)
        added = []
        for cond in range(self._num_known_conds, self._num_known_conds + num):
            added += self._add_condition(cond)
        self._num_known_conds += num
        return added

    def _add_condition(self, cond: int) -> list[nn.Parameter]:
        """Declare the tensors of condition ``cond`` and return their new parameters."""
        raise type_error("num", expected="a class whose conditions can grow", found=type(self).__name__)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make room for all conditions in the state, so that grown hypernetworks survive a round trip."""
        missing = self._conditions_in(state_dict, prefix) - self._num_known_conds
        if missing > 0 and self._num_known_conds:
            self.add_conditions(missing)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _conditions_in(self, state_dict: dict[str, Any], prefix: str) -> int:
        """The number of conditions whose tensors are in ``state_dict`` under ``prefix``."""
        found = [re.match(re.escape(prefix) + r"params\.cond(\d+)_", key) for key in state_dict]
        return max((int(m.group(1)) + 1 for m in found if m is not None), default=0)

    @property
    def target_shapes(self) -> list[list[int]]:
        """Shapes of the tensors that are generated."""
        return [list(shape) for shape in self._target_shapes]

    @property
    def num_outputs(self) -> int:
        """Number of weights that are generated."""
        return self.shapes_to_num_weights(self._target_shapes)

    @property
    def uncond_in_size(self) -> int:
        """Size of unconditional inputs."""
        return self._uncond_in_size

    @property
    def cond_in_size(self) -> int:
        """Size of conditional inputs; 0 unless a subclass says otherwise."""
        return 0

    @property
    def num_known_conds(self) -> int:
        """Number of conditions that the hypernetwork knows."""
        return self._num_known_conds

    @property
    def unconditional_params(self) -> list[Tensor] | None:
        """Parameters that the hypernetwork keeps and that belong to no condition, or None."""
        return [r.live for r in self._ledger.unconditional if r.home is not None] or None

    @property
    def unconditional_params_ref(self) -> list[int] | None:
        """Index into :attr:`internal_params` of each entry of :attr:`unconditional_params`, or None."""
        return [i for i, r in enumerate(self._ledger.internal) if not r.conditional] or None

    @property
    def unconditional_param_shapes(self) -> list[list[int]]:
        """Shapes of all unconditional parameters, kept or not."""
        return [list(r.shape) for r in self._ledger.unconditional]

    @property
    def unconditional_param_shapes_ref(self) -> list[int]:
        """Index into :attr:`param_shapes` of each entry of :attr:`unconditional_param_shapes`."""
        return self._ledger.refs(self._ledger.unconditional)

    @property
    def conditional_params(self) -> list[Tensor] | None:
        """Parameters that the hypernetwork keeps and that belong to a condition, such as embeddings, or None."""
        return [r.live for r in self._ledger.conditional if r.home is not None] or None

    @property
    def conditional_param_shapes(self) -> list[list[int]]:
        """Shapes of all conditional parameters, kept or not."""
        return [list(r.shape) for r in self._ledger.conditional]

    @property
    def conditional_param_shapes_ref(self) -> list[int]:
        """Index into :attr:`param_shapes` of each entry of :attr:`conditional_param_shapes`."""
        return self._ledger.refs(self._ledger.conditional)

    @property
    def batchnorm_layers(self) -> nn.ModuleList | None:
        """Batch-norm layers, wherever in the hypernetwork, or None."""
        return nn.ModuleList(m for m in self.modules() if isinstance(m, BatchNormLayer)) or None

    def get_task_embs(self) -> list[Tensor] | None:
        """Deprecated name of :attr:`conditional_params`."""
        warnings.warn("get_task_embs is deprecated, use conditional_params instead.", DeprecationWarning, stacklevel=2)
        return self.conditional_params

    def get_task_emb(self, task_id: int) -> Tensor:
        """Deprecated access to one element of :attr:`conditional_params`."""
        warnings.warn("get_task_emb is deprecated, use conditional_params instead.", DeprecationWarning, stacklevel=2)
        params = self.conditional_params or []
        if not 0 <= check_int("task_id", task_id) < len(params):
            raise value_error("task_id", expected=f"an integer below {len(params)}", got=task_id)
        return params[task_id]

    def geometry(
        self, cond_id: Any = None, cond_input: Tensor | None = None, weights: Any = None, condition: Any = None
    ) -> Geometry:
        """The geometry of ``z -> h(z)`` at one condition, ``z`` being the unconditional input.

        Args:
            cond_id: the condition.
            cond_input: conditional input ``(cond_in_size,)`` or ``(1, cond_in_size)``.
            weights: as in :meth:`forward`.
            condition: as in :meth:`forward`.

        Raises:
            ValueError: without unconditional input, for more than one condition, or where ``h`` is not a function of
                the latent alone (batch norm or dropout in training mode).
        """
        self._check_geometry(cond_id)
        cond_input = one_row(cond_input)
        given = {"cond_id": cond_id, "cond_input": cond_input, "weights": weights, "condition": condition}

        def fn(z: Tensor) -> Tensor:
            return self(z, ret_format="flattened", **given)

        like = self._like(weights, cond_input)
        fixed = settled(self, fn, like.new_zeros(1, self.uncond_in_size))
        return JacobianGeometry(fixed, self.uncond_in_size, self.num_outputs, like=like)

    def side_by_side(self, flat: Tensor, uncond_input: Tensor) -> Tensor | None:
        """Weights ``(T, M, num_outputs)`` from ``T`` hypernetworks of this form in one pass, or None if it needs more.

        They have parameters ``flat`` ``(T, num_params)``, ordered as in :attr:`param_shapes`, and inputs ``(T, M, n)``.
        """
        return None

    def _check_geometry(self, cond_id: Any) -> None:
        refuse_noise(self)
        if cond_id is not None and len(check_ids(cond_id, self._num_known_conds)) != 1:
            raise value_error("cond_id", expected="one condition, to which a geometry belongs", got=cond_id)
        if not self.uncond_in_size:
            raise value_error("uncond_in_size", expected="a hypernetwork with an unconditional input", got=0)

    def _like(self, weights: Any, cond_input: Tensor | None) -> Tensor:
        """Return some tensor of the dtype and on the device in which the hypernetwork works."""
        values = list(weights.values()) if isinstance(weights, Mapping) else list(weights or [])
        flat = [t for v in values for t in ([v] if isinstance(v, Tensor) else v if isinstance(v, Sequence) else [])]
        own = [cond_input, *(t for t in flat if isinstance(t, Tensor)), *self.parameters()]
        return next((t for t in own if t is not None), torch.empty(0))


def _check_shapes(target_shapes: Any) -> list[tuple[int, ...]]:
    if not isinstance(target_shapes, (list, tuple)) or not target_shapes:
        raise value_error("target_shapes", expected="a list of at least one shape", got=target_shapes)
    shapes = []
    for shape in target_shapes:
        if not isinstance(shape, (list, tuple)):
            raise type_error("target_shapes", expected="a list of lists of integers", got=target_shapes)
        shapes.append(tuple(check_int("target_shapes", size, 1) for size in shape))
    return shapes
