"""The interface of hypernetworks: networks that generate the weights of other networks."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ..errors import check_choice, check_size, type_error, value_error
from ..geometry.base import Geometry
from .parts.arguments import check_ids, check_targets, one_row
from .parts.default_geometry import jacobian_geometry, refuse_noise
from .parts.formats import FORMATS, convert_format, to_format
from .parts.geometry_methods import GeometryMethods
from .parts.parameter_groups import ParameterGroups
from .parts.resolved_weights import ResolvedWeights, resolve_weights

__all__ = ["HyperNetInterface"]

_LOG = logging.getLogger(__name__)

HnetWeights = Sequence[Tensor] | Mapping[str, Any] | nn.ParameterList


class HyperNetInterface(ParameterGroups, GeometryMethods):
    r"""A network :math:`h(x, e; \theta)` whose outputs are the weights of another network.

    Its inputs are an unconditional :math:`x` (noise) and a conditional :math:`e` (the embedding of a task). Its
    parameters are unconditional (:math:`\theta`) or belong to a condition (:math:`e`). Each of them is an internal
    parameter of the hypernetwork or is passed to :meth:`forward`.

    Writing a subclass: declare tensors as for :class:`~bayeshnet.mnets.MainNetInterface`, with ``group="cond3"`` and a
    label that starts with ``cond3.`` for a tensor of condition 3. In ``forward``, :meth:`_resolve_weights` turns the
    argument ``weights`` into one tensor per declaration and :meth:`_formatted` brings the flat output into a format.
    The geometry works without further code, by Jacobians. Three methods are optional: :meth:`_declare_conditions`
    makes :meth:`add_conditions` work, :meth:`_closed_geometry` returns a geometry that is faster than Jacobians, and
    :meth:`batched_over_weights` generates weights with many parameter vectors at once.

    Args:
        target_shapes: shapes of the tensors to generate.
        uncond_in_size: size of unconditional inputs.
        num_known_conds: number of conditions.
        cond_in_size: size of conditional inputs.
        flags: ``has_bias``, ``has_fc_out``, ``mask_fc_out`` and ``has_linear_out`` of the base class.

    References:
        Ha, Dai, Le, "HyperNetworks", 2017.
    """

    _counts: ClassVar = {**ParameterGroups._counts, "num_outputs": "outputs", "num_known_conds": "conditions"}

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        uncond_in_size: int = 0,
        num_known_conds: int = 0,
        *,
        cond_in_size: int = 0,
        **flags: bool,
    ) -> None:
        super().__init__(**flags)
        self._target_shapes = check_targets(target_shapes)
        self._uncond_in_size = check_size("uncond_in_size", uncond_in_size, 0)
        self._num_known_conds = check_size("num_known_conds", num_known_conds, 0)
        self._cond_in_size = check_size("cond_in_size", cond_in_size, 0)

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
                names of ``weight_spec``. For all others, the internal parameters are used.
            distilled_params: tensors of ``hyper_shapes_distilled``, if there are any.
            condition: identifier of the batch statistics, if there is batch norm.
            ret_format: ``"flattened"``: a tensor ``(B, num_outputs)``. ``"sequential"``: a list of ``B`` lists of
                tensors of ``target_shapes``. ``"squeezed"``: the same, but for ``B = 1`` the inner list itself.

        Inputs with a batch of one are repeated to the batch size of the others.
        """

    def _resolve_weights(self, weights: HnetWeights | None, extra_keys: Sequence[str] = ()) -> ResolvedWeights:
        """Return one tensor per declaration, from the argument ``weights`` and the internal parameters."""
        return resolve_weights(self._ledger, weights, extra_keys)

    def _formatted(self, flat: Tensor, ret_format: str) -> Any:
        """Bring a flat output ``(B, P)`` into ``ret_format``; additional columns are dropped."""
        return to_format(flat, self._target_shapes, ret_format)

    @staticmethod
    def _check_call(ret_format: str, distilled_params: Any = None) -> None:
        """Refuse unknown formats, and distilled parameters of hypernetworks without distillation targets."""
        check_choice("ret_format", ret_format, FORMATS)
        if distilled_params is not None:
            expected = "None: this hypernetwork distils nothing"
            raise value_error("distilled_params", expected=expected, got=distilled_params)

    def _log_summary(self, verbose: bool) -> None:
        """Log the numbers of weights at the end of construction."""
        if verbose:
            _LOG.info("Created %s: %s.", type(self).__name__, self.extra_repr())

    def convert_out_format(self, hnet_out: Any, src_format: str, trgt_format: str) -> Any:
        """Convert an output of :meth:`forward` from ``src_format`` to ``trgt_format``."""
        return convert_format(hnet_out, src_format, trgt_format, self._target_shapes)

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        """Add ``num`` conditions; existing parameters remain the same objects, so optimizers keep working.

        Returns:
            The new parameters, for ``optimizer.add_param_group({"params": ...})``; empty if none are internal.
        """
        check_size("num", num, 1)
        if not self._num_known_conds:
            hint = "Set num_cond_embs."
            raise value_error("num", expected="a hypernetwork with conditions", found="one without", hint=hint)
        conds = range(self._num_known_conds, self._num_known_conds + num)
        added = self._declare_conditions(conds)
        self._num_known_conds = conds.stop
        return added

    def _declare_conditions(self, conds: range) -> list[nn.Parameter]:
        """Declare the tensors of new conditions and return their new parameters."""
        raise type_error("num", expected="a class whose conditions can grow", found=type(self).__name__)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Add conditions until there are as many as in the state, so that it can be loaded."""
        missing = self._conditions_in(state_dict, prefix) - self._num_known_conds
        if missing > 0 and self._num_known_conds:
            self.add_conditions(missing)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _conditions_in(self, state_dict: dict[str, Any], prefix: str) -> int:
        """Return the number of conditions whose tensors are in ``state_dict``, where the present ones have theirs."""
        homes = {id(r.home[0]) for r in self._ledger.conditional if r.home is not None}
        places = [re.escape(f"{prefix}{name}.") for name, module in self.named_modules() if id(module) in homes]
        found = [re.match(place + r"cond(\d+)_", key) for place in places for key in state_dict]
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
        """Size of conditional inputs, or 0 if there are none."""
        return self._cond_in_size

    @property
    def num_known_conds(self) -> int:
        """Number of conditions."""
        return self._num_known_conds

    def geometry(
        self, cond_id: Any = None, cond_input: Tensor | None = None, weights: Any = None, condition: Any = None
    ) -> Geometry:
        """Return the geometry of ``z -> h(z)`` at one condition, where ``z`` is the unconditional input.

        Args:
            cond_id: the condition.
            cond_input: conditional input ``(cond_in_size,)`` or ``(1, cond_in_size)``.
            weights: as in :meth:`forward`.
            condition: as in :meth:`forward`.

        Raises:
            ValueError: without unconditional input, for more than one condition, or if ``h`` is not a function of the
                latent alone (batch norm or dropout in training mode).
        """
        refuse_noise(self)
        if cond_id is not None and len(check_ids(cond_id, self._num_known_conds)) != 1:
            raise value_error("cond_id", expected="one condition, to which a geometry belongs", got=cond_id)
        if not self.uncond_in_size:
            raise value_error("uncond_in_size", expected="a hypernetwork with an unconditional input", got=0)
        row = one_row(cond_input)
        where = {"cond_id": cond_id, "cond_input": row, "weights": weights, "condition": condition}
        closed = self._closed_geometry(**where)
        return jacobian_geometry(self, where) if closed is None else closed

    def _closed_geometry(self, cond_id: Any, cond_input: Any, weights: Any, condition: Any) -> Geometry | None:
        """Return the geometry in closed form, or None to use Jacobians; arguments as in :meth:`geometry`, checked."""
        return None

    def batched_over_weights(self, flat: Tensor, uncond_input: Tensor) -> Tensor | None:
        """Generate weights with ``T`` vectors of parameters in one batched pass; return None if that is not possible.

        Args:
            flat: parameters ``(T, num_params)``, in the order of :attr:`param_shapes`.
            uncond_input: inputs ``(T, M, n)``, with ``M`` of them for each vector of parameters.

        Returns:
            ``(T, M, num_outputs)``.
        """
        return None
