"""Draws in blocks: the equation of the draw, its gradient, equal draws for equal seeds, and a training step."""

import pytest
import torch

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldGaussian
from bayeshnet.estimators import LIVI, SSGE, diagnose
from bayeshnet.guides import BayesianModel, Categorical, HypernetGuide
from bayeshnet.hnets import HMLP, ChunkedHDeconv, ChunkedHMLP
from bayeshnet.inference import ImplicitELBO, fit
from bayeshnet.mnets import MLP
from bayeshnet.speed import using
from tests.support.oracles import gradients

DOUBLE = torch.float64
NET = MLP(4, 3, hidden_layers=(6,), no_weights=True, verbose=False)
KINDS = ["full", "chunks", "images"]


def posterior(kind="chunks", block_size=7, **options):
    torch.manual_seed(3)
    sizes = {"uncond_in_size": 3, "cond_in_size": 0, "num_cond_embs": 0, "verbose": False}
    shapes = NET.weight_spec.shapes
    make = {
        "full": lambda: HMLP(shapes, layers=[5], **sizes),
        "chunks": lambda: ChunkedHMLP(shapes, 10, layers=[5], **sizes),
        "images": lambda: ChunkedHDeconv(shapes, (4, 4), num_layers=3, num_filters=[4, 3], sa_units=(), **sizes),
    }
    chosen = {"scale": "fan_in", "weight_spec": NET.weight_spec, "block_size": block_size, **options}
    return HypernetPosterior(make[kind]().to(DOUBLE), **chosen).to(DOUBLE)


def problem(made, estimator=None):
    model = BayesianModel(NET, FanInGaussian(NET.weight_spec, dtype=DOUBLE), Categorical(), num_data=40)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 4, generator=generator, dtype=DOUBLE)
    return model.to(DOUBLE), HypernetGuide(made, estimator or LIVI()), (x, torch.arange(8) % 3)


