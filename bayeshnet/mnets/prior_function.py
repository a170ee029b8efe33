"""A main network to which a random function of its own kind is added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import check_finite, check_floating, check_instance, check_number, check_shape, value_error
from ..representation import shows_arguments
from .mnet_interface import MainNetInterface, Weights
from .parts.ledger import TensorRecord

__all__ = ["PriorFunctionNet"]


class PriorFunctionNet(MainNetInterface):
    r"""A network with an additive prior function: :math:`g(x; w, w_0) = f(x; w) + \text{scale} \cdot f(x; w_0)`.

    The weights :math:`w_0` are drawn from the prior and never trained; :math:`w` is trained such that the sum fits. Far
    from the data the sum differs between draws of :math:`w_0` even where each :math:`f(x; w)` is flat, so that an
    ensemble with one :math:`w_0` for each member doubts there. Each member is trained with its own ``prior_weights``;
    the ensemble is predicted by the network without, whose weights are :math:`(w, w_0)`.

    Args:
        net: the network :math:`f`, all of whose weights are passed in.
        scale: factor of the prior function.
        prior_weights: fixed :math:`w_0` ``(P,)``, a buffer; None to take them after :math:`w`, as further weights whose
            names begin with ``prior.``.

    Shape:
        ``x`` ``(N, ...)`` -> what ``net`` returns.

    Raises:
        ValueError: if ``net`` has weights of its own.

    References:
        Randomized Prior Functions for Deep Reinforcement Learning (Osband, Aslanides, Cassirer; 2018).

    Example:
        >>> import torch
        >>> from bayeshnet.mnets import MLP
        >>> net = MLP(n_in=2, n_out=1, hidden_layers=[3], no_weights=True, verbose=False)
        >>> member = PriorFunctionNet(net, prior_weights=torch.randn(net.weight_spec.numel))
        >>> ensemble = PriorFunctionNet(net)
        >>> member.weight_spec.numel, ensemble.weight_spec.numel
        (13, 26)
    """

    @shows_arguments
    def __init__(self, net: MainNetInterface, scale: float = 1.0, prior_weights: Tensor | None = None) -> None:
        check_instance("net", net, MainNetInterface, "a main network (MainNetInterface)")
        super().__init__(has_bias=net._has_bias, has_fc_out=net._has_fc_out, has_linear_out=net._has_linear_out)
        if net._ledger.internal or net.distillation_targets() is not None:
            found = "weights of its own" if net._ledger.internal else "statistics to distill"
            raise value_error(
                "net", expected="a network all of whose weights are passed in", found=found, hint="Use no_weights=True."
            )
        self.net, self.scale = net, check_number("scale", scale)
        self.prior_weights: Tensor | None
        self.register_buffer("prior_weights", None if prior_weights is None else _checked(prior_weights, net))
        prefixes = ("", "prior.") if prior_weights is None else ("",)
        last = {entry.name: entry for entry in net.weight_spec.entries}
        for prefix in prefixes:
            for record in net._ledger.records:
                entry = last[record.label]
                self._ledger.add(
                    TensorRecord(
                        shape=record.shape,
                        name=record.name,
                        layer=record.layer,
                        label=prefix + record.label,
                        role=record.role,
                        fan_in=entry.fan_in,
                        group=record.group,
                        home=None,
                        last=entry.last,
                    )
                )

    def forward(
        self,
        x: Tensor,
        weights: Weights | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
    ) -> Any:
        """Compute the sum of both functions; see :meth:`MainNetInterface.forward`."""
        tensors = self._resolve(weights)
        count = len(self.net._ledger.records)
        prior = tensors[count:] if self.prior_weights is None else self.net.weight_spec.split(self.prior_weights)
        own = self.net(x, weights=tensors[:count], condition=condition)
        return own + self.scale * self.net(x, weights=prior, condition=condition)


def _checked(prior_weights: Tensor, net: MainNetInterface) -> Tensor:
    """Return a copy of the weights of the prior function, apart from any graph."""
    values = check_shape("prior_weights", check_floating("prior_weights", prior_weights), (net.weight_spec.numel,))
    return check_finite("prior_weights", values).detach().clone()
