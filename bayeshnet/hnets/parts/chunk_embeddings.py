"""Embeddings of chunks and conditions in chunked hypernetworks: declaring and choosing them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import check_int, check_shape, value_error
from .arguments import Given, check_input
from .conditions import choose_condition, new_embedding, one_id, own_tensor

__all__ = ["ChunkInputs", "ChunkMethods"]


@dataclass(frozen=True)
class ChunkInputs:
    """How many chunks there are, how large embeddings are, and to whom they belong."""

    num_chunks: int
    chunk_emb_size: int
    conditional: bool
    cond_in_size: int
    external: bool
    """Whether tensors of conditions are kept outside."""

    def check(self, uncond_in_size: int, num_conds: int) -> None:
        """Refuse hypernetworks without any input."""
        if self.conditional and not num_conds:
            raise value_error("num_cond_embs", expected="at least one condition with cond_chunk_embs", got=0)
        if not (self.cond_in_size or uncond_in_size or self.conditional):
            raise value_error(
                "uncond_in_size and cond_in_size",
                expected="at least one positive size, or cond_chunk_embs",
                found="0 and 0",
                hint="For a fixed output set cond_chunk_embs=True and num_cond_embs=1.",
            )

    def declare_inputs(self, net: Any, conds: Iterable[int]) -> list[nn.Parameter]:
        """Declare an input embedding for each condition, before all other tensors; return the new parameters."""
        made = []
        for cond in conds if self.cond_in_size else ():
            made.append(
                net._declare(
                    (self.cond_in_size,),
                    "embedding",
                    0,
                    internal=not self.external,
                    group=f"cond{cond}",
                    label=f"cond{cond}.embedding",
                    position=cond,
                )
            )
        return [new_embedding(p, net) for p in made if p is not None]

    def declare_chunks(self, net: Any, conds: Iterable[int], internal: bool) -> list[nn.Parameter]:
        """Declare chunk embeddings, one set for each condition if they are conditional, behind all other tensors."""
        shape = (self.num_chunks, self.chunk_emb_size)
        if not self.conditional:
            made = [net._declare(shape, "embedding", 0, internal=internal, group="uncond", label="chunk_embs")]
        else:
            made = [
                net._declare(
                    shape,
                    "embedding",
                    0,
                    internal=not self.external,
                    group=f"cond{cond}",
                    label=f"cond{cond}.chunk_embs",
                )
                for cond in conds
            ]
        return [new_embedding(p, net) for p in made if p is not None]

    def declare_condition(self, net: Any, cond: int) -> list[nn.Parameter]:
        """Declare the tensors of a further condition."""
        made = self.declare_inputs(net, [cond])
        return made + (self.declare_chunks(net, [cond], True) if self.conditional else [])

    def choose(self, given: Given, cond_input: Any, cond_id: Any, num_conds: int) -> tuple[Tensor | None, Tensor]:
        """Conditional input ``(B, m)`` or None, and chunk embeddings ``(C, e)`` or ``(B, C, e)``."""
        inputs, own = given.cond[:num_conds], given.cond[-num_conds:] if num_conds else []
        batch = given.extra.get("chunk_embs")
        if batch is not None:
            if not self.conditional:
                raise value_error(
                    "weights['chunk_embs']",
                    expected="no such key",
                    got=batch,
                    hint="Chunk embeddings are unconditional.",
                )
            if cond_id is not None:
                raise value_error("cond_id", expected="None when weights['chunk_embs'] is given", got=cond_id)
            check_shape("weights['chunk_embs']", batch, (None, self.num_chunks, self.chunk_emb_size))
        if cond_id is not None:
            if not self.conditional:
                return choose_condition(inputs, cond_id, num_conds, cond_input), given.uncond[-1]
            cond = choose_condition(inputs, cond_id, num_conds, cond_input) if self.cond_in_size else None
            return cond, choose_condition(own, cond_id, num_conds, cond_input)
        cond = check_input("cond_input", cond_input, self.cond_in_size, "cond_in_size")
        if not self.conditional:
            return cond, given.uncond[-1]
        if batch is None:
            raise value_error(
                "cond_id",
                expected="a condition, or weights={'chunk_embs': ...}",
                got=None,
                hint="Chunk embeddings are conditional.",
            )
        return cond, batch


class ChunkMethods:
    """Properties and getters of chunked hypernetworks."""

    chunks: ChunkInputs
    num_known_conds: int

    @property
    def num_chunks(self) -> int:
        """Number of chunks, each with an embedding."""
        return self.chunks.num_chunks

    @property
    def chunk_emb_size(self) -> int:
        """Size of a chunk embedding."""
        return self.chunks.chunk_emb_size

    @property
    def cond_in_size(self) -> int:
        """Size of conditional inputs."""
        return self.chunks.cond_in_size

    @property
    def cond_chunk_embs(self) -> bool:
        """Whether each condition has its own chunk embeddings."""
        return self.chunks.conditional

    def get_cond_in_emb(self, cond_id: int) -> Tensor:
        """The input embedding ``(cond_in_size,)`` of condition ``cond_id``."""
        return own_tensor(self, f"cond{one_id(cond_id, self.num_known_conds)}.embedding")

    def get_chunk_emb(self, chunk_id: int | None = None, cond_id: int | None = None) -> Tensor:
        """Chunk embeddings ``(num_chunks, chunk_emb_size)``, or row ``chunk_id`` of them.

        ``cond_id`` must be given if they are conditional, and only then.
        """
        if self.cond_chunk_embs != (cond_id is not None):
            expected = "a condition" if self.cond_chunk_embs else "None: chunk embeddings are unconditional"
            raise value_error("cond_id", expected=expected, got=cond_id)
        prefix = "" if cond_id is None else f"cond{one_id(cond_id, self.num_known_conds)}."
        embeddings = own_tensor(self, f"{prefix}chunk_embs")
        if chunk_id is None:
            return embeddings
        if not 0 <= check_int("chunk_id", chunk_id) < self.num_chunks:
            raise value_error("chunk_id", expected=f"an integer between 0 and {self.num_chunks - 1}", got=chunk_id)
        return embeddings[chunk_id]
