"""Embeddings of chunks: their declaration, and their selection in a forward pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import check_shape, check_size, value_error
from ..hnet_interface import HyperNetInterface
from .arguments import check_has_input, check_input
from .conditions import ConditionTensors, InputEmbeddings, new_embedding, select_condition
from .resolved_weights import ResolvedWeights

__all__ = ["ChunkEmbeddings", "chunk_embeddings", "number_of_conditions"]


def number_of_conditions(num_cond_embs: Any, cond_in_size: Any, conditional: bool) -> int:
    """Return the number of conditions of a chunked hypernetwork, 0 if no tensor depends on the condition."""
    conds = check_size("num_cond_embs", num_cond_embs, 0)
    return conds if check_size("cond_in_size", cond_in_size, 0) or conditional else 0


def chunk_embeddings(
    net: HyperNetInterface, num_chunks: int, chunk_emb_size: Any, conditional: bool, external: bool
) -> ChunkEmbeddings:
    """Check the inputs of a chunked hypernetwork ``net``, and return its embeddings.

    Args:
        net: the hypernetwork.
        num_chunks: number of chunks.
        chunk_emb_size: size of a chunk embedding.
        conditional: True if each condition has its own chunk embeddings.
        external: True if conditional embeddings are passed in.
    """
    size = check_size("chunk_emb_size", chunk_emb_size, 1)
    check_has_input(net.uncond_in_size, net.cond_in_size, conditional, net.num_known_conds)
    return ChunkEmbeddings(num_chunks, size, conditional, InputEmbeddings(net.cond_in_size, external))


@dataclass(frozen=True)
class ChunkEmbeddings(ConditionTensors):
    """An embedding for each chunk, and an input embedding for each condition.

    Attributes:
        num_chunks: number of chunks.
        chunk_emb_size: size of a chunk embedding.
        conditional: True if each condition has its own chunk embeddings.
        inputs: the input embeddings.
    """

    num_chunks: int
    chunk_emb_size: int
    conditional: bool
    inputs: InputEmbeddings
    extra_keys = ("chunk_embs",)

    def declare_inputs(self, net: Any, conds: Iterable[int]) -> list[nn.Parameter]:
        """Declare an input embedding for each condition."""
        return self.inputs.declare_inputs(net, conds)

    def declare_chunks(self, net: Any, conds: Iterable[int], internal: bool) -> list[nn.Parameter]:
        """Declare chunk embeddings, a set for each condition if they are conditional."""
        shape = (self.num_chunks, self.chunk_emb_size)
        if self.conditional:
            owners = [(f"cond{cond}", f"cond{cond}.chunk_embs", not self.inputs.external) for cond in conds]
        else:
            owners = [("uncond", "chunk_embs", internal)]
        new = [
            net._declare(shape, "embedding", 0, internal=internal, group=group, label=label)
            for group, label, internal in owners
        ]
        return [new_embedding(p, net) for p in new if p is not None]

    def declare_condition(self, net: Any, cond: int) -> list[nn.Parameter]:
        """Declare the tensors of one more condition."""
        return self.declare_inputs(net, [cond]) + (self.declare_chunks(net, [cond], True) if self.conditional else [])

    def split(self, uncond: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Split off the chunk embeddings, unless they are conditional."""
        return (uncond, None) if self.conditional else (uncond[:-1], uncond[-1])

    def select(
        self, weights: ResolvedWeights, cond_input: Any, cond_id: Any, num_conds: int
    ) -> tuple[Tensor | None, Tensor]:
        """Select conditional input ``(B, m)`` or None, and chunk embeddings ``(C, e)`` or ``(B, C, e)``."""
        batch = self._check_batch(weights.extra.get("chunk_embs"), cond_id)
        if cond_id is None:
            cond = check_input("cond_input", cond_input, self.inputs.size, "cond_in_size")
        elif self.inputs.size or not self.conditional:
            cond = select_condition(weights.cond[:num_conds], cond_id, num_conds, cond_input)
        else:
            cond = None
        if not self.conditional:
            return cond, weights.uncond[-1]
        if cond_id is not None:
            own = weights.cond[-num_conds:] if num_conds else []
            return cond, select_condition(own, cond_id, num_conds, cond_input)
        if batch is None:
            raise value_error(
                "cond_id",
                expected="a condition, or weights={'chunk_embs': ...}",
                got=None,
                hint="Chunk embeddings are conditional.",
            )
        return cond, batch

    def _check_batch(self, batch: Any, cond_id: Any) -> Any:
        """Check a batch of chunk embeddings ``(B, C, e)``, or None."""
        if batch is None:
            return None
        if not self.conditional:
            raise value_error(
                "weights['chunk_embs']", expected="no such key", got=batch, hint="Chunk embeddings are unconditional."
            )
        if cond_id is not None:
            raise value_error("cond_id", expected="None when weights['chunk_embs'] is given", got=cond_id)
        return check_shape("weights['chunk_embs']", batch, (None, self.num_chunks, self.chunk_emb_size))
