"""Conditions of hypernetworks: choosing them, and the tensors that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import check_int, value_error
from ...mnets.parts.ledger import TensorLedger
from .arguments import Given, check_ids, check_input, select

__all__ = ["OneEmbedding", "choose_condition", "new_embedding", "one_id", "own_tensor"]


def choose_condition(per_condition: Sequence[Tensor | None], cond_id: Any, num_conds: int, cond_input: Any) -> Tensor:
    """Stack the tensors of the conditions ``cond_id``: ``(B, *shape)``; ``cond_input`` must not be given as well."""
    if cond_input is not None:
        raise value_error(
            "cond_id", expected="None when cond_input is given", got=cond_id, hint="They exclude each other."
        )
    return select(per_condition, check_ids(cond_id, num_conds))


def one_id(cond_id: Any, num_conds: int) -> int:
    """A single condition as an int."""
    return int(next(iter(check_ids(check_int("cond_id", cond_id), num_conds))))


def own_tensor(net: Any, label: str) -> Tensor:
    """The parameter that ``net`` keeps under ``label``."""
    ledger: TensorLedger = net._ledger
    record = next((r for r in ledger.records if r.label == label), None)
    if record is None or record.home is None:
        raise value_error("hypernetwork", expected=f"one that keeps a tensor {label!r}", found="one that does not")
    return record.live


def new_embedding(parameter: nn.Parameter, net: Any, std: float = 1.0) -> nn.Parameter:
    """Move a new parameter to where the others of ``net`` are, and draw it from ``N(0, std^2)``."""
    like = next((r.live for r in net._ledger.internal if r.live is not parameter), None)
    if like is not None:
        parameter.data = parameter.data.to(dtype=like.dtype, device=like.device)
    nn.init.normal_(parameter, std=std)
    return parameter


class OneEmbedding:
    """What hypernetworks have in common whose conditions are an input embedding each."""

    _cond_in_size: int
    _no_cond_weights: bool
    _num_known_conds: int

    @property
    def cond_in_size(self) -> int:
        """Size of conditional inputs."""
        return self._cond_in_size

    def _add_condition(self: Any, cond: int) -> list[nn.Parameter]:
        parameter = self._declare(
            (self._cond_in_size,),
            "embedding",
            0,
            internal=not self._no_cond_weights,
            group=f"cond{cond}",
            label=f"cond{cond}.embedding",
            position=cond,
        )
        return [] if parameter is None else [new_embedding(parameter, self)]

    def _cond_input(self, given: Given, cond_input: Any, cond_id: Any) -> Tensor | None:
        """The conditional input ``(B, cond_in_size)``, as given or from the embeddings."""
        if cond_id is not None:
            return choose_condition(given.cond, cond_id, self._num_known_conds, cond_input)
        return check_input("cond_input", cond_input, self._cond_in_size, "cond_in_size")

    def get_cond_in_emb(self, cond_id: int) -> Tensor:
        """The embedding ``(cond_in_size,)`` of condition ``cond_id``."""
        return own_tensor(self, f"cond{one_id(cond_id, self._num_known_conds)}.embedding")
