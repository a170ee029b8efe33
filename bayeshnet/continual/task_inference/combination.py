"""The combination of evidence and entropy: two weights, learned task by task from examples that were set aside."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import check_flags, check_instance, check_number, check_shape, value_error
from ...representation import ModuleSettings, Settings

__all__ = ["Combination", "CombinationMemory", "learn_weights"]

_STEPS, _HALVINGS, _CLOSE = 100, 30, 1e-10
_TINY, _ONE_SIDED = 1e-6, 100.0


@dataclass(frozen=True, repr=False)
class Combination(Settings):
    r"""The weights of the posterior over tasks, :math:`\log p(t|x) = a\, e_t(x) - b\, H_t(x) + \text{const}`.

    Args:
        tied: True if :math:`e_t` is the log-density under Gaussian classes that share one covariance, False if it is
            the tempered log-density of the task's own mixture.
        evidence_weight: the number :math:`a`.
        entropy_weight: the number :math:`b`.
        log_evidence: log marginal likelihood of the tasks of all examples set aside, in nats, by ``"tied"`` and ``"per
            task"`` densities; the larger one decided. Equal while there is one task.
    """

    tied: bool
    evidence_weight: float
    entropy_weight: float
    log_evidence: tuple[float, float] = (0.0, 0.0)
    uncertainty: tuple[float, float] = (1.0, 0.5)

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_flags(tied=self.tied)
        check_number("evidence_weight", self.evidence_weight, 0.0)
        check_number("entropy_weight", self.entropy_weight, 0.0)
        for name in ("log_evidence", "uncertainty"):
            numbers = check_instance(name, getattr(self, name), tuple, "a tuple of two numbers")
            if len(numbers) != 2:
                raise value_error(name, expected="a tuple of two numbers", got=numbers)
            for value in numbers:
                check_number(name, value, None if name == "log_evidence" else 0.0)


class CombinationMemory(ModuleSettings, nn.Module):
    r"""Knowledge of two weights after the tasks so far: for tied densities, for those of each task, for variances.

    The logarithms :math:`\theta = (\log a, \log b)` have a Gaussian prior around :math:`a = 1` and the learner's
    ``entropy_weight``. Its variances are 1, but 0.01 for the entropy beside a density: the examples of a task show how
    older posteriors doubt them, and not how the newest one doubts others, so that the likelihood alone overrates the
    entropy. After each task the likelihood of the task of its examples set aside, among the
    tasks so far, is multiplied to it (:func:`learn_weights`), and the result, again approximated by a Gaussian, is the
    prior for the next. So nothing is kept of these examples but the numbers of the Gaussian.

    Args:
        entropy_weight: the prior's :math:`b`; 0 leaves the entropy out.

    Attributes:
        mean: of :math:`\theta`, ``(3, 2)``: a row for tied densities, one for those per task, and one for variances.
        precision: ``(3, 2, 2)``.
        log_evidence: ``(3,)``, in nats.
        num_examples: number of examples that were set aside so far, ``()``.
    """

    mean: Tensor
    precision: Tensor
    log_evidence: Tensor
    num_examples: Tensor

    def __init__(self, entropy_weight: float = 0.5) -> None:
        super().__init__()
        self.entropy_weight = check_number("entropy_weight", entropy_weight, 0.0)
        start = math.log(max(self.entropy_weight, _TINY))
        self.register_buffer("mean", torch.tensor([[0.0, start]] * 3, dtype=torch.float64))
        prior = torch.tensor([[1.0, _ONE_SIDED], [1.0, _ONE_SIDED], [1.0, 1.0]], dtype=torch.float64)
        self.register_buffer("precision", torch.diag_embed(prior))
        self.register_buffer("log_evidence", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("num_examples", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def learn(
        self,
        tied: Tensor,
        own: Tensor,
        entropy: Tensor,
        task: int,
        *,
        variance: Tensor | None = None,
        weigh_entropy: bool = True,
    ) -> None:
        """Learn from the examples set aside of a task.

        Args:
            tied: log-density of each under each task with one covariance, ``(N, T)``.
            own: the same under the tempered densities of the tasks.
            entropy: entropy of the prediction under each task, ``(N, T)``.
            task: number of the task.
            variance: variance of a logit under each task, ``(N, T)``, if it is known.
            weigh_entropy: False for examples that the weights have seen, whose entropy says too little: :math:`b` then
                stays as it is.
        """
        scores = (tied, own) if variance is None else (tied, own, -variance.log())
        for row, density in enumerate(scores):
            known = self.mean[row].double(), self.precision[row].double()
            free = weigh_entropy and self.entropy_weight > 0
            found = learn_weights(density, -entropy, task, *known, weigh_entropy=free)
            self.mean[row], self.precision[row] = found[0].to(self.mean), found[1].to(self.mean)
            self.log_evidence[row] += found[2].to(self.log_evidence)
        self.num_examples += len(entropy)

    def chosen(self) -> Combination:
        """Return the weights under the densities whose log marginal likelihood is larger; at a tie those per task."""
        tied, own, _ = self.log_evidence.tolist()
        row, used = 0 if tied > own else 1, float(self.entropy_weight > 0)
        a, b = self.mean[row].exp().tolist()
        share, doubt = self.mean[2].exp().tolist()
        return Combination(row == 0, a, used * b, (tied, own), (share, used * doubt))


def learn_weights(
    density: Tensor, within: Tensor, task: int, mean: Tensor, precision: Tensor, *, weigh_entropy: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Multiply the likelihood of a task to a Gaussian over the logarithms of two weights, by Laplace's method.

    .. math:: \log p(t | x_{1:N}, \theta) = \sum_n \log \mathrm{softmax}_t \big( e^{\theta_1} e_t(x_n) + e^{\theta_2}
       w_t(x_n) \big)

    The mode is found by Newton's method with the expected curvature, which is never negative. The log marginal
    likelihood is that of the Gaussian integral at the mode.

    Args:
        density: scores :math:`e_t(x_n)`, ``(N, T)``.
        within: scores :math:`w_t(x_n)`, ``(N, T)``.
        task: number :math:`t`.
        mean: of :math:`\theta`, ``(2,)``, in double precision.
        precision: ``(2, 2)``.
        weigh_entropy: False to leave the second weight as it is.

    Returns:
        The new mean, the new precision, and the log marginal likelihood ``()`` in nats.
    """
    scores = torch.stack([density, within]).to(mean)
    free = torch.tensor([1.0, float(weigh_entropy)]).to(mean)
    check_shape("density", density, tuple(within.shape))

    def at(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weighted = scores * theta.exp()[:, None, None]
        log_prob = weighted.sum(0).log_softmax(-1)
        centered = weighted - (log_prob.exp() * weighted).sum(-1, keepdim=True)
        curvature = torch.einsum("int,jnt,nt->ij", centered, centered, log_prob.exp()) * free * free[:, None]
        off = theta - mean
        value = log_prob[:, task].sum() - 0.5 * off @ precision @ off
        return value, (centered[:, :, task].sum(1) - precision @ off) * free, curvature + precision

    theta = mean
    value, gradient, curvature = at(theta)
    for _ in range(_STEPS):
        among = curvature * free * free[:, None] + torch.diag(1 - free)
        step = torch.linalg.solve(among, gradient)
        if not bool((step * gradient).sum() > _CLOSE):
            break
        for _ in range(_HALVINGS):
            found = at(theta + step)
            if bool(found[0] > value):
                break
            step = step / 2
        else:
            break
        theta = theta + step
        value, gradient, curvature = found
    log_det = torch.logdet(precision) - torch.logdet(curvature)
    return theta, curvature, value + 0.5 * log_det
