"""The combination of evidence and entropy: two weights per task, learned from examples that were set aside."""

from __future__ import annotations

import math
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...deprecation import RenamedState
from ...errors import check_flags, check_instance, check_number, value_error
from ...representation import ModuleSettings, Settings
from .weighing import learn_task_weights, learn_weights, task_scores

__all__ = ["Combination", "CombinationMemory"]

_TINY, _ONE_SIDED = 1e-6, 100.0
_WIDTHS, _ERRORS, _STRONG = (0.1, 0.5), 2.0, 3.0


@dataclass(frozen=True, repr=False)
class Combination(Settings):
    r"""The weights of the posterior over tasks.

    .. math:: \log p(t|x) = a_t\, r_t(x) - b_t\, H_t(x) + \text{const}

    Here :math:`r_t(x) = e_t(x) - \log \frac1T \sum_u e^{e_u(x)}` is the evidence ratio of the task. Where all tasks
    share :math:`a` and :math:`b`, this is :math:`a\, e_t(x) - b\, H_t(x) + \text{const}`.

    Args:
        tied: True if :math:`e_t` is the log-density under Gaussian classes that share one covariance, False if it is
            the tempered log-density of the task's own mixture.
        evidence_weight: the number :math:`a` that tasks share, or around which their own are.
        entropy_weight: the number :math:`b`, likewise.
        log_evidence: log marginal likelihood of the tasks of all examples set aside, in nats, by ``"tied"`` and ``"per
            task"`` densities; the larger one decided. Equal while there is one task.
        uncertainty: weights of the criterion of that name.
        task_weights: :math:`(a_t, b_t)` of each task; empty where all share :math:`(a, b)`.
        log_left_out: log-probability of the tasks of examples set aside, in nats, each task's under weights that were
            learned from the tasks before it: with shared weights, and with the better prior of each task's own. These
            are taken where the second number is larger by three, and by two standard errors.
    """

    tied: bool
    evidence_weight: float
    entropy_weight: float
    log_evidence: tuple[float, float] = (0.0, 0.0)
    uncertainty: tuple[float, float] = (1.0, 0.5)
    task_weights: tuple[tuple[float, float], ...] = ()
    log_left_out: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_flags(tied=self.tied)
        check_number("evidence_weight", self.evidence_weight, 0.0)
        check_number("entropy_weight", self.entropy_weight, 0.0)
        check_instance("task_weights", self.task_weights, tuple, "a tuple of pairs of numbers, one for each task")
        pairs = {name: getattr(self, name) for name in ("log_evidence", "uncertainty", "log_left_out")}
        pairs |= {f"task_weights[{t}]": pair for t, pair in enumerate(self.task_weights)}
        for name, pair in pairs.items():
            numbers = check_instance(name, pair, tuple, "a tuple of two numbers")
            if len(numbers) != 2:
                raise value_error(name, expected="a tuple of two numbers", got=numbers)
            for value in numbers:
                check_number(name, value, None if name.startswith("log") else 0.0)


