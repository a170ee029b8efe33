"""HypernetPosterior: a posterior over weights that a hypernetwork generates from a random latent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import check_choice, check_int, check_positive, check_shape, check_size, type_error, value_error
from ...hnets.hnet_interface import HyperNetInterface
from ...hnets.hnet_perturbation_wrapper import HPerturbWrapper
from ...hnets.parts.formats import to_format
from ...weights import WeightSpec, Whitening
from ..base import check_spec
from ..semi_implicit import SemiImplicit, SharedNoise
from .conditional import ConditionalPosterior, Rows
from .export import weights_of
from .sigma import GeneratedSigma, resolve_sigma
from .starting import start_at
from .whitening import resolve_whitening

__all__ = ["HypernetPosterior"]

HyperWeights = Sequence[Tensor] | Mapping[str, Any]


class HypernetPosterior(ConditionalPosterior[SemiImplicit | SharedNoise]):
    r"""A posterior over weights that a hypernetwork generates from a random latent, plus noise of full support.

    .. math:: w = loc + scale \odot (h(z, e; \theta) + \sigma \odot \varepsilon), \quad z \sim N(0, I_n),
        \; \varepsilon \sim N(0, I_P).

    Called with a condition it returns this distribution as a :class:`SemiImplicit` (or :class:`SharedNoise`). The
    latent size ``n`` is the hypernetwork's ``uncond_in_size``.

    Args:
        hnet: the hypernetwork :math:`h`. An ``HPerturbWrapper`` is unwrapped; its noise equation and strength become
            the defaults here, so that noise is added once.
        sigma: standard deviation of the noise, in units of ``scale``: None (0.1 with a scale, 0.02 without), a number,
            a tensor with one value per weight tensor or per weight, ``"learned"``, an ``nn.Parameter``, or a
            hypernetwork or another module of the condition.
        noise: ``"independent"``, or ``"shared"`` for the equation of ``HPerturbWrapper``,
            :math:`u = h(z_{1:n}) + \sigma z`.
        cond_id: the condition used when none is given.
        weights: parameters :math:`\theta` of the hypernetwork: None for its own, a list or dict of tensors, or a
            function of the condition, such as another hypernetwork (a hyper-hypernetwork).
        scale: whitening: None, a number, a tensor ``(P,)``, a :class:`~bayeshnet.weights.Whitening` or ``"fan_in"``.
        weight_spec: names and shapes of the weights; from the hypernetwork's target shapes if None.
        sigma_floor: lower bound of a sigma that is learned or generated.
        init: weights at which the mean of the posterior begins, see :meth:`start_at`: a module that has them, such as a
            trained one, or a tensor ``(P,)``. None to leave the hypernetwork as it is.
        block_size: for networks of many weights: weights that are drawn at a time and recomputed in the backward pass,
            see :class:`SemiImplicit`; None for all.

    References:
        Henning, Cervera et al., "Posterior meta-replay for continual learning", 2021.
        Krueger, Huang et al., "Bayesian hypernetworks", 2017.

    Example:
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> posterior = HypernetPosterior(hnet, scale="fan_in")
        >>> posterior.rsample((5,)).shape, posterior().latent_size
        (torch.Size([5, 9]), 4)
    """

    def __init__(
        self,
        hnet: HyperNetInterface,
        *,
        sigma: Any = None,
        noise: str | None = None,
        cond_id: int | None = None,
        weights: HyperWeights | Callable[..., HyperWeights] | None = None,
        scale: float | str | Tensor | Whitening | None = None,
        weight_spec: WeightSpec | None = None,
        sigma_floor: float = 1e-4,
        init: nn.Module | Tensor | None = None,
        block_size: int | None = None,
    ) -> None:
        super().__init__()
        hnet, wrapped_sigma, wrapped_noise = _unwrap(hnet)
        self.hnet = hnet
        self.noise = check_choice("noise", wrapped_noise if noise is None else noise, ("independent", "shared"))
        self.cond_id = None if cond_id is None else check_int("cond_id", cond_id, 0)
        self.block_size = None if block_size is None else check_size("block_size", block_size, 1)
        if block_size is not None and self.noise == "shared":
            raise value_error("block_size", expected="None with shared noise", got=block_size)
        self.weight_spec = _spec_of(hnet, weight_spec)
        self._weights = weights
        self._theta_shapes = weights.target_shapes if isinstance(weights, HyperNetInterface) else []
        self._all_generated = _same(self._theta_shapes, hnet.param_shapes)
        like = _example_tensor(hnet, weights)
        whitening = resolve_whitening(scale, self.weight_spec, like)
        self.register_buffer("loc", None if whitening is None else whitening.loc)
        self.register_buffer("scale", None if whitening is None else whitening.scale)
        self.sigma_floor = check_positive("sigma_floor", sigma_floor)
        strength = wrapped_sigma if wrapped_sigma is not None else (0.02 if whitening is None else 0.1)
        self.sigma = resolve_sigma(sigma, self.weight_spec, strength, sigma_floor, like)
        if init is not None:
            self.start_at(init)

    def start_at(self, init: nn.Module | Tensor, cond_id: int | None = None) -> None:
        r"""Move the posterior at a condition so that its mean is the weights of a module.

        The offset :math:`w_0 - \mathbb{E}[w]` enters the output biases of the hypernetwork, which are learned, if it
        has one for each weight, as :class:`~bayeshnet.hnets.HMLP` has; then all conditions move alike, and the prior
        stays whitened as the posterior is. Else, as for chunked or generated hypernetworks, it enters ``loc``.
        The mean over latents is that over 2,048 mirrored pairs of a Sobol sequence: exact for maps that are affine or
        odd but for an offset, and otherwise off by far less than the spread of the weights over latents.

        Args:
            init: a module that has the weights, such as a trained one, or a tensor ``(P,)``.
            cond_id: the condition whose mean is set; the default one if None.

        Example:
            >>> from bayeshnet.hnets import HMLP
            >>> net = nn.Linear(2, 1)
            >>> hnet = HMLP([[1, 2], [1]], 4, 0, [8], activation_fn=nn.Tanh(), verbose=False)
            >>> spec = WeightSpec.of(net)
            >>> posterior = HypernetPosterior(hnet, sigma=1e-3, scale="fan_in", weight_spec=spec, init=net)
            >>> away = posterior.rsample((10_000,)).mean(0) - spec.flatten(dict(net.named_parameters()))
            >>> bool(away.abs().max() < 0.05)
            True
        """
        start_at(
            self, weights_of(init, self.weight_spec), None if cond_id is None else check_int("cond_id", cond_id, 0)
        )

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the arguments that build a posterior of the same structure, for :func:`bayeshnet.save`."""
        names = ("hnet", "sigma", "noise", "cond_id", "weight_spec", "sigma_floor", "block_size")
        kept = {name: getattr(self, name) for name in names}
        return {**kept, "weights": self._weights, "scale": self.whitening}

    @property
    def latent_size(self) -> int:
        """Number ``n`` of latents."""
        return int(self.hnet.uncond_in_size)

    @property
    def whitening(self) -> Whitening | None:
        """Affine map from whitened weights to weights, or None."""
        return None if self.scale is None else Whitening(self.get_buffer("loc"), self.scale)

    def rows(self, cond_ids: Sequence[int] | None, cond_input: Tensor | None = None) -> Rows:
        r"""Generate the hypernetwork's parameters :math:`\theta` at each condition, where they are generated.

        Returns:
            Rows ``(T, num_params)`` from another hypernetwork, or what a callable returns for each condition; else the
            same given parameters for all conditions (None for the hypernetwork's own).
        """
        weights = self._weights
        if isinstance(weights, HyperNetInterface):
            flat: Tensor = weights(cond_id=cond_ids, cond_input=cond_input, ret_format="flattened")
            return flat
        ids = [None] if cond_ids is None else cond_ids
        if isinstance(weights, nn.Module):
            return [weights(cond_id=i, cond_input=cond_input) for i in ids]
        if callable(weights):
            return [weights(i if cond_input is None else cond_input) for i in ids]
        return [weights for _ in ids]

    def at(self, row: Any, cond_id: int | None = None, cond_input: Tensor | None = None) -> SemiImplicit | SharedNoise:
        r"""Make the distribution of :math:`loc + scale \odot (h(z, e; \theta) + \sigma \odot \varepsilon)`."""
        sigma = self.sigma(cond_id, cond_input)
        if callable(self._weights):  # the condition has entered theta
            cond_id, cond_input = cond_id if self.hnet.num_known_conds else None, None
        theta = self._thetas(row.unsqueeze(0))[0] if isinstance(row, Tensor) else row
        h = self.hnet.geometry(cond_id=cond_id, cond_input=cond_input, weights=theta)
        where = (h, sigma, self.whitening, self.weight_spec)
        if self.noise == "shared":
            return SharedNoise(*where, validate_args=False)
        return SemiImplicit(*where, block_size=self.block_size, validate_args=False)

    def outputs_at(self, rows: Rows, cond_ids: Sequence[int], z: Tensor | None) -> Tensor:
        r"""Compute ``(T, M, P)`` outputs :math:`h(z, e; \theta)`, followed by sigma if each weight has its own."""
        if z is None:
            raise value_error("z", expected=f"latents (T, M, {self.latent_size})", got=None)
        h = self._h(rows, cond_ids, check_shape("z", z, (len(cond_ids), None, self.latent_size)))
        sigma = self._sigmas(cond_ids)
        return h if sigma.ndim == 1 else torch.cat([h, sigma.unsqueeze(1).expand(h.shape)], dim=-1)

    def _sigmas(self, cond_ids: Sequence[int]) -> Tensor:
        """Compute sigma at ``T`` conditions: ``(T,)`` or ``(T, P)``."""
        if isinstance(self.sigma, GeneratedSigma):
            found: Tensor = self.sigma(list(cond_ids))
            return found
        return torch.stack([self.sigma(i) for i in cond_ids])

    def _h(self, rows: Rows, cond_ids: Sequence[int], z: Tensor) -> Tensor:
        r"""Evaluate :math:`h(z, e; \theta)` for ``T`` conditions at latents ``(T, M, n)``: ``(T, M, P)``."""

        def h(z: Tensor, ids: list[int], theta: Any) -> Tensor:
            own = ids if self.hnet.num_known_conds else None
            flat: Tensor = self.hnet(uncond_input=z, cond_id=own, weights=theta, ret_format="flattened")
            return flat

        if not callable(self._weights):  # one theta for all
            ids = [i for i in cond_ids for _ in range(z.shape[1])]
            found: Tensor = h(z.flatten(0, 1), ids, self._weights).unflatten(0, z.shape[:2])
            return found
        if isinstance(rows, Tensor) and len(rows) > 1 and self._all_generated and not self.hnet.num_known_conds:
            batched = self.hnet.batched_over_weights(rows, z)
            if batched is not None:
                return batched
        return torch.stack([h(z_i, [i], theta) for z_i, i, theta in zip(z, cond_ids, self._thetas(rows), strict=True)])

    def _thetas(self, rows: Rows) -> Sequence[Any]:
        """Return the parameters in each row as tensors of the hypernetwork's shapes."""
        if not isinstance(rows, Tensor):
            return rows
        tensors: list[list[Tensor]] = to_format(rows, self._theta_shapes, "sequential")
        return tensors

    @property
    def num_conditions(self) -> int:
        """Number of conditions of the hypernetwork, or of the one that generates its parameters."""
        return max((hnet.num_known_conds for hnet in self._conditioned()), default=0)

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        """Add ``num`` conditions to all hypernetworks that have conditions, and return the new parameters."""
        return [parameter for hnet in self._conditioned() for parameter in hnet.add_conditions(num)]

    def _conditioned(self) -> list[HyperNetInterface]:
        parts = (self.hnet, self._weights, getattr(self.sigma, "hnet", None))
        return [p for p in parts if isinstance(p, HyperNetInterface) and p.num_known_conds]


