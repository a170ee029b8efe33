"""fit: the one training loop."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from ..checks import check_callable, check_data, check_generator
from ..deprecation import renamed_argument
from ..errors import check_flags, check_int, check_positive, check_size, type_error, value_error
from ..estimators import KLEstimator
from ..guides import AutoHypernet, BayesianModel
from ..parallel import processes
from ..parallel.shares import own_count, own_generator, shares_samples
from ..rng import seeded
from .batches import LoaderBatches, TensorBatches, make_batches
from .bound import BoundCheck, check_bound, fit_alarms, heat_alarms, is_direct, told, weight_alarms
from .callbacks import EarlyStopping, as_listeners
from .compiled import accelerated, is_recorded
from .elbo import ImplicitELBO
from .loop import Loop
from .losses import AddedLoss, Penalty, StepContext, Term, as_losses
from .objective import Objective
from .optimizers import OptimizerFactory, Stepper, trainable
from .run import Callback, FitResult, Run
from .schedules import Schedule

__all__ = ["fit"]

_log = logging.getLogger(__name__)


def fit(
    model: Any,
    guide: nn.Module,
    data: Any = None,
    *,
    num_steps: int | None = None,
    num_epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: torch.optim.Optimizer | OptimizerFactory | None = None,
    lr: float = 1e-3,
    scheduler: str | Schedule | Callable[[torch.optim.Optimizer], Any] | None = None,
    beta: float | Schedule = 1.0,
    num_particles: int = 1,
    num_samples: int | None = None,
    estimator: KLEstimator | None = None,
    local_noise: bool = False,
    elbo: ELBO | None = None,
    losses: Sequence[AddedLoss | Callable[[StepContext], Tensor]] = (),
    penalties: Sequence[AddedLoss | Penalty] = (),
    extra_terms: Sequence[AddedLoss | Term] = (),
    transform: Callable[..., tuple[Any, ...]] | None = None,
    arguments: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Callable[[Run], None] | None = None,
    early_stopping: EarlyStopping | None = None,
    grad_clip: float | None = None,
    generator: torch.Generator | None = None,
    state: Mapping[str, Any] | None = None,
    alarms: bool = True,
    num_workers: int = 0,
    compile: bool | str = False,
    capture: bool = False,
    amp: str | None = None,
    num_latents: int | None = None,
) -> FitResult:
    r"""Fit a guide, and learned parts of the model, by stochastic gradient descent on the evidence lower bound.

    .. math:: \mathcal{L} = \frac1N \left(NLL + \beta\, \mathrm{KL}\right) + \sum_j \mathrm{loss}_j,

    in nats per example; ``N`` is the size of the data set (the model's ``num_data``, else the number of examples
    given). Everything that is trained here is trained by this function, with other objects in its arguments.

    Args:
        model: a :class:`~bayeshnet.guides.BayesianModel` or any Pyro model; one without ``num_data`` is given the size
            of ``data``.
        guide: a guide with parameters.
        data: ``(x, y)``, where ``x`` may be a tuple of several inputs; a :class:`~bayeshnet.tasks.Split`; any tensors
            of one length that model and guide take; a ``Dataset`` or ``DataLoader``; None for a model without
            arguments. With a stream of unknown length the model has ``num_data``, and ``num_steps`` is given.
        num_steps: number of optimizer steps in all; this or ``num_epochs``.
        num_epochs: number of passes through the data.
        batch_size: examples per step, all of them if there are fewer; None for all.
        optimizer: an optimizer, an optimizer class (called with the parameters and ``lr``) or a function of the
            parameters; None for Adam. It gets the parameters of guide and model. LBFGS, which evaluates the loss
            several times a step, is refused.
        lr: learning rate.
        scheduler: ``"cosine"`` (to 1 %), a function of the step that gives a factor of the learning rate, or a class of
            ``torch.optim.lr_scheduler`` (or a function of the optimizer that makes one). ``ReduceLROnPlateau`` watches
            the loss of the step, for which the host waits.
        beta: temperature of the KL, a number or a function of the step such as
            :class:`~bayeshnet.inference.LinearWarmup`.
        num_particles: weight draws per step for the likelihood.
        num_samples: draws or latents per step for the estimate of the KL; None for the estimator's default.
        estimator: of the KL; None for the guide's.
        local_noise: as in :class:`~bayeshnet.inference.ImplicitELBO`.
        elbo: another Pyro loss with ``differentiable_loss``, which has particles, samples, estimator and noise of its
            own.
        losses: losses to add to the bound: objects (:class:`~bayeshnet.inference.AddedLoss`) or functions of a
            :class:`~bayeshnet.inference.StepContext`, which holds the step's weight draws and batch.
        penalties: losses as functions without arguments, or of the number of the step.
        extra_terms: losses as functions called as ``term(weights, x, y, step)`` with the step's weight draws
            ``(S, P)`` and batch; see :data:`~bayeshnet.inference.Term`.
        transform: called with the parts of each batch and ``generator=...``, returns the batch to use: augmentation, or
            the way in for batches of another form, such as dicts:
            ``transform=lambda batch, generator: (batch["pixels"], batch["labels"])``.
        arguments: more keyword arguments of model and guide, such as ``{"cond_id": 2}``.
        callbacks: objects called at the start, after each step and at the end.
        progress: called with the :class:`~bayeshnet.inference.Run` ten times a second at most.
        early_stopping: ends the run when the loss no longer falls.
        grad_clip: largest norm of the whole gradient, of all losses and all parameters together.
        generator: of all randomness: order of the data, draws, latents; None for torch's global generator. Processes
            that train together (:mod:`bayeshnet.parallel`) need one, seeded alike.
        state: :attr:`FitResult.state` of an earlier run to resume, with the same arguments.
        alarms: look, after at least 100 steps on data in memory, whether the posterior is better than the prior, and
            log a warning for each alarm of the result; for an :class:`~bayeshnet.guides.AutoHypernet` trained on all
            data at temperature 1, whether k-hat is below 0.7, and after 500 steps whether modes are missed. For
            one of more than 30 unknowns, at the start, that heat leads to near modes only. For hypernetworks with
            noise, wherever the data are, whether the KL is too low because the map folds (:attr:`FitResult.check`), by
            a search that takes about as long as a few steps.
        num_workers: processes that read a ``Dataset``, or a :class:`~bayeshnet.tasks.Split` of one; 0 reads in this
            process.
        compile: True to evaluate the bound and its gradient by ``torch.compile`` as one graph without breaks, or the
            name of a backend. For a :class:`~bayeshnet.guides.BayesianModel` without losses that look at weight draws.
        capture: True to launch the same as a CUDA graph, for networks whose step is bound by the launch of kernels;
            with ``compile`` the compiled one.
        amp: ``"bf16"`` for the main network in bfloat16; KL, Gram matrices and all that is recorded keep their dtype.
        num_latents: deprecated name of ``num_samples``.

    Returns:
        A :class:`~bayeshnet.inference.FitResult`. Guide and model are changed in place.

    Raises:
        ValueError: if the loss is not finite, or arguments do not fit together.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian
        >>> from bayeshnet.guides import Gaussian, MeanFieldGuide
        >>> x = torch.linspace(-1, 1, 50).unsqueeze(-1)
        >>> net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> guide = MeanFieldGuide(net)
        >>> model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(0.1))
        >>> result = fit(model, guide, (x, x.sin()), num_steps=100, lr=1e-2, num_particles=4)
        >>> result.steps, result.stopped, bool(result.history["loss"][-1] < result.history["loss"][0])
        (100, 'finished', True)
    """
    check_callable("model", model, "a BayesianModel or another Pyro program")
    check_flags(alarms=alarms)
    batches = make_batches(data, batch_size, check_generator(generator), num_workers)
    if isinstance(model, BayesianModel) and batches is not None:
        _check_targets(model, batches)
    model, size = _sized(model, batches)
    num_samples = renamed_argument("num_latents", "num_samples", num_latents, num_samples)
    if elbo is None:
        counts = _own_counts(guide, estimator, num_particles, num_samples)
        draws = None if is_recorded(compile, capture) else _own_draws(generator, local_noise)
        elbo = ImplicitELBO(estimator, *counts, generator=draws, local_noise=local_noise, amp=amp)
    else:
        elbo, beta = _given(elbo, beta, num_particles, num_samples, estimator, local_noise or amp is not None)
    added = as_losses(losses, penalties, extra_terms)
    objective = Objective(elbo, model, guide, size, beta, arguments, losses=added)
    objective.program = accelerated(objective, compile, capture)
    listeners = as_listeners(callbacks, early_stopping, progress)
    per_epoch = None if batches is None else batches.per_epoch
    planned = _planned(num_steps, num_epochs, per_epoch)
    loop = Loop(batches, objective, transform, generator)
    with ExitStack() as stack:
        stack.enter_context(seeded(generator))
        parameters = trainable(guide, model, loop.first)
        hot = told(heat_alarms(guide, objective.temperature(0)), _log) if alarms else {}
        clip = None if grad_clip is None else check_positive("grad_clip", grad_clip)
        loop.stepper = Stepper(parameters, optimizer, lr, scheduler, planned, clip)
        objective.optimizer = loop.stepper.optimizer
        loop.load(state)
        run = Run(model, guide, planned, per_epoch, 0 if state is None else int(state["step"]))
        loop.go(run, listeners)
    history, state = run.history(), loop.state_dict(run.step)
    if isinstance(guide, AutoHypernet) and guide.components > 1 and (whole := _whole_data(loop)) is not None:
        with seeded(generator):
            guide.reweigh(objective.model, *whole, **(arguments or {}))
    found = _alarms(loop, history) if alarms and transform is None else {}
    check = _checked(objective, history) if alarms else None
    if check is not None and not check.holds:
        found["fold"] = check.alarm()
    return FitResult(history, run.step, run.seconds, run.stopped or "finished", state, hot | told(found, _log), check)


def _checked(objective: Objective, history: Mapping[str, Tensor]) -> BoundCheck | None:
    """Return what a search for latents says of the KL at the end of a run."""
    estimator = objective.elbo.estimator if isinstance(objective.elbo, ImplicitELBO) else None
    return check_bound(objective.guide, estimator, history, objective.arguments)


def _alarms(loop: Loop, history: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the alarms of a finished run; none if data are not in memory."""
    data, objective = loop.batches, loop.objective
    if isinstance(objective.guide, AutoHypernet):
        whole = _whole_data(loop)
        if whole is None:
            return {}
        return weight_alarms(objective.model, objective.guide, whole, history, objective.arguments)
    if not isinstance(data, TensorBatches) or len(data.tensors) != 2 or not isinstance(objective.elbo, ImplicitELBO):
        return {}
    if not is_direct(objective.model, objective.guide):
        return {}
    return fit_alarms(objective.model, objective.guide, data.tensors, history, objective.arguments)


