"""A hypernetwork that generates weights as an image, by transposed convolutions with self-attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import check_flags, check_int, value_error
from ..layers.elementwise import Activation
from .hnet_interface import HyperNetInterface
from .parts.arguments import check_batch, check_input
from .parts.conditions import OneEmbedding
from .parts.deconv import DeconvSubnet
from .parts.deconv_plan import check_image, plan_deconv

__all__ = ["HDeconv"]


class HDeconv(OneEmbedding, HyperNetInterface):
    r"""Deconvolutional full hypernetwork: all weights are the pixels of one generated image.

    A fully connected layer makes a small image of many channels, from which transposed convolutions, each of which
    about doubles the size, lead to ``hyper_img_shape``, as in the generator of a DCGAN. Convolutions see neighbors
    only; self-attention adds what is global. Worked out from the image backwards, a layer whose input would be smaller
    than 4 does not change the size. Surplus pixels are dropped.

    Args:
        target_shapes: shapes of the tensors to generate.
        hyper_img_shape: size of the image, ``(width, height)`` or ``(width, height, channels)``; it must have at least
            as many pixels as there are weights.
        uncond_in_size: size of unconditional inputs, such as noise.
        cond_in_size: size of conditional inputs, such as task embeddings. With 0 there are no conditions.
        num_layers: number of layers, the fully connected one included.
        num_filters: channels behind each of the ``num_layers - 1`` hidden layers; by default 128 behind the last one
            and twice as many in each one before.
        kernel_size: a number, ``(k_x, k_y)``, or a list of these for each of the ``num_layers - 1`` convolutions.
        sa_units: indices of the layers behind which self-attention follows; 0 is the fully connected one, and the last
            layer may not be chosen.
        verbose: whether to log a summary.
        activation_fn: hidden activation, a function of a tensor; None for none.
        use_bias: whether layers have biases.
        no_uncond_weights: whether all unconditional weights are given to :meth:`forward`.
        no_cond_weights: whether embeddings are given to :meth:`forward`.
        num_cond_embs: number of conditions, each with an embedding (drawn from ``N(0, I)``) of size ``cond_in_size``.
        use_spectral_norm: whether hidden weights are divided by their spectral norm. The output layer is left as it is.
        use_batch_norm: whether hidden layers are batch-normalized before the activation.

    Its geometry is the default by Jacobians.

    References:
        Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
        networks", 2016. Zhang, Goodfellow, Metaxas, Odena, "Self-attention generative adversarial networks", 2018.

    Example:
        >>> hnet = HDeconv([[10, 5], [10]], (9, 7), num_layers=3, num_filters=[16, 8], sa_units=(1,), verbose=False)
        >>> [tuple(t.shape) for t in hnet(cond_id=0)]
        [(10, 5), (10,)]
    """

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        hyper_img_shape: Sequence[int],
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
        )
        conds = check_int("num_cond_embs", num_cond_embs, 0) if check_int("cond_in_size", cond_in_size, 0) else 0
        super().__init__(target_shapes, uncond_in_size, conds, has_bias=bool(use_bias))
        self._cond_in_size, self._no_cond_weights = cond_in_size, bool(no_cond_weights)
        if not self.uncond_in_size + cond_in_size:
            raise value_error("uncond_in_size and cond_in_size", expected="at least one positive size", found="0 and 0")
        image = check_image(hyper_img_shape)
        if math.prod(image) < self.num_outputs:
            raise value_error(
                "hyper_img_shape",
                expected=f"at least {self.num_outputs} pixels, the number of weights",
                found=f"{math.prod(image)}",
            )
        plan = plan_deconv(image, num_layers, num_filters, kernel_size, sa_units)
        self.subnet = DeconvSubnet(
            plan,
            (self.uncond_in_size, 0, cond_in_size),
            activation_fn,
            bool(use_bias),
            spectral=bool(use_spectral_norm),
            batch_norm=bool(use_batch_norm),
            internal=not no_uncond_weights,
        )
        for cond in range(conds):
            self._add_condition(cond)
        self.subnet.declare(self, not no_uncond_weights)
        self._announce(verbose)

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

        ``condition`` is passed as ``stats_id`` to the batch-norm layers.
        """
        self._check_call(ret_format, distilled_params)
        given = self._given(weights)
        cond = self._cond_input(given, cond_input, cond_id)
        uncond = check_input("uncond_input", uncond_input, self._uncond_in_size, "uncond_in_size")
        check_batch(uncond_input=uncond, cond_input=cond)
        return self._formatted(self.subnet.run(given.uncond, uncond, cond, None, condition), ret_format)

    def distillation_targets(self) -> None:
        """Return None: nothing is distilled."""
        return None
