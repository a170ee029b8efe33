"""Hypernetworks with one network inside that generates all weights, in one piece or chunk by chunk."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import check_int, value_error
from ...geometry.base import Geometry
from ...geometry.truncate import truncate
from ..hnet_interface import HyperNetInterface
from ..subnets.base import Subnet
from .arguments import check_batch, check_input
from .chunk_embeddings import ChunkEmbeddings
from .conditions import ConditionTensors, condition_prefix, input_embedding, parameter_of
from .formats import parts_of_rows

__all__ = ["ChunkedHypernetwork", "SubnetHypernetwork"]


class SubnetHypernetwork(HyperNetInterface):
    """A hypernetwork whose weights are the outputs of one network, its subnet.

    Subclasses choose the subnet and the tensors of conditions, and end their constructor with :meth:`_build`.
    """

    subnet: Subnet
    inputs: ConditionTensors

    @abstractmethod
    def __init__(self, target_shapes: Sequence[Sequence[int]], *sizes: int, cond_in_size: int, **flags: bool) -> None:
        super().__init__(target_shapes, *sizes, cond_in_size=cond_in_size, **flags)

    def _build(self, inputs: ConditionTensors, subnet: Subnet, internal: bool, verbose: bool) -> None:
        """Declare all tensors: input embeddings, those of the subnet, and chunk embeddings.

        Args:
            inputs: tensors of conditions and chunks.
            subnet: the network inside.
            internal: True if unconditional tensors are parameters, False if they are passed in.
            verbose: log a summary.
        """
        self.inputs, self.subnet = inputs, subnet
        inputs.declare_inputs(self, range(self._num_known_conds))
        subnet.declare(self, internal)
        inputs.declare_chunks(self, range(self._num_known_conds), internal)
        self._log_summary(verbose)

    def _declare_conditions(self, conds: range) -> list[nn.Parameter]:
        return [p for cond in conds for p in self.inputs.declare_condition(self, cond)]

    def forward(  # type: ignore[override]
        self,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        cond_id: int | Sequence[int] | Tensor | None = None,
        weights: Sequence[Tensor] | Mapping[str, Any] | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: int | None = None,
        ret_format: str = "squeezed",
    ) -> Any:
        """Generate weights; arguments as in :meth:`HyperNetInterface.forward`.

        ``condition`` is passed as ``stats_id`` to the batch-norm layers. If chunk embeddings are conditional,
        ``weights`` may be a dict with the key ``chunk_embs``, a batch of chunk embeddings
        ``(B, num_chunks, chunk_emb_size)``, instead of ``cond_id``.
        """
        self._check_call(ret_format, distilled_params)
        tensors, cond, chunk = self._select(weights, cond_input, cond_id)
        uncond = check_input("uncond_input", uncond_input, self._uncond_in_size, "uncond_in_size")
        batch = chunk if chunk is not None and chunk.ndim == 3 else None
        check_batch(uncond_input=uncond, cond_input=cond, chunk_embs=batch)
        return self._formatted(self.subnet.run(tensors, uncond, cond, chunk, condition).flatten(1), ret_format)

    def _select(self, weights: Any, cond_input: Any, cond_id: Any) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
        """Return the tensors of the subnet, the conditional input and the chunk embeddings of a forward pass."""
        resolved = self._resolve_weights(weights, self.inputs.extra_keys)
        cond, chunk = self.inputs.select(resolved, cond_input, cond_id, self._num_known_conds)
        return self.inputs.split(resolved.uncond)[0], cond, chunk

    def _closed_geometry(self, cond_id: Any, cond_input: Any, weights: Any, condition: Any) -> Geometry | None:
        tensors, cond, chunk = self._select(weights, cond_input, cond_id)
        if chunk is not None and chunk.ndim == 3:
            if chunk.shape[0] != 1:
                raise value_error("chunk_embs", expected="the embeddings of one condition", got=chunk)
            chunk = chunk[0]
        return self.subnet.geometry(tensors, None if cond is None else cond[0], chunk, condition, self.num_outputs)

    def batched_over_weights(self, flat: Tensor, uncond_input: Tensor) -> Tensor | None:
        """Generate weights by batched matrix products; see :meth:`HyperNetInterface.batched_over_weights`.

        Return None with conditional inputs, and for subclasses with another ``forward``.
        """
        conditional = self.cond_in_size or self._ledger.conditional
        if type(self).forward is not SubnetHypernetwork.forward or conditional or flat.shape[-1] != self.num_params:
            return None
        tensors, chunk = self.inputs.split(parts_of_rows(flat, self.param_shapes))
        out = self.subnet.run_batched(tensors, uncond_input, chunk)
        return None if out is None else truncate(out, self.num_outputs)

    def get_cond_in_emb(self, cond_id: int) -> Tensor:
        """Return the input embedding ``(cond_in_size,)`` of condition ``cond_id``."""
        return input_embedding(self, cond_id)


class ChunkedHypernetwork(SubnetHypernetwork):
    """A hypernetwork that generates the weight vector chunk by chunk, from an embedding of each chunk."""

    inputs: ChunkEmbeddings
    _chunk_size: int

    @property
    def num_chunks(self) -> int:
        """Number of chunks, each with an embedding."""
        return self.inputs.num_chunks

    @property
    def chunk_size(self) -> int:
        """Number of weights in a chunk."""
        return self._chunk_size

    def generate_part(self, uncond_input: Tensor, start: int, stop: int, **where: Any) -> Tensor:
        """Generate weights ``start`` to ``stop``, ``(B, stop - start)``, from the chunks that hold them alone.

        Args:
            uncond_input: unconditional inputs ``(B, n)``.
            start: first weight.
            stop: the weight after the last one.
            **where: ``cond_id``, ``cond_input``, ``weights`` and ``condition``, as in :meth:`forward`.
        """
        tensors, cond, chunk = self._select(where.get("weights"), where.get("cond_input"), where.get("cond_id"))
        if chunk is None:
            raise value_error("cond_id", expected="a condition with chunk embeddings", got=where.get("cond_id"))
        size, uncond = (
            self.chunk_size,
            check_input("uncond_input", uncond_input, self._uncond_in_size, "uncond_in_size"),
        )
        first, last = start // size, (stop - 1) // size
        some = self.subnet.run(tensors, uncond, cond, chunk[..., first : last + 1, :], where.get("condition"))
        return some.flatten(1)[:, start - first * size : stop - first * size]

    @property
    def chunk_emb_size(self) -> int:
        """Size of a chunk embedding."""
        return self.inputs.chunk_emb_size

    @property
    def cond_chunk_embs(self) -> bool:
        """True if each condition has its own chunk embeddings."""
        return self.inputs.conditional

    def get_chunk_emb(self, chunk_id: int | None = None, cond_id: int | None = None) -> Tensor:
        """Return the chunk embeddings ``(num_chunks, chunk_emb_size)``, or row ``chunk_id`` of them.

        ``cond_id`` must be given if they are conditional, and only then.
        """
        prefix = condition_prefix(self.cond_chunk_embs, cond_id, self.num_known_conds)
        embeddings = parameter_of(self, f"{prefix}chunk_embs")
        if chunk_id is None:
            return embeddings
        if not 0 <= check_int("chunk_id", chunk_id) < self.num_chunks:
            raise value_error("chunk_id", expected=f"an integer between 0 and {self.num_chunks - 1}", got=chunk_id)
        return embeddings[chunk_id]
