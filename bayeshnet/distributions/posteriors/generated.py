"""Explicit posteriors whose parameters a hypernetwork generates from the condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...deprecation import renamed_arguments
from ...errors import check_choice, check_int, check_positive, type_error, value_error
from ...hnets.hnet_interface import HyperNetInterface
from ...representation import settings_of
from ...weights import WeightSpec, Whitening
from ..base import check_spec
from ..dirac import Dirac
from ..gaussian import MeanFieldGaussian
from ..radial import Radial
from .conditional import ConditionalPosterior
from .whitening import resolve_whitening

__all__ = ["GeneratedPosterior"]

Explicit = MeanFieldGaussian | Radial | Dirac


class GeneratedPosterior(ConditionalPosterior[Explicit]):
    r"""An explicit posterior whose means and scales are generated from the condition by a hypernetwork.

    The hypernetwork's outputs are means :math:`\mu` and log-scales :math:`\rho` of whitened weights :math:`u`, with
    :math:`w = loc + scale \odot u` and :math:`\sigma = \sigma_{\min} + e^{\rho} (\sigma_0 - \sigma_{\min})`, where
    :math:`\sigma_0` is ``sigma`` and :math:`\sigma_{\min}` is ``sigma_floor``.

    Args:
        hnet: hypernetwork without latent. Its ``target_shapes`` are the shapes of the weights for ``"dirac"``, and
            these twice (for means and log-scales) for the other families; see :meth:`target_shapes`.
        family: ``"mean_field"``, ``"radial"`` or ``"dirac"``.
        sigma: scale at an output of zero, in units of ``scale``.
        scale: whitening as in :class:`HypernetPosterior`.
        cond_id: the condition used when none is given.
        weight_spec: names and shapes of the weights; from the hypernetwork's target shapes if None.
        sigma_floor: lower bound of the scale.

    References:
        Henning, Cervera et al., "Posterior meta-replay for continual learning", 2021.

    Example:
        >>> from bayeshnet.hnets import HMLP
        >>> shapes = GeneratedPosterior.target_shapes([[2, 3], [2]], "mean_field")
        >>> hnet = HMLP(shapes, cond_in_size=4, num_cond_embs=3, layers=[8], verbose=False)
        >>> posterior = GeneratedPosterior(hnet, "mean_field")
        >>> posterior(cond_id=1).rsample((5,)).shape
        torch.Size([5, 8])
    """

    @renamed_arguments(floor="sigma_floor")
    def __init__(
        self,
        hnet: HyperNetInterface,
        family: str = "mean_field",
        *,
        sigma: float = 0.02,
        scale: Any = None,
        cond_id: int | None = None,
        weight_spec: WeightSpec | None = None,
        sigma_floor: float = 1e-4,
    ) -> None:
        super().__init__()
        if not isinstance(hnet, HyperNetInterface):
            raise type_error(
                "hnet", expected="a hypernetwork (HyperNetInterface)", got=hnet, hint="See bayeshnet.hnets.HMLP."
            )
        if hnet.uncond_in_size:
            raise value_error(
                "hnet",
                expected="a hypernetwork without latent (uncond_in_size of 0)",
                found=str(hnet.uncond_in_size),
                hint="With a latent it is an implicit posterior: use HypernetPosterior.",
            )
        self.family = check_choice("family", family, ("mean_field", "radial", "dirac"))
        self.hnet = hnet
        self.cond_id = None if cond_id is None else check_int("cond_id", cond_id, 0)
        self.weight_spec = _spec_of(hnet, family, weight_spec)
        if check_positive("sigma", sigma) <= check_positive("sigma_floor", sigma_floor):
            raise value_error("sigma", expected=f"a number above the floor {sigma_floor}", got=sigma)
        self.sigma, self.sigma_floor = sigma, sigma_floor
        like = next(iter(hnet.parameters()), torch.zeros(())).detach()
        whitening = resolve_whitening(scale, self.weight_spec, like)
        self.register_buffer("loc", like.new_zeros(()) if whitening is None else whitening.loc)
        self.register_buffer("scale", like.new_ones(()) if whitening is None else whitening.scale)

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the arguments that build a posterior of the same structure, for :func:`bayeshnet.save`."""
        return {**settings_of(self), "scale": Whitening(self.get_buffer("loc"), self.get_buffer("scale"))}

    @staticmethod
    def target_shapes(shapes: list[list[int]], family: str = "mean_field") -> list[list[int]]:
        """Return the ``target_shapes`` of a hypernetwork for weights of ``shapes``."""
        check_choice("family", family, ("mean_field", "radial", "dirac"))
        return [list(s) for s in shapes] * (1 if family == "dirac" else 2)

    @property
    def num_conditions(self) -> int:
        """Number of conditions of the hypernetwork."""
        return int(self.hnet.num_known_conds)

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        """Add ``num`` conditions and return the new parameters."""
        return list(self.hnet.add_conditions(num))

    def rows(self, cond_ids: Sequence[int] | None, cond_input: Tensor | None = None) -> Tensor:
        r"""Generate :math:`\mu`, followed by :math:`\rho` except for ``"dirac"``: ``(T, P)`` or ``(T, 2P)``."""
        flat: Tensor = self.hnet(cond_id=cond_ids, cond_input=cond_input, ret_format="flattened")
        return flat

    def at(self, row: Tensor, cond_id: int | None = None, cond_input: Tensor | None = None) -> Explicit:
        r"""Make the distribution of mean :math:`loc + scale \odot \mu` and scale :math:`scale \odot \sigma`."""
        loc, scale = self.get_buffer("loc"), self.get_buffer("scale")
        if self.family == "dirac":
            return Dirac(torch.addcmul(loc, scale, row), self.weight_spec)
        mu, rho = row.split(self.weight_spec.numel)
        mean = torch.addcmul(loc, scale, mu)
        std = torch.addcmul(self.sigma_floor * scale, scale, rho.exp(), value=self.sigma - self.sigma_floor)
        law = Radial if self.family == "radial" else MeanFieldGaussian
        return law(mean, std, self.weight_spec, validate_args=False)

    def outputs_at(self, rows: Any, cond_ids: Sequence[int], z: Tensor | None) -> Tensor:
        r"""Compute :math:`\mu`, followed by the standard deviations of whitened weights: ``(T, P)`` or ``(T, 2P)``."""
        if self.family == "dirac":
            found: Tensor = rows
            return found
        mu, rho = rows.split(self.weight_spec.numel, dim=-1)
        sigma = self.sigma_floor + (self.sigma - self.sigma_floor) * rho.exp()
        if self.family == "radial":
            lengths = torch.tensor([e.numel**-0.5 for e in self.weight_spec.entries], dtype=sigma.dtype)
            sigma = sigma * self.weight_spec.spread(lengths.to(sigma.device, non_blocking=True))
        return torch.cat([mu, sigma], dim=-1)


def _spec_of(hnet: HyperNetInterface, family: str, spec: WeightSpec | None) -> WeightSpec:
    """Return the given specification, or one from the target shapes, after checking both."""
    shapes = [list(s) for s in hnet.target_shapes]
    parts = 1 if family == "dirac" else 2
    half = len(shapes) // parts
    if len(shapes) % parts or shapes[:half] * parts != shapes:
        raise value_error(
            "hnet",
            expected="target_shapes with the shapes of the weights twice, for means and log-scales",
            found=str(shapes),
            hint="Build them with GeneratedPosterior.target_shapes(shapes, family).",
        )
    if spec is None:
        return WeightSpec.of_shapes(shapes[:half])
    if check_spec(spec).numel * parts != hnet.num_outputs:
        raise value_error("weight_spec", expected=f"{hnet.num_outputs // parts} weights", found=str(spec.numel))
    return spec
