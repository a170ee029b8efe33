"""The plan of a structured hypernetwork: its internal hypernetworks and their chunks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import check_size, check_sizes, type_error, value_error

__all__ = ["Part", "plan_structure"]

RESERVED = ("uncond_in_size", "cond_in_size", "no_uncond_weights", "no_cond_weights", "num_cond_embs")


@dataclass(frozen=True, eq=False)
class Part:
    """One internal hypernetwork.

    Attributes:
        shapes: shapes of the tensors in a chunk.
        count: number of chunks.
        embedding: size of a chunk embedding, or 0.
        options: keyword arguments of the hypernetwork.
    """

    shapes: list[list[int]]
    count: int
    embedding: int
    options: dict[str, Any]


def _per_part(name: str, value: Any, count: int, single: type | tuple[type, ...]) -> list[Any]:
    """Return one entry for each part, from a list or a single value for all."""
    if isinstance(value, single):
        return [value] * count
    if not isinstance(value, (list, tuple)):
        raise type_error(name, expected=f"a list of {count} entries", got=value)
    if len(value) != count:
        raise value_error(name, expected=f"{count} entries, as many as chunk_shapes", found=f"{len(value)}")
    return list(value)


def _check_shapes(shapes: Any) -> list[list[int]]:
    if not isinstance(shapes, (list, tuple)) or not shapes:
        raise type_error("chunk_shapes", expected="a list of at least one shape for each chunk", got=shapes)
    return [check_sizes("chunk_shapes", shape) for shape in shapes]


def plan_structure(
    chunk_shapes: Any, num_per_chunk: Any, chunk_emb_sizes: Any, hmlp_kwargs: Any, known: Collection[str]
) -> list[Part]:
    """Check and combine the lists that describe a structured hypernetwork; options are among those ``known``."""
    if not isinstance(chunk_shapes, (list, tuple)) or not chunk_shapes:
        raise value_error("chunk_shapes", expected="a list with the shapes of at least one chunk", got=chunk_shapes)
    num = len(chunk_shapes)
    counts = [check_size("num_per_chunk", n, 1) for n in _per_part("num_per_chunk", num_per_chunk, num, ())]
    sizes = [check_size("chunk_emb_sizes", n, 0) for n in _per_part("chunk_emb_sizes", chunk_emb_sizes, num, int)]
    parts = []
    options = _per_part("hmlp_kwargs", hmlp_kwargs, num, Mapping)
    for shapes, count, size, kwargs in zip(chunk_shapes, counts, sizes, options, strict=True):
        if not size and count != 1:
            raise value_error(
                "chunk_emb_sizes", expected="positive sizes where there is more than one chunk", got=chunk_emb_sizes
            )
        if not isinstance(kwargs, Mapping):
            raise type_error("hmlp_kwargs", expected="a dict, or a list of dicts", got=hmlp_kwargs)
        wrong = sorted(set(kwargs) & {*RESERVED, "target_shapes"})
        if wrong:
            raise value_error("hmlp_kwargs", expected="no keys that StructuredHMLP sets itself", found=f"{wrong}")
        unknown = sorted(str(key) for key in set(kwargs) - set(known))
        if unknown:
            raise value_error("hmlp_kwargs", expected="options of HMLP, by name", found=f"{unknown}")
        if size and kwargs.get("linear_skip"):
            raise value_error(
                "hmlp_kwargs", expected="no linear_skip where there are chunk embeddings", found="linear_skip"
            )
        parts.append(Part(_check_shapes(shapes), count, size, {"verbose": False, **kwargs}))
    return parts
