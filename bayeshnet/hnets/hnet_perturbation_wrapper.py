"""A wrapper that adds noise to the outputs of a hypernetwork, so that their distribution has full support."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import (
    check_choice,
    check_flags,
    check_function,
    check_int,
    check_number,
    check_shape,
    type_error,
    value_error,
)
from ..representation import shows_arguments
from .composed.inner_tensors import grow
from .hnet_interface import HyperNetInterface

__all__ = ["HPerturbWrapper"]


class HPerturbWrapper(HyperNetInterface):
    r"""Hypernetwork whose outputs are perturbed by noise.

    .. math:: w = h(z_{1:n}, e) + \sigma z, \qquad z \in \mathbb{R}^P

    by default (``noise="shared"``): the first :math:`n` entries of the noise are also the latent. With
    ``noise="independent"`` the latent is additional, :math:`w = h(z_{1:n}, e) + \sigma z_{n+1:n+P}`.

    Args:
        hnet: the hypernetwork to wrap.
        hnet_uncond_in_size: the size :math:`n`; ignored with an ``input_handler``.
        sigma_noise: the standard deviation :math:`\sigma`; ignored with an ``output_handler``.
        input_handler: function ``(uncond_input, cond_input, cond_id)``, called by keyword, that returns the three
            inputs of ``hnet``.
        output_handler: function ``(hnet_out_int, uncond_input, cond_input, cond_id)``, the latter three called by
            keyword with the original inputs, from flat outputs ``(B, P)`` of ``hnet`` to those of the wrapper.
        verbose: log a summary.
        noise: ``"shared"`` or ``"independent"``.

    The density of such weights is computed by :class:`bayeshnet.distributions.HypernetPosterior`, which unwraps this
    class; :meth:`geometry` is that of the map from the whole input.

    Example:
        >>> import torch
        >>> from bayeshnet.hnets import HMLP
        >>> inner = HMLP([[10, 5], [10]], uncond_in_size=3, cond_in_size=0, verbose=False)
        >>> hnet = HPerturbWrapper(inner, 3, sigma_noise=0.1, verbose=False)
        >>> hnet.uncond_in_size, len(hnet(uncond_input=torch.randn(1, 60)))
        (60, 2)
    """

    @shows_arguments
    def __init__(
        self,
        hnet: HyperNetInterface,
        hnet_uncond_in_size: int | None = None,
        sigma_noise: float = 0.02,
        input_handler: Callable[..., tuple[Any, Any, Any]] | None = None,
        output_handler: Callable[..., Tensor] | None = None,
        verbose: bool = True,
        *,
        noise: str = "shared",
    ) -> None:
        if not isinstance(hnet, HyperNetInterface):
            raise type_error("hnet", expected="a hypernetwork (HyperNetInterface)", got=hnet)
        check_flags(verbose=verbose)
        for name, handler in (("input_handler", input_handler), ("output_handler", output_handler)):
            check_function(name, handler, "a function, or None")
        self_noise = check_choice("noise", noise, ("shared", "independent"))
        latent = _latent_size(hnet, hnet_uncond_in_size, input_handler)
        super().__init__(
            hnet.target_shapes,
            hnet.num_outputs + (latent if self_noise == "independent" else 0),
            hnet.num_known_conds,
            cond_in_size=hnet.cond_in_size,
            has_bias=hnet.has_bias,
            has_linear_out=False,
        )
        self.noise = noise
        self.sigma_noise = 0.0 if output_handler is not None else check_number("sigma_noise", sigma_noise, 0.0)
        self.input_handler, self.output_handler = input_handler, output_handler
        self._latent_size = latent
        if self_noise == "shared" and input_handler is None and latent > hnet.num_outputs:
            raise value_error(
                "hnet_uncond_in_size",
                expected=f"at most {hnet.num_outputs}, the number of outputs",
                got=latent,
                hint="Use noise='independent'.",
            )
        self.hnet = hnet
        self._ledger = hnet._ledger
        self._hyper_shapes_distilled = hnet.hyper_shapes_distilled
        self._log_summary(bool(verbose))

    @property
    def internal_hnet(self) -> HyperNetInterface:
        """Wrapped hypernetwork."""
        return self.hnet

    def _declare_conditions(self, conds: range) -> list[nn.Parameter]:
        added = grow(self.hnet, conds.stop)
        self._ledger = self.hnet._ledger  # a container replaces its own
        return added

    def forward(  # type: ignore[override]
        self,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        cond_id: int | Sequence[int] | Tensor | None = None,
        weights: Sequence[Tensor] | Mapping[str, Any] | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: Any = None,
        ret_format: str = "squeezed",
    ) -> Any:
        """Generate perturbed weights; arguments as in :meth:`HyperNetInterface.forward`."""
        self._check_call(ret_format)
        original: dict[str, Any] = {"uncond_input": uncond_input, "cond_input": cond_input, "cond_id": cond_id}
        inner = self.input_handler(**original) if self.input_handler is not None else self._inputs(**original)
        if not isinstance(inner, (tuple, list)) or len(inner) != 3:
            raise value_error(
                "input_handler", expected="a function that returns uncond_input, cond_input, cond_id", got=inner
            )
        flat = self.hnet(*inner, weights, distilled_params, condition, "flattened")
        if self.input_handler is None and flat.shape[0] == 1:  # such as without a latent
            flat = flat.expand(uncond_input.shape[0], -1)  # type: ignore[union-attr]
        if self.output_handler is not None:
            flat = self.output_handler(flat, **original)
        else:
            flat = flat + self.sigma_noise * self._noise(uncond_input)
        return self._formatted(check_shape("output_handler", flat, (None, self.num_outputs)), ret_format)

    def _inputs(self, uncond_input: Tensor | None, cond_input: Any, cond_id: Any) -> tuple[Tensor | None, Any, Any]:
        """Return the inputs of the wrapped hypernetwork."""
        check_shape("uncond_input", uncond_input, (None, None if self.output_handler else self._uncond_in_size))
        return uncond_input[:, : self._latent_size] if self._latent_size else None, cond_input, cond_id  # type: ignore[index]

    def _noise(self, uncond_input: Tensor | None) -> Tensor:
        """Return the noise ``(B, P)``."""
        size = self.num_outputs
        check_shape("uncond_input", uncond_input, (None, self._uncond_in_size))
        return uncond_input[:, -size:]  # type: ignore[index]

    def distillation_targets(self) -> Any:
        """Return the distillation targets of the wrapped hypernetwork."""
        return self.hnet.distillation_targets()


def _latent_size(hnet: HyperNetInterface, size: int | None, handler: Any) -> int:
    """Return the size of the latent, the part of the noise that is an input of the wrapped hypernetwork."""
    if handler is not None:
        return hnet.uncond_in_size
    if size is None:
        raise value_error("hnet_uncond_in_size", expected="an integer where there is no input_handler", got=None)
    if check_int("hnet_uncond_in_size", size, 0) != hnet.uncond_in_size:
        raise value_error("hnet_uncond_in_size", expected=f"{hnet.uncond_in_size}, what hnet takes", got=size)
    return size
