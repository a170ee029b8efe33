"""Assessment of a learner after each task: all test inputs of the tasks so far, with the task given and inferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from ... import metrics
from ...continual import Learner, LearnerState, StreamPrediction, VariationalLearner
from ...continual.task_inference.criteria import variances
from ...continual.task_inference.prediction import join_predictions
from ...deprecation import moved_names
from ...guides import HypernetGuide
from ...inference import Predictive
from ...mnets.inputs import device_of, join_inputs
from ...tasks import Split, TaskStream
from .records import Assessment, ClassificationScores, PerTask, RegressionScores

__all__ = ["BATCH", "assess", "leading_criterion", "predict_splits", "predict_test_inputs"]

__getattr__ = moved_names(
    __name__,
    {
        "predict_seen": "runs.results.assessment.predict_test_inputs",
    },
)

_CHUNK = 1000
BATCH = 10
"""Number of inputs of one task that are judged together, for task inference in batches."""


def predict_test_inputs(
    learner: Learner, state: LearnerState, stream: TaskStream, seed: int = 0
) -> tuple[StreamPrediction, Tensor, Tensor]:
    """Predict the test inputs of all tasks learned so far.

    Returns:
        The predictions under every task, the targets, and the number of each input's task ``(N,)``.
    """
    seen = stream[: state.num_tasks]
    y = torch.cat([task.test.y for task in seen])
    number = torch.cat([torch.full((len(task.test),), i, device=y.device) for i, task in enumerate(seen)])
    return predict_splits(learner, state, [task.test for task in seen], seed=seed), y, number


def predict_splits(
    learner: Learner,
    state: LearnerState,
    splits: Sequence[Split],
    tasks: Sequence[int] | None = None,
    seed: int = 0,
) -> StreamPrediction:
    """Predict the inputs of splits, one after the other, under the assumption of each task in turn.

    Tensors are predicted at once. Inputs of a data set are read, and predicted, 1,000 at a time, with the same weights;
    the processes that read are as many as in training.

    Args:
        learner: makes the predictions.
        state: after some tasks.
        splits: at least one.
        tasks: numbers of the tasks to assume; None for all of them.
        seed: of the weight samples.
    """
    if all(split.in_memory for split in splits):
        return learner.predict_each(state, join_inputs([split.x for split in splits]), tasks, seed=seed)
    workers = getattr(getattr(learner, "training", None), "num_workers", 0)
    parts = (part.x for split in splits for part in split.chunks(_CHUNK, workers))
    return join_predictions([learner.predict_each(state, x, tasks, seed=seed) for x in parts])


def assess(learner: Learner, state: LearnerState, stream: TaskStream, seed: int = 0) -> Assessment:
    """Assess the tasks learned so far on their test examples.

    Args:
        learner: makes the predictions.
        state: after some tasks.
        stream: all tasks.
        seed: of the weight samples.
    """
    prediction, y, number = predict_test_inputs(learner, state, stream, seed)
    judge = _judge_classes if stream.kind == "classification" else _judge_values
    given, inferred, scores = judge(prediction, y, number, state.num_tasks)
    if isinstance(scores, ClassificationScores) and state.num_tasks == len(stream):
        scores = replace(scores, joint_nll=_joint_nll(learner, state, stream, seed))
    task_scores = {c: prediction.scores(c) for c in prediction.criteria}

    def correct(values: Tensor, batch_size: int) -> PerTask:
        chosen = [values[number == t].double() for t in range(state.num_tasks)]
        return tuple(float(metrics.task_inference_accuracy(s, t, batch_size)) for t, s in enumerate(chosen))

    return Assessment(
        state.num_tasks - 1,
        stream.kind,
        given,
        inferred,
        scores,
        inference={c: correct(s, 1) for c, s in task_scores.items()},
        inference_batch={c: correct(s, BATCH) for c, s in task_scores.items()},
        inference_targets=correct(prediction.target_log_prob(y), 1),
        ahead=_assess_next_task(learner, state, stream, seed) if state.num_tasks < len(stream) else None,
    )


def _assess_next_task(learner: Learner, state: LearnerState, stream: TaskStream, seed: int) -> float:
    """Return accuracy or mean squared error on the next task, whose classes take the numbers of the newest task's."""
    test = stream[state.num_tasks].test
    mean = predict_splits(learner, state, [test], [state.num_tasks - 1], seed).predictions[0].mean
    if stream.kind == "classification":  # classes that only the next task has are never predicted
        more = max(0, stream[state.num_tasks].num_outputs - mean.shape[-1])
        return float(metrics.accuracy(torch.nn.functional.pad(mean, (0, more)), test.y))
    return float(metrics.mse(mean, test.y))