def _whole_data(loop: Loop) -> tuple[Any, ...] | None:
    """Return the arguments of the model if each step saw all data, else None."""
    data = loop.batches
    if data is None:
        return ()
    whole = isinstance(data, TensorBatches) and data.batch_size == data.num_data
    return tuple(data.tensors) if isinstance(data, TensorBatches) and whole else None


def _check_targets(model: BayesianModel, batches: TensorBatches | LoaderBatches) -> None:
    """Check the targets of data in memory once, before the first step."""
    if not isinstance(batches, TensorBatches):
        return
    for part in batches.tensors:
        for tensor in part if isinstance(part, tuple) else (part,):
            check_data("data", tensor, "dense tensors of real numbers")
    if len(batches.tensors) == 2:
        model.likelihood.check_targets(batches.tensors[1])


def _given(elbo: Any, beta: Any, particles: int, samples: int | None, estimator: Any, local: bool) -> tuple[Any, Any]:
    """Return a copy of the caller's bound, and the temperature: its own unless another one is given."""
    if shares_samples():
        expected = "None where processes share out samples, whose numbers it would not know"
        raise value_error("elbo", expected=expected, got=elbo, hint="Share out the data.")
    if not isinstance(elbo, ELBO) or not hasattr(elbo, "differentiable_loss"):
        raise type_error(
            "elbo",
            expected="a Pyro loss with differentiable_loss",
            got=elbo,
            hint="ImplicitELBO or Trace_ELBO, for example.",
        )
    own = elbo.beta if isinstance(elbo, ImplicitELBO) else None
    if (particles, samples, estimator, local) != (1, None, None, False) or (beta != 1.0 and own is None):
        others = "num_particles, num_samples, estimator, local_noise or amp"
        expected = f"no {others} (nor beta, unless it is an ImplicitELBO) beside it"
        raise value_error("elbo", expected=expected, found="some of them", hint="Give them to the loss itself.")
    return copy.copy(elbo), own if own is not None and beta == 1.0 else beta


