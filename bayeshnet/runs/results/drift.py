"""The drift of posteriors: how far each task's posterior has moved since the task was learned."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...continual import Learner, LearnerState
from ...distributions import Dirac, SemiImplicit
from ...distributions.base import draw_from, has_log_prob
from ...estimators import Diagnosis, diagnose
from ...inference import Prediction
from ...metrics import classifier_test, median_distance, mmd, predictive_total_variation
from ...mnets.inputs import floating_like
from ...reports import DriftRecord
from ...rng import derive_seed
from ...tasks import TaskStream
from ..folder import RunFolder
from .assessment import predict_splits

__all__ = ["compare_posteriors", "has_moved", "posterior_drift"]

_MIN_STD = 0.1
_DRAWS, _AUDITED, _MOST_NUMBERS = 256, 64, 2**24
_P_VALUE, _NATS, _PROBABILITY, _DEVIATIONS = 1e-3, 0.5, 0.05, 0.5


def posterior_drift(
    learner: Learner, state: LearnerState, stream: TaskStream, folder: RunFolder, seed: int, num_samples: int = _DRAWS
) -> list[DriftRecord]:
    """Compare each task's posterior, and its predictions, just after learning the task and at the end.

    Weights that the network did not have yet are left out. Predictions then and now are made with the same noise.

    Args:
        learner: builds the states into which the checkpoints of the run are loaded.
        state: after the last task.
        stream: the tasks.
        folder: with a checkpoint after each task.
        seed: of the draws.
        num_samples: number of draws from each posterior.

    Returns:
        One record for each task but the last.
    """
    found = []
    for t, earlier in _earlier_states(learner, state, stream, folder):
        prior, then, now = earlier.posterior.prior(stream[0].train.x), earlier.posterior(t), state.posterior(t)
        places = None
        if then.event_shape != now.event_shape:
            places = earlier.net.weight_spec.places_in(state.net.weight_spec).to(prior.loc.device)
        record = compare_posteriors(then, now, prior, derive_seed(seed, t), num_samples=num_samples, places=places)
        test, noise = [stream[t].test], derive_seed(seed, t, 2)
        old, new = (predict_splits(learner, s, test, [t], noise).predictions[0] for s in (earlier, state))
        found.append(DriftRecord(**{**record.__dict__, "predictions": _change(old, new)}))
    return found


def _earlier_states(
    learner: Learner, state: LearnerState, stream: TaskStream, folder: RunFolder
) -> Iterator[tuple[int, LearnerState]]:
    """Load the state after each task but the last, with the task's number."""
    for t in range(state.num_tasks - 1):
        earlier = learner.restore(stream[0], t + 1)
        folder.load_task(t + 1, earlier)
        yield t, earlier.to(floating_like(stream[0].train.x))


@torch.no_grad()
def compare_posteriors(
    then: Distribution,
    now: Distribution,
    prior: Distribution,
    seed: int = 0,
    *,
    num_samples: int = _DRAWS,
    places: Tensor | None = None,
) -> DriftRecord:
    """Compare two posteriors of the same weights: KL(then, now) with its interval, classifier test and MMD of draws.

    The KL is that of :func:`~bayeshnet.estimators.diagnose` from few draws: its interval is wide where the KL is large.
    What it is at least is known nevertheless where both posteriors end in a linear head.
    The test is :func:`~bayeshnet.metrics.classifier_test`. For the MMD weights are whitened by the prior, and the
    estimate is unbiased: around 0, and possibly a little below, for a posterior that has not moved; at most 2. Its
    kernel is Gaussian. The width is the median distance of the earlier draws, but at least that of draws with a
    standard deviation of 0.1 per weight, so that the drift of point estimates is measured too.

    Args:
        then: the earlier posterior.
        now: the later one.
        prior: of the earlier weights, a Gaussian.
        seed: of all draws.
        num_samples: number of draws from each, for the test and the MMD; fewer where there are millions of weights.
        places: places of the earlier weights among the later ones, if these are more; then there is no KL.

    Example:
        >>> from bayeshnet.distributions import MeanFieldGaussian
        >>> then, now = (MeanFieldGaussian(torch.full((4,), m), torch.ones(4)) for m in (0.0, 1.0))
        >>> record = compare_posteriors(then, now, now)
        >>> record.kl, has_moved(record), has_moved(compare_posteriors(then, then, now))
        (2.0, True, False)
    """
    loc, scale = prior.mean, prior.stddev
    device, num = loc.device, max(32, min(num_samples, _MOST_NUMBERS // loc.numel()))
    noise = [torch.Generator(device=device).manual_seed(derive_seed(seed, i)) for i in range(4)]
    old, new = draw_from(then, num, noise[0]).w, draw_from(now, num, noise[1]).w
    old, new = (old - loc) / scale, ((new if places is None else new[:, places]) - loc) / scale
    width = median_distance(*old.chunk(2)).clamp_min(_MIN_STD * math.sqrt(2 * old.shape[1]))
    found = {"mmd": float(mmd(old, new, width))}
    verdict = None
    if not isinstance(then, Dirac) and not isinstance(now, Dirac):
        test = classifier_test(old, new, noise[2])
        found |= {"accuracy": test.accuracy, "p_value": test.p_value}
        if places is None and (isinstance(now, SemiImplicit) or has_log_prob(now)):
            audit = diagnose(then, now, _AUDITED, noise[3], quick=True)
            if audit.value is not None and audit.lower is not None and audit.upper is not None:
                found |= {"kl": audit.value, "lower": audit.lower, "upper": audit.upper}
                least = _at_least(then, now, audit)
                found |= {} if least is None else {"at_least": least}
                verdict = audit.verdict
    return DriftRecord(**found, verdict=verdict)


def _at_least(then: Distribution, now: Distribution, audit: Diagnosis) -> float | None:
    """Return what the KL is at least, whatever is missed in searches; None if that is not known."""
    if isinstance(then, SemiImplicit):
        return audit.measurements.get("at_least")
    exact = (
        not isinstance(now, SemiImplicit) or now.geometry.is_affine
    )  # else log p(w) is too low where modes are missed
    return audit.lower if exact else None


def has_moved(record: DriftRecord, kind: str = "classification") -> bool:
    """Return whether a posterior has moved.

    It has if one of these holds: the classifier's p-value is below 0.001, which an unmoved posterior reaches once in a
    thousand times; the 95 % interval of a trusted KL is above 0.5 nats, or the KL is at least that; the predicted
    probabilities have changed by a total variation of more than 0.05, or predicted values by more than 0.5 standard
    deviations.

    Args:
        record: from :func:`compare_posteriors` or :func:`posterior_drift`.
        kind: ``"classification"`` or ``"regression"``.
    """
    change = _PROBABILITY if kind == "classification" else _DEVIATIONS
    return (
        (record.p_value is not None and record.p_value < _P_VALUE)
        or (record.lower is not None and record.verdict == "trusted" and record.lower > _NATS)
        or (record.at_least is not None and record.at_least > _NATS)
        or (record.predictions is not None and record.predictions > change)
    )


def _change(old: Prediction, new: Prediction) -> float:
    """Return the change of predictions, see :class:`~bayeshnet.reports.DriftRecord`."""
    if old.kind == "classification":
        return float(predictive_total_variation(old.mean, new.mean))
    spread = old.std.square().clamp_min(torch.finfo(old.mean.dtype).tiny)
    return float(((new.mean - old.mean).square().sum(-1) / spread).mean().sqrt())
