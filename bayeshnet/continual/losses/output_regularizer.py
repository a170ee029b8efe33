"""Output regularizers: what a shared generator emits for old tasks is held where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...distributions import Dirac, GeneratedPosterior, HypernetPosterior, MeanFieldGaussian, Radial, SemiImplicit
from ...distributions.posteriors.conditional import OnePass
from ...errors import check_choice, check_int, check_number, type_error
from ..task_posterior import GeneratedTasks, TaskPosterior
from .discrepancies import DISCREPANCIES, discrepancy_for

__all__ = ["OutputRegularizer", "emitted", "latent_of"]


class OutputRegularizer:
    r"""Holds what the generator emits for old tasks where it was before.

    .. math:: R = \lambda \frac{1}{|S|} \sum_{s \in S} \mathbb{E}_z \| u(z, s) - u_{\text{old}}(z, s) \|^2

    over old tasks :math:`S`, with the same latents under both generators, summed over the weights in the units in
    which the generator emits them (whitened ones, where the posterior has scales). It is added to the mean loss per
    example. For Gaussian posteriors other discrepancies may stand for the squared distance.

    Args:
        strength: the factor :math:`\lambda`; 0 forgets, large values cost plasticity.
        num_latents: latents per old task and step.
        max_tasks: at most so many old tasks per step, drawn anew at random each time, so that the cost of a step does
            not grow with the number of tasks; None takes all of them.
        distance: ``"squared"``, or for Gaussians with independent weights ``"wasserstein"`` (the squared 2-Wasserstein
            distance), ``"forward_kl"`` (of the posterior before from the one now) or ``"reverse_kl"``.
        fixed_targets: latents per old task at which targets are computed once, before the task begins; None keeps a
            copy of the generator instead and computes them anew at each step.

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
        """The term for tasks ``0..num_old-1`` as a function that draws anew at each call.

        Args:
            posterior: of all tasks, now.
            previous: the same as it was before.
            num_old: how many tasks are held.
            generator: of tasks and latents.
            task: the one that is being learnt; the one after those held if None.
        """
        unit = posterior.prior(next(posterior.parameters())).scale
        discrepancy = discrepancy_for(self.distance, previous(0))
        pair = _Together.of(posterior, previous, unit) or _OneByOne(posterior, previous, unit)
        pool = None if self.fixed_targets is None else pair.targets(list(range(num_old)), self.fixed_targets, generator)

        def term(tasks: list[int]) -> Tensor:
            if pool is None:
                z, target = pair.targets(tasks, self.num_latents, generator)
            else:
                z, target = self._from(pool, tasks, generator)
            return self.strength * discrepancy(pair.emit(tasks, z), target)

        generated = pair.now if isinstance(pair, _Together) else None
        return _Penalty(term, lambda: self._choose(num_old, generator), generated, num_old if task is None else task)

    def _from(
        self, pool: tuple[Tensor | None, Tensor], tasks: list[int], generator: torch.Generator | None
    ) -> tuple[Tensor | None, Tensor]:
        """Some of the latents and targets that were computed beforehand."""
        z, target = pool
        if z is None:
            return None, _rows(target, tasks)
        device = generator.device if generator is not None else z.device
        rows = torch.randint(z.shape[1], (self.num_latents,), generator=generator, device=device).to(z.device)
        return _rows(z, tasks)[:, rows], _rows(target, tasks)[:, rows]

    def _choose(self, num_old: int, generator: torch.Generator | None) -> list[int]:
        if self.max_tasks is None or num_old <= self.max_tasks:
            return list(range(num_old))
        device = generator.device if generator is not None else None
        return torch.randperm(num_old, generator=generator, device=device)[: self.max_tasks].tolist()


class _Penalty:
    """The regularizer of one task's training, which lets the generator emit for it and for old tasks in one pass."""

    def __init__(
        self, term: Callable[[list[int]], Tensor], choose: Callable[[], list[int]], generator: OnePass | None, task: int
    ) -> None:
        self.term, self.choose, self.generator, self.task = term, choose, generator, task
        self._chosen: list[int] | None = None

    @contextmanager
    def during(self, step: int) -> Iterator[None]:
        """The step in which the penalty is asked for once: its tasks are chosen before the task's own draws."""
        self._chosen = self.choose()
        try:
            with nullcontext() if self.generator is None else self.generator.one_pass([[self.task], self._chosen]):
                yield
        finally:
            self._chosen = None

    def __call__(self) -> Tensor:
        """The term, for tasks and latents drawn anew."""
        return self.term(self.choose() if self._chosen is None else self._chosen)


