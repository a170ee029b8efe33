"""fit: the one training loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from ..errors import check_int, check_positive, type_error, value_error
from ..estimators import KLEstimator
from ..guides import BayesianModel
from .batches import LoaderBatches, TensorBatches, make_batches
from .callbacks import EarlyStopping, Progress
from .elbo import ImplicitELBO, seeded
from .objective import Objective, Penalty, Term
from .optimizers import OptimizerFactory, Stepper, trainable
from .run import Callback, FitResult, Run
from .schedules import Schedule

__all__ = ["fit"]


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
    num_latents: int | None = None,
    estimator: KLEstimator | None = None,
    local_noise: bool = False,
    elbo: ELBO | None = None,
    penalties: Sequence[Penalty] = (),
    extra_terms: Sequence[Term] = (),
    transform: Callable[..., tuple[Tensor, ...]] | None = None,
    arguments: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Callable[[Run], None] | None = None,
    early_stopping: EarlyStopping | None = None,
    grad_clip: float | None = None,
    generator: torch.Generator | None = None,
    state: Mapping[str, Any] | None = None,
) -> FitResult:
    r"""Fit a guide, and what the model has to learn, by stochastic gradient descent on the evidence lower bound.

    .. math:: \mathcal{L} = \frac1N \left(NLL + \beta\, \mathrm{KL}\right) + \sum_j \mathrm{penalty}_j + \sum_k
        \mathrm{extra}_k ,

    in nats per example; ``N`` is the size of the data set (the model's ``num_data``, else the number of examples
    given). Everything that is trained here is trained by this function, with other objects in its arguments.

    Args:
        model: a :class:`~bayeshnet.guides.BayesianModel` or any Pyro model; one without ``num_data`` is given the size
            of ``data``.
        guide: a guide with parameters.
        data: ``(x, y)``, a :class:`~bayeshnet.tasks.Split`, any tensors of one length that model and guide take, a
            ``Dataset`` or ``DataLoader``; None for a model without arguments.
        num_steps: optimizer steps in all; this or ``num_epochs``.
        num_epochs: passes through the data.
        batch_size: examples per step; None for all.
        optimizer: an optimizer, an optimizer class (called with the parameters and ``lr``) or a function of the
            parameters; None for Adam. It gets the parameters of guide and model.
        lr: learning rate.
        scheduler: ``"cosine"`` (to 1 %), a function of the step that gives a factor of the learning rate, or a class of
            ``torch.optim.lr_scheduler`` (or a function of the optimizer that makes one).
        beta: temperature of the KL, a number or a function of the step such as
            :class:`~bayeshnet.inference.LinearWarmup`.
        num_particles: weight draws per step for the likelihood.
        num_latents: latents per step for the KL; None for the estimator's default.
        estimator: of the KL; None for the guide's.
        local_noise: as in :class:`~bayeshnet.inference.ImplicitELBO`.
        elbo: another Pyro loss with ``differentiable_loss``; with its own particles, latents, estimator and noise.
        penalties: functions, without argument or of the step, whose values are added.
        extra_terms: functions called as ``term(weights, x, y, step)`` with the step's weight draws ``(S, P)`` and
            batch, whose values are added; see :class:`~bayeshnet.inference.Term`.
        transform: called with each batch and ``generator=...``, returns the batch to use (augmentation).
        arguments: more keyword arguments of model and guide, such as ``{"cond_id": 2}``.
        callbacks: told about each step.
        progress: called with the :class:`~bayeshnet.inference.Run` ten times a second at most.
        early_stopping: ends the run when the loss falls no more.
        grad_clip: largest norm of the whole gradient, of all terms and all parameters together.
        generator: of all randomness: order of the data, draws, latents; None for torch's global generator.
        state: :attr:`FitResult.state` of a run to go on with, the same arguments being given.

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
    batches = make_batches(data, batch_size, generator)
    if isinstance(model, BayesianModel) and model.num_data is None and batches is not None:
        model = model.with_data(batches.num_data)
    if elbo is None:
        elbo = ImplicitELBO(estimator, num_particles, num_latents, generator=generator, local_noise=local_noise)
    else:
        elbo, beta = _given(elbo, beta, num_particles, num_latents, estimator, local_noise)
    size = getattr(model, "num_data", None) or (batches.num_data if batches is not None else 1)
    objective = Objective(elbo, model, guide, size, beta, arguments, penalties=penalties, extra_terms=extra_terms)
    per_epoch = None if batches is None else batches.per_epoch
    planned = _planned(num_steps, num_epochs, per_epoch)
    loop = _Loop(batches, objective, transform, generator)
    with ExitStack() as stack:
        stack.enter_context(seeded(generator))
        parameters = trainable(guide, model, loop.first)
        clip = None if grad_clip is None else check_positive("grad_clip", grad_clip)
        loop.stepper = Stepper(parameters, optimizer, lr, scheduler, planned, clip)
        loop.load(state)
        run = Run(model, guide, planned, per_epoch, 0 if state is None else state["step"])
        listeners = [
            *callbacks,
            *([early_stopping] if early_stopping else []),
            *([Progress(progress)] if progress else []),
        ]
        loop.go(run, listeners)
    return FitResult(run.history(), run.step, run.seconds, run.stopped or "finished", loop.state_dict(run.step))


