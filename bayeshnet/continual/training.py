"""Settings of one task's training."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import check_flags, check_int, check_number, check_positive

__all__ = ["Training"]


@dataclass(frozen=True)
class Training:
    """How one task is fitted; handed to :func:`bayeshnet.inference.fit`.

    Args:
        steps: optimizer steps per task.
        batch_size: examples per step.
        lr: learning rate of Adam; a new optimizer for each task, cosine decay to 1 %.
        num_particles: weight draws per step for the likelihood.
        num_latents: latents per step for the KL.
        beta: temperature of the KL; 1 is the true one.
        max_norm: clip the norm of the whole gradient, if given.
        local_noise: draw the noise of linear layers in their pre-activations, see
            :class:`~bayeshnet.inference.ImplicitELBO`; for mean-field posteriors of perceptrons less variance and time.
    """

    steps: int = 700
    batch_size: int = 32
    lr: float = 2e-3
    num_particles: int = 8
    num_latents: int = 10
    beta: float = 1.0
    max_norm: float | None = None
    local_noise: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("steps", "batch_size", "num_particles", "num_latents"):
            check_int(name, getattr(self, name), 1)
        check_flags(local_noise=self.local_noise)
        check_positive("lr", self.lr)
        check_number("beta", self.beta, minimum=0.0)
        if self.max_norm is not None:
            check_positive("max_norm", self.max_norm)