class CombinationMemory(RenamedState, ModuleSettings, nn.Module):
    r"""Knowledge of two weights after the tasks so far: for tied densities, for those of each task, for variances.

    The logarithms :math:`\theta = (\log a, \log b)` have a Gaussian prior around :math:`a = 1` and the learner's
    ``entropy_weight``. Its variances are 1, but 0.01 for the entropy beside a density: the examples of a task show how
    older posteriors doubt them, and not how the newest one doubts others, so that the likelihood alone overrates the
    entropy. After each task the likelihood of the task of its examples set aside, among the
    tasks so far, is multiplied to it (:func:`learn_weights`), and the result, again approximated by a Gaussian, is the
    prior for the next. So nothing is kept of these examples but the numbers of the Gaussian.

    Beside a density each task may have weights of its own. Their logarithms deviate from the shared ones with the prior
    standard deviations of these times 0 (then all tasks share), 0.1 or 0.5, and the three are learned side by side
    (:func:`learn_task_weights`). Which one is used is chosen by what it says of examples that it has not seen: those of
    a task, under the weights that the tasks before it taught, where the new task has none of its own yet. Weights that
    let a task claim the inputs of others lose by that. The log-probabilities of all tasks' examples are added, and
    the best width is taken if it beats sharing by three nats and by two standard errors of the sum of differences.
    So tasks of few examples share.

    Args:
        entropy_weight: the prior's :math:`b`; 0 leaves the entropy out.

    Attributes:
        mean: of :math:`\theta`, ``(3, 2)``: a row for tied densities, one for those per task, and one for variances.
        precision: ``(3, 2, 2)``.
        log_evidence: ``(3,)``, in nats.
        num_examples: number of examples that were set aside so far, ``()``.
        task_mean: of the shared logarithms and the deviations of the tasks, ``(2, 2, 2 (1 + T))``, a row for each kind
            of densities, and in it one for each width.
        task_precision: ``(2, 2, 2 (1 + T), 2 (1 + T))``.
        log_left_out: ``(2, 3)``, in nats: for each kind of densities with shared weights, and for each width.
        squared_gains: sums of the squared differences of each width from shared weights, ``(2, 2)``.

    References:
        Bayes factors (Kass, Raftery; 1995), for three nats.
    """

    mean: Tensor
    precision: Tensor
    log_evidence: Tensor
    num_examples: Tensor
    task_mean: Tensor
    task_precision: Tensor
    log_left_out: Tensor
    squared_gains: Tensor

    def __init__(self, entropy_weight: float = 0.5) -> None:
        super().__init__()
        self.entropy_weight = check_number("entropy_weight", entropy_weight, 0.0)
        start = math.log(max(self.entropy_weight, _TINY))
        self.register_buffer("mean", torch.tensor([[0.0, start]] * 3, dtype=torch.float64))
        prior = torch.tensor([[1.0, _ONE_SIDED], [1.0, _ONE_SIDED], [1.0, 1.0]], dtype=torch.float64)
        self.register_buffer("precision", torch.diag_embed(prior))
        self.register_buffer("log_evidence", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("num_examples", torch.zeros((), dtype=torch.int64))
        for name, value in _sharing(self.mean, self.precision).items():
            self.register_buffer(name, value)

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
        free = weigh_entropy and self.entropy_weight > 0
        self._learn_each((tied, own), -entropy, task, free)
        scores = (tied, own) if variance is None else (tied, own, -variance.log())
        for row, density in enumerate(scores):
            known = self.mean[row].double(), self.precision[row].double()
            found = learn_weights(density, -entropy, task, *known, weigh_entropy=free)
            self.mean[row], self.precision[row] = found[0].to(self.mean), found[1].to(self.mean)
            self.log_evidence[row] += found[2].to(self.log_evidence)
        self.num_examples += len(entropy)

    def _learn_each(self, densities: Sequence[Tensor], within: Tensor, task: int, free: bool) -> None:
        """Judge the weights by examples that they have not seen, then learn those of each task, before shared ones."""
        self._make_room(within.shape[1])
        for row, density in enumerate(densities):
            scores = density.double(), within.double()
            shared = self.mean[row].double().exp()
            plain = (shared[0] * scores[0] + shared[1] * scores[1]).log_softmax(-1)
            judged = [plain[:, task]]
            for k in range(len(_WIDTHS)):
                known = self.task_mean[row, k].double(), self.task_precision[row, k].double()
                a, each = _weights_of(known[0])
                judged.append(task_scores(*scores, a, each.T).log_softmax(-1)[:, task])
                found = learn_task_weights(*scores, task, *known, weigh_entropy=free)
                self.task_mean[row, k], self.task_precision[row, k] = (part.to(self.mean) for part in found[:2])
            if task > 1:  # Two tasks cannot tell: the first one has no rival.
                each_way = torch.stack(judged)
                self.log_left_out[row] += each_way.sum(1).to(self.log_left_out)
                self.squared_gains[row] += (each_way[1:] - each_way[0]).square().sum(1).to(self.squared_gains)

    def _make_room(self, num_tasks: int) -> None:
        """Give tasks that are new their prior."""
        size, more = self.task_mean.shape[-1], 2 * (num_tasks + 1) - self.task_mean.shape[-1]
        if more <= 0:
            return
        self.task_mean = nn.functional.pad(self.task_mean, (0, more))
        self.task_precision = nn.functional.pad(self.task_precision, (0, more, 0, more))
        prior = torch.tensor([1.0, _ONE_SIDED]).repeat(more // 2)
        for k, width in enumerate(_WIDTHS):
            self.task_precision[:, k, size:, size:] = torch.diag(prior / width**2).to(self.task_precision)

    def chosen(self, tasks: Sequence[int] = ()) -> Combination:
        """Return the weights under the densities whose log marginal likelihood is larger; at a tie those per task.

        Args:
            tasks: numbers of the tasks whose own weights are wanted.
        """
        tied, own, _ = self.log_evidence.tolist()
        row, used = 0 if tied > own else 1, float(self.entropy_weight > 0)
        a, b = self.mean[row].exp().tolist()
        share, doubt = self.mean[2].exp().tolist()
        plain, *others = self.log_left_out[row].tolist()
        best = max(range(len(others)), key=others.__getitem__)
        weights: tuple[tuple[float, float], ...] = ()
        if others[best] - plain > max(_STRONG, _ERRORS * math.sqrt(self.squared_gains[row, best])):
            mean = self.task_mean[row, best].double()
            a, b = mean[:2].exp().tolist()
            known = _weights_of(mean)[1].tolist()
            weights = tuple((known[t][0], used * known[t][1]) if t < len(known) else (a, used * b) for t in tasks)
        left_out = plain, others[best]
        return Combination(row == 0, a, used * b, (tied, own), (share, used * doubt), weights, left_out)

    def complete_state(self, state: MutableMapping[str, Any], prefix: str) -> None:
        """Add what states lack that were saved when all tasks shared their weights, and make room for the others.

        Args:
            state: a state dict, which is changed in place.
            prefix: beginning of the names of this module's entries.
        """
        known = [state.get(prefix + name) for name in ("mean", "precision")]
        if isinstance(known[0], Tensor) and isinstance(known[1], Tensor):
            for name, value in _sharing(known[0], known[1]).items():
                state.setdefault(prefix + name, value)
        for name in ("task_mean", "task_precision"):
            if prefix + name in state:
                setattr(self, name, getattr(self, name).new_zeros(state[prefix + name].shape))


def _sharing(mean: Tensor, precision: Tensor) -> dict[str, Tensor]:
    """Return the buffers of tasks' own weights that know what is known of shared ones, and nothing else."""
    count = len(_WIDTHS)
    return {
        "task_mean": mean[:2, None].repeat(1, count, 1),
        "task_precision": precision[:2, None].repeat(1, count, 1, 1),
        "log_left_out": mean.new_zeros(2, 1 + count),
        "squared_gains": mean.new_zeros(2, count),
    }


def _weights_of(mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shared weight of the evidence ``()``, and the weights of each task ``(T, 2)``."""
    return mean[0].exp(), (mean[:2] + mean[2:].reshape(-1, 2)).exp()
