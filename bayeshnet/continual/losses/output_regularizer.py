"""The output regularizer, which keeps the outputs of a hypernetwork for old tasks close to their previous values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial, singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...deprecation import moved_names
from ...distributions import ConditionalPosterior, Dirac, MeanFieldGaussian, Radial, SemiImplicit
from ...distributions.semi_implicit import GeneratedWeights
from ...errors import check_choice, check_int, check_number, type_error
from ...representation import Settings
from ..task_posterior import GeneratedTasks, TaskPosterior
from .discrepancies import DISCREPANCIES, discrepancy_for

__all__ = ["OutputRegularizer", "latent_of", "outputs_of"]

Targets = tuple[Tensor | None, Tensor]
"""Latents ``(T, M, n)``, or None without latents, and the previous outputs there, ``(T, [M,] K)``."""


class OutputRegularizer(Settings):
    r"""Keeps the outputs of a hypernetwork for old tasks close to their values before the current task.

    .. math:: R = \lambda \frac{1}{|S|} \sum_{s \in S} \mathbb{E}_z \| u(z, s) - u_{\text{old}}(z, s) \|^2

    over old tasks :math:`S`, at the same latents :math:`z` before and now. The norm is that of whitened weights, in
    units of the prior's standard deviations. The term is added to the mean loss per example. Where weights are
    independent Gaussians, given the latent if there is one, divergences can replace the squared distance: then moving
    a weight that its task has left undetermined costs little. With a latent they are means over it,

    .. math:: \mathbb{E}_z \mathrm{KL}(N(u_{\text{old}}(z, s), \sigma_{\text{old}}^2) \| N(u(z, s), \sigma^2)),

    which bound those between the posteriors from above.

    Args:
        strength: the factor :math:`\lambda`; 0 forgets, large values leave little freedom for new tasks.
        num_latents: number of latents per old task and step.
        max_tasks: largest number of old tasks per step, chosen at random at each step, so that the cost of a step does
            not grow with the number of tasks; None uses all.
        distance: ``"squared"``; for weights with a sigma, fixed or one each, also ``"wasserstein"`` (the squared
            2-Wasserstein distance), ``"forward_kl"``, :math:`KL(q_{old} \| q)`, or ``"reverse_kl"``, in nats.
        fixed_targets: number of latents per old task at which previous outputs are computed once, before the task
            begins; None keeps a copy of the hypernetwork and computes them at each step.

    References:
        von Oswald, Henning, Grewe, Sacramento, "Continual learning with hypernetworks", 2020.
        Henning, Cervera, et al., "Posterior meta-replay for continual learning", 2021.
    """

    def __init__(
        self,
        strength: float = 4e-3,
        num_latents: int = 2,
        max_tasks: int | None = None,
        distance: str = "squared",
        fixed_targets: int | None = None,
    ) -> None:
        self.strength = check_number("strength", strength, minimum=0.0)
        self.num_latents = check_int("num_latents", num_latents, 1)
        self.max_tasks = None if max_tasks is None else check_int("max_tasks", max_tasks, 1)
        self.distance = check_choice("distance", distance, DISCREPANCIES)
        self.fixed_targets = None if fixed_targets is None else check_int("fixed_targets", fixed_targets, 1)

    def penalty(
        self,
        posterior: TaskPosterior,
        previous: TaskPosterior,
        num_old: int,
        generator: torch.Generator | None = None,
        *,
        task: int | None = None,
    ) -> Callable[[], Tensor]:
        """Return the term for tasks ``0..num_old-1``, a function that draws tasks and latents at each call.

        Args:
            posterior: the posteriors of all tasks, in training.
            previous: the same before training.
            num_old: number of old tasks.
            generator: random generator of tasks and latents.
            task: the task in training; the one after the old tasks if None.
        """
        unit = posterior.prior(next(posterior.parameters())).scale
        law = previous(0)
        distance = discrepancy_for(self.distance, law)
        now, old = _in_one_pass(posterior, unit), _in_one_pass(previous, unit)
        if now is not None and old is not None:
            u, u_old = now.outputs, old.outputs
        else:
            u, u_old = partial(_task_by_task, posterior, unit), partial(_task_by_task, previous, unit)

        def targets(tasks: Sequence[int], num: int) -> Targets:
            draws = [latent_of(law, num, generator) for _ in tasks]
            z = None if draws[0] is None else torch.stack(draws)  # type: ignore[arg-type]
            with torch.no_grad():
                return z, u_old(tasks, z)

        fixed = None if self.fixed_targets is None else targets(range(num_old), self.fixed_targets)

        def value(tasks: Sequence[int]) -> Tensor:
            z, target = targets(tasks, self.num_latents) if fixed is None else self._some(fixed, tasks, generator)
            return self.strength * distance(u(tasks, z), target)

        return _Penalty(value, lambda: self._choose(num_old, generator), now, num_old if task is None else task)

    def _some(self, fixed: Targets, tasks: Sequence[int], generator: torch.Generator | None) -> Targets:
        """Choose ``num_latents`` of the fixed latents of ``tasks``, with their targets."""
        z, target = fixed
        if z is None:
            return None, _rows(target, tasks)
        device = generator.device if generator is not None else z.device
        rows = torch.randint(z.shape[1], (self.num_latents,), generator=generator, device=device).to(z.device)
        return _rows(z, tasks)[:, rows], _rows(target, tasks)[:, rows]

    def _choose(self, num_old: int, generator: torch.Generator | None) -> list[int]:
        """Choose the old tasks of a step."""
        if self.max_tasks is None or num_old <= self.max_tasks:
            return list(range(num_old))
        device = generator.device if generator is not None else None
        return torch.randperm(num_old, generator=generator, device=device)[: self.max_tasks].tolist()


class _Penalty:
    """The term of one task's training, as a function of a step.

    Args:
        value: the term for given old tasks.
        choose: chooses the old tasks of a step.
        posterior: the posterior that generates all tasks, or None; it generates ``task`` and the old tasks in one pass.
        task: the task in training.
    """

    def __init__(
        self,
        value: Callable[[Sequence[int]], Tensor],
        choose: Callable[[], list[int]],
        posterior: ConditionalPosterior[Any] | None,
        task: int,
    ) -> None:
        self.value, self.choose, self.posterior, self.task = value, choose, posterior, task
        self._chosen: list[int] | None = None

    @contextmanager
    def during(self, step: int) -> Iterator[None]:
        """Choose the old tasks of a step, before its other random draws, and generate them together with ``task``."""
        self._chosen = self.choose()
        try:
            with nullcontext() if self.posterior is None else self.posterior.one_pass([self.task], self._chosen):
                yield
        finally:
            self._chosen = None

    def __call__(self) -> Tensor:
        """Evaluate the term, for old tasks chosen anew outside of :meth:`during`."""
        return self.value(self.choose() if self._chosen is None else self._chosen)


def _in_one_pass(posterior: TaskPosterior, unit: Tensor) -> ConditionalPosterior[Any] | None:
    """Return the posterior that generates all tasks, if there is one and its units are those of the prior."""
    generated = posterior.conditional if isinstance(posterior, GeneratedTasks) else None
    if not isinstance(generated, ConditionalPosterior):
        return None
    own = torch.ones_like(unit) if generated.scale is None else generated.scale
    return generated if torch.allclose(own, unit, rtol=1e-6, atol=0) else None


def _task_by_task(posterior: TaskPosterior, unit: Tensor, tasks: Sequence[int], z: Tensor | None) -> Tensor:
    """Compute the outputs of each task from its distribution, in units of the prior."""
    each = [None] * len(tasks) if z is None else z
    return torch.stack([outputs_of(posterior(task), z_task, unit) for task, z_task in zip(tasks, each, strict=True)])


def _rows(x: Tensor, tasks: Sequence[int]) -> Tensor:
    """Select the rows of ``tasks``, without a copy if these are all."""
    return x if list(tasks) == list(range(len(x))) else x[tasks]


def latent_of(distribution: Distribution, num: int, generator: torch.Generator | None = None) -> Tensor | None:
    """Draw latents ``(num, n)`` of a distribution, or return None if it has none."""
    if isinstance(distribution, GeneratedWeights):
        return distribution.geometry.draw_latent(num, generator)
    return None


@singledispatch
def outputs_of(distribution: Distribution, z: Tensor | None, unit: Tensor) -> Tensor:
    """Return the numbers that make up a distribution, in units of the prior's standard deviations ``unit`` ``(P,)``.

    Register a function for a distribution of your own, as for :func:`functools.singledispatch`.

    Returns:
        ``(M, K)`` at latents ``z`` ``(M, n)``, or ``(K,)`` without latents: mean weights, followed by the parameters of
        their variances, if there are any.
    """
    raise type_error(
        "posterior",
        expected="one whose distributions the output regularizer supports",
        found=type(distribution).__name__,
        hint="Use a hypernetwork posterior, a generated mean-field one or a deterministic one.",
    )


@outputs_of.register
def _(distribution: SemiImplicit, z: Tensor | None, unit: Tensor) -> Tensor:
    if z is None:
        raise type_error("z", expected="latents (M, n)", got=z)
    u = distribution.geometry(z)
    if distribution.whitening is None:
        u = u / unit
    sigma = distribution.sigma
    return torch.cat([u, sigma.expand(len(z), -1)], dim=-1) if sigma.ndim else u


@outputs_of.register(MeanFieldGaussian)
@outputs_of.register(Radial)
def _(distribution: MeanFieldGaussian | Radial, z: Tensor | None, unit: Tensor) -> Tensor:
    return torch.cat([distribution.loc / unit, distribution.variance.sqrt() / unit])


@outputs_of.register
def _(distribution: Dirac, z: Tensor | None, unit: Tensor) -> Tensor:
    return distribution.loc / unit


__getattr__ = moved_names(__name__, {"emitted": "continual.losses.output_regularizer.outputs_of"})
