"""A wrapper that perturbs the outputs of a hypernetwork, so that their distribution has full support."""

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
from .hnet_interface import HyperNetInterface
from .parts.inner_tensors import adopt

__all__ = ["HPerturbWrapper"]


class HPerturbWrapper(HyperNetInterface):
    r"""Hypernetwork whose outputs are perturbed by noise.

    .. math:: w = h(z_{1:n}, e) + \sigma z, \qquad z \in \mathbb{R}^P

    by default (``noise="shared"``): the first :math:`n` entries of the noise are also the latent. With
    ``noise="independent"`` the input is longer by the latent, :math:`w = h(z_{1:n}, e) + \sigma z_{n+1:n+P}`.

    Args:
        hnet: the hypernetwork to wrap.
        hnet_uncond_in_size: the size :math:`n`; ignored if there is an ``input_handler``.
        sigma_noise: the standard deviation :math:`\sigma`; ignored if there is an ``output_handler``.
        input_handler: function ``(uncond_input, cond_input, cond_id)``, called by keyword, that returns the three as
            ``hnet`` gets them.
        output_handler: function ``(hnet_out_int, uncond_input, cond_input, cond_id)``, the latter three called by
            keyword with the original inputs, from flat outputs ``(B, P)`` of ``hnet`` to those of the wrapper.
        verbose: whether to log a summary.
        noise: ``"shared"`` or ``"independent"``.

    The density of such weights is a matter of :class:`bayeshnet.distributions.HypernetPosterior`, which unwraps this
    class; the geometry here is that of the whole map from the long input.

    Example:
        >>> import torch
        >>> from bayeshnet.hnets import HMLP
        >>> inner = HMLP([[10, 5], [10]], uncond_in_size=3, cond_in_size=0, verbose=False)
        >>> hnet = HPerturbWrapper(inner, 3, sigma_noise=0.1, verbose=False)
        >>> hnet.uncond_in_size, len(hnet(uncond_input=torch.randn(1, 60)))
        (60, 2)
    """

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
        size = hnet.num_outputs + (latent if self_noise == "independent" else 0)
        super().__init__(hnet.target_shapes, size, hnet.num_known_conds, has_bias=hnet.has_bias, has_linear_out=False)
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
        adopt(self, hnet)
        self._hyper_shapes_distilled = hnet.hyper_shapes_distilled
        self._announce(verbose)

    @property
    def cond_in_size(self) -> int:
        """Size of the conditional inputs that the hypernetwork inside takes."""
        return self.hnet.cond_in_size

    @property
    def internal_hnet(self) -> HyperNetInterface:
        """The hypernetwork inside."""
        return self.hnet

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        """Add conditions to the hypernetwork inside; see :meth:`HyperNetInterface.add_conditions`."""
        added = self.hnet.add_conditions(num)
        adopt(self, self.hnet)
        self._num_known_conds = self.hnet.num_known_conds
        return added

    def _conditions_in(self, state_dict: dict[str, Any], prefix: str) -> int:
        return self.hnet._conditions_in(state_dict, f"{prefix}hnet.")

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
        if self.input_handler is None and flat.shape[0] == 1:  # as where the hypernetwork takes no latent
            flat = flat.expand(uncond_input.shape[0], -1)  # type: ignore[union-attr]
        if self.output_handler is not None:
            flat = self.output_handler(flat, **original)
        else:
            flat = flat + self.sigma_noise * self._noise(uncond_input)
        return self._formatted(check_shape("output_handler", flat, (None, self.num_outputs)), ret_format)

    def _inputs(self, uncond_input: Tensor | None, cond_input: Any, cond_id: Any) -> tuple[Tensor | None, Any, Any]:
        check_shape("uncond_input", uncond_input, (None, None if self.output_handler else self._uncond_in_size))
        return uncond_input[:, : self._latent_size] if self._latent_size else None, cond_input, cond_id  # type: ignore[index]

    def _noise(self, uncond_input: Tensor | None) -> Tensor:
        size = self.num_outputs
        check_shape("uncond_input", uncond_input, (None, self._uncond_in_size))
        return uncond_input[:, -size:]  # type: ignore[index]

    def distillation_targets(self) -> Any:
        """What is distilled from the hypernetwork inside."""
        return self.hnet.distillation_targets()


def _latent_size(hnet: HyperNetInterface, size: int | None, handler: Any) -> int:
    """How much of the noise the hypernetwork inside gets."""
    if handler is not None:
        return hnet.uncond_in_size
    if size is None:
        raise value_error("hnet_uncond_in_size", expected="an integer where there is no input_handler", got=None)
    if check_int("hnet_uncond_in_size", size, 0) != hnet.uncond_in_size:
        raise value_error("hnet_uncond_in_size", expected=f"{hnet.uncond_in_size}, what hnet takes", got=size)
    return size
