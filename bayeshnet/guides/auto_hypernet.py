"""AutoHypernet: a hypernetwork posterior as the guide of any Pyro model with continuous latent variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from pyro.infer.autoguide import AutoContinuous, init_to_median
from torch import Tensor, nn
from torch.distributions import biject_to, register_kl

from ..distributions import HypernetPosterior, SemiImplicit
from ..distributions.flat import Flat
from ..errors import check_flags, check_int, check_positive, value_error
from ..estimators import ImportanceSandwich, KLEstimate, KLEstimator
from ..estimators.latent.livi_unfolded import UnfoldedLIVI
from ._generator import make_generator
from ._statements import declare_parameters
from .implicit_site import ImplicitSite

__all__ = ["AutoHypernet"]


class AutoHypernet(AutoContinuous):
    r"""A guide in the family of Pyro's AutoGuides whose joint posterior may be curved and have several modes.

    All latent variables, transformed to unconstrained space, form one flat vector

    .. math:: u = h(z; \theta) + \sigma \odot \varepsilon, \qquad z \sim N(0, I_n), \; \varepsilon \sim N(0, I_D),

    where ``h`` is a perceptron with a linear skip connection. Its density is an estimator's. It works wherever
    ``AutoMultivariateNormal`` does: constrained supports, plates, several sites, ``Predictive``; with ``Trace_ELBO``,
    ``TraceGraph_ELBO`` (looped or vectorized particles) and :class:`~bayeshnet.inference.ImplicitELBO`. Losses that
    would be wrong are refused. Posteriors of several modes are found by beginning hot: ``fit(beta=Annealing(1000))``;
    spreads of hierarchies, of which the guide is else too sure, with ``stretch``.

    Args:
        model: a Pyro model whose structure does not change from call to call.
        estimator: of the entropy; :class:`UnfoldedLIVI` if None.
        latent_size: the number ``n``; that of the unknowns ``D`` if None. With more than ``D`` the map folds, and LIVI
            overrates the entropy; :meth:`audit` finds out.
        layers: hidden sizes of the perceptron; without any the guide is a full Gaussian.
        num_latents: latents per step for the entropy, whatever the number of particles; None takes those of the
            particles.
        sigma: standard deviation of the noise of each unknown in units of that of the map's linear part, which it
            follows.
        init_scale: initial standard deviation of each unknown.
        activation_fn: hidden activation.
        init_loc_fn: initial value of each site, as for Pyro's guides.
        stretch: let earlier latents stretch later ones in the skip connection (see :class:`~bayeshnet.hnets.HMLP`): a
            spread comes before what it scales in a model, so that funnels begin with their own shape. For posteriors of
            one mode: on a mixture it found the modes in the wrong proportions.

    References:
        Kucukelbir, Tran, Ranganath, Gelman, Blei, "Automatic differentiation variational inference", 2017.
        Uppal, Stensbo-Smidt, Boomsma, Frellsen, "Implicit variational inference for high-dimensional posteriors", 2023.

    Example:
        >>> def model():
        ...     scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        ...     with pyro.plate("groups", 3):
        ...         return pyro.sample("x", dist.Normal(0.0, scale))
        >>> guide = AutoHypernet(model)
        >>> {name: tuple(value.shape) for name, value in guide().items()}
        {'scale': (), 'x': (3,)}
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        estimator: KLEstimator | None = None,
        latent_size: int | None = None,
        layers: Sequence[int] = (64, 64),
        num_latents: int | None = 32,
        sigma: float = 0.1,
        init_scale: float = 0.1,
        activation_fn: nn.Module | None = None,
        init_loc_fn: Callable[[Any], Tensor] = init_to_median,
        stretch: bool = False,
    ) -> None:
        super().__init__(model, init_loc_fn=init_loc_fn)
        self.estimator = UnfoldedLIVI() if estimator is None else estimator
        self.latent_size = None if latent_size is None else check_int("latent_size", latent_size, 1)
        self.layers = tuple(check_int("layers", size, 1) for size in layers)
        self.num_latents = None if num_latents is None else check_int("num_latents", num_latents, 1)
        self.sigma = check_positive("sigma", sigma)
        self.init_scale = check_positive("init_scale", init_scale)
        check_flags(stretch=stretch)
        if stretch and not self.layers:
            raise value_error(
                "stretch", expected="False without hidden layers", got=True, hint="Without any the guide is a Gaussian."
            )
        self.stretch = bool(stretch)
        self._activation = (nn.Tanh() if activation_fn is None else activation_fn,)
        self.posterior: HypernetPosterior | None = None

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        made = self._made()
        if made is None:
            self._build(self._init_loc())
        elif made.weight_spec.numel != self.latent_dim:
            got = f"one of {self.latent_dim} unknowns"
            raise value_error("model", expected=f"a model of {made.weight_spec.numel} unknowns", found=got)

    def _made(self) -> HypernetPosterior | None:
        """The generator, if there is one; an ordinary access would be a statement to Pyro's parameter store."""
        return self.__dict__["_modules"].get("posterior")

    def _build(self, loc: Tensor) -> None:
        """Make the generator of vectors like ``loc`` ``(D,)``."""
        size = loc.numel() if self.latent_size is None else self.latent_size
        self.posterior = make_generator(
            loc, size, self.layers, self._activation[0], self.init_scale, self.sigma, stretch=self.stretch
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make the generator first where there is none, so that a guide is loaded without a run of the model."""
        fraction = state_dict.get(f"{prefix}posterior.sigma.module.fraction")
        if fraction is not None and self._made() is None:
            self._build(torch.zeros_like(fraction))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def distribution(self) -> SemiImplicit:
        """The distribution over the flat, unconstrained unknowns ``(D,)``."""
        posterior = self._made()
        if posterior is None:
            raise value_error(
                "guide",
                expected="a guide that has been run or loaded",
                found="a new one",
                hint="Call guide(*args) once.",
            )
        return posterior()

    def get_posterior(self, *args: Any, **kwargs: Any) -> ImplicitSite:
        """The distribution over the flat, unconstrained unknowns as a Pyro site."""
        return ImplicitSite(self.distribution(), self.estimator, num_latents=self.num_latents)

    def get_base_dist(self) -> Any:
        """Refused, as :meth:`get_transform`."""
        self.get_transform()

    def get_transform(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: a hypernetwork with noise is no bijection, so that it cannot reparameterize a model (NeuTra)."""
        raise ValueError(
            "AutoHypernet: expected a guide that is a bijection of simple noise, got one that is not. For NeuTra use "
            "AutoIAFNormal or AutoMultivariateNormal."
        )

    def sample_latent(self, *args: Any, **kwargs: Any) -> Tensor:
        """Draw the flat, unconstrained unknowns ``(*B, D)``."""
        declare_parameters(self._pyro_name, self)
        name = f"_{self._pyro_name}_latent"
        return pyro.sample(name, self.get_posterior(*args, **kwargs), infer={"is_auxiliary": True})

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw all sites; arguments are the model's. Returns values by the names of the sites."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        latent = self.sample_latent(*args, **kwargs)
        plates = self._create_plates(*args, **kwargs)
        result = {}
        for site, unconstrained in self._unpack_latent(latent):
            name, event_dim = site["name"], site["fn"].event_dim
            value, log_density = _constrain(site, unconstrained)
            with ExitStack() as stack:
                for frame in self._cond_indep_stacks[name]:
                    stack.enter_context(plates[frame.name])
                result[name] = pyro.sample(name, UnpackedSite(value, log_density=log_density, event_dim=event_dim))
        return result

    @torch.no_grad()
    def quantiles(
        self, quantiles: Sequence[float], *args: Any, num_samples: int = 4000, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Posterior quantiles of each unknown from ``num_samples`` draws: ``(len(quantiles), *shape)`` by site."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        draws = self.distribution().draw(check_int("num_samples", num_samples, 1)).w
        return self._by_site(torch.quantile(draws, torch.as_tensor(quantiles).to(draws), dim=0))

    def median(self, *args: Any, num_samples: int = 4000, **kwargs: Any) -> dict[str, Tensor]:
        """Posterior median of each unknown, by site, from ``num_samples`` draws."""
        found = self.quantiles([0.5], *args, num_samples=num_samples, **kwargs)
        return {name: value[0] for name, value in found.items()}

    @torch.no_grad()
    def sample_posterior(
        self, num_samples: int, *args: Any, generator: torch.Generator | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Independent draws of all unknowns, ``(num_samples, *shape)`` by site; other arguments are the model's."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        return self._by_site(self.distribution().draw(check_int("num_samples", num_samples, 1), generator).w)

    def _by_site(self, latents: Tensor) -> dict[str, Tensor]:
        """Values ``(S, *shape)`` of all sites from flat, unconstrained unknowns ``(S, D)``."""
        trace: Any = self.prototype_trace
        plates = max(len(site["fn"].batch_shape) for _, site in trace.iter_stochastic_nodes())
        packed = latents.reshape(len(latents), *[1] * plates, latents.shape[-1])
        return {
            site["name"]: biject_to(site["fn"].support)(unconstrained).reshape(len(latents), *site["value"].shape)
            for site, unconstrained in self._unpack_latent(packed)
        }

    def audit(self, num_draws: int = 64, generator: torch.Generator | None = None) -> KLEstimate:
        """Two-sided estimate of the negative entropy, which shows whether the estimator of training was right.

        Many starts of the search find folds, where several latents make the same values.
        """
        sandwich = ImportanceSandwich(num_draws, num_starts=8)
        with torch.no_grad():
            return sandwich.estimate(self.distribution(), Flat(self.latent_dim), generator=generator)


class UnpackedSite(dist.Delta):
    """The value of one site, with the density of its transform, which a KL in closed form would drop: it is refused."""


@register_kl(UnpackedSite, dist.Distribution)
def _kl_unpacked(q: UnpackedSite, p: Any) -> Tensor:
    raise ValueError(
        "loss: expected one that evaluates log-densities, got one that asks for closed forms (TraceMeanField_ELBO), "
        "which would drop those of the guide's transforms. Use Trace_ELBO, TraceGraph_ELBO or ImplicitELBO."
    )


def _constrain(site: Any, unconstrained: Tensor) -> tuple[Tensor, Tensor | float]:
    """Value of a site and log-density of the change of variables."""
    transform = biject_to(site["fn"].support)
    value = transform(unconstrained)
    if poutine.get_mask() is False:
        return value, 0.0
    log_density = transform.inv.log_abs_det_jacobian(value, unconstrained)
    return value, sum_rightmost(log_density, log_density.dim() - value.dim() + site["fn"].event_dim)