def _unwrap(hnet: Any) -> tuple[HyperNetInterface, float | None, str]:
    """Return the hypernetwork inside a perturbation wrapper, with the wrapper's noise strength and equation."""
    if not isinstance(hnet, HyperNetInterface):
        raise type_error(
            "hnet",
            expected="a hypernetwork (HyperNetInterface)",
            got=hnet,
            hint="See bayeshnet.hnets, for example HMLP.",
        )
    sigma, noise = None, "independent"
    if isinstance(hnet, HPerturbWrapper):
        if hnet.input_handler is not None or hnet.output_handler is not None:
            raise value_error(
                "hnet",
                expected="a perturbation wrapper without custom handlers",
                found="one with an input or output handler",
                hint="The density is unknown with a handler: give the inner hypernetwork, sigma and noise.",
            )
        sigma, noise = float(hnet.sigma_noise), hnet.noise
        hnet = hnet.internal_hnet
        if isinstance(hnet, HPerturbWrapper):
            raise value_error("hnet", expected="at most one perturbation wrapper", found="two", hint="Give one.")
    if not hnet.uncond_in_size:
        raise value_error(
            "hnet",
            expected="a hypernetwork with an unconditional input, the latent",
            found="uncond_in_size of 0",
            hint="Set uncond_in_size, or use GeneratedPosterior for a posterior whose parameters are generated.",
        )
    return hnet, sigma, noise


def _spec_of(hnet: HyperNetInterface, spec: WeightSpec | None) -> WeightSpec:
    """Return the given specification, which must have the right size, or one from the target shapes."""
    if spec is None:
        return WeightSpec.of_shapes(hnet.target_shapes)
    if check_spec(spec).numel != hnet.num_outputs:
        raise value_error(
            "weight_spec",
            expected=f"{hnet.num_outputs} weights, as the hypernetwork generates",
            found=str(spec.numel),
            hint="Give the hypernetwork target_shapes=weight_spec.shapes.",
        )
    return spec


def _same(shapes: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> bool:
    return [tuple(shape) for shape in shapes] == [tuple(shape) for shape in others]


def _example_tensor(hnet: nn.Module, weights: Any) -> Tensor:
    """Return a tensor with dtype and device of the hypernetwork."""
    modules = [hnet, weights] if isinstance(weights, nn.Module) else [hnet]
    for module in modules:
        for parameter in module.parameters():
            return parameter.detach()
    if isinstance(weights, Mapping):
        weights = [t for part in weights.values() for t in part]
    return weights[0].detach() if isinstance(weights, Sequence) and weights else torch.zeros(())
