"""Shortcuts of evaluation change neither the training loss nor its gradients."""

import copy

import pytest
import torch

from bayeshnet.builders import ImplicitGenerator, MeanFieldGenerator, MLPNetwork
from bayeshnet.continual import NoiseOutliers, OutputRegularizer, PosteriorReplay
from bayeshnet.continual.losses.outlier_exposure import OutlierExposure
from bayeshnet.guides import BayesianModel, Categorical, HypernetGuide
from bayeshnet.inference import ImplicitELBO
from bayeshnet.inference.losses import as_losses
from bayeshnet.inference.objective import Objective
from bayeshnet.speed import using
from tests.support.guide_toys import data, gradients_of
from tests.support.oracles import DTYPE

POSTERIORS = {
    "HMLP": ImplicitGenerator(latent_size=2, embedding_size=3, hidden_layers=(6,)),
    "ChunkedHMLP": ImplicitGenerator(latent_size=2, embedding_size=3, hidden_layers=(6,), chunk_size=4),
    "mean field": MeanFieldGenerator(embedding_size=3, hidden_layers=(6,)),
}
SWITCHED_OFF = {
    "direct": {"direct": False},
    "memo": {"memo": False},
    "one pass": {"one_pass": False},
    "all": {"direct": False, "memo": False, "one_pass": False},
}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def evaluate(kind, added):
    """Return the losses of two steps, all recorded parts and the gradients, of the third task of a stream."""
    torch.manual_seed(0)
    net = MLPNetwork((4,), "tanh").build((2,), 3).double()
    learner = PosteriorReplay(net, POSTERIORS[kind], regularizer=OutputRegularizer(0.7, max_tasks=1))
    posterior = learner.task_posterior(net.weight_spec)
    for _ in range(3):
        posterior.grow()
    posterior = posterior.to(DTYPE)
    previous = copy.deepcopy(posterior)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x, y = data(classes=3)
    model = BayesianModel(net, posterior.prior(x), Categorical(), num_data=60)
    losses = []
    if added:
        losses = as_losses(
            [OutlierExposure(NoiseOutliers(0.3), generator(1))],
            [learner.regularizer.penalty(posterior, previous, 2, generator(2))],
            [lambda weights, x, y, step: weights.square().mean() * (1 + step)],
        )
    guide = HypernetGuide(posterior).condition(2)
    objective = Objective(ImplicitELBO(num_particles=3, max_plate_nesting=1), model, guide, 60, 0.5, losses=losses)
    torch.manual_seed(3)
    found = []
    for step in range(2):
        loss, row = objective(step, (x, y), 0.1)
        found += [loss.detach(), torch.tensor(row, dtype=DTYPE).nan_to_num(), gradients_of(loss, guide)]
    return found


@pytest.mark.parametrize("added", [False, True], ids=["bound", "added losses"])
@pytest.mark.parametrize("kind", POSTERIORS)
def test_shortcuts_change_no_value_and_no_gradient(kind, added):
    quick = evaluate(kind, added)
    assert quick[-1].abs().sum() > 0
    for off in SWITCHED_OFF.values():
        with using(**off):
            torch.testing.assert_close(evaluate(kind, added), quick, rtol=1e-10, atol=1e-10)


def test_local_noise_is_evaluated_directly_in_any_case():
    """It is no shortcut: the traced evaluation has no such noise."""
    net = MLPNetwork((4,), "tanh").build((2,), 3)
    posterior = POSTERIORS["mean field"].build(net.weight_spec)
    x, y = (t.to(torch.float32) if t.is_floating_point() else t for t in data(classes=3))
    model = BayesianModel(net, POSTERIORS["mean field"].prior(net.weight_spec, x), Categorical())
    guide, bounds = HypernetGuide(posterior).condition(0), []
    for direct in (True, False):
        torch.manual_seed(0)
        with using(direct=direct):
            bounds.append(ImplicitELBO(local_noise=True).loss(model, guide, x, y))
    assert bounds[0] == bounds[1]
