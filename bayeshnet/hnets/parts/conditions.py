"""Tensors of conditions: their declaration, and their selection in a forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import value_error
from ...mnets.parts.ledger import TensorLedger
from .arguments import check_id, check_ids, check_input, select
from .resolved_weights import ResolvedWeights

__all__ = [
    "ConditionTensors",
    "InputEmbeddings",
    "condition_prefix",
    "input_embedding",
    "new_embedding",
    "parameter_of",
    "refuse_both",
    "select_condition",
]


def refuse_both(cond_id: Any, cond_input: Any) -> None:
    """Refuse a condition together with a conditional input."""
    if cond_id is not None and cond_input is not None:
        raise value_error(
            "cond_id", expected="None when cond_input is given", got=cond_id, hint="They exclude each other."
        )


def select_condition(per_condition: Sequence[Tensor | None], cond_id: Any, num_conds: int, cond_input: Any) -> Tensor:
    """Stack the tensors of the conditions ``cond_id``: ``(B, *shape)``; refuse a ``cond_input`` besides."""
    refuse_both(cond_id, cond_input)
    return select(per_condition, check_ids(cond_id, num_conds))


def parameter_of(net: Any, label: str) -> Tensor:
    """Return the parameter of ``net`` with the given label."""
    ledger: TensorLedger = net._ledger
    record = next((r for r in ledger.records if r.label == label), None)
    if record is None or record.home is None:
        raise value_error("hypernetwork", expected=f"one that keeps a tensor {label!r}", found="one that does not")
    return record.live


def input_embedding(net: Any, cond_id: Any) -> Tensor:
    """Return the input embedding of condition ``cond_id`` of ``net``."""
    return parameter_of(net, f"cond{check_id(cond_id, net.num_known_conds)}.embedding")


def condition_prefix(conditional: bool, cond_id: Any, num_conds: int) -> str:
    """Return the prefix of labels of chunk embeddings; ``cond_id`` must be given if and only if ``conditional``."""
    if conditional != (cond_id is not None):
        expected = "a condition" if conditional else "None: chunk embeddings are unconditional"
        raise value_error("cond_id", expected=expected, got=cond_id)
    return "" if cond_id is None else f"cond{check_id(cond_id, num_conds)}."


def new_embedding(parameter: nn.Parameter, net: Any, std: float = 1.0) -> nn.Parameter:
    """Give a new parameter the dtype and device of the others of ``net``, and draw it from ``N(0, std^2)``."""
    like = next((r.live for r in net._ledger.internal if r.live is not parameter), None)
    if like is not None:
        parameter.data = parameter.data.to(dtype=like.dtype, device=like.device)
    nn.init.normal_(parameter, std=std)
    return parameter


class ConditionTensors(ABC):
    """Tensors of conditions (and chunks) that are inputs of a subnet."""

    extra_keys: tuple[str, ...] = ()
    """Further keys of the argument ``weights``."""

    @abstractmethod
    def declare_inputs(self, net: Any, conds: Iterable[int]) -> list[nn.Parameter]:
        """Declare an input embedding for each condition, before all other tensors; return the new parameters."""

    @abstractmethod
    def declare_chunks(self, net: Any, conds: Iterable[int], internal: bool) -> list[nn.Parameter]:
        """Declare chunk embeddings, after all other tensors; return the new parameters."""

    @abstractmethod
    def declare_condition(self, net: Any, cond: int) -> list[nn.Parameter]:
        """Declare the tensors of one more condition; return the new parameters."""

    @abstractmethod
    def split(self, uncond: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Split unconditional tensors into those of the subnet and chunk embeddings shared by all conditions."""

    @abstractmethod
    def select(
        self, weights: ResolvedWeights, cond_input: Any, cond_id: Any, num_conds: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Select conditional input ``(B, m)`` or None, and chunk embeddings ``(C, e)``, ``(B, C, e)`` or None."""


@dataclass(frozen=True)
class InputEmbeddings(ConditionTensors):
    """An input embedding for each condition.

    Attributes:
        size: size of an embedding; 0 for none.
        external: True if embeddings are passed in instead of being parameters.
    """

    size: int
    external: bool

    def declare_inputs(self, net: Any, conds: Iterable[int]) -> list[nn.Parameter]:
        """Declare an input embedding for each condition."""
        new = [
            net._declare(
                (self.size,),
                "embedding",
                0,
                internal=not self.external,
                group=f"cond{cond}",
                label=f"cond{cond}.embedding",
                position=cond,
            )
            for cond in conds
            if self.size
        ]
        return [new_embedding(p, net) for p in new if p is not None]

    def declare_chunks(self, net: Any, conds: Iterable[int], internal: bool) -> list[nn.Parameter]:
        """Declare nothing."""
        return []

    def declare_condition(self, net: Any, cond: int) -> list[nn.Parameter]:
        """Declare the input embedding of one more condition."""
        return self.declare_inputs(net, [cond])

    def split(self, uncond: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Return all tensors as those of the subnet."""
        return uncond, None

    def select(
        self, weights: ResolvedWeights, cond_input: Any, cond_id: Any, num_conds: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Select the conditional input ``(B, m)``, from the argument or from the embeddings."""
        if cond_id is not None:
            return select_condition(weights.cond, cond_id, num_conds, cond_input), None
        return check_input("cond_input", cond_input, self.size, "cond_in_size"), None