@pytest.mark.parametrize("sigma", [0.1, "learned"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_of_a_step(kind, sigma):
    """With the noise that a draw in blocks must have had, the same draw made at once has its loss and gradient."""
    made = posterior(kind, sigma=sigma)
    model, _, (x, y) = problem(made)
    inputs = list(made.parameters())
    draw = made().draw(3, torch.Generator().manual_seed(5))
    q = made()
    with torch.no_grad():
        noise = (q.whiten(draw.w) - q.geometry(draw.z)) / q.sigma
    assert abs(float(noise.mean())) < 0.3
    assert 0.75 < float(noise.std()) < 1.25
    whole = q.place(draw.z, noise)
    losses = [model.negative_log_likelihood(model.outputs(w, x), y).mean() for w in (draw.w, whole.w)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-11, atol=0)
    found, wanted = (gradients(loss, inputs) for loss in losses)
    assert all(g.abs().sum() > 0 for g in wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kl_is_that_of_the_posterior_without_blocks(kind):
    prior = FanInGaussian(NET.weight_spec, dtype=DOUBLE)
    values, pulled = [], []
    for block_size, jacobian_block in ((None, 2**21), (7, 50)):
        made = posterior(kind, block_size)
        with using(jacobian_block=jacobian_block, short_weights=0):
            estimate = LIVI(6).estimate(made, prior, generator=torch.Generator().manual_seed(2))
            pulled.append(gradients(estimate.surrogate, list(made.parameters())))
        values.append(estimate.value)
    torch.testing.assert_close(values[0], values[1], rtol=1e-11, atol=0)
    torch.testing.assert_close(pulled[0], pulled[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sigma", [0.1, "learned"])
@pytest.mark.parametrize("seeded", [True, False])
def test_equal_seeds_give_equal_draws(seeded, sigma):
    """A generator, or torch's own, moves on from block to block and from draw to draw, and not in backward passes."""
    q = posterior(sigma=sigma)()
    found = []
    for backward in (False, True):
        generator = torch.Generator().manual_seed(5) if seeded else None
        torch.manual_seed(5)
        first = q.draw(2, generator)
        if backward:
            first.w.sum().backward(retain_graph=True)
        found.append((first.w.detach(), q.draw(2, generator).w.detach()))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.isclose(*found[0]).any()
    noise = (q.whiten(found[0][0]) - q.geometry(torch.zeros(3, dtype=DOUBLE))).round(decimals=9)
    assert len(noise.unique()) == noise.numel()


def test_short_vectors_and_means_are_drawn_as_ever():
    made, plain = posterior(block_size=1000), posterior(block_size=None)
    one, other = (p().draw(2, torch.Generator().manual_seed(0)) for p in (made, plain))
    assert torch.equal(one.w, other.w)
    assert torch.equal(one.eps, other.eps)


def test_noise_that_is_not_kept_is_asked_for_in_vain():
    made = posterior()
    draw = made().draw(2)
    assert draw.eps is None
    assert draw.u is None
    with pytest.raises(ValueError, match="of a posterior without block_size"):
        LIVI().log_density(made(), draw)
    torch.testing.assert_close(made().whitened(draw), made().whiten(draw.w))
    model, guide, data = problem(made)
    with pytest.raises(ValueError, match="Leave local_noise off, or block_size"):
        fit(model, guide, data, num_steps=1, local_noise=True)


def test_a_draw_has_the_moments_of_the_posterior():
    """Mean and variance of many draws in blocks are those of draws at once, within five standard errors."""
    q, num = posterior(sigma=0.5)(), 20_000
    plain = posterior(sigma=0.5, block_size=None)()
    with torch.no_grad():
        one, other = (law.draw(num, torch.Generator().manual_seed(s)).w for s, law in ((0, q), (1, plain)))
    error = (one.var(0) / num + other.var(0) / num).sqrt()
    assert bool(((one.mean(0) - other.mean(0)).abs() < 5 * error).all())
    torch.testing.assert_close(one.var(0), other.var(0), rtol=0.07, atol=0)
    torch.testing.assert_close(torch.corrcoef(one.T), torch.corrcoef(other.T), rtol=0, atol=0.05)


def test_a_training_goes_down_and_is_repeatable():
    results = []
    for _ in range(2):
        model, guide, data = problem(posterior(sigma="learned"))
        options = {"num_steps": 30, "num_particles": 4, "lr": 0.03, "alarms": False}
        results.append(fit(model, guide, data, generator=torch.Generator().manual_seed(0), **options))
    first, again = (result.history["loss"] for result in results)
    assert torch.equal(first, again)
    assert first[-5:].mean() < first[:5].mean() - 0.05


def test_other_priors_and_estimators_on_draws():
    """A prior that is not the whitening's, and a score estimator, which needs draws and no noise."""
    made, plain = posterior("chunks"), posterior("chunks", None)
    center = torch.full((NET.weight_spec.numel,), 0.1, dtype=DOUBLE)
    prior = MeanFieldGaussian(center, 7 * center)
    values = [LIVI(5).estimate(p, prior, generator=torch.Generator().manual_seed(2)).value for p in (made, plain)]
    torch.testing.assert_close(values[0], values[1], rtol=1e-11, atol=0)
    model, guide, (x, y) = problem(made, SSGE())
    terms = ImplicitELBO(num_particles=10, generator=torch.Generator().manual_seed(0)).terms(model, guide, x, y)
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients(terms.loss, list(made.parameters())))


def test_shared_noise_is_refused():
    with pytest.raises(ValueError, match="block_size: expected None with shared noise, got 7"):
        posterior(noise="shared")


def test_an_audit_is_that_of_draws_with_their_noise():
    prior = FanInGaussian(NET.weight_spec, dtype=DOUBLE)
    found = [
        diagnose(posterior("full", size), prior, 8, torch.Generator().manual_seed(0), quick=True) for size in (7, None)
    ]
    assert (found[0].value, found[0].lower) == (found[1].value, found[1].lower)
    assert found[0].measurements["share_from_map"] == found[1].measurements["share_from_map"]
