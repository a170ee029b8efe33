"""AutoHypernet in the places where Pyro's own guides work, and a reason where it does not."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    Importance,
    JitTrace_ELBO,
    JitTraceMeanField_ELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    WeighedPredictive,
)
from pyro.infer.autoguide import AutoGuideList, AutoNormal
from pyro.infer.importance import psis_diagnostic, vectorized_importance_weights

from bayeshnet.estimators import ImportanceSandwich
from bayeshnet.guides import AutoHypernet, HypernetGuide, MeanFieldGuide
from bayeshnet.inference import ImplicitELBO, fit
from tests.support.guide_toys import ToyPosterior, data, gradients_of, regression, small_net
from tests.support.oracles import DTYPE

Y = torch.tensor([1.2, 0.3, 2.5, 0.9, -0.4, 1.1], dtype=DTYPE)
ZERO, ONE = torch.zeros((), dtype=DTYPE), torch.ones((), dtype=DTYPE)


def nested(y=Y):
    """Sites in no plate, in one and in two, one of them a probability vector and one left out by ``dim=-3``."""
    scale = pyro.sample("scale", dist.LogNormal(ZERO, ONE))
    with pyro.plate("rows", 2, dim=-3):
        shares = pyro.sample("shares", dist.Dirichlet(torch.ones(3, dtype=DTYPE)))
        with pyro.plate("columns", 4, dim=-1):
            pyro.sample("x", dist.Normal(shares[..., 0], scale))


def subsampled(y=Y, part=None):
    """One unknown and a plate of which each call sees a part, a random one if none is given."""
    m = pyro.sample("m", dist.Normal(ZERO, ONE))
    with pyro.plate("data", len(y), 2 if part is None else len(part), part) as index:
        pyro.sample("y", dist.Normal(m, ONE), obs=y[index])


def clusters(y=Y):
    """A discrete unknown per datum, to be summed over."""
    center = pyro.sample("center", dist.Normal(ZERO, 2 * ONE).expand([2]).to_event(1))
    with pyro.plate("data", len(y)):
        which = pyro.sample("which", dist.Bernoulli(0.3 * ONE), infer={"enumerate": "parallel"})
        pyro.sample("y", dist.Normal(torch.where(which > 0, center[..., 0], center[..., 1]), ONE), obs=y)


def summed(y=Y):
    """The same with the sum written down."""
    center = pyro.sample("center", dist.Normal(ZERO, 2 * ONE).expand([2]).to_event(1))
    with pyro.plate("data", len(y)):
        parts = dist.Normal(center, ONE)
        weights = dist.Categorical(torch.tensor([0.3, 0.7], dtype=DTYPE))
        pyro.sample("y", dist.MixtureSameFamily(weights, parts), obs=y)


def guide_of(program, **options):
    torch.manual_seed(0)
    guide = AutoHypernet(program, layers=(5,), **options)
    guide(Y)
    return guide


def test_draws_of_the_posterior_have_the_sites_shapes_and_supports():
    guide = guide_of(nested, centring=None)
    draws = guide.sample_posterior(50, Y, generator=torch.Generator().manual_seed(1))
    shapes = {name: tuple(value.shape) for name, value in draws.items()}
    assert shapes == {"scale": (50,), "shares": (50, 2, 1, 1, 3), "x": (50, 2, 1, 4)}
    assert (draws["scale"] > 0).all()
    torch.testing.assert_close(draws["shares"].sum(-1), torch.ones(50, 2, 1, 1, dtype=DTYPE))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flat = guide.distribution().draw(50, torch.Generator().manual_seed(1)).w
    torch.testing.assert_close(draws["scale"], flat[:, 0].exp())
    torch.testing.assert_close(draws["x"].reshape(50, 8), flat[:, -8:])
    assert not draws["x"].requires_grad


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("loss", [Trace_ELBO, TraceGraph_ELBO, ImplicitELBO])
def test_subsampled_plates_are_scaled_once(loss, vectorize):
    """The mean over all parts of the data, under the same draws, is the loss of all of them, value and gradient."""
    guide = guide_of(subsampled)
    elbo = loss(num_particles=3, vectorize_particles=vectorize, max_plate_nesting=1)

    def evaluate(part):
        torch.manual_seed(2)
        guide.zero_grad()
        value = elbo.loss_and_grads(subsampled, guide, Y, part=torch.tensor(part))
        return torch.cat([torch.tensor([value]), *(p.grad.flatten() for p in guide.parameters())])

    parts = torch.stack([evaluate(part) for part in ([0, 1], [2, 3], [4, 5])])
    torch.testing.assert_close(parts.mean(0), evaluate([0, 1, 2, 3, 4, 5]))
    assert elbo.loss(subsampled, guide, Y) > 0


@pytest.mark.parametrize("chosen", [None, torch.tensor([1, 3, 5])], ids=["random", "given"])
def test_unknowns_of_a_part_of_the_data_are_refused(chosen):
    """The unknowns of three data would stand for those of all, and rows that are given would be drawn anew."""

    def local(y=Y):
        m = pyro.sample("m", dist.Normal(ZERO, ONE))
        with pyro.plate("data", len(y), None if chosen is not None else 3, chosen) as index:
            z = pyro.sample("z", dist.Normal(m, ONE))
            pyro.sample("y", dist.Normal(z, ONE), obs=y[index])

    with pytest.raises(ValueError, match="site 'z' in plate 'data', which sees 3 of 6 data"):
        guide_of(local)


@pytest.mark.parametrize("vectorize", [False, True])
def test_discrete_unknowns_are_summed_over(vectorize):
    guide = guide_of(summed, num_samples=None)
    found = []
    for program, loss in ((clusters, TraceEnum_ELBO), (summed, Trace_ELBO)):
        torch.manual_seed(4)
        elbo = loss(num_particles=3, vectorize_particles=vectorize, max_plate_nesting=1)
        value = elbo.differentiable_loss(program, guide, Y)
        found.append((value, gradients_of(value, guide)))
    torch.testing.assert_close(*found)


def test_it_is_part_of_a_list_of_guides():
    """With a Gaussian guide for the unknowns of the data and itself for the others."""

    def program(y=Y):
        scale = pyro.sample("scale", dist.LogNormal(ZERO, ONE))
        with pyro.plate("data", len(y)):
            x = pyro.sample("x", dist.Normal(ZERO, scale))
            pyro.sample("y", dist.Normal(x, 0.5 * ONE), obs=y)

    with pyro.settings.context(module_local_params=True):
        guide = AutoGuideList(program)
        guide.append(AutoHypernet(poutine.block(program, expose=["scale"]), layers=(5,)))
        guide.append(AutoNormal(poutine.block(program, expose=["x"])))
        loss = fit(program, guide, (Y,), num_steps=80, lr=0.02, num_particles=4).history["loss"]
    assert loss[-10:].mean() < loss[:10].mean()
    assert guide.median(Y)["x"].shape == (6,)
    assert guide.quantiles([0.1, 0.9], Y)["scale"].shape == (2,)


WEIGHTED = {
    "importance": lambda m, g, a: Importance(m, g, num_samples=3).run(*a),
    "vectorized": lambda m, g, a: vectorized_importance_weights(m, g, *a, num_samples=3, max_plate_nesting=1),
    "diagnostic": lambda m, g, a: psis_diagnostic(m, g, *a, num_particles=100, max_plate_nesting=1),
    "weighed": lambda m, g, a: WeighedPredictive(m, guide=g, num_samples=5)(*a),
}


@pytest.mark.filterwarnings("ignore:Not enough tail samples")
@pytest.mark.parametrize("case", WEIGHTED)
def test_importance_weights_need_a_density_per_draw(case):
    """They are refused with a density that is right on average only, for any model and for networks."""
    model, guide = regression()
    for program, posterior, arguments in ((summed, guide_of(summed), (Y,)), (model, guide, data())):
        with pytest.raises(ValueError, match="which weights each one by its own density"):
            WEIGHTED[case](program, posterior, arguments)
    WEIGHTED[case](model, MeanFieldGuide(small_net(), sigma=0.5).to(DTYPE), data())
    posterior = ToyPosterior(small_net().weight_spec, sigma=0.5)
    WEIGHTED[case](model, HypernetGuide(posterior, ImportanceSandwich(4, control_variate=False)), data())


@pytest.mark.parametrize("loss", [JitTrace_ELBO, JitTraceMeanField_ELBO])
def test_compiled_losses_are_refused(loss):
    model, guide = regression()
    for program, posterior, arguments in ((summed, guide_of(summed), (Y,)), (model, guide, data())):
        with pytest.raises(ValueError, match="Use Trace_ELBO"):
            loss(max_plate_nesting=1).loss_and_grads(program, posterior, *arguments)
