"""The plan of a structured hypernetwork: which perceptron makes how many chunks, and who keeps the embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import check_int, check_shape, type_error, value_error
from ...mnets.parts.ledger import TensorLedger
from ..mlp_hnet import HMLP
from .arguments import Given, check_ids, check_input, select
from .conditions import new_embedding, one_id, own_tensor

__all__ = ["Part", "StructuredInputs", "plan_structure"]

FORBIDDEN = ("uncond_in_size", "cond_in_size", "no_uncond_weights", "no_cond_weights", "num_cond_embs")


@dataclass(frozen=True, eq=False)
class Part:
    """One internal hypernetwork: the shapes of its chunks, their number, the embedding size and further options."""

    shapes: list[list[int]]
    count: int
    embedding: int
    options: dict[str, Any]

    @property
    def size(self) -> int:
        """Number of weights in a chunk."""
        return sum(math.prod(shape) for shape in self.shapes)


def _per_part(name: str, value: Any, count: int, single: type | tuple[type, ...]) -> list[Any]:
    """One entry for each part, from a list or a single value for all."""
    if isinstance(value, single):
        return [value] * count
    if not isinstance(value, (list, tuple)):
        raise type_error(name, expected=f"a list of {count} entries", got=value)
    if len(value) != count:
        raise value_error(name, expected=f"{count} entries, as many as chunk_shapes", found=f"{len(value)}")
    return list(value)


def plan_structure(chunk_shapes: Any, num_per_chunk: Any, chunk_emb_sizes: Any, hmlp_kwargs: Any) -> list[Part]:
    """Check the four lists that describe a structured hypernetwork, and join them."""
    if not isinstance(chunk_shapes, (list, tuple)) or not chunk_shapes:
        raise value_error("chunk_shapes", expected="a list with the shapes of at least one chunk", got=chunk_shapes)
    num = len(chunk_shapes)
    counts = [check_int("num_per_chunk", n, 1) for n in _per_part("num_per_chunk", num_per_chunk, num, ())]
    sizes = [check_int("chunk_emb_sizes", n, 0) for n in _per_part("chunk_emb_sizes", chunk_emb_sizes, num, int)]
    parts = []
    options = _per_part("hmlp_kwargs", hmlp_kwargs, num, Mapping)
    for shapes, count, size, kwargs in zip(chunk_shapes, counts, sizes, options, strict=True):
        if not size and count != 1:
            raise value_error(
                "chunk_emb_sizes", expected="positive sizes where there is more than one chunk", got=chunk_emb_sizes
            )
        if not isinstance(kwargs, Mapping):
            raise type_error("hmlp_kwargs", expected="a dict, or a list of dicts", got=hmlp_kwargs)
        wrong = sorted(set(kwargs) & {*FORBIDDEN, "target_shapes"})
        if wrong:
            raise value_error("hmlp_kwargs", expected="no keys that StructuredHMLP sets itself", found=f"{wrong}")
        if size and kwargs.get("linear_skip"):
            raise value_error(
                "hmlp_kwargs", expected="no linear_skip where there are chunk embeddings", found="linear_skip"
            )
        parts.append(Part(shapes, count, size, {"verbose": False, **kwargs}))
    return parts


@dataclass(frozen=True, eq=False)
class StructuredInputs:
    """The inputs of the internal hypernetworks: sizes, and who keeps the embeddings."""

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
        """Refuse parts without any input; return the number of conditions."""
        conds = check_int("num_cond_embs", num_cond_embs, 0)
        sizes = check_int("uncond_in_size", self.uncond_in_size, 0) + check_int("cond_in_size", self.cond_in_size, 0)
        if self.conditional and not conds:
            raise value_error("num_cond_embs", expected="at least one condition with cond_chunk_embs", got=0)
        if not sizes and not self.conditional:
            raise value_error(
                "uncond_in_size and cond_in_size",
                expected="at least one positive size, or cond_chunk_embs",
                found="0 and 0",
                hint="For a fixed output set cond_chunk_embs=True and num_cond_embs=1.",
            )
        if not sizes and any(not part.embedding for part in self.plan):
            raise value_error("chunk_emb_sizes", expected="positive sizes where there is no other input", got=0)
        return conds if self.cond_in_size or (self.conditional and self.embedding_shapes) else 0

    def build(self, i: int, conds: int) -> HMLP:
        """The internal hypernetwork ``i``; the first one keeps the conditional embeddings."""
        part = self.plan[i]
        return HMLP(
            part.shapes,
            self.uncond_in_size + part.embedding,
            self.cond_in_size,
            no_uncond_weights=self.no_uncond_weights,
            no_cond_weights=self.no_cond_weights,
            num_cond_embs=0 if i else conds,
            **part.options,
        )

    def declare_chunks(self, net: Any, conds: Iterable[int]) -> list[nn.Parameter]:
        """Declare chunk embeddings behind all other tensors; return the new parameters."""
        made = []
        for cond in conds if self.conditional else [None]:
            for j, shape in enumerate(self.embedding_shapes):
                prefix = "" if cond is None else f"cond{cond}."
                internal = not (self.no_uncond_weights if cond is None else self.no_cond_weights)
                group = "uncond" if cond is None else f"cond{cond}"
                label = f"{prefix}chunk_embs{j}"
                made.append(net._declare(shape, "embedding", 0, internal=internal, group=group, label=label))
        return [new_embedding(p, net) for p in made if p is not None]

    def declare_condition(self, net: Any, cond: int) -> list[nn.Parameter]:
        """Declare the tensors of a further condition."""
        made = []
        if self.cond_in_size:
            inner = net.internal_hnets[0]
            if inner.num_known_conds <= cond:
                made += inner.add_conditions(cond + 1 - inner.num_known_conds)
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
        return made + (self.declare_chunks(net, [cond]) if self.conditional else [])

    def own_chunks(self, net: Any, cond_id: Any) -> list[Tensor]:
        """The chunk embeddings that ``net`` keeps."""
        if self.conditional != (cond_id is not None):
            expected = "a condition" if self.conditional else "None: chunk embeddings are unconditional"
            raise value_error("cond_id", expected=expected, got=cond_id)
        prefix = "" if cond_id is None else f"cond{one_id(cond_id, net.num_known_conds)}."
        return [own_tensor(net, f"{prefix}chunk_embs{j}") for j in range(len(self.embedding_shapes))]

    def choose(
        self, ledger: TensorLedger, given: Given, cond_input: Any, cond_id: Any, conds: int
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Conditional input ``(B, m)`` or None, and for each part its embeddings ``(C, e)``, ``(B, C, e)`` or None."""
        batch = self._given_chunks(given, cond_id)
        if cond_id is not None and cond_input is not None:
            raise value_error(
                "cond_id", expected="None when cond_input is given", got=cond_id, hint="They exclude each other."
            )
        if cond_id is None:
            cond = check_input("cond_input", cond_input, self.cond_in_size, "cond_in_size")
        else:
            ids = check_ids(cond_id, conds)
            cond = select(given.cond[:conds], ids) if self.cond_in_size else None
        num = len(self.embedding_shapes)
        if not self.conditional:
            found: list[Tensor] = given.uncond[len(given.uncond) - num :]
        elif cond_id is not None:
            start = conds if self.cond_in_size else 0
            found = [select(given.cond[start + j :: num][:conds], ids) for j in range(num)]
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

    def _given_chunks(self, given: Given, cond_id: Any) -> list[Tensor] | None:
        batch = given.extra.get("chunk_embs")
        if batch is None:
            return None
        if not self.conditional or not self.embedding_shapes:
            raise value_error(
                "weights['chunk_embs']", expected="no such key", got=batch, hint="There are no conditional embeddings."
            )
        if cond_id is not None:
            raise value_error("cond_id", expected="None when weights['chunk_embs'] is given", got=cond_id)
        shapes = self.embedding_shapes
        if not isinstance(batch, (list, tuple)) or len(batch) != len(shapes):
            raise value_error("weights['chunk_embs']", expected=f"a list of {len(shapes)} tensors", got=batch)
        pairs = zip(batch, shapes, strict=True)
        return [check_shape(f"weights['chunk_embs'][{j}]", t, (None, *s)) for j, (t, s) in enumerate(pairs)]