def _joint_nll(learner: Learner, state: LearnerState, stream: TaskStream, seed: int) -> PerTask:
    """Return the NLL of ten labels together of each task, from at most 1,000 test examples of each."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number, task in enumerate(stream):
        chosen = torch.randperm(len(task.test), generator=generator)[:_CHUNK].to(task.test.y.device)
        test = task.test.select(chosen).load()
        samples = _under_draws(learner, state, test.x, number, seed)
        found.append(float(metrics.joint_nll(samples, test.y, 10, generator=generator)))
    return tuple(found)


def _under_draws(learner: Learner, state: LearnerState, x: Tensor, number: int, seed: int) -> Tensor:
    """Return the probabilities ``(S, N, C)`` under each draw of the weights; one draw where no weights are drawn."""
    if isinstance(learner, VariationalLearner):
        guide = HypernetGuide(learner.predictive_posterior(state), learner.estimator).condition(number)
        net = learner.task_network(state, number)
        predictive = Predictive(guide, net, state.likelihood, num_samples=learner.num_samples)
        with state.statistics_of(number):
            generator = torch.Generator(device=device_of(x)).manual_seed(seed)
            return cast(Tensor, predictive(x, generator=generator, keep_samples=True).samples)
    return learner.predict_each(state, x, [number], seed=seed).predictions[0].mean.unsqueeze(0)


def _mean_per_task(values: Tensor, number: Tensor, num_tasks: int) -> PerTask:
    return tuple(float(values[number == t].double().mean()) for t in range(num_tasks))


def _metric_per_task(metric: Callable[..., Tensor], number: Tensor, num_tasks: int, *values: Tensor) -> PerTask:
    return tuple(float(metric(*(v[number == t] for v in values))) for t in range(num_tasks))


def _at(values: Tensor, task: Tensor) -> Tensor:
    """Select from ``values`` ``(N, T, ...)`` the entries of one task per row."""
    return values[torch.arange(len(task), device=task.device), task]


def _judge_classes(
    prediction: StreamPrediction, y: Tensor, number: Tensor, num_tasks: int
) -> tuple[PerTask, dict[str, PerTask], ClassificationScores]:
    means = prediction.means
    right = means.argmax(-1) == y[:, None]
    given = _at(means, number)
    inferred = {}
    for criterion in prediction.criteria:
        task = prediction.task(criterion)
        inferred[criterion] = _mean_per_task((task == number) & _at(right, task), number, num_tasks)
    scores = ClassificationScores(
        nll=_metric_per_task(metrics.nll, number, num_tasks, given, y),
        brier=_metric_per_task(metrics.brier, number, num_tasks, given, y),
        ece=_metric_per_task(metrics.ece, number, num_tasks, given, y),
        ece_all=float(metrics.ece(given, y)),
        labels=_judge_labels(prediction, y, number),
    )
    return _mean_per_task(_at(right, number), number, num_tasks), inferred, scores


def _judge_labels(prediction: StreamPrediction, y: Tensor, number: Tensor) -> dict[str, float]:
    """Score the probabilities of global labels, averaged over the posterior of tasks: combined, if there is one."""
    if prediction.labels is None:
        return {}
    label = prediction.label_table[number, y]
    column, probs = (
        torch.searchsorted(prediction.all_labels, label),
        prediction.label_probs(leading_criterion(prediction)),
    )
    judges = {"accuracy": metrics.accuracy, "nll": metrics.nll, "brier": metrics.brier, "ece": metrics.ece}
    return {name: float(judge(probs, column)) for name, judge in judges.items()}


def leading_criterion(prediction: StreamPrediction) -> str:
    """Return the criterion that weights the tasks: combined, else (without densities) a joint softmax, else entropy."""
    return next((c for c in ("combined", "softmax") if c in prediction.criteria), "entropy")


def _judge_values(
    prediction: StreamPrediction, y: Tensor, number: Tensor, num_tasks: int
) -> tuple[PerTask, dict[str, PerTask], RegressionScores]:
    error = (prediction.means - y[:, None]).square().mean(-1)
    mean = _at(prediction.means, number)
    std = _at(torch.stack([variances(p) for p in prediction.predictions], dim=1), number).sqrt()
    inferred = {c: _mean_per_task(_at(error, prediction.task(c)), number, num_tasks) for c in prediction.criteria}
    scores = RegressionScores(
        log_likelihood=_metric_per_task(metrics.gaussian_log_likelihood, number, num_tasks, mean, std, y),
        coverage=_metric_per_task(metrics.gaussian_coverage, number, num_tasks, mean, std, y),
        crps=_metric_per_task(metrics.gaussian_crps, number, num_tasks, mean, std, y),
    )
    return _mean_per_task(_at(error, number), number, num_tasks), inferred, scores
