"""Logits of a prediction: outputs under each draw, computed by hand and averaged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bayeshnet import Predictive
from bayeshnet.distributions.base import draw_from
from bayeshnet.guides import Bernoulli, Categorical, Gaussian, MeanFieldGuide

X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("chunks", [{}, {"input_chunk": 2}])
def test_logits_are_outputs_averaged_over_draws(chunks):
    net = nn.Linear(3, 2).double()
    guide = MeanFieldGuide(net).double()
    predictive = Predictive(guide, net, Categorical(), num_samples=7, **chunks)
    found = predictive(X, generator=torch.Generator().manual_seed(3))
    weights = draw_from(guide.distribution(None, None), 7, torch.Generator().manual_seed(3)).w
    outputs = torch.stack([X @ w[:6].reshape(2, 3).T + w[6:] for w in weights])
    torch.testing.assert_close(found.logits, outputs.mean(0))
    torch.testing.assert_close(found.mean, outputs.softmax(-1).mean(0))


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(noise=0.1), None])
def test_other_predictions_have_none(likelihood):
    net = nn.Linear(3, 2).double()
    assert Predictive(MeanFieldGuide(net).double(), net, likelihood, num_samples=2)(X).logits is None
