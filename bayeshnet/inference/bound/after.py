"""Alarms after training: a posterior that is no better than the prior, or no better than a constant answer."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...distributions.base import draw_from
from ...estimators.base import as_distribution
from ...guides import AutoHypernet, BayesianModel, HypernetGuide
from ...mnets.inputs import num_examples
from ...rng import seeded

__all__ = ["fit_alarms", "heat_alarms", "told", "weight_alarms"]

_STEPS, _WINDOW, _DRAWS, _EXAMPLES = 100, 50, 16, 256
_WEIGHED, _SEARCHED, _PARTICLES = 500, 500, 200


@torch.no_grad()
def fit_alarms(
    model: BayesianModel,
    guide: HypernetGuide,
    data: Sequence[Any],
    history: Mapping[str, Tensor],
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    r"""Return a sentence for each alarm that the last steps of a run raise, by name.

    - ``elbo``: the mean of :math:`NLL + \mathrm{KL}`, at temperature 1, over the last 50 steps is above that of the
      prior, estimated from 16 draws on at most 256 examples, by more than two standard errors.
    - ``prior``: the KL is below 0.001 nats a weight: sigma and mean are the prior's.
    - ``collapse``: the mutual information of weights and latent is below 0.1 nats: the latent is ignored.
    - ``chance``: accuracy on these examples is not above that of their most frequent class by more than two standard
      errors; or the squared error is not below the variance of the targets.

    A run of fewer than 100 steps raises none. Neither the state of torch's generators nor the model is changed.

    Args:
        model: the model, with the size of the data.
        guide: the guide.
        data: inputs and targets of all examples.
        history: of the run, see :class:`~bayeshnet.inference.FitResult`.
        arguments: condition of the guide, ``cond_id`` or ``cond_input``.
    """
    if len(history["nll"]) < _STEPS:
        return {}
    last = {name: history[name][-_WINDOW:].double() for name in ("nll", "kl", "mutual_information")}
    x, y = _some(data)
    total = model.num_data or num_examples(data[0])
    condition = {name: (arguments or {}).get(name) for name in ("cond_id", "cond_input")}
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with seeded(0):
            noise = torch.Generator(device=y.device).manual_seed(0)
            found = _beside_prior(model.with_data(total), x, y, last, total, noise)
            q = guide.distribution(**condition)
            outputs = model.outputs(draw_from(q, _DRAWS, noise).w, x)
            if _is_chance(model, outputs, y):
                found["chance"] = "predictions of the training data are no better than one constant answer."
    finally:
        for module, training in modes:
            module.training = training
    kl, information = float(last["kl"].mean()), float(last["mutual_information"].mean())
    if kl < 1e-3 * model.weight_spec.numel:
        found["prior"] = f"the KL is {kl:.3g} nats: sigma and mean of the weights are those of the prior."
    if information < 0.1:
        found["collapse"] = "the weights hardly depend on the latent: the posterior has become mean-field."
    return found


def weight_alarms(
    model: Any,
    guide: AutoHypernet,
    data: Sequence[Any],
    history: Mapping[str, Tensor],
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Return the alarm ``k_hat`` if the weights of 500 draws have a tail of more than 0.7, or fewer than 5 % count.

    The alarm ``modes`` is that of modes outside the guide, and ``narrow`` that of a guide that lacks density around
    what it has; for both a run of 500 steps or more is searched, which takes a part of its time. A run of fewer than
    100 steps, or that ended at another temperature than 1, raises none. The state of torch's generators is not changed.
    Arguments are those of :func:`fit_alarms`.
    """
    if len(history["beta"]) < _STEPS or float(history["beta"][-1]) != 1.0:
        return {}
    with seeded(0):
        try:
            particles = _PARTICLES if len(history["beta"]) >= _SEARCHED else 0
            options = {"num_samples": _WEIGHED, "num_particles": particles, **(arguments or {})}
            found = guide.check(model, *data, **options)
        except ValueError as error:
            return {"k_hat": f"the guide cannot be judged by importance weights: {error}"}
    if found.reliable:
        return {}
    return {"k_hat" if not found.resamples else "modes" if found.misses_modes else "narrow": found.advice}


def heat_alarms(guide: Any, temperature: float) -> dict[str, str]:
    """Return the alarm ``heat`` if a temperature above 1 at the start leads a guide to near modes only."""
    if not isinstance(guide, AutoHypernet) or "frame" not in dict(guide.named_children()) or temperature <= 1:
        return {}
    says = (
        f"this guide of {guide.latent_dim} unknowns begins at one mode, found by Newton's method, and learns in units "
        f"of it, so that a temperature of {temperature:.4g} leads to near modes only: give it latent_size, for example "
        "30, or components where there may be others."
    )
    return {"heat": says}


def told(found: dict[str, str], log: logging.Logger) -> dict[str, str]:
    """Return alarms, each of which has been logged as a warning."""
    for name, says in found.items():
        log.warning("%s: %s", name, says)
    return found


def _some(data: Sequence[Any]) -> tuple[Any, Tensor]:
    """Return at most 256 examples, evenly spaced."""
    x, y = data
    place = torch.linspace(0, len(y) - 1, min(_EXAMPLES, len(y)), device=y.device).round().long()
    return tuple(part[place] for part in x) if isinstance(x, tuple) else x[place], y[place]


def _beside_prior(
    model: BayesianModel, x: Any, y: Tensor, last: Mapping[str, Tensor], total: int, noise: torch.Generator
) -> dict[str, str]:
    """Return the alarm of a negative evidence lower bound above that of the prior."""
    bound = last["nll"] * total + last["kl"]
    of_prior = -model.log_likelihood(draw_from(as_distribution(model.prior, "prior"), _DRAWS, noise).w, x, y).double()
    value, known = float(bound.mean()), float(of_prior.mean())
    error = math.hypot(float(bound.std()) / math.sqrt(len(bound)), float(of_prior.std()) / math.sqrt(len(of_prior)))
    if not value > known + 2 * error:  # also where a part is not known
        return {}
    return {"elbo": f"the negative ELBO, {value:.4g} nats, is above that of the untrained prior, {known:.4g} nats."}


def _is_chance(model: BayesianModel, outputs: Tensor, y: Tensor) -> bool:
    """Return whether predictions from outputs ``(S, N, C)`` are no better than a constant; False for other answers."""
    mean = model.likelihood.mean(outputs).mean(0)
    if model.likelihood.kind == "classification":
        if not model.likelihood.exclusive or mean.ndim != 2 or y.ndim != 1 or y.is_floating_point():
            return False
        most = float(torch.bincount(y.long()).max()) / len(y)
        right = float((mean.argmax(1) == y).double().mean())
        return most < 1 and right <= most + 2 * math.sqrt(most * (1 - most) / len(y))
    if mean.shape != y.shape:
        return False
    spread = y.double().var(0, correction=0).mean()
    return bool((spread > 0) & ((mean - y).double().square().mean() >= spread))
