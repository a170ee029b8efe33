"""A fully connected hypernetwork that generates all weights at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import check_flags, check_int, check_ints, value_error
from ..geometry.base import Geometry
from ..geometry.head import HeadGeometry
from ..layers.elementwise import Activation
from .hnet_interface import HyperNetInterface
from .initialization.hyperfan_methods import Hyperfan
from .parts.arguments import check_batch, check_input, one_row
from .parts.conditions import OneEmbedding
from .parts.formats import parts_of_rows
from .parts.mlp import MLPSizes, MLPSubnet, run_mlp
from .parts.mlp_batched import mlps_side_by_side
from .parts.mlp_body import MLPBody

__all__ = ["HMLP"]


class HMLP(OneEmbedding, Hyperfan, HyperNetInterface):
    r"""Full hypernetwork: a perceptron from ``[uncond_input, cond_input]`` to all weights.

    .. math:: h(x, e) = W a(x, e) + b

    with one linear output head for all target tensors. Without hidden layers the map is linear.

    Args:
        target_shapes: shapes of the tensors to generate.
        uncond_in_size: size of unconditional inputs, such as noise.
        cond_in_size: size of conditional inputs, such as task embeddings. With 0 there are no conditions.
        layers: sizes of the hidden layers; may be empty.
        verbose: whether to log a summary.
        activation_fn: hidden activation, a function of a tensor; None for none.
        use_bias: whether layers have biases.
        no_uncond_weights: whether all unconditional weights are given to :meth:`forward`.
        no_cond_weights: whether embeddings are given to :meth:`forward`.
        num_cond_embs: number of conditions, each with an embedding (drawn from ``N(0, I)``) of size ``cond_in_size``.
        dropout_rate: probability of dropping hidden units before the activation; -1 (or 1) for no dropout.
        use_spectral_norm: whether hidden weight matrices are divided by their spectral norm. The output head is left
            as it is, since its scale is that of the generated weights.
        use_batch_norm: whether hidden units are batch-normalized before the activation.
        linear_skip: whether the unconditional input also enters the output head directly,
            :math:`W [a(x, e), x] + b`, which keeps the Jacobian well conditioned from the start.
        stretch: whether inputs that enter so are stretched by those before them, :math:`W [a, x \odot \exp(L x)] + b`
            with ``L`` strictly lower triangular, a bijection. Scales that depend on inputs, as in the funnels of
            hierarchical models, are what sums of hidden units are slow to learn. ``L`` begins at 0.

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
        check_flags(
            verbose=verbose,
            use_bias=use_bias,
            no_uncond_weights=no_uncond_weights,
            no_cond_weights=no_cond_weights,
            use_spectral_norm=use_spectral_norm,
            use_batch_norm=use_batch_norm,
            linear_skip=linear_skip,
            stretch=stretch,
        )
        conds = check_int("num_cond_embs", num_cond_embs, 0) if check_int("cond_in_size", cond_in_size, 0) else 0
        super().__init__(
            target_shapes, uncond_in_size, conds, has_bias=bool(use_bias), has_fc_out=True, mask_fc_out=True
        )
        self._cond_in_size, self._no_cond_weights = cond_in_size, bool(no_cond_weights)
        hidden = tuple(check_ints("layers", layers, 1))
        if not self.uncond_in_size + cond_in_size:
            raise value_error("uncond_in_size and cond_in_size", expected="at least one positive size", found="0 and 0")
        if linear_skip and not (hidden and self.uncond_in_size):
            raise value_error(
                "linear_skip", expected="False without hidden layers or without unconditional input", got=True
            )
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
        self.subnet = MLPSubnet(sizes, activation_fn, dropout_rate, use_spectral_norm, not no_uncond_weights)
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
        flat = run_mlp(self.subnet.layers(given.uncond), uncond, cond, stats_id=condition)
        return self._formatted(flat, ret_format)

    def side_by_side(self, flat: Tensor, uncond_input: Tensor) -> Tensor | None:
        """By batched matrix products; see :meth:`HyperNetInterface.side_by_side`."""
        own = type(self).forward is HMLP.forward
        if not own or self.cond_in_size or flat.shape[-1] != self.num_params:
            return None
        return mlps_side_by_side(self.subnet, parts_of_rows(flat, self.param_shapes), uncond_input)

    def geometry(
        self, cond_id: Any = None, cond_input: Tensor | None = None, weights: Any = None, condition: Any = None
    ) -> Geometry:
        """The geometry through the output head; see :meth:`HyperNetInterface.geometry`."""
        self._check_geometry(cond_id)
        given = self._given(weights)
        cond = self._cond_input(given, one_row(cond_input), cond_id)
        layers = self.subnet.layers(given.uncond)
        body = MLPBody(layers, None if cond is None else cond[0], None, condition)
        return HeadGeometry(body, layers.weights[-1], layers.biases[-1], self.num_outputs)

    def distillation_targets(self) -> None:
        """Return None: nothing is distilled."""
        return None
