"""Settings of one task's training."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Any

import torch

from ..checks import check_callable, refusing
from ..deprecation import warn
from ..errors import check_choice, check_flags, check_int, check_number, check_positive, check_size, value_error
from ..mnets.inputs import num_examples

__all__ = ["Training"]


@dataclass(frozen=True)
class Training:
    """Settings with which one task is fitted by :func:`bayeshnet.inference.fit`.

    Args:
        steps: optimizer steps per task.
        batch_size: examples per step.
        lr: learning rate of Adam; each task has a new optimizer and a cosine decay to 1 %.
        num_particles: weight draws per step for the likelihood.
        num_samples: draws or latents per step for the estimate of the KL.
        beta: temperature of the KL; 1 is the true one.
        max_norm: largest norm of the whole gradient, which is clipped to it; None for no clipping.
        local_noise: draw the noise of linear layers in their pre-activations, see
            :class:`~bayeshnet.inference.ImplicitELBO`; for mean-field posteriors of perceptrons less variance and time.
        augmentation: function of a batch of inputs that returns as many others, such as shifted images; applied
            in training only. Its draws from torch's generator follow from the task's seed.
        num_workers: processes that read a task's training examples where these are a data set; 0 reads in this process.
        compile: compile the bound and its gradient as one graph, see :func:`~bayeshnet.inference.fit`; for learners
            without losses that look at weight draws.
        capture: launch the same as a CUDA graph.
        amp: ``"bf16"`` for the main network in bfloat16.
        num_latents: deprecated name of ``num_samples``, which it overrides if given.
    """

    steps: int = 700
    batch_size: int = 32
    lr: float = 2e-3
    num_particles: int = 8
    num_samples: int = 10
    beta: float = 1.0
    max_norm: float | None = None
    local_noise: bool = False
    augmentation: Any = None
    num_workers: int = 0
    compile: bool = False
    capture: bool = False
    amp: str | None = None
    num_latents: InitVar[int | None] = None

    def __post_init__(self, num_latents: int | None) -> None:
        """Check the numbers."""
        if num_latents is not None:
            warn("the argument num_latents", "num_samples", stacklevel=4)
            object.__setattr__(self, "num_samples", num_latents)
        for name in ("steps", "batch_size", "num_particles", "num_samples"):
            check_size(name, getattr(self, name))
        check_flags(local_noise=self.local_noise, compile=self.compile, capture=self.capture)
        if self.amp is not None:
            check_choice("amp", self.amp, ("bf16",))
        check_int("num_workers", self.num_workers, 0)
        if self.augmentation is not None:
            check_callable("augmentation", self.augmentation, "a function of a batch of inputs, or None")
        check_positive("lr", self.lr)
        check_number("beta", self.beta, 0.0, 1e30)
        if self.max_norm is not None:
            check_positive("max_norm", self.max_norm)

    def fit_options(self, num_data: int) -> dict[str, Any]:
        """Return these settings as arguments of :func:`~bayeshnet.inference.fit` on ``num_data`` examples.

        The alarms of the fit are left out: a run raises its own, once for all tasks.
        """
        return {
            "num_steps": self.steps,
            "batch_size": min(self.batch_size, num_data),
            "lr": self.lr,
            "scheduler": "cosine",
            "beta": self.beta,
            "num_particles": self.num_particles,
            "num_samples": self.num_samples,
            "grad_clip": self.max_norm,
            "local_noise": self.local_noise,
            "alarms": False,
            "num_workers": self.num_workers,
            "compile": bool(self.compile),
            "capture": bool(self.capture),
            "amp": self.amp,
            "transform": None if self.augmentation is None else _Augmented(self.augmentation),
        }


class _Augmented:
    """A transform of batches that changes the inputs by a function of theirs."""

    def __init__(self, function: Any) -> None:
        self.function = refusing("augmentation", function, "a function of a batch of inputs")

    def __call__(self, x: Any, y: Any, generator: torch.Generator | None = None) -> tuple[Any, Any]:
        made, count = self.function(x), num_examples(x)
        if num_examples(made, "augmentation") != count:
            expected = f"a function that returns as many inputs ({count})"
            raise value_error("augmentation", expected=expected, found=f"{num_examples(made, 'augmentation')}")
        return made, y
