"""A fully connected hypernetwork that generates weights chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_flags, check_int, check_ints, value_error
from ..geometry.base import Geometry
from ..geometry.head import HeadGeometry
from ..geometry.truncate import truncate
from ..layers.elementwise import Activation
from .hnet_interface import HyperNetInterface
from .initialization.hyperfan_methods import ChunkedHyperfan
from .parts.arguments import check_batch, check_input, one_row
from .parts.chunk_embeddings import ChunkInputs, ChunkMethods
from .parts.formats import parts_of_rows
from .parts.mlp import MLPSizes, MLPSubnet, run_mlp
from .parts.mlp_batched import mlps_side_by_side
from .parts.mlp_body import MLPBody

__all__ = ["ChunkedHMLP"]


class ChunkedHMLP(ChunkMethods, ChunkedHyperfan, HyperNetInterface):
    r"""Chunked hypernetwork: one small perceptron generates all chunks of the weight vector, one embedding for each.

    .. math:: h(x, e) = [g(x, c_1, e), \dots, g(x, c_C, e)]

    The targets are flattened and split into chunks of equal size, wherever the splits fall; what the last chunk has too
    much is dropped. The first layer is linear in its inputs, so the parts of chunk embeddings and of other inputs are
    computed once each and added.

    Args:
        target_shapes: shapes of the tensors to generate.
        chunk_size: number of weights in a chunk.
        chunk_emb_size: size of a chunk embedding (drawn from ``N(0, I)``).
        cond_chunk_embs: whether each condition has its own chunk embeddings.
        uncond_in_size: size of unconditional inputs, such as noise.
        cond_in_size: size of conditional inputs, such as task embeddings.
        layers: sizes of the hidden layers; may be empty.
        verbose: whether to log a summary.
        activation_fn: hidden activation, a function of a tensor; None for none.
        use_bias: whether layers have biases.
        no_uncond_weights: whether all unconditional weights are given to :meth:`forward`.
        no_cond_weights: whether conditional embeddings are given to :meth:`forward`.
        num_cond_embs: number of conditions.
        dropout_rate: as in :class:`~bayeshnet.hnets.HMLP`.
        use_spectral_norm: as in :class:`~bayeshnet.hnets.HMLP`.
        use_batch_norm: as in :class:`~bayeshnet.hnets.HMLP`; a batch is all chunks of all inputs.
        linear_skip: as in :class:`~bayeshnet.hnets.HMLP`.

    ``uncond_in_size`` and ``cond_in_size`` may both be 0 if ``cond_chunk_embs``.

    References:
        Von Oswald, Henning, Grewe, Sacramento, "Continual learning with hypernetworks", 2020.

    Example:
        >>> hnet = ChunkedHMLP([[10, 5], [10]], chunk_size=16, cond_in_size=4, num_cond_embs=3, verbose=False)
        >>> hnet.num_chunks, hnet.num_params < 60 * 100
        (4, False)
        >>> hnet(cond_id=[0, 2], ret_format="flattened").shape
        torch.Size([2, 60])
    """

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        chunk_size: int,
        chunk_emb_size: int = 8,
        cond_chunk_embs: bool = False,
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        layers: Sequence[int] = (100, 100),
        verbose: bool = True,
        activation_fn: Activation = torch.nn.ReLU(),
        use_bias: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        dropout_rate: float = -1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        *,
        linear_skip: bool = False,
    ) -> None:
        check_flags(verbose=verbose, use_bias=use_bias, linear_skip=linear_skip, cond_chunk_embs=cond_chunk_embs)
        check_flags(no_uncond_weights=no_uncond_weights, no_cond_weights=no_cond_weights)
        check_flags(use_spectral_norm=use_spectral_norm, use_batch_norm=use_batch_norm)
        conds = check_int("num_cond_embs", num_cond_embs, 0)
        if not check_int("cond_in_size", cond_in_size, 0) and not cond_chunk_embs:
            conds = 0
        super().__init__(target_shapes, uncond_in_size, conds, has_bias=bool(use_bias), has_fc_out=True)
        self._chunk_size = check_int("chunk_size", chunk_size, 1)
        self.chunks = ChunkInputs(
            math.ceil(self.num_outputs / chunk_size),
            check_int("chunk_emb_size", chunk_emb_size, 1),
            bool(cond_chunk_embs),
            cond_in_size,
            bool(no_cond_weights),
        )
        self.chunks.check(self.uncond_in_size, conds)
        hidden = tuple(check_ints("layers", layers, 1))
        if linear_skip and not (hidden and self.uncond_in_size):
            raise value_error(
                "linear_skip", expected="False without hidden layers or without unconditional input", got=True
            )
        sizes = MLPSizes(
            self.uncond_in_size,
            chunk_emb_size,
            cond_in_size,
            hidden,
            chunk_size,
            bool(use_bias),
            bool(use_batch_norm),
            bool(linear_skip),
        )
        self.subnet = MLPSubnet(sizes, activation_fn, dropout_rate, use_spectral_norm, not no_uncond_weights)
        self.chunks.declare_inputs(self, range(conds))
        self.subnet.declare(self, not no_uncond_weights)
        self.chunks.declare_chunks(self, range(conds), not no_uncond_weights)
        self._announce(verbose)

    def _add_condition(self, cond: int) -> list[nn.Parameter]:
        return self.chunks.declare_condition(self, cond)

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

        If chunk embeddings are conditional, ``weights`` may be a dict with the key ``chunk_embs``, a batch of chunk
        embeddings ``(B, num_chunks, chunk_emb_size)`` in place of ``cond_id``.
        """
        self._check_call(ret_format, distilled_params)
        given = self._given(weights, ("chunk_embs",))
        cond, chunk = self.chunks.choose(given, cond_input, cond_id, self.num_known_conds)
        uncond = check_input("uncond_input", uncond_input, self._uncond_in_size, "uncond_in_size")
        check_batch(uncond_input=uncond, cond_input=cond, chunk_embs=chunk if chunk.ndim == 3 else None)
        uncond_weights = given.uncond if self.cond_chunk_embs else given.uncond[:-1]
        out = run_mlp(self.subnet.layers(uncond_weights), uncond, cond, chunk, condition)
        return self._formatted(out.flatten(1), ret_format)

    def side_by_side(self, flat: Tensor, uncond_input: Tensor) -> Tensor | None:
        """By batched matrix products; see :meth:`HyperNetInterface.side_by_side`."""
        own = type(self).forward is ChunkedHMLP.forward
        if not own or self.cond_in_size or self.cond_chunk_embs or flat.shape[-1] != self.num_params:
            return None
        *tensors, chunk = parts_of_rows(flat, self.param_shapes)
        out = mlps_side_by_side(self.subnet, tensors, uncond_input, chunk)
        return None if out is None else truncate(out, self.num_outputs)

    def geometry(
        self, cond_id: Any = None, cond_input: Tensor | None = None, weights: Any = None, condition: Any = None
    ) -> Geometry:
        """The geometry through the head, chunk by chunk; see :meth:`HyperNetInterface.geometry`."""
        self._check_geometry(cond_id)
        given = self._given(weights, ("chunk_embs",))
        cond, chunk = self.chunks.choose(given, one_row(cond_input), cond_id, self.num_known_conds)
        if chunk.ndim == 3:
            if chunk.shape[0] != 1:
                raise value_error("chunk_embs", expected="the embeddings of one condition", got=chunk)
            chunk = chunk[0]
        layers = self.subnet.layers(given.uncond if self.cond_chunk_embs else given.uncond[:-1])
        body = MLPBody(layers, None if cond is None else cond[0], chunk, condition)
        return HeadGeometry(body, layers.weights[-1], layers.biases[-1], self.num_outputs)

    def distillation_targets(self) -> None:
        """Return None: nothing is distilled."""
        return None