class _Loop:
    """The loop itself, and what it needs to be resumed."""

    stepper: Stepper

    def __init__(
        self,
        batches: TensorBatches | LoaderBatches | None,
        objective: Objective,
        transform: Callable[..., tuple[Tensor, ...]] | None,
        generator: torch.Generator | None,
    ) -> None:
        self.batches, self.objective, self.transform, self.generator = batches, objective, transform, generator
        guide = objective.guide
        example = next(guide.parameters(), None) if isinstance(guide, nn.Module) else None
        self.device = example.device if example is not None else None

    def batch(self) -> tuple[Tensor, ...]:
        """The next batch, on the guide's device."""
        if self.batches is None:
            return ()
        batch = self.batches.next()
        if self.device is not None and batch[0].device != self.device:
            batch = tuple(t.to(self.device, non_blocking=True) for t in batch)
        return batch if self.transform is None else tuple(self.transform(*batch, generator=self.generator))

    def first(self) -> None:
        """Run the guide once, for guides that make their parameters at their first call."""
        batch = () if self.batches is None else self.batches.next()
        with torch.no_grad():
            self.objective.guide(*batch, **self.objective.arguments)

    def go(self, run: Run, listeners: Sequence[Callback]) -> None:
        """Make steps until the plan is done or someone stops the run."""
        for listener in listeners:
            listener.on_start(run)
        try:
            while run.step < run.num_steps and run.stopped is None:
                step = run.step
                rate = self.stepper.prepare(step)
                loss, parts = self.objective(step, self.batch(), rate)
                if loss.device.type == "cpu" and not math.isfinite(loss.item()):
                    raise ValueError(
                        f"fit: expected a finite loss, got {loss.item()} at step {step}. Lower the learning rate, clip "
                        "the gradient (grad_clip=...), or look for NaN in the data."
                    )
                self.stepper.step(loss)
                run.record(parts)
                for listener in listeners:
                    listener.on_step(run)
        finally:
            for listener in listeners:
                listener.on_end(run)

    def state_dict(self, step: int) -> dict[str, Any]:
        """All that is needed to go on, besides the parameters of model and guide."""
        batches = {} if self.batches is None else self.batches.state_dict()
        generator = None if self.generator is None else self.generator.get_state()
        return {"step": step, "stepper": self.stepper.state_dict(), "batches": batches, "generator": generator}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Go on from the state of another run."""
        if state is None:
            return
        self.stepper.load_state_dict(state["stepper"])
        if self.batches is not None:
            self.batches.load_state_dict(state["batches"])
        if self.generator is not None and state["generator"] is not None:
            self.generator.set_state(state["generator"])


def _given(elbo: Any, beta: Any, particles: int, latents: int | None, estimator: Any, local: bool) -> tuple[Any, Any]:
    """A loss from the caller, as a copy, and the temperature: its own unless another one is asked for."""
    if not isinstance(elbo, ELBO) or not hasattr(elbo, "differentiable_loss"):
        raise type_error(
            "elbo",
            expected="a Pyro loss with differentiable_loss",
            got=elbo,
            hint="ImplicitELBO or Trace_ELBO, for example.",
        )
    own = elbo.beta if isinstance(elbo, ImplicitELBO) else None
    if (particles, latents, estimator, local) != (1, None, None, False) or (beta != 1.0 and own is None):
        others = "num_particles, num_latents, estimator or local_noise"
        expected = f"no {others} (nor beta, unless it is an ImplicitELBO) beside it"
        raise value_error("elbo", expected=expected, found="some of them", hint="Give them to the loss itself.")
    return copy.copy(elbo), own if own is not None and beta == 1.0 else beta


def _planned(num_steps: int | None, num_epochs: int | None, per_epoch: int | None) -> int:
    if (num_steps is None) == (num_epochs is None):
        got = "neither" if num_steps is None else "both"
        raise value_error("num_steps, num_epochs", expected="one of the two", found=got)
    if num_steps is not None:
        return check_int("num_steps", num_steps, 0)
    if per_epoch is None:
        raise value_error(
            "num_epochs", expected="None for a model without data", got=num_epochs, hint="Give num_steps."
        )
    return check_int("num_epochs", num_epochs, 0) * per_epoch
