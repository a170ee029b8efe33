"""Embeddings of a structured hypernetwork: their declaration, and their selection in a forward pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import check_size, check_tensors, value_error
from ..mlp_hnet import HMLP
from ..parts.arguments import check_has_input, check_ids, check_input, select
from ..parts.conditions import condition_prefix, new_embedding, parameter_of, refuse_both
from ..parts.resolved_weights import ResolvedWeights
from .inner_tensors import grow
from .structure_plan import Part

__all__ = ["StructuredInputs"]


@dataclass(frozen=True, eq=False)
class StructuredInputs:
    """Inputs of the internal hypernetworks.

    Attributes:
        plan: the internal hypernetworks.
        conditional: True if each condition has its own chunk embeddings.
        uncond_in_size: size of unconditional inputs.
        cond_in_size: size of conditional inputs.
        no_uncond_weights: True if unconditional weights are passed in.
        no_cond_weights: True if conditional embeddings are passed in.
    """

    plan: list[Part]
    conditional: bool
    uncond_in_size: int
    cond_in_size: int
    no_uncond_weights: bool
    no_cond_weights: bool

    @property
    def embedding_shapes(self) -> list[tuple[int, int]]:
        """Shapes of the chunk embeddings of the parts that have any."""
        return [(part.count, part.embedding) for part in self.plan if part.embedding]

    def check(self, num_cond_embs: Any) -> int:
        """Refuse parts without any input, and return the number of conditions."""
        conds = check_size("num_cond_embs", num_cond_embs, 0)
        sizes = check_size("uncond_in_size", self.uncond_in_size, 0) + check_size("cond_in_size", self.cond_in_size, 0)
        check_has_input(self.uncond_in_size, self.cond_in_size, self.conditional, conds)
        if not sizes and any(not part.embedding for part in self.plan):
            raise value_error("chunk_emb_sizes", expected="positive sizes where there is no other input", got=0)
        return conds if self.cond_in_size or (self.conditional and self.embedding_shapes) else 0

    def build(self, i: int, conds: int) -> HMLP:
        """Build the internal hypernetwork ``i``; input embeddings are parameters of the first one."""
        part = self.plan[i]
        try:
            return HMLP(
                part.shapes,
                self.uncond_in_size + part.embedding,
                self.cond_in_size,
                no_uncond_weights=self.no_uncond_weights,
                no_cond_weights=self.no_cond_weights,
                num_cond_embs=0 if i else conds,
                **part.options,
            )
        except (TypeError, ValueError) as error:
            if str(error).partition(":")[0] not in part.options:
                raise
            raise type(error)(f"hmlp_kwargs, {error}") from error

    def declare_chunks(self, net: Any, conds: Iterable[int]) -> list[nn.Parameter]:
        """Declare chunk embeddings after all other tensors; return the new parameters."""
        new = []
        for cond in conds if self.conditional else [None]:
            for j, shape in enumerate(self.embedding_shapes):
                prefix = "" if cond is None else f"cond{cond}."
                internal = not (self.no_uncond_weights if cond is None else self.no_cond_weights)
                group = "uncond" if cond is None else f"cond{cond}"
                label = f"{prefix}chunk_embs{j}"
                new.append(net._declare(shape, "embedding", 0, internal=internal, group=group, label=label))
        return [new_embedding(p, net) for p in new if p is not None]

    def declare_condition(self, net: Any, cond: int) -> list[nn.Parameter]:
        """Declare the tensors of one more condition; return the new parameters."""
        new = []
        if self.cond_in_size:
            inner = net.internal_hnets[0]
            new += grow(inner, cond + 1)
            home = inner._ledger.records[cond].home
            net._declare(
                (self.cond_in_size,),
                "embedding",
                0,
                internal=home is not None,
                group=f"cond{cond}",
                label=f"cond{cond}.embedding",
                home=home,
                position=cond,
            )
        return new + (self.declare_chunks(net, [cond]) if self.conditional else [])

    def own_chunks(self, net: Any, cond_id: Any) -> list[Tensor]:
        """Return the chunk embeddings that are parameters of ``net``."""
        prefix = condition_prefix(self.conditional, cond_id, net.num_known_conds)
        return [parameter_of(net, f"{prefix}chunk_embs{j}") for j in range(len(self.embedding_shapes))]

    def select(
        self, weights: ResolvedWeights, cond_input: Any, cond_id: Any, conds: int
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Select the conditional input ``(B, m)`` and, for each part, chunk embeddings ``(C, e)`` or ``(B, C, e)``."""
        batch = self._check_batch(weights, cond_id)
        refuse_both(cond_id, cond_input)
        if cond_id is None:
            cond = check_input("cond_input", cond_input, self.cond_in_size, "cond_in_size")
        else:
            ids = check_ids(cond_id, conds)
            cond = select(weights.cond[:conds], ids) if self.cond_in_size else None
        num = len(self.embedding_shapes)
        if not self.conditional:
            found: list[Tensor] = weights.uncond[len(weights.uncond) - num :]
        elif cond_id is not None:
            start = conds if self.cond_in_size else 0
            found = [select(weights.cond[start + j :: num][:conds], ids) for j in range(num)]
        elif batch is not None or not num:
            found = batch or []
        else:
            raise value_error(
                "cond_id",
                expected="a condition, or weights={'chunk_embs': ...}",
                got=None,
                hint="Chunk embeddings are conditional.",
            )
        rest = iter(found)
        return cond, [next(rest) if part.embedding else None for part in self.plan]

    def _check_batch(self, weights: ResolvedWeights, cond_id: Any) -> list[Tensor] | None:
        """Check batches of chunk embeddings in ``weights``, if there are any."""
        batch = weights.extra.get("chunk_embs")
        if batch is None:
            return None
        if not self.conditional or not self.embedding_shapes:
            raise value_error(
                "weights['chunk_embs']", expected="no such key", got=batch, hint="There are no conditional embeddings."
            )
        if cond_id is not None:
            raise value_error("cond_id", expected="None when weights['chunk_embs'] is given", got=cond_id)
        return check_tensors("weights['chunk_embs']", batch, [(None, *shape) for shape in self.embedding_shapes])
