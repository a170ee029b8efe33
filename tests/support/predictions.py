"""Predictions under two tasks whose right task is known, for criteria of task inference."""

from __future__ import annotations

from dataclasses import replace

import torch

from bayeshnet.continual import StreamPrediction
from bayeshnet.inference import Prediction


def prediction(probs):
    """A prediction of classes from probabilities ``(S, N, C)`` under each weight sample."""
    probs = torch.as_tensor(probs, dtype=torch.float64)
    mean = probs.mean(0)
    total = -(mean * mean.log()).sum(-1)
    aleatoric = -(probs * probs.log()).sum(-1).mean(0)
    variance = probs.var(0, correction=0)
    return Prediction(mean, total, aleatoric, total - aleatoric, variance, "classification", len(probs))


def values(mean, variance, noise=0.01):
    """A prediction of values from means and variances over weight samples ``(N, C)`` and the variance of the noise."""
    mean, variance = torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64)
    aleatoric = torch.full((len(mean),), noise * mean.shape[1], dtype=torch.float64)
    return Prediction(mean, aleatoric + variance.sum(-1), aleatoric, variance.sum(-1), variance, "regression", 10)


def with_kept(stream):
    """The same predictions with logits and with scores by what is kept of features, which tell the same tasks."""
    means = [p.mean for p in stream.predictions]
    right = torch.tensor([[3.0, 1.0], [1.0, 4.0], [2.0, -1.0]], dtype=torch.float64)[: len(means[0])]
    logits = [m.log() + right[:, [t]] if stream.labels else None for t, m in enumerate(means)]
    predictions = tuple(replace(p, logits=own) for p, own in zip(stream.predictions, logits, strict=True))
    virtual = torch.ones_like(right) if stream.labels else None
    kept = {"evidence": 7 * right, "mahalanobis": (-right).exp(), "logit_variance": (-right).exp()}
    return replace(stream, predictions=predictions, virtual_logit=virtual, **kept)


def class_stream(joint=False):
    """Three inputs, two weight samples: the first and the third input belong to task 0, the second to task 1.

    With ``joint`` it has probabilities of the tasks under one softmax as well.
    """
    first = prediction([[[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], [[0.8, 0.2], [0.1, 0.9], [0.1, 0.9]]])
    second = prediction([[[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]], [[0.2, 0.8], [0.2, 0.8], [0.1, 0.9]]])
    density = torch.tensor([[0.0, -10.0], [-5.0, 0.0], [0.0, -0.1]], dtype=torch.float64)
    probs = torch.tensor([[0.6, 0.4], [0.2, 0.8], [0.9, 0.1]], dtype=torch.float64)
    labels = ((0, 1), (2, 3))
    return StreamPrediction((first, second), density, torch.tensor(2.0), 1.5, labels, probs.log() if joint else None)


def value_stream():
    """Two inputs: the first belongs to task 0, the second to task 1."""
    predictions = (values([[0.0], [1.0]], [[0.0], [0.5]]), values([[0.5], [1.0]], [[0.4], [0.1]]))
    density = torch.tensor([[0.0, -3.0], [-3.0, 0.0]], dtype=torch.float64)
    return StreamPrediction(predictions, density, torch.tensor(1.0))
