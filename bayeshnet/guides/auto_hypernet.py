"""AutoHypernet: a hypernetwork posterior as the guide of any Pyro model with continuous latent variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

import pyro
import torch
from pyro.infer.autoguide import init_to_median
from torch import Tensor, nn

from ..checks import check_callable, check_items
from ..deprecation import warn
from ..distributions import HypernetPosterior, SemiImplicit
from ..errors import (
    check_choice,
    check_flags,
    check_function,
    check_instance,
    check_positive,
    check_size,
    check_sizes,
    value_error,
)
from ..estimators import KLEstimator
from ..estimators.latent.livi_unfolded import UnfoldedLIVI
from ..representation import shows_arguments
from ._auto_posterior import make_posterior
from ._parameter_statements import declare_parameters, part_of
from .auto_sites import UnpackedSite, refuse_subsampled
from .centring import Degrees
from .checking.starts import Start
from .checking.tails import Tails, unit_scale
from .components import GeneratedMixture, MixtureKL, MixturePosterior
from .flat_guide import FlatGuide
from .implicit_site import ImplicitSite
from .sites import continuous_named
from .symmetries import Group, Symmetry
from .wide.bend import frame_of
from .wide.entropy import LinearReverse
from .wide.posterior import MANY, WidePosterior
from .wide.start import find_frame

__all__ = ["AutoHypernet"]


class AutoHypernet(FlatGuide):
    r"""A guide in the family of Pyro's AutoGuides whose joint posterior may be curved and have several modes.

    All latent variables, transformed to unconstrained space, form one flat vector

    .. math:: u = h(z; \theta) + \sigma \odot \varepsilon, \qquad z \sim N(0, I_n), \; \varepsilon \sim N(0, I_D),

    where ``h`` is a perceptron with a linear skip connection, with its density from an estimator. Of more than 30
    unknowns it begins at a Gaussian near the posterior, found by Newton's method in the first call (1 s for 300, 13 s
    for 1000 of a logistic regression), which bends with scales and other unknowns of bounded support; in its units
    there are 16 latents and learned noise of each unknown. It works wherever ``AutoMultivariateNormal`` does:
    constraints, plates, ``Predictive``; with ``Trace_ELBO``, ``TraceGraph_ELBO`` (looped or vectorized particles) and
    :class:`~bayeshnet.inference.ImplicitELBO`. Losses that would be wrong are refused. For posteriors of several modes
    give it ``components``, or begin hot, ``fit(beta=Annealing(1000))``, past 30 unknowns with ``latent_size``. Unknowns
    of hierarchies are generated in units of their scales. :meth:`check` tells if it is right, :meth:`resample` mends.

    Args:
        model: a Pyro model whose structure does not change from call to call.
        estimator: of the entropy; :class:`UnfoldedLIVI` if None, of more than 30 unknowns
            :class:`~bayeshnet.guides.wide.entropy.LinearReverse`: LIVI overrates noise that is learned.
        latent_size: number ``n`` of latents; if None the number ``D`` of unknowns, or, of more than 30, as said above.
            With more than ``D`` the map folds, and LIVI overestimates the entropy; :meth:`audit` shows by how much.
        layers: hidden sizes of the perceptron; without any the guide is a full Gaussian of ``D`` latents.
        num_samples: latents per step for the estimate of the entropy, whatever the number of particles; None uses the
            latents of the particles. Where :func:`~bayeshnet.inference.fit` ends with the alarm ``fold``, take 128.
        sigma: standard deviation of the noise of each unknown, relative to the map's linear part; 0.1 if None. Learned
            noise begins at it, in units of the Gaussian that was found, or of ``init_scale``; at 1 if None.
        init_scale: initial standard deviation of each unknown, or that from which Newton's method begins.
        activation_fn: hidden activation.
        init_loc_fn: initial value of each site, as for Pyro's guides.
        stretch: let earlier latents stretch later ones in the skip connection (see :class:`~bayeshnet.hnets.HMLP`). In
            a model a scale is sampled before the variables that it scales, so that the guide can represent funnels. For
            posteriors of one mode only: on a mixture it found the modes in the wrong proportions. There is a latent for
            each unknown then, however many there are.
        centring: ``"learn"`` for sites whose location or scale depends on other unknowns to be generated as
            :math:`u = c\,m + s^{c-1} (x - m)` with learned degrees ``c`` (see
            :class:`~bayeshnet.guides.centring.LocScale`), which is undone in what the guide returns; each call runs
            the model to know ``m`` and ``s``. None to generate ``x``.
        components: number ``K`` of hypernetworks whose mixture the guide is, for posteriors of several modes. They
            begin in ``K`` clusters of four thousand particles that are carried from the prior to the posterior by
            annealing, with their shares as weights; for a model that is not written for plates around it at
            ``init_loc_fn`` and at draws from the prior. No heat is needed.
            :func:`~bayeshnet.inference.fit` ends with :meth:`reweigh`, which gives the modes their shares.
        symmetries: of the posterior, :class:`~bayeshnet.guides.Flip` and :class:`~bayeshnet.guides.Swap`: draws get a
            random element of the group that they generate, so that the guide has them exactly. It is trained as without
            them, by a bound that they can only improve.
        tails: initial power of learned tails (see :class:`~bayeshnet.guides.checking.tails.Tails`), through which each
            unknown goes first; with 2 a normal gets exponential tails. On hierarchies 1.5 found log-scales less narrow.
            None for the tails of the hypernetwork, which are those of a normal.
        num_latents: deprecated name of ``num_samples``.

    References:
        Kucukelbir, Tran, Ranganath, Gelman, Blei, "Automatic differentiation variational inference", 2017.
        Uppal, Stensbo-Smidt, Boomsma, Frellsen, "Implicit variational inference for high-dimensional posteriors", 2023.

    Example:
        >>> import pyro.distributions as dist
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
        sigma: float | None = None,
        init_scale: float = 0.1,
        activation_fn: nn.Module | None = None,
        init_loc_fn: Callable[[Any], Tensor] = init_to_median,
        stretch: bool = False,
        centring: str | None = "learn",
        components: int = 1,
        symmetries: Sequence[Symmetry] = (),
        tails: float | None = None,
        num_latents: Any = ...,
    ) -> None:
        check_callable("model", model, "a Pyro model, a function")
        check_callable("init_loc_fn", init_loc_fn, "a function of a site, such as init_to_median")
        if estimator is not None:
            check_instance("estimator", estimator, KLEstimator, "a KLEstimator or None", "For example LIVI().")
        super().__init__(model, init_loc_fn=init_loc_fn)  # type: ignore[no-untyped-call]
        self._program = (model,)
        self.centring = None if centring is None else check_choice("centring", centring, ("learn",), "Or None.")
        self._centred: list[str] = []
        self.components = check_size("components", components)
        self.symmetries = check_items("symmetries", symmetries, "symmetries, such as Flip or Swap", Symmetry)
        self.tail_power = None if tails is None else check_positive("tails", tails)
        self._group: Group | None = None
        self._default_estimator = estimator is None
        self.estimator = UnfoldedLIVI() if estimator is None else estimator
        self.latent_size = None if latent_size is None else check_size("latent_size", latent_size)
        self.layers = tuple(check_sizes("layers", layers))
        if num_latents is not ...:
            warn("the argument num_latents", "num_samples", stacklevel=4)
            num_samples = num_latents
        self.num_samples = None if num_samples is None else check_size("num_samples", num_samples)
        self.sigma = None if sigma is None else check_positive("sigma", sigma)
        self.init_scale = check_positive("init_scale", init_scale)
        check_flags(stretch=stretch)
        if stretch and not self.layers:
            raise value_error(
                "stretch", expected="False without hidden layers", got=True, hint="Without any the guide is a Gaussian."
            )
        self.stretch = bool(stretch)
        check_function("activation_fn", activation_fn)
        self._activation = (nn.Tanh() if activation_fn is None else activation_fn,)
        self.posterior: HypernetPosterior | MixturePosterior | WidePosterior | None = None

    def extra_repr(self) -> str:
        """Show the settings that are not at their defaults."""
        found: str = self._arguments
        return found

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        with continuous_named():
            super()._setup_prototype(*args, **kwargs)  # type: ignore[no-untyped-call]
        refuse_subsampled(self._cond_indep_stacks)
        self._set_centred(args, kwargs)
        if self.symmetries:
            trace: Any = self.prototype_trace
            self._group = Group(self.symmetries, dict(trace.iter_stochastic_nodes()), self._unconstrained_shapes)
        made = part_of(self, "posterior")
        if made is None and self._is_wide():
            loc = self._coordinates(self._init_loc(), args, kwargs)  # type: ignore[no-untyped-call]
            self.frame = find_frame(self._program[0], self._sites(args, kwargs), loc, self.init_scale, args, kwargs)
        if self.tail_power is not None and part_of(self, "tails") is None:
            loc = self._init_loc()  # type: ignore[no-untyped-call]
            self.tails = Tails(loc if part_of(self, "frame") is None else 0 * loc, self.tail_power)
        if made is None and self._is_wide():
            self._build_wide(self._starts(args, kwargs)[0].loc)
        elif made is None:
            self._build(self._starts(args, kwargs))
        elif made.weight_spec.numel != self.latent_dim:
            got = f"one of {self.latent_dim} unknowns"
            raise value_error("model", expected=f"a model of {made.weight_spec.numel} unknowns", found=got)

    def _starts(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Start]:
        """Return where the components begin: one around ``init_loc_fn``, several in clusters of particles."""
        if self.components == 1:
            loc = self._init_loc()  # type: ignore[no-untyped-call]
            return [
                Start(self._coordinates(loc, args, kwargs) if part_of(self, "frame") is None else 0 * loc, None, 0.0)
            ]
        found = self._clustered(self.components, args, kwargs)
        if found is not None:
            return found
        drawn = [self._near_prior(args, kwargs) for _ in range(self.components - 1)]
        places = [self._init_loc(), *drawn]  # type: ignore[no-untyped-call]
        return [self._narrow(self._coordinates(place, args, kwargs)) for place in places]

    def _narrow(self, loc: Tensor) -> Start:
        """Return a start of the initial scale around ``loc``, with an equal share."""
        return Start(loc, self.init_scale * torch.eye(len(loc)).to(loc), -math.log(self.components))

    def _is_wide(self) -> bool:
        """Return whether there are too many unknowns for a latent of each."""
        alone = self.components == 1 and self.latent_size is None and len(self.layers) > 0
        return alone and not self.stretch and self.latent_dim > MANY

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make parts that are not there yet, in the order of a first run, on which optimizers' states depend."""
        kept = {key.removeprefix(prefix): value for key, value in state_dict.items()}
        names = ("posterior.log_scale", "tails.skew", "degrees.logits")
        (wide, skew, logits), frame = (kept.get(name) for name in names), frame_of(kept, part_of(self, "frame"))
        fraction = kept.get(f"posterior.{'' if self.components == 1 else 'components.0.'}sigma.module.fraction")
        if logits is not None and part_of(self, "degrees") is None:
            self.degrees = Degrees(len(logits), logits, slow=wide is not None)
        if wide is not None:
            self.frame = frame
        if skew is not None and part_of(self, "tails") is None:
            self.tails = Tails(torch.zeros_like(skew))
        if wide is not None and part_of(self, "posterior") is None:
            self._build_wide(torch.zeros_like(wide))
        if fraction is not None and part_of(self, "posterior") is None:
            zeros = torch.zeros_like(fraction).repeat(self.components, 1)  # a tensor of its own for each component
            self._build([Start(z, None, 0.0) if self.components == 1 else self._narrow(z.clone()) for z in zeros])
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _build_wide(self, loc: Tensor) -> None:
        """Make the posterior of many unknowns."""
        scale = self.init_scale if part_of(self, "frame") is None else unit_scale(self.tail_power)
        self.posterior = WidePosterior(loc, scale * (self.sigma or 1.0), self.layers, self._activation[0])
        if self._default_estimator:
            self.estimator = LinearReverse()

    def _build(self, starts: Sequence[Start]) -> None:
        """Make the posterior, each component at one of the starts."""
        size = starts[0].loc.numel() if self.latent_size is None else self.latent_size
        options = (size, self.layers, self._activation[0], self.init_scale, self.sigma or 0.1)
        parts = [make_posterior(start.loc, *options, root=start.root, stretch=self.stretch) for start in starts]
        self.posterior = parts[0]
        if self.components > 1:
            self.posterior = MixturePosterior(parts)
            self.posterior.log_weights.copy_(self.posterior.log_weights.new_tensor([s.log_share for s in starts]))

    def distribution(self) -> SemiImplicit | GeneratedMixture:
        """Return the distribution over the flat, unconstrained unknowns ``(D,)``."""
        posterior = part_of(self, "posterior")
        if posterior is None:
            raise value_error(
                "guide",
                expected="a guide that has been run or loaded",
                found="a new one",
                hint="Call guide(*args) once.",
            )
        found: SemiImplicit | GeneratedMixture = posterior()
        return found

    def get_posterior(self, *args: Any, **kwargs: Any) -> ImplicitSite:
        """Return the distribution over the flat, unconstrained unknowns as a Pyro site."""
        if self.components == 1:
            return ImplicitSite(self.distribution(), self.estimator, num_samples=self.num_samples)
        return ImplicitSite(self.distribution(), MixtureKL(self.estimator), num_samples=self.num_samples or 32)

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
        plates = self._create_plates(*args, **kwargs)  # type: ignore[no-untyped-call]
        sites = self._sites(args, kwargs)
        placed = sites.place(latent)
        if self._group is not None:
            placed = sites.moved(placed, latent.shape[:-1], self._group)
        result, trace = {}, cast(Any, self.prototype_trace)
        for name, site in trace.iter_stochastic_nodes():
            with ExitStack() as stack:
                for frame in self._cond_indep_stacks[name]:
                    stack.enter_context(plates[frame.name])
                fn = UnpackedSite(  # type: ignore[no-untyped-call]
                    placed.values[name], log_density=placed.log_densities[name], event_dim=site["fn"].event_dim
                )
                result[name] = pyro.sample(name, fn)
        return result
