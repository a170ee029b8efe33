"""A fully connected hypernetwork that generates all weights at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import check_flags, check_size, check_sizes, value_error
from ..layers.elementwise import Activation
from ..representation import shows_arguments
from .initialization.hyperfan_methods import Hyperfan
from .parts.arguments import check_has_input
from .parts.conditions import InputEmbeddings
from .subnets.mlp import MLPSubnet, check_skip
from .subnets.mlp_layers import MLPSizes

__all__ = ["HMLP"]


class HMLP(Hyperfan):
    r"""Full hypernetwork: a perceptron from ``[uncond_input, cond_input]`` to all weights.

    .. math:: h(x, e) = W a(x, e) + b

    with one linear output head for all target tensors. Without hidden layers the map is linear.

    Args:
        target_shapes: shapes of the tensors to generate.
        uncond_in_size: size of unconditional inputs, such as noise.
        cond_in_size: size of conditional inputs, such as task embeddings. With 0 there are no conditions.
        layers: sizes of the hidden layers; may be empty.
        verbose: log a summary.
        activation_fn: hidden activation, a function of a tensor; None for none. The map of a posterior folds at the
            kinks of the default already at its initialization, and :class:`~bayeshnet.estimators.LIVI` is then wrong by
            up to half a nat: take ``torch.nn.Tanh()`` there, as the builders do, and ``linear_skip``.
        use_bias: add biases to all layers.
        no_uncond_weights: pass all unconditional weights to :meth:`forward` instead of keeping them as parameters.
        no_cond_weights: pass embeddings to :meth:`forward` instead of keeping them as parameters.
        num_cond_embs: number of conditions, each with an embedding (drawn from ``N(0, I)``) of size ``cond_in_size``.
        dropout_rate: probability of dropping hidden units before the activation; -1 (or 1) for no dropout.
        use_spectral_norm: divide hidden weight matrices by their spectral norm. The output head is not normalized,
            since its scale is that of the generated weights.
        use_batch_norm: normalize hidden units before the activation.
        linear_skip: connect the unconditional input directly to the output head, :math:`W [a(x, e), x] + b`, which
            keeps the Jacobian well conditioned at the start of training.
        stretch: scale each input of the skip connection by a function of those before it,
            :math:`W [a, x \odot \exp(L x)] + b` with ``L`` strictly lower triangular, a bijection. Scales that depend
            on inputs, as in the funnels of hierarchical models, are learned slowly by sums of hidden units. ``L`` is
            initialized to 0.

    References:
        Ha, Dai, Le, "HyperNetworks", 2017. Von Oswald, Henning, Grewe, Sacramento, "Continual learning with
        hypernetworks", 2020.

    Example:
        >>> hnet = HMLP([[10, 5], [10]], cond_in_size=4, num_cond_embs=3, verbose=False)
        >>> [tuple(t.shape) for t in hnet(cond_id=1)]
        [(10, 5), (10,)]
        >>> hnet(cond_id=[0, 2], ret_format="flattened").shape
        torch.Size([2, 60])
    """

    @shows_arguments
    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
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
        stretch: bool = False,
    ) -> None:
        check_flags(verbose=verbose, use_bias=use_bias, linear_skip=linear_skip, stretch=stretch)
        check_flags(no_uncond_weights=no_uncond_weights, no_cond_weights=no_cond_weights)
        check_flags(use_spectral_norm=use_spectral_norm, use_batch_norm=use_batch_norm)
        conds = check_size("num_cond_embs", num_cond_embs, 0) if check_size("cond_in_size", cond_in_size, 0) else 0
        super().__init__(
            target_shapes,
            uncond_in_size,
            conds,
            cond_in_size=cond_in_size,
            has_bias=bool(use_bias),
            has_fc_out=True,
            mask_fc_out=True,
        )
        hidden = tuple(check_sizes("layers", layers, 1))
        check_has_input(self.uncond_in_size, cond_in_size)
        check_skip(linear_skip, hidden, self.uncond_in_size)
        if stretch and not linear_skip:
            raise value_error("stretch", expected="False without linear_skip", got=True)
        sizes = MLPSizes(
            self.uncond_in_size,
            0,
            cond_in_size,
            hidden,
            self.num_outputs,
            bool(use_bias),
            bool(use_batch_norm),
            bool(linear_skip),
            bool(stretch),
        )
        subnet = MLPSubnet(sizes, activation_fn, dropout_rate, use_spectral_norm, not no_uncond_weights)
        inputs = InputEmbeddings(cond_in_size, bool(no_cond_weights))
        self._build(inputs, subnet, not no_uncond_weights, bool(verbose))
