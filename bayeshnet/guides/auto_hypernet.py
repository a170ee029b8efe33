"""AutoHypernet: a hypernetwork posterior as the guide of any Pyro model with continuous latent variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

from ..checks import check_callable, check_generator
from ..deprecation import renamed_argument, warn
from ..distributions import HypernetPosterior, SemiImplicit
from ..distributions.flat import Flat
from ..errors import check_flags, check_function, check_instance, check_positive, check_size, check_sizes, value_error
from ..estimators import Diagnosis, KLEstimator, diagnose
from ..estimators.latent.livi_unfolded import UnfoldedLIVI
from ..representation import shows_arguments
from ._auto_posterior import make_posterior
from ._parameter_statements import declare_parameters
from .implicit_site import ImplicitSite
from .sites import continuous_named

__all__ = ["AutoHypernet"]


class AutoHypernet(AutoContinuous):
    r"""A guide in the family of Pyro's AutoGuides whose joint posterior may be curved and have several modes.

    All latent variables, transformed to unconstrained space, form one flat vector

    .. math:: u = h(z; \theta) + \sigma \odot \varepsilon, \qquad z \sim N(0, I_n), \; \varepsilon \sim N(0, I_D),

    where ``h`` is a perceptron with a linear skip connection. Its density comes from an estimator. It works wherever
    ``AutoMultivariateNormal`` does: constrained supports, plates, several sites, ``Predictive``; with ``Trace_ELBO``,
    ``TraceGraph_ELBO`` (looped or vectorized particles) and :class:`~bayeshnet.inference.ImplicitELBO`. Losses that
    would be wrong are refused. For posteriors of several modes begin at a high temperature,
    ``fit(beta=Annealing(1000))``; for hierarchical models, whose scales the guide would give too little uncertainty,
    use ``stretch``.

    Args:
        model: a Pyro model whose structure does not change from call to call.
        estimator: of the entropy; :class:`UnfoldedLIVI` if None.
        latent_size: number ``n`` of latents; the number ``D`` of unknowns if None. With more than ``D`` the map folds,
            and LIVI overestimates the entropy; :meth:`audit` shows by how much.
        layers: hidden sizes of the perceptron; without any the guide is a full Gaussian.
        num_samples: latents per step for the estimate of the entropy, whatever the number of particles; None uses the
            latents of the particles.
        sigma: standard deviation of the noise of each unknown, relative to that of the linear part of the map.
        init_scale: initial standard deviation of each unknown.
        activation_fn: hidden activation.
        init_loc_fn: initial value of each site, as for Pyro's guides.
        stretch: let earlier latents stretch later ones in the skip connection (see :class:`~bayeshnet.hnets.HMLP`). In
            a model a scale is sampled before the variables that it scales, so that the guide can represent funnels. For
            posteriors of one mode only: on a mixture it found the modes in the wrong proportions.
        num_latents: deprecated name of ``num_samples``.

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

    @shows_arguments
    def __init__(
        self,
        model: Callable[..., Any],
        *,
        estimator: KLEstimator | None = None,
        latent_size: int | None = None,
        layers: Sequence[int] = (64, 64),
        num_samples: int | None = 32,
        sigma: float = 0.1,
        init_scale: float = 0.1,
        activation_fn: nn.Module | None = None,
        init_loc_fn: Callable[[Any], Tensor] = init_to_median,
        stretch: bool = False,
        num_latents: Any = ...,
    ) -> None:
        check_callable("model", model, "a Pyro model, a function")
        check_callable("init_loc_fn", init_loc_fn, "a function of a site, such as init_to_median")
        if estimator is not None:
            check_instance("estimator", estimator, KLEstimator, "a KLEstimator or None", "For example LIVI().")
        super().__init__(model, init_loc_fn=init_loc_fn)
        self.estimator = UnfoldedLIVI() if estimator is None else estimator
        self.latent_size = None if latent_size is None else check_size("latent_size", latent_size)
        self.layers = tuple(check_sizes("layers", layers))
        if num_latents is not ...:
            warn("the argument num_latents", "num_samples", stacklevel=4)
            num_samples = num_latents
        self.num_samples = None if num_samples is None else check_size("num_samples", num_samples)
        self.sigma = check_positive("sigma", sigma)
        self.init_scale = check_positive("init_scale", init_scale)
        check_flags(stretch=stretch)
        if stretch and not self.layers:
            raise value_error(
                "stretch", expected="False without hidden layers", got=True, hint="Without any the guide is a Gaussian."
            )
        self.stretch = bool(stretch)
        check_function("activation_fn", activation_fn)
        self._activation = (nn.Tanh() if activation_fn is None else activation_fn,)
        self.posterior: HypernetPosterior | None = None

    def extra_repr(self) -> str:
        """Show the settings that are not at their defaults."""
        return self._arguments

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        with continuous_named():
            super()._setup_prototype(*args, **kwargs)
        _refuse_subsampled(self._cond_indep_stacks)
        made = self._built()
        if made is None:
            self._build(self._init_loc())
        elif made.weight_spec.numel != self.latent_dim:
            got = f"one of {self.latent_dim} unknowns"
            raise value_error("model", expected=f"a model of {made.weight_spec.numel} unknowns", found=got)

    def _built(self) -> HypernetPosterior | None:
        """Return the posterior, if there is one; attribute access would be a statement to Pyro's parameter store."""
        return self.__dict__["_modules"].get("posterior")

    def _build(self, loc: Tensor) -> None:
        """Make the posterior over vectors like ``loc`` ``(D,)``."""
        size = loc.numel() if self.latent_size is None else self.latent_size
        self.posterior = make_posterior(
            loc, size, self.layers, self._activation[0], self.init_scale, self.sigma, stretch=self.stretch
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make the posterior first if there is none, so that a guide can be loaded without a run of the model."""
        fraction = state_dict.get(f"{prefix}posterior.sigma.module.fraction")
        if fraction is not None and self._built() is None:
            self._build(torch.zeros_like(fraction))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def distribution(self) -> SemiImplicit:
        """Return the distribution over the flat, unconstrained unknowns ``(D,)``."""
        posterior = self._built()
        if posterior is None:
            raise value_error(
                "guide",
                expected="a guide that has been run or loaded",
                found="a new one",
                hint="Call guide(*args) once.",
            )
        return posterior()

    def get_posterior(self, *args: Any, **kwargs: Any) -> ImplicitSite:
        """Return the distribution over the flat, unconstrained unknowns as a Pyro site."""
        return ImplicitSite(self.distribution(), self.estimator, num_samples=self.num_samples)

    def get_base_dist(self) -> Any:
        """Raise, as :meth:`get_transform`."""
        self.get_transform()

    def get_transform(self, *args: Any, **kwargs: Any) -> Any:
        """Raise: a hypernetwork with noise is no bijection, so that it cannot reparameterize a model (NeuTra)."""
        raise ValueError(
            "AutoHypernet: expected a guide that is a bijection of simple noise, got one that is not. For NeuTra use "
            "AutoIAFNormal or AutoMultivariateNormal."
        )

    def sample_latent(self, *args: Any, **kwargs: Any) -> Tensor:
        """Draw the flat, unconstrained unknowns ``(*B, D)``."""
        names = declare_parameters(self._pyro_name, self)
        site = self.get_posterior(*args, **kwargs)
        site.depends_on = names
        return pyro.sample(f"_{self._pyro_name}_latent", site, infer={"is_auxiliary": True})

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
        """Compute posterior quantiles of each unknown from draws: ``(len(quantiles), *shape)`` by site."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        draws = self.distribution().draw(check_size("num_samples", num_samples)).w
        return self._by_site(torch.quantile(draws, torch.as_tensor(quantiles).to(draws), dim=0))

    def median(self, *args: Any, num_samples: int = 4000, **kwargs: Any) -> dict[str, Tensor]:
        """Compute the posterior median of each unknown, by site, from ``num_samples`` draws."""
        found = self.quantiles([0.5], *args, num_samples=num_samples, **kwargs)
        return {name: value[0] for name, value in found.items()}

    @torch.no_grad()
    def sample_posterior(
        self, num_samples: int, *args: Any, generator: torch.Generator | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Draw all unknowns, ``(num_samples, *shape)`` by site; other arguments are the model's."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        return self._by_site(
            self.distribution().draw(check_size("num_samples", num_samples), check_generator(generator)).w
        )

    def _by_site(self, latents: Tensor) -> dict[str, Tensor]:
        """Return values ``(S, *shape)`` of all sites from flat, unconstrained unknowns ``(S, D)``."""
        trace: Any = self.prototype_trace
        plates = max(len(site["fn"].batch_shape) for _, site in trace.iter_stochastic_nodes())
        packed = latents.reshape(len(latents), *[1] * plates, latents.shape[-1])
        return {
            site["name"]: biject_to(site["fn"].support)(unconstrained).reshape(len(latents), *site["value"].shape)
            for site, unconstrained in self._unpack_latent(packed)
        }

    def audit(
        self,
        num_samples: int = 1024,
        generator: torch.Generator | None = None,
        *,
        quick: bool = False,
        num_draws: int | None = None,
    ) -> Diagnosis:
        """Audit the negative entropy, to check the estimator that was used in training.

        It is the KL to a density of one, so that :func:`~bayeshnet.estimators.diagnose` finds it.

        Args:
            num_samples: largest number of vectors to draw.
            generator: of all noise.
            quick: as for :func:`~bayeshnet.estimators.kl_interval`.
            num_draws: old name of ``num_samples``.

        Returns:
            The negative entropy in nats with its 95 % interval, verdict, alarms and advice.
        """
        if num_draws is not None:
            num_samples = renamed_argument("num_draws", "num_samples", num_draws, None)
        return diagnose(self.distribution(), Flat(self.latent_dim), num_samples, generator, quick=quick)


def _refuse_subsampled(stacks: Mapping[str, Sequence[Any]]) -> None:
    """Refuse unknowns of which a run of the model sees a part: one vector cannot hold those of other parts."""
    for name, frames in stacks.items():
        for frame in frames:
            if frame.full_size not in (None, frame.size):
                raise value_error(
                    "model",
                    expected="one whose unknowns are all there in each run",
                    found=f"site {name!r} in plate {frame.name!r}, which sees {frame.size} of {frame.full_size} data",
                    hint="Run it on all data, or integrate them out; subsample plates of observed sites only.",
                )


class UnpackedSite(dist.Delta):
    """The value of one site with the density of its transform; a KL in closed form, which would drop it, is refused."""


@register_kl(UnpackedSite, dist.Distribution)
def _kl_unpacked(q: UnpackedSite, p: Any) -> Tensor:
    raise ValueError(
        "loss: expected one that evaluates log-densities, got one that asks for closed forms (TraceMeanField_ELBO), "
        "which would drop those of the guide's transforms. Use Trace_ELBO, TraceGraph_ELBO or ImplicitELBO."
    )


def _constrain(site: Any, unconstrained: Tensor) -> tuple[Tensor, Tensor | float]:
    """Return the value of a site and the log-density of the change of variables."""
    transform = biject_to(site["fn"].support)
    value = transform(unconstrained)
    if poutine.get_mask() is False:
        return value, 0.0
    log_density = transform.inv.log_abs_det_jacobian(value, unconstrained)
    return value, sum_rightmost(log_density, log_density.dim() - value.dim() + site["fn"].event_dim)
