"""Recurrent networks: Elman's or LSTM layers between fully connected ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import check_flags, check_function, check_int, check_shape, check_size, check_sizes, value_error
from ..representation import shows_arguments
from .mnet_interface import MainNetInterface, Weights
from .parts.declarations import add_layer, finish
from .parts.forward_pass import ForwardPass
from .parts.modulation import Modulation, Modulator
from .parts.recurrent import RecurrentLayer, RecurrentSizes
from .parts.step_modulation import StepModulation

__all__ = ["SimpleRNN"]

Activation = Callable[[Tensor], Tensor]


class SimpleRNN(MainNetInterface):
    r"""Fully connected layers, recurrent layers, fully connected layers, applied along a sequence.

    A recurrent layer is Elman's, :math:`h_t = a(W x_t + V h_{t-1} + b)`, :math:`y_t = a(U h_t + c)`, or an LSTM. The
    last fully connected layer is linear; if there is none, the outputs are those of the last recurrent layer.

    Args:
        n_in: number of inputs.
        rnn_layers: sizes of the recurrent layers, at least one.
        fc_layers_pre: sizes of the fully connected layers before them.
        fc_layers: sizes of the fully connected layers after them.
        activation: nonlinearity :math:`a`, or None.
        use_lstm: use LSTM layers instead of Elman's.
        use_bias: add biases to all layers.
        no_weights: pass all weights to :meth:`forward` instead of keeping them as parameters.
        init_weights: initial values of the internal parameters.
        kaiming_rnn_init: initialize recurrent layers by their fan-in rather than by their size.
        context_mod_last_step: modulate recurrent layers in the last time step only.
        context_mod_num_ts: number of time steps if recurrent layers are modulated differently in each, else -1.
        context_mod_separate_layers_per_ts: with ``context_mod_num_ts``, give each time step a modulation layer of its
            own, instead of tensors with a leading time dimension (possible with ``context_mod_no_weights`` only).
        verbose: log the size of the network.
        **kwargs: options of context modulation as in :class:`MLP`. LSTM cells are modulated before their activation.

    Shape:
        inputs ``(T, N, n_in)``, outputs ``(T, N, n_out)``.

    References:
        Elman, "Finding structure in time", 1990. Hochreiter, Schmidhuber, "Long short-term memory", 1997.
        Ehret, Henning, Cervera, Meulemans, von Oswald, Grewe, "Continual learning in recurrent neural networks", 2021.

    Example:
        >>> net = SimpleRNN(n_in=2, rnn_layers=(8,), fc_layers=(3,), use_lstm=True)
        >>> net(torch.zeros(5, 4, 2)).shape
        torch.Size([5, 4, 3])
    """

    @shows_arguments
    def __init__(
        self,
        n_in: int = 1,
        rnn_layers: Sequence[int] = (10,),
        fc_layers_pre: Sequence[int] = (),
        fc_layers: Sequence[int] = (1,),
        activation: Activation | None = torch.nn.Tanh(),  # noqa: B008 (documented default)
        use_lstm: bool = False,
        use_bias: bool = True,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        kaiming_rnn_init: bool = False,
        context_mod_last_step: bool = False,
        context_mod_num_ts: int = -1,
        context_mod_separate_layers_per_ts: bool = False,
        verbose: bool = True,
        **kwargs: Any,
    ) -> None:
        check_flags(
            use_lstm=use_lstm,
            use_bias=use_bias,
            no_weights=no_weights,
            kaiming_rnn_init=kaiming_rnn_init,
            context_mod_last_step=context_mod_last_step,
            verbose=verbose,
            context_mod_separate_layers_per_ts=context_mod_separate_layers_per_ts,
        )
        ends_linear = len(check_sizes("fc_layers", fc_layers, 1)) > 0
        super().__init__(has_bias=use_bias, has_fc_out=ends_linear, mask_fc_out=ends_linear, has_linear_out=ends_linear)
        self._n_in = check_size("n_in", n_in, 1)
        if not check_sizes("rnn_layers", rnn_layers, 1):
            raise value_error("rnn_layers", expected="at least one size", got=rnn_layers)
        self._a_fun = check_function("activation", activation)
        self._use_lstm, self._bptt_depth = use_lstm, -1
        self._modulation = Modulation.of(kwargs, pixel_wise=False)
        self._steps = StepModulation(
            self._modulation,
            self._n_in,
            check_sizes("fc_layers_pre", fc_layers_pre, 1),
            list(rnn_layers),
            list(fc_layers),
            context_mod_last_step,
            None
            if check_int("context_mod_num_ts", context_mod_num_ts, -1) == -1
            else check_size("context_mod_num_ts", context_mod_num_ts, 1),
            context_mod_separate_layers_per_ts,
        )
        self._steps.check()
        self._steps.declare(self)
        self._declare_layers(RecurrentSizes(use_lstm, use_bias, no_weights, kaiming_rnn_init))
        finish(self, init_weights, verbose)

    def _declare_layers(self, recurrent: RecurrentSizes) -> None:
        """Declare all layers, with odd numbers."""
        before = self._n_in
        for i, size in enumerate(self._steps.sizes):
            if self._steps.is_recurrent(i):
                recurrent.declare(self, before, size, 2 * i + 1)
            else:
                bias, no_weights = recurrent.bias, recurrent.no_weights
                add_layer(self, [size, before], 2 * i + 1, bias=bias, no_weights=no_weights)
            before = size

    @property
    def bptt_depth(self) -> int:
        """Number of last time steps through which gradients flow; -1 for all."""
        return self._bptt_depth

    @bptt_depth.setter
    def bptt_depth(self, value: int) -> None:
        self._bptt_depth = check_int("bptt_depth", value, -1)

    @property
    def num_rec_layers(self) -> int:
        """Number of recurrent layers."""
        return len(self._steps.recurrent)

    @property
    def use_lstm(self) -> bool:
        """True if recurrent layers are LSTMs."""
        return self._use_lstm

    def forward(
        self,
        x: Tensor,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
        return_hidden: bool = False,
        return_hidden_int: bool = False,
    ) -> Any:
        """Compute outputs ``(T, N, n_out)``.

        Args:
            x: sequences ``(T, N, n_in)``.
            weights: as in :meth:`MLP.forward`.
            distilled_params: None.
            condition: a number (used if there is modulation) or a dict with key ``cmod_ckpt_id``: the checkpoint of the
                modulation layers.
            return_hidden: return ``(outputs, hidden)``, with the list of the outputs of all hidden layers.
            return_hidden_int: return ``(outputs, hidden, inner)``, with the list of the inner states of recurrent
                layers (cells of an LSTM, hidden states of Elman's layer) and None for other layers.
        """
        if return_hidden_int and not return_hidden:
            raise value_error("return_hidden", expected="True where return_hidden_int is chosen", got=False)
        check_shape("x", x, (None, None, self._n_in))
        run = ForwardPass(self, weights, distilled_params, condition, "cmod_ckpt_id")
        modulators = self._steps.assign(run.modulators, x.shape[0])
        h = run.modulate(run.inputs(x)) if self._modulation.inputs else run.inputs(x)
        hidden: list[Tensor] = []
        inner: list[Tensor | None] = []
        for i, steps in enumerate(modulators):
            state = None
            if self._steps.is_recurrent(i):
                h, state = self._recur(run, h, steps)
            else:
                h = self._connect(run, h, steps, linear=i == len(modulators) - 1)
            hidden.append(h)
            inner.append(state)
        outputs = (h, hidden[:-1], inner[:-1])
        return outputs if return_hidden_int else outputs[:2] if return_hidden else h

    def _recur(self, run: ForwardPass, h: Tensor, steps: Sequence[Modulator | None]) -> tuple[Tensor, Tensor]:
        """Apply a recurrent layer; return its outputs and inner states."""
        layers = [run.layer() for _ in range(2 if self._use_lstm else 3)]
        post = self._modulation.context_mod_post_activation
        return RecurrentLayer(layers, self._a_fun, steps, post, self._bptt_depth)(h)

    def _connect(self, run: ForwardPass, h: Tensor, steps: Sequence[Modulator | None], linear: bool) -> Tensor:
        """Apply a fully connected layer and, unless ``linear``, the activation."""
        h = F.linear(h, *run.layer())
        (modulate,), post = steps, self._modulation.context_mod_post_activation
        h = h if modulate is None or post else modulate(h)
        h = h if self._a_fun is None or linear else self._a_fun(h)
        return modulate(h) if modulate is not None and post else h

    def get_cm_inds(self) -> list[int]:
        """Return the index into :attr:`param_shapes` of each modulation tensor."""
        return [i for i, r in enumerate(self._ledger.records) if r.name in ("cm_scale", "cm_shift")]

    def get_cm_weights(self) -> list[Tensor]:
        """Return the internal parameters of modulation layers."""
        found = [r.live for r in self._ledger.internal if r.name in ("cm_scale", "cm_shift")]
        if not found:
            raise value_error("network", expected="one that keeps modulation weights", found="none kept")
        return found

    def get_non_cm_weights(self) -> list[Tensor]:
        """Return the internal parameters of all other layers."""
        return [r.live for r in self._ledger.internal if r.name in ("weight", "bias")]

    def init_hh_weights_orthogonal(self) -> None:
        """Initialize the internal maps from state to state as orthogonal matrices, gate by gate in an LSTM."""
        for record in self._ledger.of_group("hh"):
            if record.name == "weight" and record.home is not None:
                with torch.no_grad():
                    for gate in record.live.chunk(4 if self._use_lstm else 1):
                        nn.init.orthogonal_(gate)
