"""A hypernetwork that generates weights chunk by chunk, each as an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..errors import check_flags
from ..layers.elementwise import Activation
from ..representation import shows_arguments
from .parts.chunk_embeddings import chunk_embeddings, number_of_conditions
from .parts.subnet_hypernetwork import ChunkedHypernetwork
from .subnets.deconv import DeconvSubnet
from .subnets.deconv_plan import check_image, plan_deconv

__all__ = ["ChunkedHDeconv"]


class ChunkedHDeconv(ChunkedHypernetwork):
    r"""Chunked deconvolutional hypernetwork: one network generates all chunks of the weight vector, each as an image.

    The targets are flattened and split into chunks of as many weights as ``hyper_img_shape`` has pixels; surplus pixels
    of the last chunk are dropped. Each chunk has an embedding, which is an additional input of the network.

    Args:
        target_shapes: shapes of the tensors to generate.
        hyper_img_shape: size of a chunk's image, ``(width, height)`` or ``(width, height, channels)``.
        chunk_emb_size: size of a chunk embedding (drawn from ``N(0, I)``).
        cond_chunk_embs: give each condition its own chunk embeddings. Then the argument ``weights`` of :meth:`forward`
            may be a dict with the key ``chunk_embs``, a batch of embeddings ``(B, num_chunks, chunk_emb_size)``,
            instead of ``cond_id``; it must be one if ``num_cond_embs`` is 0.
        uncond_in_size: size of unconditional inputs, such as noise.
        cond_in_size: size of conditional inputs, such as task embeddings.
        num_layers: as in :class:`~bayeshnet.hnets.HDeconv`.
        num_filters: as in :class:`~bayeshnet.hnets.HDeconv`.
        kernel_size: as in :class:`~bayeshnet.hnets.HDeconv`.
        sa_units: as in :class:`~bayeshnet.hnets.HDeconv`.
        verbose: log a summary.
        activation_fn: hidden activation, a function of a tensor; None for none.
        use_bias: add biases to all layers.
        no_uncond_weights: pass all unconditional weights to :meth:`forward` instead of keeping them as parameters.
        no_cond_weights: pass conditional embeddings to :meth:`forward` instead of keeping them as parameters.
        num_cond_embs: number of conditions.
        use_spectral_norm: as in :class:`~bayeshnet.hnets.HDeconv`.
        use_batch_norm: as in :class:`~bayeshnet.hnets.HDeconv`; a batch consists of all chunks of all inputs.

    ``uncond_in_size`` and ``cond_in_size`` may both be 0 if ``cond_chunk_embs``. The geometry is computed by
    Jacobians.

    Example:
        >>> hnet = ChunkedHDeconv(
        ...     [[10, 5], [10]], (6, 4), num_layers=3, num_filters=[16, 8], sa_units=(1,), num_cond_embs=2,
        ...     verbose=False)
        >>> hnet.num_chunks, len(hnet(cond_id=1))
        (3, 2)
    """

    @shows_arguments
    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        hyper_img_shape: Sequence[int],
        chunk_emb_size: int = 8,
        cond_chunk_embs: bool = False,
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        num_layers: int = 5,
        num_filters: Sequence[int] | None = None,
        kernel_size: int | tuple[int, int] | list[int | tuple[int, int]] = 5,
        sa_units: Sequence[int] = (1, 3),
        verbose: bool = True,
        activation_fn: Activation = torch.nn.ReLU(),
        use_bias: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
    ) -> None:
        check_flags(verbose=verbose, use_bias=use_bias, cond_chunk_embs=cond_chunk_embs)
        check_flags(no_uncond_weights=no_uncond_weights, no_cond_weights=no_cond_weights)
        check_flags(use_spectral_norm=use_spectral_norm, use_batch_norm=use_batch_norm)
        conds = number_of_conditions(num_cond_embs, cond_in_size, bool(cond_chunk_embs))
        super().__init__(target_shapes, uncond_in_size, conds, cond_in_size=cond_in_size, has_bias=bool(use_bias))
        image = check_image(hyper_img_shape)
        self._chunk_size = math.prod(image)
        num_chunks = math.ceil(self.num_outputs / self._chunk_size)
        inputs = chunk_embeddings(self, num_chunks, chunk_emb_size, bool(cond_chunk_embs), bool(no_cond_weights))
        subnet = DeconvSubnet(
            plan_deconv(image, num_layers, num_filters, kernel_size, sa_units),
            (self.uncond_in_size, chunk_emb_size, cond_in_size),
            activation_fn,
            bool(use_bias),
            spectral=bool(use_spectral_norm),
            batch_norm=bool(use_batch_norm),
            internal=not no_uncond_weights,
        )
        self._build(inputs, subnet, not no_uncond_weights, bool(verbose))
