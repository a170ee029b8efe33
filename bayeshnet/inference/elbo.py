"""ImplicitELBO: the evidence lower bound with the analytic part of the KL and an estimator for the rest."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor

from ..checks import check_callable, check_generator
from ..deprecation import renamed_argument
from ..errors import check_choice, check_flags, check_instance, check_int, check_size, type_error, value_error
from ..estimators import KLEstimator
from ..guides import BayesianModel
from ..representation import Settings
from ..speed import shortcuts
from .bound import (
    BoundParts,
    DirectEvaluation,
    ELBOTerms,
    Evaluation,
    EvaluationSettings,
    TracedEvaluation,
    count_plates,
    is_direct,
    join,
    written_for_plates,
)
from .schedules import check_temperature

__all__ = ["ImplicitELBO"]

_log = logging.getLogger(__name__)


class ImplicitELBO(Settings, ELBO):
    r"""A Pyro loss that estimates the KL of the guide's weights as a whole, not from log-densities of draws.

    .. math:: \mathcal{L} = \frac1S \sum_{s=1}^S -\log p(D \mid w_s) + \beta\, \widehat{\mathrm{KL}}(q \| p).

    It equals ``Trace_ELBO`` in expectation, with gradients of less variance: the noise of ``P`` dimensions in
    :math:`\log q(w) - \log p(w)` is integrated out, which matters most for the gradient of sigma, and the KL has its
    own number of samples (estimators that work on weight draws use those of the likelihood, if they are enough). All
    ``S`` particles are drawn and evaluated in one batch. Use it like any Pyro loss (``SVI``,
    ``differentiable_loss``), or call :meth:`terms`.

    Args:
        estimator: of the KL; None for the guide's.
        num_particles: weight draws ``S`` for the likelihood.
        num_samples: draws or latents for the estimate of the KL; None for the estimator's default.
        beta: temperature of the KL; 1 is the true one.
        generator: of the draws; None for torch's global generator.
        local_noise: draw the output noise of linear layers in their pre-activations, anew for each input
            (:func:`~bayeshnet.inference.bound.local_outputs`): less variance. A multilayer perceptron computes all
            particles in one pass, other networks take a pass for each. It needs a
            :class:`~bayeshnet.guides.BayesianModel` and a guide over its weights, without handlers around them.
        vectorize_particles: True to run a Pyro model with all particles in one plate; False runs it once per particle,
            and so does True with an :class:`~bayeshnet.guides.AutoHypernet` of a model that is not written for plates.
        max_plate_nesting: number of dimensions for plates of a Pyro model; found by a first run if not given. Not
            needed for a :class:`~bayeshnet.guides.BayesianModel`.
        amp: ``"bf16"`` to run the main network in bfloat16 (``torch.autocast``); None for the dtype of its weights.
            Draws, likelihood and KL are computed in their own dtype. For a direct evaluation, without local noise.
        num_latents: deprecated name of ``num_samples``.

    Attributes:
        last: the :class:`ELBOTerms` of the last evaluation, detached.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
        >>> from bayeshnet.hnets import HMLP
        >>> from bayeshnet.mnets import MLP
        >>> net = MLP(1, 1, hidden_layers=(5,), no_weights=True, verbose=False)
        >>> hnet = HMLP(net.hyper_shapes_learned, uncond_in_size=3, cond_in_size=0, num_cond_embs=0, verbose=False)
        >>> guide = HypernetGuide(HypernetPosterior(hnet, scale="fan_in", weight_spec=net.weight_spec))
        >>> model = BayesianModel(net, FanInGaussian(net.weight_spec), Gaussian(0.1))
        >>> terms = ImplicitELBO(num_particles=4).terms(model, guide, torch.randn(20, 1), torch.randn(20, 1))
        >>> bool(torch.isclose(terms.loss, terms.nll + terms.kl))
        True
    """

    def __init__(
        self,
        estimator: KLEstimator | None = None,
        num_particles: int = 1,
        num_samples: int | None = None,
        beta: float = 1.0,
        *,
        generator: torch.Generator | None = None,
        local_noise: bool = False,
        vectorize_particles: bool = True,
        max_plate_nesting: float = float("inf"),
        amp: str | None = None,
        num_latents: int | None = None,
    ) -> None:
        if estimator is not None:
            check_instance("estimator", estimator, KLEstimator, "a KLEstimator or None", "For example LIVI().")
        particles = check_size("num_particles", num_particles)
        check_flags(local_noise=local_noise, vectorize_particles=vectorize_particles)
        if not (isinstance(max_plate_nesting, float) and max_plate_nesting == float("inf")):
            check_int("max_plate_nesting", max_plate_nesting, 0, "Or infinity, to find it by a first run.")
        super().__init__(particles, max_plate_nesting, vectorize_particles=bool(vectorize_particles))  # type: ignore[no-untyped-call]
        num_samples = renamed_argument("num_latents", "num_samples", num_latents, num_samples)
        self.estimator = estimator
        self.num_samples = None if num_samples is None else check_size("num_samples", num_samples)
        self.beta = check_temperature(beta)
        self.generator = check_generator(generator)
        self.local_noise = bool(local_noise)
        self.amp = None if amp is None else check_choice("amp", amp, ("bf16",))
        if self.local_noise and self.amp is not None:
            raise value_error("amp", expected="None with local noise", got=amp)
        self.last: ELBOTerms | None = None
        self._asked: tuple[Any, bool] | None = None

    def terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> ELBOTerms:
        """Evaluate the bound and its parts; other arguments are those of model and guide."""
        return self.join(self.evaluation(model, guide, args, kwargs).parts())

    def join(self, parts: BoundParts) -> ELBOTerms:
        r"""Return the loss :math:`NLL + \beta\, \mathrm{KL}` with its parts, and keep it as :attr:`last`."""
        terms = join(parts, self.beta)
        self.last = ELBOTerms(terms.loss.detach(), terms.nll, terms.kl, terms.analytic, terms.mutual_information)
        return terms

    def evaluation(
        self,
        model: Any,
        guide: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        with_weights: bool = True,
    ) -> Evaluation:
        """Prepare an evaluation of the bound, which is computed at first use.

        Args:
            model: the model.
            guide: the guide.
            args: arguments of model and guide.
            kwargs: keyword arguments of model and guide.
            with_weights: False if only the bound needs the weights; with local noise this may save their draw.
        """
        check_callable("model", model, "a BayesianModel or another Pyro program")
        check_callable("guide", guide, "a guide")
        settings = EvaluationSettings(
            *(self.estimator, self.num_particles, self.num_samples, self.generator, self.local_noise, with_weights),
            self.amp,
        )
        run = (model, guide, args, kwargs or {})
        if is_direct(model, guide) and (shortcuts().direct or self.local_noise):
            return DirectEvaluation(settings, *run)
        if self.amp is not None:
            expected = "a BayesianModel and a HypernetGuide without handlers around them, with amp"
            raise type_error("model", expected=expected, got=model)
        vectorize, nesting = partial(self._vectorized, *run), partial(self._nesting, *run)
        return TracedEvaluation(settings, *run, vectorize=vectorize, nesting=nesting)

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Evaluate the bound as a scalar to be differentiated."""
        return self.terms(model, guide, *args, **kwargs).loss

    @torch.no_grad()
    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Evaluate the bound as a number."""
        _check_targets(model, args, kwargs)
        return float(self.terms(model, guide, *args, **kwargs).loss)

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Evaluate the bound as a number and add its gradient to ``.grad`` of the parameters."""
        _check_targets(model, args, kwargs)
        loss = self.terms(model, guide, *args, **kwargs).loss
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return float(loss.detach())

    def _nesting(self, model: Any, guide: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
        """Return the number of dimensions for plates, found by a first run if particles need one and it is unknown."""
        if self.vectorize_particles and self.num_particles > 1 and self.max_plate_nesting == float("inf"):
            self.max_plate_nesting = count_plates(model, guide, args, kwargs) + 1
        found: float = self.max_plate_nesting
        return found

    def _vectorized(self, model: Any, guide: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether all particles run in one plate; a model is asked once whether it is written for that."""
        if not self.vectorize_particles or isinstance(model, BayesianModel):
            return bool(self.vectorize_particles)
        if self._asked is None or self._asked[0] is not model:
            self._asked = (model, written_for_plates(model, guide, args, kwargs))
            if not self._asked[1]:
                _log.warning("the model is not written for plates around it: its particles run one after the other")
        return self._asked[1]

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        """Refuse Pyro's own loops over traces, which would ask each draw for its density."""
        raise TypeError("ImplicitELBO: expected a call of terms, loss or differentiable_loss, got one of _get_trace.")


def _check_targets(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse no targets and those without a density, where the host waits for the loss in any case."""
    if not isinstance(model, BayesianModel):
        return
    y = args[1] if len(args) > 1 else kwargs.get("y")
    if y is None and (args or kwargs):
        raise type_error("y", expected="targets, beside the inputs", got=None)
    if isinstance(y, Tensor):
        model.likelihood.check_targets(y)
