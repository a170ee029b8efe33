"""A hypernetwork that generates weights in chunks that follow the structure of the target network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

from torch import Tensor, nn

from ..errors import check_flags
from ..geometry.base import Geometry
from ..geometry.head import HeadGeometry
from ..geometry.selection import SelectionGeometry
from ..representation import shows_arguments
from .composed.assembly import Assembly
from .composed.inner_tensors import declare_inner
from .composed.structure import StructuredInputs
from .composed.structure_plan import plan_structure
from .hnet_interface import HyperNetInterface
from .mlp_hnet import HMLP
from .parts.arguments import check_batch, check_input
from .parts.conditions import input_embedding
from .parts.resolved_weights import ResolvedWeights
from .subnets.mlp_body import MLPBody
from .subnets.mlp_forward import run_mlp
from .subnets.mlp_layers import MLPLayers

__all__ = ["StructuredHMLP"]


class StructuredHMLP(HyperNetInterface):
    r"""Structured chunked hypernetwork: several perceptrons, each of which generates chunks of the same shapes.

    There is one internal full hypernetwork for each entry of ``chunk_shapes``. It generates ``num_per_chunk[i]``
    chunks, one for each of its chunk embeddings, and ``assembly_fct`` assembles the target tensors from all chunks.

    Args:
        target_shapes: shapes of the tensors to generate.
        chunk_shapes: for each internal hypernetwork the shapes of the tensors of one of its chunks.
        num_per_chunk: for each internal hypernetwork the number of chunks it generates.
        chunk_emb_sizes: for each internal hypernetwork the size of its chunk embeddings (drawn from ``N(0, I)``), or
            one size for all; 0 means no embedding, which is possible for a single chunk.
        hmlp_kwargs: keyword arguments for the internal :class:`~bayeshnet.hnets.HMLP`, one dict for all or one for
            each; sizes of inputs, external weights and conditions are determined by the arguments of this class.
        assembly_fct: function from the list of all chunks (lists of tensors) of one sample to the target tensors.
        cond_chunk_embs: give each condition its own chunk embeddings. Then the argument ``weights`` of :meth:`forward`
            may be a dict with the key ``chunk_embs``, a list of batches of embeddings ``(B, *shape)`` for the shapes in
            :attr:`chunk_emb_shapes`, instead of ``cond_id``.
        uncond_in_size: size of unconditional inputs.
        cond_in_size: size of conditional inputs; all internal hypernetworks get the same embedding.
        verbose: log a summary.
        no_uncond_weights: pass all unconditional weights to :meth:`forward` instead of keeping them as parameters.
        no_cond_weights: pass conditional embeddings to :meth:`forward` instead of keeping them as parameters.
        num_cond_embs: number of conditions.

    The geometry is in closed form if ``assembly_fct`` only selects and orders weights, else it is computed by
    Jacobians.

    References:
        Sacramento, von Oswald, Kobayashi, Henning, Grewe, "Economical ensembles with hypernetworks", 2020.
        Savarese, Maire, "Learning implicitly recurrent CNNs through parameter sharing", 2019.

    Example:
        Three tensors as linear combinations of two templates:

        >>> hnet = StructuredHMLP(
        ...     [[4, 4]] * 3, [[[4, 4]]], [3], 2, {"layers": [], "use_bias": False},
        ...     lambda chunks: [chunk[0] for chunk in chunks],
        ...     cond_chunk_embs=True, uncond_in_size=0, cond_in_size=0, verbose=False)
        >>> hnet.num_chunks, hnet.num_params
        (3, 38)
        >>> [tuple(t.shape) for t in hnet(cond_id=0)]
        [(4, 4), (4, 4), (4, 4)]
    """

    @shows_arguments
    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        chunk_shapes: Sequence[Sequence[Sequence[int]]],
        num_per_chunk: Sequence[int],
        chunk_emb_sizes: int | Sequence[int],
        hmlp_kwargs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        assembly_fct: Callable[[list[list[Tensor]]], Sequence[Tensor]],
        cond_chunk_embs: bool = False,
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        verbose: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
    ) -> None:
        check_flags(
            verbose=verbose,
            cond_chunk_embs=cond_chunk_embs,
            no_uncond_weights=no_uncond_weights,
            no_cond_weights=no_cond_weights,
        )
        plan = plan_structure(chunk_shapes, num_per_chunk, chunk_emb_sizes, hmlp_kwargs, signature(HMLP).parameters)
        inputs = StructuredInputs(
            plan, bool(cond_chunk_embs), uncond_in_size, cond_in_size, bool(no_uncond_weights), bool(no_cond_weights)
        )
        conds = inputs.check(num_cond_embs)
        hnets = [inputs.build(i, conds) for i in range(len(plan))]
        super().__init__(
            target_shapes,
            uncond_in_size,
            conds,
            cond_in_size=cond_in_size,
            has_bias=all(hnet.has_bias for hnet in hnets),
            has_fc_out=True,
        )
        self.inputs = inputs
        self.hnets = nn.ModuleList(hnets)
        groups = [[part.shapes] * part.count for part in plan]
        self.assembly = Assembly(assembly_fct, groups, self.target_shapes, _as_argument)
        for i, hnet in enumerate(hnets):
            declare_inner(self, hnet, f"hnet{i}.", keep_layers=i == 0, own_conditions=True)
        inputs.declare_chunks(self, range(conds))
        self._log_summary(bool(verbose))

    @property
    def internal_hnets(self) -> list[HMLP]:
        """Internal full hypernetworks, one for each entry of ``chunk_shapes``."""
        return list(self.hnets)  # type: ignore[arg-type]

    @property
    def num_chunks(self) -> int:
        """Number of all chunks."""
        return sum(part.count for part in self.inputs.plan)

    @property
    def chunk_emb_shapes(self) -> list[list[int]]:
        """Shapes ``[num, size]`` of the chunk embeddings, for the internal hypernetworks that have any."""
        return [list(shape) for shape in self.inputs.embedding_shapes]

    @property
    def cond_chunk_embs(self) -> bool:
        """True if each condition has its own chunk embeddings."""
        return self.inputs.conditional

    def get_cond_in_emb(self, cond_id: int) -> Tensor:
        """Return the input embedding ``(cond_in_size,)`` of condition ``cond_id``."""
        return input_embedding(self, cond_id)

    def get_chunk_embs(self, cond_id: int | None = None) -> list[Tensor]:
        """Return chunk embeddings of shapes :attr:`chunk_emb_shapes`; if they are conditional, those of ``cond_id``."""
        return self.inputs.own_chunks(self, cond_id)

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
        """Generate weights; arguments as in :meth:`HyperNetInterface.forward`."""
        self._check_call(ret_format, distilled_params)
        resolved = self._resolve_weights(weights, ("chunk_embs",))
        cond, chunks = self.inputs.select(resolved, cond_input, cond_id, self.num_known_conds)
        uncond = check_input("uncond_input", uncond_input, self._uncond_in_size, "uncond_in_size")
        batches = {f"chunk_embs[{i}]": c for i, c in enumerate(chunks) if c is not None and c.ndim == 3}
        check_batch(uncond_input=uncond, cond_input=cond, **batches)
        outs = [
            run_mlp(layers, uncond, cond, chunk, condition).flatten(1)
            for layers, chunk in zip(self._layers(resolved), chunks, strict=True)
        ]
        return self.assembly.batch(outs, ret_format)

    def _layers(self, resolved: ResolvedWeights) -> list[MLPLayers]:
        """Return the perceptrons, whose inputs are split into unconditional inputs and chunk embeddings."""
        perceptrons, start = [], 0
        for hnet, part in zip(self.internal_hnets, self.inputs.plan, strict=True):
            stop = start + len(hnet._ledger.unconditional)
            layers = hnet.subnet.layers(resolved.uncond[start:stop])
            sizes = replace(layers.sizes, uncond=self._uncond_in_size, chunk=part.embedding)
            perceptrons.append(replace(layers, sizes=sizes))
            start = stop
        return perceptrons

    def _closed_geometry(self, cond_id: Any, cond_input: Any, weights: Any, condition: Any) -> Geometry | None:
        """Return the geometry part by part, if weights are only selected."""
        selection = self.assembly.selection()
        if selection is None:
            return None
        resolved = self._resolve_weights(weights, ("chunk_embs",))
        cond, chunks = self.inputs.select(resolved, cond_input, cond_id, self.num_known_conds)
        parts = []
        for layers, chunk in zip(self._layers(resolved), chunks, strict=True):
            one = None if chunk is None else chunk[0] if chunk.ndim == 3 else chunk
            body = MLPBody(layers, None if cond is None else cond[0], one, condition)
            num = body.num_chunks * layers.sizes.out
            parts.append(HeadGeometry(body, layers.weights[-1], layers.biases[-1], num))
        return SelectionGeometry(parts, selection)


def _as_argument(groups: list[list[Tensor]]) -> tuple[list[list[Tensor]]]:
    """Return the list of all chunks as the only argument of the assembly function."""
    return (groups,)