@dataclass(frozen=True)
class _OneByOne:
    """Two states of the posteriors of all tasks, which emit for one task at a time, in units of the prior."""

    now: TaskPosterior
    before: TaskPosterior
    unit: Tensor

    def targets(self, tasks: list[int], num: int, generator: torch.Generator | None) -> tuple[Tensor | None, Tensor]:
        """Latents ``(T, num, n)``, or None where there are none, and what was emitted there ``(T, [num,] K)``."""
        with torch.no_grad():
            laws = [self.before(task) for task in tasks]
            draws = [latent_of(law, num, generator) for law in laws]
            target = torch.stack([emitted(law, z, self.unit) for law, z in zip(laws, draws, strict=True)])
        known = [z for z in draws if z is not None]
        return torch.stack(known) if known else None, target

    def emit(self, tasks: list[int], z: Tensor | None) -> Tensor:
        """What is emitted now at latents ``z``."""
        return torch.stack(
            [emitted(self.now(task), None if z is None else z[i], self.unit) for i, task in enumerate(tasks)]
        )


@dataclass(frozen=True)
class _Together:
    """The same for one generator that emits for several tasks in one pass."""

    now: HypernetPosterior | GeneratedPosterior
    before: HypernetPosterior | GeneratedPosterior
    unit: Tensor

    @classmethod
    def of(cls, posterior: TaskPosterior, previous: TaskPosterior, unit: Tensor) -> _Together | None:
        """The pair, or None where tasks have to be looked at one by one."""
        if not isinstance(posterior, GeneratedTasks) or not isinstance(previous, GeneratedTasks):
            return None
        now, before = posterior.conditional, previous.conditional
        kinds = (HypernetPosterior, GeneratedPosterior)
        if not isinstance(now, kinds) or not isinstance(before, kinds):
            return None
        before(0)  # refuses a generator without a distribution, such as one in training mode with dropout
        own = now.scale if isinstance(now.scale, Tensor) else torch.ones_like(unit)
        return cls(now, before, unit) if torch.allclose(own, unit, rtol=1e-6, atol=0) else None

    def targets(self, tasks: list[int], num: int, generator: torch.Generator | None) -> tuple[Tensor | None, Tensor]:
        """Latents ``(T, num, n)``, or None where there are none, and what was emitted there ``(T, [num,] K)``."""
        z = None
        if isinstance(self.now, HypernetPosterior):
            size, like = (num, self.now.latent_size), self.unit
            draws = [torch.randn(size, generator=generator, dtype=like.dtype, device=like.device) for _ in tasks]
            z = torch.stack(draws)
        with torch.no_grad():
            return z, self.before.emit(tasks, z)

    def emit(self, tasks: list[int], z: Tensor | None) -> Tensor:
        """What is emitted now at latents ``z``."""
        return self.now.emit(tasks, z)


def _rows(x: Tensor, tasks: list[int]) -> Tensor:
    """Those of ``tasks``, which mostly are all."""
    return x if tasks == list(range(len(x))) else x[tasks]


def latent_of(distribution: Distribution, num: int, generator: torch.Generator | None = None) -> Tensor | None:
    """Latents ``(num, n)`` for a distribution that has them, else None."""
    if isinstance(distribution, SemiImplicit):
        return distribution.geometry.draw_latent(num, generator)
    return None


@singledispatch
def emitted(distribution: Distribution, z: Tensor | None, unit: Tensor) -> Tensor:
    """What a generator emitted for this distribution, in units of the prior's standard deviations ``unit`` ``(P,)``.

    Returns:
        ``(M, K)`` at latents ``z`` ``(M, n)``, or ``(K,)`` where there are none: weights, and what says how they
        spread.
    """
    raise type_error(
        "posterior",
        expected="one whose distributions an output regularizer knows",
        found=type(distribution).__name__,
        hint="Use a hypernetwork posterior, a generated mean-field one or a deterministic one.",
    )


@emitted.register
def _(distribution: SemiImplicit, z: Tensor | None, unit: Tensor) -> Tensor:
    if z is None:
        raise type_error("z", expected="latents (M, n)", got=z)
    u = distribution.geometry(z)
    if distribution.whitening is None:
        u = u / unit
    sigma = distribution.sigma
    return torch.cat([u, sigma.expand(len(z), -1)], dim=-1) if sigma.ndim else u


@emitted.register(MeanFieldGaussian)
@emitted.register(Radial)
def _(distribution: MeanFieldGaussian | Radial, z: Tensor | None, unit: Tensor) -> Tensor:
    return torch.cat([distribution.loc / unit, distribution.variance.sqrt() / unit])


@emitted.register
def _(distribution: Dirac, z: Tensor | None, unit: Tensor) -> Tensor:
    return distribution.loc / unit
