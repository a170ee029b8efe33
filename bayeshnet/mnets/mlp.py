"""The multi-layer perceptron."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import check_flags, check_function, check_shape, check_size, check_sizes, value_error
from ..layers import SpectralNorm
from ..layers.elementwise import elementwise
from ..representation import shows_arguments
from .mnet_interface import MainNetInterface, Weights
from .parts.batched import mlp_forward, mlp_gaussian_forward
from .parts.declarations import add_batch_norm, add_layer, check_dropout, finish
from .parts.forward_pass import ForwardPass, dropout
from .parts.modulation import Modulation, add_context_mod

__all__ = ["MLP"]

Activation = Callable[[Tensor], Tensor]


class MLP(MainNetInterface):
    r"""A multi-layer perceptron :math:`h_l = a(W_l h_{l-1} + b_l)` whose last layer is linear.

    In a hidden layer, the linear map is followed by modulation, batch norm, dropout and activation, or, with
    ``context_mod_post_activation``, by batch norm, dropout, activation and modulation.

    Args:
        n_in: number of inputs.
        n_out: number of outputs.
        hidden_layers: sizes of the hidden layers.
        activation_fn: nonlinearity of the hidden layers, or None.
        use_bias: add biases to all layers.
        no_weights: pass all weights, including those of batch norm, to :meth:`forward` instead of keeping them as
            parameters.
        init_weights: initial values of the internal parameters.
        dropout_rate: dropout in hidden layers; -1 (or 1) for none.
        use_spectral_norm: divide weight matrices by their spectral norm.
        use_batch_norm: normalize hidden layers before the activation.
        bn_track_stats: keep running statistics; batch statistics are used otherwise.
        distill_bn_stats: count running statistics among :attr:`hyper_shapes_distilled`.
        use_context_mod: modulate the output of each linear layer by gains and shifts.
        context_mod_inputs: modulate the inputs too.
        no_last_layer_context_mod: do not modulate the outputs.
        context_mod_no_weights: pass gains and shifts to :meth:`forward` instead of keeping them as parameters.
        context_mod_post_activation: modulate hidden layers after the activation.
        context_mod_gain_offset: use ``1 + gain``.
        context_mod_gain_softplus: use ``softplus(gain)``.
        out_fn: applied to the outputs; the network then returns ``(out_fn(y), y)``.
        verbose: log the size of the network.
        flatten_inputs: take inputs of any shape ``(N, ...)`` with ``n_in`` entries each, and flatten them.

    Shape:
        inputs ``(N, n_in)`` (or ``(N, ...)`` with ``flatten_inputs``), outputs ``(N, n_out)``.

    Example:
        >>> net = MLP(2, 1, hidden_layers=(8,), no_weights=True)
        >>> net.hyper_shapes_learned
        [[8, 2], [8], [1, 8], [1]]
        >>> net(torch.zeros(5, 2), weights=[torch.zeros(s) for s in net.hyper_shapes_learned]).shape
        torch.Size([5, 1])
    """

    @shows_arguments
    def __init__(
        self,
        n_in: int = 1,
        n_out: int = 1,
        hidden_layers: Sequence[int] = (10, 10),
        activation_fn: Activation | None = torch.nn.ReLU(),
        use_bias: bool = True,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        dropout_rate: float = -1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        use_context_mod: bool = False,
        context_mod_inputs: bool = False,
        no_last_layer_context_mod: bool = False,
        context_mod_no_weights: bool = False,
        context_mod_post_activation: bool = False,
        context_mod_gain_offset: bool = False,
        context_mod_gain_softplus: bool = False,
        out_fn: Activation | None = None,
        verbose: bool = True,
        *,
        flatten_inputs: bool = False,
    ) -> None:
        check_flags(
            use_bias=use_bias,
            no_weights=no_weights,
            use_spectral_norm=use_spectral_norm,
            verbose=verbose,
            use_batch_norm=use_batch_norm,
            bn_track_stats=bn_track_stats,
            distill_bn_stats=distill_bn_stats,
            flatten_inputs=flatten_inputs,
        )
        super().__init__(has_bias=use_bias, has_fc_out=True, mask_fc_out=True, has_linear_out=out_fn is None)
        if use_spectral_norm and no_weights:
            raise value_error("use_spectral_norm", expected="False for a network with no_weights", got=True)
        self._modulation = Modulation(
            use_context_mod,
            context_mod_inputs,
            no_last_layer_context_mod,
            context_mod_no_weights,
            context_mod_post_activation,
            context_mod_gain_offset,
            context_mod_gain_softplus,
        )
        sizes = [
            check_size("n_in", n_in, 1),
            *check_sizes("hidden_layers", hidden_layers, 1),
            check_size("n_out", n_out, 1),
        ]
        self._flatten_inputs = flatten_inputs
        self._sizes, self._out_fn = sizes, check_function("out_fn", out_fn)
        self._a_fun = check_function("activation_fn", activation_fn)
        self._dropout_rate = check_dropout(dropout_rate)
        norm = {"no_weights": no_weights, "track": bn_track_stats, "distill": distill_bn_stats}
        starts = self._declare_norms(norm if use_batch_norm else None)
        for n, m, number in zip(sizes[:-1], sizes[1:], starts, strict=True):
            add_layer(self, [m, n], number, bias=use_bias, no_weights=no_weights)
        shapes = self.weight_shapes(n_in, n_out, hidden_layers, use_bias=False)
        self._spectral = nn.ModuleList([SpectralNorm(s) for s in shapes]) if use_spectral_norm else None
        finish(self, init_weights, verbose)

    def _declare_norms(self, norm: dict[str, bool] | None) -> list[int]:
        """Declare modulation and (unless ``norm`` is None) batch norm; return the numbers of the linear layers."""
        sizes, mod = self._sizes, self._modulation
        first = int(mod.use_context_mod and mod.context_mod_inputs)
        step = 1 + (norm is not None) + mod.use_context_mod
        starts = [first + i * step for i in range(len(sizes) - 1)]
        shapes = mod.shapes([sizes[0]], [[n] for n in sizes[1:]])
        after, norm_after = (step - 1, 1) if mod.context_mod_post_activation else (1, step - 1)
        numbers = [0] * first + [s + after for s in starts[:-1]] + [starts[-1] + 1]
        add_context_mod(self, mod, shapes, numbers[: len(shapes)])
        if norm is not None:
            add_batch_norm(self, sizes[1:-1], [s + norm_after for s in starts[:-1]], **norm)
        return starts

    def forward(
        self,
        x: Tensor,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
    ) -> Any:
        """Compute the outputs ``(N, n_out)``, or ``(out_fn(y), y)`` if there is an ``out_fn``.

        Args:
            x: inputs.
            weights: as in :class:`MainNetInterface`; also a dict with lists ``internal_weights`` and/or
                ``mod_weights``, or a list of the modulation tensors alone.
            distilled_params: running means and variances to use.
            condition: identifier of the batch statistics, or a dict with ``bn_stats_id`` and/or ``cmod_ckpt_id``
                (checkpoint of the modulation layers).
        """
        x = check_shape("x", self._flat(x), (-1, self._sizes[0]))
        run, mod = ForwardPass(self, weights, distilled_params, condition), self._modulation
        h = run.modulate(run.inputs(x)) if mod.inputs else run.inputs(x)
        last = len(run.layers) - 1
        for i, (weight, bias) in enumerate(run.layers):
            # The spectral norm applies to the weight, not to the bias.
            h = F.linear(h, weight if self._spectral is None else self._spectral[i](weight), bias)
            if mod.outputs if i == last else mod.before_activation:
                h = run.modulate(h)
            if i == last:
                break
            if self._batchnorm_layers is not None:
                h = run.normalize(h)
            h = dropout(h, self._dropout_rate, self.training)
            h = h if self._a_fun is None else self._a_fun(h)
            if mod.after_activation:
                h = run.modulate(h)
        return h if self._out_fn is None else (self._out_fn(h), h)

    def batched_forward(self, weights: Tensor, x: Tensor, *, per_sample_inputs: bool = False) -> Any | None:
        """Compute outputs by batched matrix products over samples; see :meth:`MainNetInterface.batched_forward`.

        Return None for networks with batch norm, spectral norm, modulation or activations that are not elementwise.
        """
        x = self._flat(x, 1 + per_sample_inputs)
        if not self._is_elementary or x.ndim != 2 + per_sample_inputs or x.shape[-1] != self._sizes[0]:
            return None
        check_shape("x", x, (-1, self._sizes[0]))
        rate = self._dropout_rate if self.training else None
        return mlp_forward(self.weight_spec.split(weights), x, self._has_bias, self._a_fun, rate, self._out_fn)

    def gaussian_forward(
        self, means: Sequence[Tensor], stds: Sequence[Tensor], x: Tensor, num: int, generator: torch.Generator | None
    ) -> Tensor | None:
        """Draw outputs by two products per layer; see :meth:`MainNetInterface.gaussian_forward`.

        Return None in the same cases as :meth:`batched_forward`, and for networks with active dropout or ``out_fn``.
        """
        x = self._flat(x)
        active_dropout = self.training and self._dropout_rate is not None
        if not self._is_elementary or active_dropout or self._out_fn is not None or x.ndim != 2:
            return None
        check_shape("x", x, (-1, self._sizes[0]))
        return mlp_gaussian_forward(means, stds, x, num, self._has_bias, self._a_fun, generator=generator)

    def _flat(self, x: Tensor, batch_dims: int = 1) -> Tensor:
        """Flatten inputs behind ``batch_dims`` batch dimensions, if the network takes them in any shape."""
        if not self._flatten_inputs or not isinstance(x, Tensor):
            return x
        return x.reshape(*x.shape[:batch_dims], math.prod(x.shape[batch_dims:]))

    @property
    def _is_elementary(self) -> bool:
        """True if there are only linear layers and elementwise functions, and all or no weights are passed in."""
        linear = self._batchnorm_layers is None and self._context_mod_layers is None and self._spectral is None
        uniform = len(self._ledger.learned) in (0, len(self._ledger.records))
        return linear and uniform and elementwise(self._a_fun) and elementwise(self._out_fn)

    @staticmethod
    def weight_shapes(
        n_in: int = 1, n_out: int = 1, hidden_layers: Sequence[int] = (10, 10), use_bias: bool = True
    ) -> list[list[int]]:
        """Return the shapes of the tensors of a network of these sizes, without batch norm and modulation."""
        sizes = [n_in, *hidden_layers, n_out]
        pairs = [([m, n], [m]) for n, m in pairwise(sizes)]
        return [shape for pair in pairs for shape in (pair if use_bias else pair[:1])]
