"""The contract of criteria of task inference. A new criterion joins by its line in ``CRITERIA``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bayeshnet.continual import CRITERIA
from tests.support.predictions import class_stream, value_stream, with_kept

STREAMS = {
    "classification": (with_kept(class_stream(joint=True)), [0, 1, 0]),
    "regression": (with_kept(value_stream()), [0, 1]),
}
APPLICABLE = [(name, kind) for name, criterion in CRITERIA.items() for kind in criterion.kinds]


def exchanged(stream):
    """The same predictions with the tasks in the other order."""
    kept = {name: getattr(stream, name) for name in ("evidence", "mahalanobis", "virtual_logit", "logit_variance")}
    return replace(
        stream,
        **{name: None if scores is None else scores.flip(-1) for name, scores in kept.items()},
        predictions=stream.predictions[::-1],
        log_density=stream.log_density.flip(-1),
        labels=None if stream.labels is None else stream.labels[::-1],
        task_log_prob=None if stream.task_log_prob is None else stream.task_log_prob.flip(-1),
    )


def lacking(stream, what):
    """The same predictions without a field; the logits are those of the predictions."""
    if what == "logits":
        return replace(stream, predictions=tuple(replace(p, logits=None) for p in stream.predictions))
    return replace(stream, **{what: None})


@pytest.mark.parametrize(("name", "kind"), APPLICABLE)
def test_the_tasks_are_found(name, kind):
    stream, tasks = STREAMS[kind]
    assert name in stream.criteria
    assert stream.task(name).tolist() == tasks


@pytest.mark.parametrize(("name", "kind"), APPLICABLE)
def test_scores_give_a_posterior_over_tasks(name, kind):
    stream, tasks = STREAMS[kind]
    scores = stream.scores(name)
    assert scores.shape == (len(tasks), 2)
    assert scores.isfinite().all()
    posterior = stream.task_posterior(name)
    torch.testing.assert_close(posterior.sum(-1), torch.ones(len(tasks), dtype=torch.float64))
    torch.testing.assert_close(posterior, scores.softmax(-1))


@pytest.mark.parametrize(("name", "kind"), APPLICABLE)
def test_scores_follow_the_order_of_the_tasks(name, kind):
    stream, _ = STREAMS[kind]
    torch.testing.assert_close(exchanged(stream).scores(name), stream.scores(name).flip(-1))


@pytest.mark.parametrize("name", CRITERIA)
def test_criteria_are_offered_for_their_kinds_and_for_what_they_need(name):
    criterion = CRITERIA[name]
    for kind, (stream, _) in STREAMS.items():
        assert (name in stream.criteria) == (kind in criterion.kinds)
    if criterion.needs is not None:
        without = lacking(STREAMS["classification"][0], criterion.needs)
        assert name not in without.criteria
        with pytest.raises(ValueError, match="criterion"):
            without.scores(name)
