"""A fully connected hypernetwork that generates weights chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..errors import check_flags, check_size, check_sizes
from ..layers.elementwise import Activation
from ..representation import shows_arguments
from .initialization.hyperfan_methods import ChunkedHyperfan
from .parts.chunk_embeddings import chunk_embeddings, number_of_conditions
from .subnets.mlp import MLPSubnet, check_skip
from .subnets.mlp_layers import MLPSizes

__all__ = ["ChunkedHMLP"]


class ChunkedHMLP(ChunkedHyperfan):
    r"""Chunked hypernetwork: one small perceptron generates all chunks of the weight vector, one embedding for each.

    .. math:: h(x, e) = [g(x, c_1, e), \dots, g(x, c_C, e)]

    The targets are flattened and split into chunks of equal size, at arbitrary places; surplus outputs of the last
    chunk are dropped. The first layer is linear in its inputs, so its terms in the chunk embeddings and in the other
    inputs are computed once each and added.

    Args:
        target_shapes: shapes of the tensors to generate.
        chunk_size: number of weights in a chunk.
        chunk_emb_size: size of a chunk embedding (drawn from ``N(0, I)``).
        cond_chunk_embs: give each condition its own chunk embeddings. Then the argument ``weights`` of :meth:`forward`
            may be a dict with the key ``chunk_embs``, a batch of embeddings ``(B, num_chunks, chunk_emb_size)``,
            instead of ``cond_id``; it must be one if ``num_cond_embs`` is 0.
        uncond_in_size: size of unconditional inputs, such as noise.
        cond_in_size: size of conditional inputs, such as task embeddings.
        layers: sizes of the hidden layers; may be empty.
        verbose: log a summary.
        activation_fn: hidden activation, a function of a tensor; None for none.
        use_bias: add biases to all layers.
        no_uncond_weights: pass all unconditional weights to :meth:`forward` instead of keeping them as parameters.
        no_cond_weights: pass conditional embeddings to :meth:`forward` instead of keeping them as parameters.
        num_cond_embs: number of conditions.
        dropout_rate: as in :class:`~bayeshnet.hnets.HMLP`.
        use_spectral_norm: as in :class:`~bayeshnet.hnets.HMLP`.
        use_batch_norm: as in :class:`~bayeshnet.hnets.HMLP`; a batch consists of all chunks of all inputs.
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

    @shows_arguments
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
        conds = number_of_conditions(num_cond_embs, cond_in_size, bool(cond_chunk_embs))
        super().__init__(
            target_shapes,
            uncond_in_size,
            conds,
            cond_in_size=cond_in_size,
            has_bias=bool(use_bias),
            has_fc_out=True,
        )
        self._chunk_size = check_size("chunk_size", chunk_size, 1)
        num_chunks = math.ceil(self.num_outputs / self._chunk_size)
        inputs = chunk_embeddings(self, num_chunks, chunk_emb_size, bool(cond_chunk_embs), bool(no_cond_weights))
        hidden = tuple(check_sizes("layers", layers, 1))
        check_skip(linear_skip, hidden, self.uncond_in_size)
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
        subnet = MLPSubnet(sizes, activation_fn, dropout_rate, use_spectral_norm, not no_uncond_weights)
        self._build(inputs, subnet, not no_uncond_weights, bool(verbose))