def _own_draws(generator: torch.Generator | None, local_noise: bool) -> torch.Generator | None:
    """Return the generator of draws: one of this process, where several draw weights or noise of their own."""
    if processes().size > 1 and (generator is None or shares_samples() or local_noise):
        return own_generator(generator)
    return generator


def _own_counts(guide: Any, estimator: Any, particles: int, samples: int | None) -> tuple[int, int | None]:
    """Return the numbers of particles and samples of this process, where several share them out."""
    if not shares_samples():
        return particles, samples
    used = getattr(guide, "estimator", None) if estimator is None else estimator
    if samples is None and isinstance(used, KLEstimator) and used.min_samples is not None:
        samples = used.num_samples
    return own_count("num_particles", check_size("num_particles", particles)), (
        None if samples is None else own_count("num_samples", check_size("num_samples", samples))
    )


def _sized(model: Any, batches: TensorBatches | LoaderBatches | None) -> tuple[Any, int]:
    """Return the model, told the size of the data if it has none of its own, and that size."""
    num_data = None if batches is None else batches.num_data
    if isinstance(model, BayesianModel) and model.num_data is None and num_data is not None:
        model = model.with_data(num_data)
    size = getattr(model, "num_data", None) or num_data
    if batches is not None and size is None:
        advice = "Give the size to the model, num_data=N."
        raise value_error("data", expected="data of a known size", found="a loader without a length", hint=advice)
    return model, 1 if size is None else size


def _planned(num_steps: int | None, num_epochs: int | None, per_epoch: int | None) -> int:
    """Return the number of steps."""
    if (num_steps is None) == (num_epochs is None):
        got = "neither" if num_steps is None else "both"
        raise value_error("num_steps, num_epochs", expected="one of the two", found=got)
    if num_steps is not None:
        return check_int("num_steps", num_steps, 1)
    if per_epoch is None:
        raise value_error(
            "num_epochs", expected="None without data of a known length", got=num_epochs, hint="Give num_steps."
        )
    return check_int("num_epochs", num_epochs, 1) * per_epoch
