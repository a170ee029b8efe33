"""A hypernetwork that generates weights chunk by chunk, each as an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_flags, check_int
from ..layers.elementwise import Activation
from .hnet_interface import HyperNetInterface
from .parts.arguments import check_batch, check_input
from .parts.chunk_embeddings import ChunkInputs, ChunkMethods
from .parts.deconv import DeconvSubnet
from .parts.deconv_plan import check_image, plan_deconv

__all__ = ["ChunkedHDeconv"]


class ChunkedHDeconv(ChunkMethods, HyperNetInterface):
    r"""Chunked deconvolutional hypernetwork: one generator makes all chunks of the weight vector, each as an image.

    The targets are flattened and split into chunks of as many weights as ``hyper_img_shape`` has pixels; what the last
    chunk has too much is dropped. Each chunk has an embedding, which is one more input of the generator.

    Args:
        target_shapes: shapes of the tensors to generate.
        hyper_img_shape: size of a chunk's image, ``(width, height)`` or ``(width, height, channels)``.
        chunk_emb_size: size of a chunk embedding (drawn from ``N(0, I)``).
        cond_chunk_embs: whether each condition has its own chunk embeddings.
        uncond_in_size: size of unconditional inputs, such as noise.
        cond_in_size: size of conditional inputs, such as task embeddings.
        num_layers: as in :class:`~bayeshnet.hnets.HDeconv`.
        num_filters: as in :class:`~bayeshnet.hnets.HDeconv`.
        kernel_size: as in :class:`~bayeshnet.hnets.HDeconv`.
        sa_units: as in :class:`~bayeshnet.hnets.HDeconv`.
        verbose: whether to log a summary.
        activation_fn: hidden activation, a function of a tensor; None for none.
        use_bias: whether layers have biases.
        no_uncond_weights: whether all unconditional weights are given to :meth:`forward`.
        no_cond_weights: whether conditional embeddings are given to :meth:`forward`.
        num_cond_embs: number of conditions.
        use_spectral_norm: as in :class:`~bayeshnet.hnets.HDeconv`.
        use_batch_norm: as in :class:`~bayeshnet.hnets.HDeconv`; a batch is all chunks of all inputs.

    ``uncond_in_size`` and ``cond_in_size`` may both be 0 if ``cond_chunk_embs``. The geometry is that by Jacobians.

    Example:
        >>> hnet = ChunkedHDeconv(
        ...     [[10, 5], [10]], (6, 4), num_layers=3, num_filters=[16, 8], sa_units=(1,), num_cond_embs=2,
        ...     verbose=False)
        >>> hnet.num_chunks, len(hnet(cond_id=1))
        (3, 2)
    """

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
        check_flags(
            verbose=verbose,
            use_bias=use_bias,
            no_uncond_weights=no_uncond_weights,
            no_cond_weights=no_cond_weights,
            use_spectral_norm=use_spectral_norm,
            use_batch_norm=use_batch_norm,
            cond_chunk_embs=cond_chunk_embs,
        )
        conds = check_int("num_cond_embs", num_cond_embs, 0)
        if not check_int("cond_in_size", cond_in_size, 0) and not cond_chunk_embs:
            conds = 0
        super().__init__(target_shapes, uncond_in_size, conds, has_bias=bool(use_bias))
        image = check_image(hyper_img_shape)
        self.chunks = ChunkInputs(
            math.ceil(self.num_outputs / math.prod(image)),
            check_int("chunk_emb_size", chunk_emb_size, 1),
            bool(cond_chunk_embs),
            cond_in_size,
            bool(no_cond_weights),
        )
        self.chunks.check(self.uncond_in_size, conds)
        plan = plan_deconv(image, num_layers, num_filters, kernel_size, sa_units)
        self.subnet = DeconvSubnet(
            plan,
            (self.uncond_in_size, chunk_emb_size, cond_in_size),
            activation_fn,
            bool(use_bias),
            spectral=bool(use_spectral_norm),
            batch_norm=bool(use_batch_norm),
            internal=not no_uncond_weights,
        )
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
        tensors = given.uncond if self.cond_chunk_embs else given.uncond[:-1]
        return self._formatted(self.subnet.run(tensors, uncond, cond, chunk, condition).flatten(1), ret_format)

    def distillation_targets(self) -> None:
        """Return None: nothing is distilled."""
        return None
