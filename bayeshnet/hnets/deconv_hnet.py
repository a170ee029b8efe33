"""A hypernetwork that generates weights as an image, by transposed convolutions with self-attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..errors import check_flags, check_size, value_error
from ..layers.elementwise import Activation
from ..representation import shows_arguments
from .parts.arguments import check_has_input
from .parts.conditions import InputEmbeddings
from .parts.subnet_hypernetwork import SubnetHypernetwork
from .subnets.deconv import DeconvSubnet
from .subnets.deconv_plan import check_image, plan_deconv

__all__ = ["HDeconv"]


class HDeconv(SubnetHypernetwork):
    r"""Deconvolutional full hypernetwork: all weights are the pixels of one generated image.

    A fully connected layer generates a small image of many channels; transposed convolutions, each of which about
    doubles the size, enlarge it to ``hyper_img_shape``, as in the generator of a DCGAN. Convolutions are local;
    self-attention adds global dependencies. Sizes are computed from the image backwards, and a layer whose input would
    be smaller than 4 does not change the size. Surplus pixels are dropped.

    Args:
        target_shapes: shapes of the tensors to generate.
        hyper_img_shape: size of the image, ``(width, height)`` or ``(width, height, channels)``; it must have at least
            as many pixels as there are weights.
        uncond_in_size: size of unconditional inputs, such as noise.
        cond_in_size: size of conditional inputs, such as task embeddings. With 0 there are no conditions.
        num_layers: number of layers, including the fully connected one.
        num_filters: channels after each of the ``num_layers - 1`` hidden layers; by default 128 after the last one and
            twice as many in each one before.
        kernel_size: a number, ``(k_x, k_y)``, or a list of these for each of the ``num_layers - 1`` convolutions.
        sa_units: indices of the layers that are followed by self-attention; 0 is the fully connected one, and the last
            layer is not allowed.
        verbose: log a summary.
        activation_fn: hidden activation, a function of a tensor; None for none.
        use_bias: add biases to all layers.
        no_uncond_weights: pass all unconditional weights to :meth:`forward` instead of keeping them as parameters.
        no_cond_weights: pass embeddings to :meth:`forward` instead of keeping them as parameters.
        num_cond_embs: number of conditions, each with an embedding (drawn from ``N(0, I)``) of size ``cond_in_size``.
        use_spectral_norm: divide hidden weights by their spectral norm. The output layer is not normalized.
        use_batch_norm: normalize hidden layers before the activation.

    The geometry is computed by Jacobians.

    References:
        Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
        networks", 2016. Zhang, Goodfellow, Metaxas, Odena, "Self-attention generative adversarial networks", 2018.

    Example:
        >>> hnet = HDeconv([[10, 5], [10]], (9, 7), num_layers=3, num_filters=[16, 8], sa_units=(1,), verbose=False)
        >>> [tuple(t.shape) for t in hnet(cond_id=0)]
        [(10, 5), (10,)]
    """

    @shows_arguments
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
        check_flags(verbose=verbose, use_bias=use_bias)
        check_flags(no_uncond_weights=no_uncond_weights, no_cond_weights=no_cond_weights)
        check_flags(use_spectral_norm=use_spectral_norm, use_batch_norm=use_batch_norm)
        conds = check_size("num_cond_embs", num_cond_embs, 0) if check_size("cond_in_size", cond_in_size, 0) else 0
        super().__init__(target_shapes, uncond_in_size, conds, cond_in_size=cond_in_size, has_bias=bool(use_bias))
        check_has_input(self.uncond_in_size, cond_in_size)
        image = check_image(hyper_img_shape)
        if math.prod(image) < self.num_outputs:
            raise value_error(
                "hyper_img_shape",
                expected=f"at least {self.num_outputs} pixels, the number of weights",
                found=f"{math.prod(image)}",
            )
        subnet = DeconvSubnet(
            plan_deconv(image, num_layers, num_filters, kernel_size, sa_units),
            (self.uncond_in_size, 0, cond_in_size),
            activation_fn,
            bool(use_bias),
            spectral=bool(use_spectral_norm),
            batch_norm=bool(use_batch_norm),
            internal=not no_uncond_weights,
        )
        inputs = InputEmbeddings(cond_in_size, bool(no_cond_weights))
        self._build(inputs, subnet, not no_uncond_weights, bool(verbose))
