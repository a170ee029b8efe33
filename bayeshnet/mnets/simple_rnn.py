"""Recurrent networks: Elman's and LSTM layers between fully connected ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import check_flags, check_function, check_int, check_ints, check_shape, value_error
from ..layers import init_params
from .mnet_interface import MainNetInterface, Weights
from .parts.components import Modulation, Modulator, Pass, add_context_mod, add_layer, finish
from .parts.recurrent import RecurrentLayer

__all__ = ["SimpleRNN"]

Activation = Callable[[Tensor], Tensor]


class SimpleRNN(MainNetInterface):
    r"""Fully connected layers, recurrent layers, fully connected layers, applied along a sequence.

    A recurrent layer is Elman's, :math:`h_t = a(W x_t + V h_{t-1} + b)`, :math:`y_t = a(U h_t + c)`, or an LSTM. The
    last fully connected layer is linear; without any, the outputs are those of the last recurrent layer.

    Args:
        n_in: number of inputs.
        rnn_layers: sizes of the recurrent layers, at least one.
        fc_layers_pre: sizes of the fully connected layers before them.
        fc_layers: sizes of the fully connected layers after them.
        activation: nonlinearity :math:`a`, or None.
        use_lstm: whether recurrent layers are LSTMs.
        use_bias: whether layers have biases.
        no_weights: whether weights come from outside.
        init_weights: values for the internal parameters to start from.
        kaiming_rnn_init: initialize recurrent layers by their fan-in rather than by their size.
        context_mod_last_step: modulate recurrent layers in the last time step only.
        context_mod_num_ts: number of time steps if recurrent layers are modulated differently in each, else -1.
        context_mod_separate_layers_per_ts: whether each time step then has a modulation layer of its own, rather than
            tensors with a leading dimension of time (for weights from outside only).
        verbose: log the size of the network.
        **kwargs: options of context modulation as in :class:`MLP`. LSTM cells are modulated where they are read.

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
        ends_linear = len(check_ints("fc_layers", fc_layers, 1)) > 0
        super().__init__(has_bias=use_bias, has_fc_out=ends_linear, mask_fc_out=ends_linear, has_linear_out=ends_linear)
        self._n_in = check_int("n_in", n_in, 1)
        self._rnn_layers = check_ints("rnn_layers", rnn_layers, 1)
        self._fc_layers_pre = check_ints("fc_layers_pre", fc_layers_pre, 1)
        self._fc_layers = list(fc_layers)
        if not self._rnn_layers:
            raise value_error("rnn_layers", expected="at least one size", got=rnn_layers)
        self._a_fun = check_function("activation", activation)
        self._use_lstm, self._bptt_depth = use_lstm, -1
        self._modulation = Modulation.of(kwargs, pixel_wise=False)
        self._last_step = context_mod_last_step
        self._num_ts = None if context_mod_num_ts == -1 else check_int("context_mod_num_ts", context_mod_num_ts, 1)
        self._separate = context_mod_separate_layers_per_ts
        self._check_steps()
        self._add_modulation()
        self._add_layers(use_bias, no_weights, kaiming_rnn_init)
        finish(self, init_weights, verbose)

    def _check_steps(self) -> None:
        """Refuse options on time steps that exclude each other."""
        if self._num_ts is None or not self._modulation.use_context_mod:
            return
        if self._last_step:
            raise value_error("context_mod_last_step", expected="False where context_mod_num_ts is given", got=True)
        if not self._separate and not self._modulation.context_mod_no_weights:
            raise value_error(
                "context_mod_separate_layers_per_ts",
                expected="True where context_mod_num_ts is given",
                got=False,
                hint="Or give the modulation from outside: context_mod_no_weights=True.",
            )

    def _add_modulation(self) -> None:
        """Layer 0 modulates the inputs, even layers follow the odd layers of the network."""
        shapes, numbers, steps = [[self._n_in]], [0], [()]
        if not self._modulation.context_mod_inputs:
            shapes, numbers, steps = [], [], []
        first, last = len(self._fc_layers_pre), len(self._fc_layers_pre) + len(self._rnn_layers)
        sizes = [*self._fc_layers_pre, *self._rnn_layers, *self._fc_layers]
        self._num_modulated = len(sizes) - self._modulation.no_last_layer_context_mod
        for i, size in enumerate(sizes[: self._num_modulated]):
            stepwise = self._num_ts is not None and first <= i < last
            count = self._num_ts if stepwise and self._separate else 1
            shapes += [[size]] * (count or 1)
            numbers += [2 * i + 2] * (count or 1)
            steps += [(self._num_ts,) if stepwise and not self._separate else ()] * (count or 1)  # type: ignore[list-item]
        add_context_mod(self, self._modulation, shapes, numbers, steps)

    def _add_layers(self, bias: bool, no_weights: bool, kaiming: bool) -> None:
        """Odd layers: fully connected ones, recurrent ones of several maps, fully connected ones."""
        before, number = self._n_in, 1
        for size in self._fc_layers_pre:
            add_layer(self, [size, before], number, bias=bias, no_weights=no_weights)
            before, number = size, number + 2
        for size in self._rnn_layers:
            rows = 4 * size if self._use_lstm else size
            maps = [("ih", rows, before), ("hh", rows, size)] + [("ho", size, size)] * (not self._use_lstm)
            for kind, n_out, n_in in maps:
                self._add_map(kind, (n_out, n_in), number, bias, no_weights, None if kaiming else 1 / math.sqrt(size))
            before, number = size, number + 2
        for size in self._fc_layers:
            add_layer(self, [size, before], number, bias=bias, no_weights=no_weights)
            before, number = size, number + 2

    def _add_map(
        self, kind: str, shape: tuple[int, int], number: int, bias: bool, no_weights: bool, bound: float | None
    ) -> None:
        """One linear map of a recurrent layer, uniform within ``bound`` (by its fan-in if None)."""
        found = []
        for name, size in [("weight", shape), ("bias", shape[:1])][: 1 + bias]:
            label = f"layer{number}.{name}_{kind}"
            found.append(self._declare(size, name, number, internal=not no_weights, label=label, group=kind))
        if found[0] is None:
            return
        if bound is None:
            init_params(found[0], found[1] if bias else None)
        else:
            for parameter in found:
                nn.init.uniform_(parameter, -bound, bound)  # type: ignore[arg-type]

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
        return len(self._rnn_layers)

    @property
    def use_lstm(self) -> bool:
        """Whether recurrent layers are LSTMs."""
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
            return_hidden: whether to return ``(outputs, hidden)``, with the list of what each hidden layer passes on.
            return_hidden_int: whether to return ``(outputs, hidden, inner)``, with the list of the inner states of
                recurrent layers (cells of an LSTM, hidden states of Elman's layer) and None for others.
        """
        if return_hidden_int and not return_hidden:
            raise value_error("return_hidden", expected="True where return_hidden_int is chosen", got=False)
        check_shape("x", x, (None, None, self._n_in))
        run = Pass(self, weights, distilled_params, condition, "cmod_ckpt_id")
        steps = self._modulators(run, x.shape[0])
        h = run.modulate(x) if self._modulation.use_context_mod and self._modulation.context_mod_inputs else x
        hidden: list[Tensor] = []
        inner: list[Tensor | None] = []
        first, last = len(self._fc_layers_pre), len(self._fc_layers_pre) + len(self._rnn_layers)
        total = last + len(self._fc_layers)
        for i in range(total):
            state = None
            if first <= i < last:
                h, state = self._recur(run, h, steps[i])
            else:
                h = self._connect(run, h, steps[i], linear=i == total - 1)
            hidden.append(h)
            inner.append(state)
        outputs = (h, hidden[:-1], inner[:-1])
        return outputs if return_hidden_int else outputs[:2] if return_hidden else h

    def _modulators(self, run: Pass, steps: int) -> list[list[Modulator | None]]:
        """For each layer, its modulation in each of the time steps (or one for all at once)."""
        found = iter(run.modulators[self._modulation.context_mod_inputs :])
        first, last = len(self._fc_layers_pre), len(self._fc_layers_pre) + len(self._rnn_layers)
        layers: list[list[Modulator | None]] = []
        for i in range(last + len(self._fc_layers)):
            recurrent = first <= i < last
            if not self._modulation.use_context_mod or i >= self._num_modulated:
                layers.append([None] * (steps if recurrent else 1))
            elif not recurrent:
                layers.append([next(found)])
            elif self._num_ts is not None:
                if steps > self._num_ts:
                    limit = f"at most {self._num_ts} time steps (context_mod_num_ts)"
                    raise value_error("x", expected=limit, found=f"{steps}")
                one = None if self._separate else next(found)
                every = [next(found) if one is None else one.at(t) for t in range(self._num_ts)]
                layers.append(list(every[:steps]))
            else:
                one = next(found)
                layers.append([one if not self._last_step or t == steps - 1 else None for t in range(steps)])
        return layers

    def _recur(self, run: Pass, h: Tensor, steps: Sequence[Modulator | None]) -> tuple[Tensor, Tensor]:
        layers = [run.layer() for _ in range(2 if self._use_lstm else 3)]
        post = self._modulation.context_mod_post_activation
        return RecurrentLayer(layers, self._a_fun, steps, post, self._bptt_depth)(h)

    def _connect(self, run: Pass, h: Tensor, steps: Sequence[Modulator | None], linear: bool) -> Tensor:
        """A fully connected layer; the modulation of the linear output layer is the same before and after."""
        h = F.linear(h, *run.layer())
        (modulate,), post = steps, self._modulation.context_mod_post_activation
        h = h if modulate is None or post else modulate(h)
        h = h if self._a_fun is None or linear else self._a_fun(h)
        return modulate(h) if modulate is not None and post else h

    def get_cm_inds(self) -> list[int]:
        """Index into :attr:`param_shapes` of each modulation tensor."""
        return [i for i, r in enumerate(self._ledger.records) if r.name in ("cm_scale", "cm_shift")]

    def get_cm_weights(self) -> list[Tensor]:
        """Internal parameters that modulate."""
        found = [r.live for r in self._ledger.internal if r.name in ("cm_scale", "cm_shift")]
        if not found:
            raise value_error("network", expected="one that keeps modulation weights", found="none kept")
        return found

    def get_non_cm_weights(self) -> list[Tensor]:
        """Internal parameters that do not modulate."""
        return [r.live for r in self._ledger.internal if r.name in ("weight", "bias")]

    def init_hh_weights_orthogonal(self) -> None:
        """Make the internal maps from state to state orthogonal, gate by gate in an LSTM."""
        for record in self._ledger.of_group("hh"):
            if record.name == "weight" and record.home is not None:
                with torch.no_grad():
                    for gate in record.live.chunk(4 if self._use_lstm else 1):
                        nn.init.orthogonal_(gate)
