"""ImplicitELBO: the evidence lower bound with the analytic part of the KL and an estimator for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.infer import ELBO
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn

from ..distributions import WeightDraw
from ..errors import check_int, check_number, type_error
from ..estimators import KLEstimate, KLEstimator
from ..guides import BayesianModel, HypernetGuide
from ..layers import BatchNormLayer
from ..mnets import ModuleMainNet
from .local_noise import independent_outputs, local_outputs
from .terms import ELBOTerms
from .traced import TracedTerms, trace_terms

__all__ = ["ImplicitELBO"]


class ImplicitELBO(ELBO):
    r"""A Pyro loss that takes from the guide's weight distribution a whole KL instead of log-densities of draws.

    .. math:: \mathcal{L} = \frac1S \sum_{s=1}^S -\log p(D \mid w_s) + \beta\, \widehat{\mathrm{KL}}(q \| p).

    It equals ``Trace_ELBO`` in expectation, with gradients of less variance: the noise of ``P`` dimensions in
    :math:`\log q(w) - \log p(w)` is integrated out, which matters most for the gradient of sigma, and the KL has its
    own number of latents (estimators that work on weight draws are given the likelihood's, if these are enough). All
    ``S`` particles are drawn and evaluated in one batch. Use it like any Pyro loss (``SVI``,
    ``differentiable_loss``), or ask for :meth:`terms`.

    Args:
        estimator: of the KL; None for the guide's.
        num_particles: weight draws ``S`` for the likelihood.
        num_latents: latents (or draws) for the KL; None for the estimator's default.
        beta: temperature of the KL; 1 is the true one.
        generator: of the draws; None for torch's global generator.
        local_noise: draw the output noise of linear layers in their pre-activations, anew for each input
            (:func:`~bayeshnet.inference.local_noise.local_outputs`): less variance. With independent weights and a
            multilayer perceptron it is quicker as well, else it takes one network pass per particle. For a plain
            :class:`~bayeshnet.guides.BayesianModel` and guide only.
        vectorize_particles: whether the model sees all particles in one plate; False runs it once per particle.
        max_plate_nesting: plates of the model; found out by a first run if not given. Not needed for a
            :class:`~bayeshnet.guides.BayesianModel`.

    Attributes:
        last: the :class:`ELBOTerms` of the last evaluation, detached.
        shows_weights: whether :attr:`ELBOTerms.weights` are drawn where nothing else needs them.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.guides import Gaussian
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
        num_latents: int | None = None,
        beta: float = 1.0,
        *,
        generator: torch.Generator | None = None,
        local_noise: bool = False,
        vectorize_particles: bool = True,
        max_plate_nesting: float = float("inf"),
    ) -> None:
        if estimator is not None and not isinstance(estimator, KLEstimator):
            raise type_error("estimator", expected="a KLEstimator or None", got=estimator, hint="For example LIVI().")
        check_int("num_particles", num_particles, 1)
        super().__init__(num_particles, max_plate_nesting, vectorize_particles=vectorize_particles)
        self.estimator = estimator
        self.num_latents = None if num_latents is None else check_int("num_latents", num_latents, 1)
        self.beta = check_number("beta", beta, minimum=0.0)
        self.generator = generator
        self.local_noise = bool(local_noise)
        self.shows_weights = True
        self.last: ELBOTerms | None = None

    def terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> ELBOTerms:
        """Evaluate the bound and its parts; arguments go to model and guide."""
        return self.terms_beside(None, model, guide, *args, **kwargs)

    def takes_inputs(self, model: Any, guide: Any) -> bool:
        """Whether :meth:`terms_beside` can show outputs at further inputs, from the same pass of the network."""
        return not self.local_noise and _is_plain(model, guide) and not am_i_wrapped() and _rows_alone(model.net)

    def terms_beside(self, beside: Tensor | None, model: Any, guide: Any, *args: Any, **kwargs: Any) -> ELBOTerms:
        """As :meth:`terms`, with the outputs under the same draws at further inputs ``beside`` ``(K, ...)``."""
        if _is_plain(model, guide) and not am_i_wrapped():
            terms = self._direct(model, guide, *args, beside=beside, **kwargs)
        elif self.local_noise:
            raise type_error(
                "local_noise",
                expected="a BayesianModel and a HypernetGuide without handlers around them",
                got=model,
                hint="Leave it off.",
            )
        else:
            with seeded(self.generator):
                terms = self._joined(trace_terms(self, model, guide, args, kwargs))
        self.last = ELBOTerms(terms.loss.detach(), terms.nll, terms.kl, terms.analytic, terms.mutual_information)
        return terms

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The bound as a scalar to be differentiated."""
        return self.terms(model, guide, *args, **kwargs).loss

    @torch.no_grad()
    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The bound as a number."""
        return float(self.terms(model, guide, *args, **kwargs).loss)

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The bound as a number, its gradient being added to ``.grad`` of the parameters."""
        loss = self.terms(model, guide, *args, **kwargs).loss
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return float(loss.detach())

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        """Refuse Pyro's own loops over traces, which would ask each draw for its density."""
        raise TypeError("ImplicitELBO: expected a call of terms, loss or differentiable_loss, got one of _get_trace.")

    def _direct(
        self,
        model: BayesianModel,
        guide: HypernetGuide,
        x: Tensor,
        y: Tensor,
        *,
        cond_id: Any = None,
        cond_input: Tensor | None = None,
        beside: Tensor | None = None,
    ) -> ELBOTerms:
        """The same without Pyro's machinery, for a Bayesian network and a guide over its weights."""
        q = guide.distribution(cond_id, cond_input)
        estimator = guide.estimator if self.estimator is None else self.estimator
        num, outputs, draw, estimate = self.num_particles, None, None, None
        if self.local_noise:
            outputs = independent_outputs(model.net, q, num, x, self.generator)
        if outputs is None or self.shows_weights or estimator.uses_draws:
            draw = q.draw(num, self.generator)
            estimate = estimator.estimate_at(q, model.prior, draw, self.num_latents, self.generator)
            if outputs is None:
                outputs = self._outputs(model, q, draw, x if beside is None else torch.cat([x, beside]))
        if estimate is None:
            estimate = estimator.estimate(q, model.prior, self.num_latents, self.generator)
        further = None
        if beside is not None:
            outputs, further = outputs.split([len(x), len(beside)], dim=1)
        nll = model.negative_log_likelihood(outputs, y)
        return self._joined(TracedTerms(nll, [estimate], weights=None if draw is None else draw.w), further)

    def _outputs(self, model: BayesianModel, q: Any, draw: WeightDraw, x: Tensor) -> Tensor:
        """Outputs ``(S, N, C)`` for draws."""
        if self.local_noise:
            return local_outputs(model.net, q, draw, x, self.generator)
        return model.outputs(draw.w, x)

    def _joined(self, parts: TracedTerms, further: Tensor | None = None) -> ELBOTerms:
        loss = parts.nll
        kl: Tensor | None = None if parts.other is None else parts.other.detach()
        if parts.other is not None:
            loss = torch.add(loss, parts.other, alpha=self.beta)
        for estimate in parts.estimates:
            loss = torch.add(loss, _with_value(estimate), alpha=self.beta)
            if estimate.value is not None:
                kl = estimate.value if kl is None else kl + estimate.value
        known = all(estimate.value is not None for estimate in parts.estimates)
        split = parts.estimates[0].diagnostics if len(parts.estimates) == 1 else {}
        return ELBOTerms(
            loss,
            parts.nll.detach(),
            kl if known else None,
            split.get("analytic"),
            split.get("mutual_information"),
            parts.weights,
            further,
        )


def _is_plain(model: Any, guide: Any) -> bool:
    """Whether nothing but :meth:`ImplicitELBO._direct` is happening in model and guide."""
    plain = type(model) is BayesianModel and type(guide).forward is HypernetGuide.forward
    return plain and guide.name == "weights" and not model._forward_hooks and not guide._forward_hooks


def _rows_alone(net: nn.Module) -> bool:
    """Whether a main network is known to map each input by itself."""
    unknown = (ModuleMainNet, BatchNormLayer, nn.modules.batchnorm._NormBase)
    return not any(isinstance(part, unknown) for part in net.modules())


def _with_value(estimate: KLEstimate) -> Tensor:
    """A scalar with the estimate's value (zero if there is none) and its gradient."""
    surrogate, value = estimate.surrogate, estimate.value
    if value is not None and value.device.type == "cpu" and value.item() == surrogate.item():
        return surrogate
    zero = surrogate - surrogate.detach()
    return zero if value is None else value + zero


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Let torch's global generator be seeded by ``generator`` inside, and restore it; nothing happens without one."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    devices = [generator.device] if generator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
