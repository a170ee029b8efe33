"""Output regularisers: what a shared generator emits for old tasks is held where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import Dirac, GeneratedPosterior, HypernetPosterior, MeanFieldGaussian, Radial, SemiImplicit
from ..errors import check_int, check_number, type_error
from .sharing import GeneratedTasks, TaskPosterior

__all__ = ["OutputRegularizer", "emitted", "latent_of"]


class OutputRegularizer:
    r"""Squared distance between what the generator emits for old tasks now and what it emitted before.

    .. math:: R = \lambda \frac{1}{|S|} \sum_{s \in S} \mathbb{E}_z \| u(z, s) - u_{\text{old}}(z, s) \|^2

    over old tasks :math:`S`, with the same latents under both generators, summed over the weights in the units in
    which the generator emits them (whitened ones, where the posterior has scales). It is added to the mean loss per
    example.

    Args:
        strength: the factor :math:`\lambda`; 0 forgets, large values cost plasticity.
        num_latents: latents per old task and step.
        max_tasks: at most so many old tasks per step, drawn anew at random each time, so that the cost of a step does
            not grow with the number of tasks; None takes all of them.

    References:
        von Oswald, Henning, Grewe, Sacramento, "Continual learning with hypernetworks", 2020.
        Henning, Cervera, et al., "Posterior meta-replay for continual learning", 2021.
    """

    def __init__(self, strength: float = 4e-3, num_latents: int = 2, max_tasks: int | None = None) -> None:
        """Check the arguments."""
        self.strength = check_number("strength", strength, minimum=0.0)
        self.num_latents = check_int("num_latents", num_latents, 1)
        self.max_tasks = None if max_tasks is None else check_int("max_tasks", max_tasks, 1)

    def penalty(
        self,
        posterior: TaskPosterior,
        previous: TaskPosterior,
        num_old: int,
        generator: torch.Generator | None = None,
    ) -> Callable[[], Tensor]:
        """The term for tasks ``0..num_old-1`` as a function that draws anew at each call."""
        unit = posterior.prior(next(posterior.parameters())).scale
        together = _Together.of(posterior, previous, unit)

        def term() -> Tensor:
            tasks = self._choose(num_old, generator)
            if together is not None:
                return self.strength * together.distance(tasks, self.num_latents, generator)
            distances = []
            for task in tasks:
                with torch.no_grad():
                    before = previous(task)
                    z = latent_of(before, self.num_latents, generator)
                    target = emitted(before, z, unit)
                distances.append((emitted(posterior(task), z, unit) - target).square().sum(-1).mean())
            return self.strength * torch.stack(distances).mean()

        return term

    def _choose(self, num_old: int, generator: torch.Generator | None) -> list[int]:
        if self.max_tasks is None or num_old <= self.max_tasks:
            return list(range(num_old))
        device = generator.device if generator is not None else None
        return torch.randperm(num_old, generator=generator, device=device)[: self.max_tasks].tolist()


@dataclass(frozen=True)
class _Together:
    """Two states of one generator that emits for several tasks in one pass, in the units of the prior."""

    now: HypernetPosterior | GeneratedPosterior
    before: HypernetPosterior | GeneratedPosterior
    like: Tensor

    @classmethod
    def of(cls, posterior: TaskPosterior, previous: TaskPosterior, unit: Tensor) -> _Together | None:
        """The pair, or None where tasks have to be looked at one by one."""
        if not isinstance(posterior, GeneratedTasks) or not isinstance(previous, GeneratedTasks):
            return None
        now, before = posterior.generator, previous.generator
        kinds = (HypernetPosterior, GeneratedPosterior)
        if not isinstance(now, kinds) or not isinstance(before, kinds):
            return None
        before(0)  # refuses a generator without a distribution, such as one in training mode with dropout
        own = now.scale if isinstance(now.scale, Tensor) else torch.ones_like(unit)
        return cls(now, before, unit) if torch.allclose(own, unit, rtol=1e-6, atol=0) else None

    def distance(self, tasks: list[int], num_latents: int, generator: torch.Generator | None) -> Tensor:
        """Mean over tasks and latents of the squared distance between what the two states emit."""
        z = None
        if isinstance(self.now, HypernetPosterior):
            size, like = (num_latents, self.now.latent_size), self.like
            draws = [torch.randn(size, generator=generator, dtype=like.dtype, device=like.device) for _ in tasks]
            z = torch.stack(draws)
        with torch.no_grad():
            target = self.before.emit(tasks, z)
        now = self.now.emit(tasks, z)
        return F.mse_loss(now, target, reduction="sum") * (now.shape[-1] / now.numel())


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
        "posterior", "one whose distributions an output regulariser knows", type(distribution).__name__,
        "Use a hypernetwork posterior, a generated mean-field one or a deterministic one.", said=True,
    )  # fmt: skip


@emitted.register
def _(distribution: SemiImplicit, z: Tensor | None, unit: Tensor) -> Tensor:
    if z is None:
        raise type_error("z", "latents (M, n)", z)
    u = distribution.geometry(z)
    if distribution.whitening is None:
        u = u / unit
    sigma = distribution.sigma
    return torch.cat([u, sigma.expand(len(z), -1)], dim=-1) if sigma.ndim else u


@emitted.register(MeanFieldGaussian)
@emitted.register(Radial)
def _(distribution: MeanFieldGaussian | Radial, z: Tensor | None, unit: Tensor) -> Tensor:
    return torch.cat([distribution.loc / unit, distribution.scale / unit])


@emitted.register
def _(distribution: Dirac, z: Tensor | None, unit: Tensor) -> Tensor:
    return distribution.loc / unit
