"""A hypernetwork made of several hypernetworks and of weights of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_flags, check_int, value_error
from ..geometry.base import Geometry
from ..geometry.constant import ConstantGeometry
from ..geometry.selection import SelectionGeometry
from ..mnets.parts.ledger import TensorLedger
from .hnet_interface import HyperNetInterface
from .parts.arguments import check_batch, check_ids, one_row, select
from .parts.assembly import Assembly
from .parts.conditions import new_embedding
from .parts.inner_tensors import take_over
from .parts.members import Members, plain_names, plain_shapes

__all__ = ["HContainer"]

INIT_STD = 0.02


class HContainer(HyperNetInterface):
    r"""Container: weights come from several hypernetworks, from shared tensors and from tensors of each condition.

    Args:
        target_shapes: shapes of the tensors to generate.
        assembly_fct: function ``(list_of_hnet_tensors, uncond_tensors, cond_tensors)`` that makes the target tensors of
            one sample from a list of the tensors of each hypernetwork, the shared tensors and those of the condition.
        hnets: hypernetworks; all get the same inputs, as far as they take any.
        uncond_param_shapes: shapes of the shared tensors.
        cond_param_shapes: shapes of the tensors of each condition; then ``cond_id`` must be given to :meth:`forward`.
        uncond_param_names: what ``param_shapes_meta`` calls the shared tensors; by default ``weight`` if they have
            several dimensions, else ``bias``.
        cond_param_names: the same for the tensors of each condition.
        verbose: whether to log a summary.
        no_uncond_weights: whether the shared tensors are given to :meth:`forward`.
        no_cond_weights: whether the tensors of conditions are given to :meth:`forward`.
        num_cond_embs: number of conditions; without ``cond_param_shapes`` that of ``hnets`` counts.

    Tensors of the container are drawn from ``N(0, 0.02^2)``. The geometry goes part by part if ``assembly_fct`` only
    selects and orders weights.

    Example:
        >>> from bayeshnet.hnets import HMLP
        >>> first = HMLP([[10, 5], [5]], num_cond_embs=5, verbose=False)
        >>> hnet = HContainer(
        ...     [[10, 5], [5], [5], [5], [5, 5]], lambda hnets, shared, own: hnets[0] + shared + own,
        ...     hnets=[first], uncond_param_shapes=[[5], [5]], cond_param_shapes=[[5, 5]],
        ...     uncond_param_names=["bn_scale", "bn_shift"], num_cond_embs=5, verbose=False)
        >>> len(hnet(cond_id=3)), hnet.num_known_conds
        (5, 5)
    """

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        assembly_fct: Callable[[list[list[Tensor]], list[Tensor], list[Tensor]], Sequence[Tensor]],
        hnets: Sequence[HyperNetInterface] | None = None,
        uncond_param_shapes: Sequence[Sequence[int]] | None = None,
        cond_param_shapes: Sequence[Sequence[int]] | None = None,
        uncond_param_names: Sequence[str] | None = None,
        cond_param_names: Sequence[str] | None = None,
        verbose: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
    ) -> None:
        check_flags(verbose=verbose, no_uncond_weights=no_uncond_weights, no_cond_weights=no_cond_weights)
        members = Members(hnets)
        uncond = plain_shapes("uncond_param_shapes", uncond_param_shapes)
        cond = plain_shapes("cond_param_shapes", cond_param_shapes)
        if not (members.hnets or uncond or cond):
            raise value_error("hnets", expected="at least one hypernetwork or one parameter shape", found="none")
        conds = members.num_conds(check_int("num_cond_embs", num_cond_embs, 0) if cond else None)
        plain = not (uncond or cond)
        super().__init__(
            target_shapes,
            members.uncond_in_size,
            conds,
            has_bias=bool(hnets) and all(h.has_bias for h in members.hnets),
            has_fc_out=plain and all(h.has_fc_out for h in members.hnets),
            has_linear_out=plain and all(h.has_linear_out for h in members.hnets),
        )
        self.members, self.hnets = members, nn.ModuleList(members.hnets)
        self._uncond = list(zip(uncond, plain_names("uncond_param_names", uncond_param_names, uncond), strict=True))
        self._cond = list(zip(cond, plain_names("cond_param_names", cond_param_names, cond), strict=True))
        self._no_uncond_weights, self._no_cond_weights = bool(no_uncond_weights), bool(no_cond_weights)
        groups: list[list[Any]] = [[h.target_shapes] for h in members.hnets]
        self.assembly = Assembly(assembly_fct, [*groups, [uncond], [cond]], self.target_shapes, _as_arguments)
        self._declare_all(conds)
        self._announce(verbose)

    def _declare_all(self, conds: int) -> list[nn.Parameter]:
        """Declare all tensors anew; those that are kept already stay; return new parameters."""
        self._ledger = TensorLedger()
        for i, hnet in enumerate(self.members.hnets):
            take_over(self, hnet, f"hnet{i}.", keep_layers=i == 0)
        made = [
            self._own(shape, name, f"uncond{j}", "uncond", not self._no_uncond_weights)
            for j, (shape, name) in enumerate(self._uncond)
        ]
        made += [
            self._own(shape, name, f"cond{cond}.own{j}", f"cond{cond}", not self._no_cond_weights)
            for cond in range(conds)
            for j, (shape, name) in enumerate(self._cond)
        ]
        return [new_embedding(p, self, INIT_STD) for p in made if p is not None]

    def _own(
        self, shape: tuple[int, ...], name: str | None, label: str, group: str, internal: bool
    ) -> nn.Parameter | None:
        """Declare a tensor of the container; return its parameter if it is new."""
        key = label.replace(".", "_")
        home = (self.params, key) if key in self.params else None
        made = self._declare(shape, name, internal=internal, label=label, group=group, home=home)
        return made if home is None else None

    @property
    def internal_hnets(self) -> list[HyperNetInterface]:
        """The hypernetworks of which the container is made."""
        return list(self.members.hnets)

    @property
    def cond_in_size(self) -> int:
        """Size of the conditional inputs that the hypernetworks take."""
        return self.members.cond_in_size

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        """Add conditions to the hypernetworks that have any, and to the container."""
        check_int("num", num, 1)
        if not self._num_known_conds:
            raise value_error("num", expected="a hypernetwork with conditions", found="one without")
        conds = self._num_known_conds + num
        inner = [h for h in self.members.hnets if h.num_known_conds]
        added = [p for h in inner if h.num_known_conds < conds for p in h.add_conditions(conds - h.num_known_conds)]
        added += self._declare_all(conds)
        self._num_known_conds = conds
        return added

    def _conditions_in(self, state_dict: dict[str, Any], prefix: str) -> int:
        inner = [h._conditions_in(state_dict, f"{prefix}hnets.{i}.") for i, h in enumerate(self.members.hnets)]
        return max(super()._conditions_in(state_dict, prefix), *inner, 0)

    def forward(  # type: ignore[override]
        self,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        cond_id: int | Sequence[int] | Tensor | None = None,
        weights: Sequence[Tensor] | Mapping[str, Any] | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
        ret_format: str = "squeezed",
    ) -> Any:
        """Generate weights; arguments as in :meth:`HyperNetInterface.forward`.

        The hypernetworks get ``cond_input`` or, if there is none, ``cond_id``. A dict ``weights`` may have the key
        ``hnets``, a list with a dict of further keys (such as ``chunk_embs``) for each hypernetwork.
        """
        self._check_call(ret_format, distilled_params)
        own, inner = self._parts(weights, cond_id)
        self._check_inputs(uncond_input, cond_input, cond_id)
        outs = []
        for i, hnet in enumerate(self.members.hnets):
            inputs = self.members.inputs(i, uncond_input, cond_input, cond_id)
            outs.append(hnet(**inputs, weights=inner[i], condition=condition, ret_format="flattened"))
        outs += own
        check_batch(**{f"part {i}": out for i, out in enumerate(outs)})
        return self.assembly.batch(outs, ret_format)

    def _check_inputs(self, uncond_input: Any, cond_input: Any, cond_id: Any) -> None:
        self.members.check_inputs(uncond_input, cond_input)
        if cond_id is not None and cond_input is not None and not self._cond:
            raise value_error(
                "cond_id", expected="None when cond_input is given", got=cond_id, hint="They exclude each other."
            )
        if cond_id is not None:
            check_ids(cond_id, self._num_known_conds)
        elif self._cond:
            raise value_error("cond_id", expected="a condition, since tensors belong to conditions", got=None)

    def _parts(self, weights: Any, cond_id: Any) -> tuple[list[Tensor], list[Any]]:
        """The container's own tensors, flat ``(1, P)`` or ``(B, P)``, and ``weights`` for each hypernetwork."""
        given = self._given(weights, ("hnets",))
        inner, uncond, cond = self.members.divide(given)
        like = self._like(weights, None)
        own = [torch.cat([t.flatten() for t in uncond]).unsqueeze(0) if uncond else like.new_empty(1, 0)]
        if not self._cond or cond_id is None:
            return [*own, like.new_empty(1, 0)], inner
        ids, num = check_ids(cond_id, self._num_known_conds), len(self._cond)
        chosen = [select(cond[j::num], ids) for j in range(num)]
        return [*own, torch.cat([t.reshape(t.shape[0], -1) for t in chosen], dim=1)], inner

    def geometry(
        self, cond_id: Any = None, cond_input: Tensor | None = None, weights: Any = None, condition: Any = None
    ) -> Geometry:
        """The geometry, part by part if weights are only selected; else by Jacobians."""
        self._check_geometry(cond_id)
        selection = self.assembly.selection()
        if selection is None:
            return super().geometry(cond_id, cond_input, weights, condition)
        row = one_row(cond_input)
        own, inner = self._parts(weights, cond_id)
        self.members.check_inputs(None, row, latent=False)
        parts: list[Geometry] = []
        for i, hnet in enumerate(self.members.hnets):
            where = self.members.inputs(i, None, row, cond_id)
            if hnet.uncond_in_size:
                where.pop("uncond_input", None)
                parts.append(hnet.geometry(**where, weights=inner[i], condition=condition))
            else:
                flat = hnet(**where, weights=inner[i], condition=condition, ret_format="flattened")
                parts.append(ConstantGeometry(flat[0], self._uncond_in_size))
        parts += [ConstantGeometry(tensor[0], self._uncond_in_size) for tensor in own]
        return SelectionGeometry(parts, selection)

    def distillation_targets(self) -> None:
        """Return None: nothing is distilled."""
        return None


def _as_arguments(groups: list[list[Tensor]]) -> tuple[list[list[Tensor]], list[Tensor], list[Tensor]]:
    """Tensors of the hypernetworks, shared tensors, tensors of the condition."""
    return groups[:-2], groups[-2], groups[-1]
