"""The training loop: what it minimizes, determinism, resuming, schedules, clipping, callbacks, and what it refuses."""

import logging
import math
from contextlib import contextmanager, nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.utils.checkpoint
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from bayeshnet.builders import ImplicitGenerator
from bayeshnet.distributions import DiracPosterior, FanInGaussian, MeanFieldPosterior
from bayeshnet.estimators import AVB, IWHVI, LIVI
from bayeshnet.guides import BayesianModel, Bernoulli, Categorical, Gaussian, HypernetGuide, MeanFieldGuide
from bayeshnet.inference import (
    Callback,
    Cosine,
    EarlyStopping,
    ImplicitELBO,
    LinearWarmup,
    LogProgress,
    fit,
)
from bayeshnet.inference.loop import Loop
from bayeshnet.inference.losses import AddedLoss
from bayeshnet.inference.objective import Objective
from bayeshnet.tasks import Split
from tests.support.guide_toys import data, regression, small_net
from tests.support.oracles import DTYPE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ridge():
    """Linear regression by a point mass, whose optimum is known."""
    net = nn.Linear(2, 1).to(DTYPE)
    guide = HypernetGuide(DiracPosterior(small_spec(net)).to(DTYPE))
    prior = dist.Normal(torch.zeros(3, dtype=DTYPE), 2.0).to_event(1)
    return BayesianModel(net, prior, Gaussian(torch.tensor(0.3, dtype=DTYPE))), guide


def small_spec(net):
    from bayeshnet.weights import WeightSpec

    return WeightSpec.of(net)


def test_it_finds_the_known_optimum():
    model, guide = ridge()
    x, y = data(N=40)
    result = fit(model, guide, (x, y), num_steps=500, lr=0.1, scheduler="cosine")
    design = torch.cat([x, torch.ones(40, 1, dtype=DTYPE)], 1)
    best = torch.linalg.solve(design.T @ design / 0.09 + torch.eye(3, dtype=DTYPE) / 4, design.T @ y / 0.09)
    torch.testing.assert_close(guide.distribution().loc.detach(), best[:, 0], atol=1e-4, rtol=0)
    assert result.steps == 500
    assert result.stopped == "finished"
    assert math.isnan(result.history["kl"][-1])


def test_the_loss_of_a_step_is_the_one_documented():
    model, guide = regression(num_data=None, linear=True)
    x, y = data()
    model = model.with_data(60)
    torch.manual_seed(4)
    terms = ImplicitELBO(LIVI(), num_particles=3, num_samples=4, beta=0.5).terms(model, guide, x, y)
    torch.manual_seed(4)
    seen = []

    def term(weights, inputs, targets, step):
        seen.append((weights, inputs, targets, step))
        return weights.square().mean()

    result = fit(
        model,
        guide,
        (x, y),
        num_steps=1,
        lr=1e-9,
        estimator=LIVI(),
        num_particles=3,
        num_samples=4,
        beta=0.5,
        penalties=[lambda: torch.tensor(2.0), lambda step: torch.tensor(3.0 + step)],
        extra_terms=[term],
    )
    history = {name: values[0] for name, values in result.history.items()}
    extra = terms.weights.square().mean().detach()
    expected = (terms.nll + 0.5 * terms.kl) / 60 + 5.0 + extra
    for name, value in {
        "loss": expected,
        "nll": terms.nll / 60,
        "kl": terms.kl,
        "analytic": terms.analytic,
        "extra": extra,
        "mutual_information": terms.mutual_information,
        "penalty": torch.tensor(5.0),
        "beta": torch.tensor(0.5),
    }.items():
        torch.testing.assert_close(history[name], value.to(DTYPE).detach())
    torch.testing.assert_close(seen[0][:3], (terms.weights, x, y))
    assert seen[0][3] == 0
    assert seen[0][0].requires_grad


def test_the_old_name_of_the_number_of_samples():
    model, guide = regression(num_data=12)
    with pytest.warns(DeprecationWarning, match="num_latents is deprecated: use num_samples"):
        assert ImplicitELBO(num_latents=3).num_samples == 3
    torch.manual_seed(0)
    new = fit(model, guide, data(), num_steps=1, lr=1e-9, num_samples=3).history["kl"]
    torch.manual_seed(0)
    with pytest.warns(DeprecationWarning, match="num_latents is deprecated: use num_samples"):
        old = fit(model, guide, data(), num_steps=1, lr=1e-9, num_latents=3).history["kl"]
    torch.testing.assert_close(old, new)
    with pytest.raises(TypeError, match="num_samples: expected one value"):
        fit(model, guide, data(), num_steps=1, num_samples=3, num_latents=3)


def test_losses_of_all_kinds_are_one_list():
    """Functions and objects, under any of the three keywords; each is recorded in its column."""

    class Own(AddedLoss):
        column = "penalty"
        needs_weights = False

        def __call__(self, context):
            return torch.tensor(10.0 + context.step)

    model, guide = regression(num_data=12)
    seen = []

    def of_context(context):
        seen.append((context.step, context.x, context.y, context.outputs(context.x[:2]).shape))
        return context.weights.mean() * 0 + 1.0

    result = fit(
        model,
        guide,
        data(),
        num_steps=2,
        lr=1e-9,
        num_particles=3,
        losses=[of_context, Own()],
        penalties=[lambda: torch.tensor(2.0), Own()],
        extra_terms=[lambda w, x, y, step: w.mean() * 0 + step, Own()],
    )
    assert result.history["penalty"].tolist() == [32.0, 35.0]
    assert result.history["extra"].tolist() == [1.0, 2.0]
    assert seen[1][0] == 1
    assert seen[1][3] == (3, 2, 1)
    torch.testing.assert_close(seen[0][1:3], data())


def test_a_penalty_may_prepare_the_step():
    """Its context is entered before the draws of the step and left after all losses."""
    events = []

    class Prepared:
        @contextmanager
        def during(self, step):
            events.append(("begin", step))
            yield
            events.append("end")

        def __call__(self):
            events.append("loss")
            return torch.tensor(0.0)

    model, guide = regression()
    terms = [lambda w, *_: events.append("weights") or w.sum() * 0]
    fit(model, guide, data(), num_steps=1, lr=1e-9, penalties=[Prepared()], extra_terms=terms)
    assert events == [("begin", 0), "loss", "weights", "end"]


def test_a_model_without_size_is_given_that_of_the_data():
    """Of two losses, one with batches, both are per example of the whole data set."""
    model, guide = ridge()
    x, y = data(N=40)
    guide.requires_grad_(True)
    result = fit(model, guide, (x, y), num_epochs=1, batch_size=8, lr=1e-12, generator=generator())
    w = guide.distribution().loc.detach()[None]
    full = -model.log_likelihood(w, x, y).item() / 40
    assert result.steps == 5
    assert float(result.history["nll"].mean()) == pytest.approx(full, rel=1e-6)
    assert model.num_data is None


def run(seed, steps, state=None, modules=None, callbacks=()):
    model, guide = modules or regression()
    result = fit(
        model,
        guide,
        data(N=20),
        num_steps=steps,
        batch_size=6,
        lr=0.01,
        scheduler=Cosine(30),
        num_particles=3,
        generator=generator(seed),
        state=state,
        callbacks=callbacks,
    )
    return guide, result


def flat(guide):
    return torch.cat([p.detach().flatten() for p in guide.parameters()])


def test_a_generator_fixes_everything():
    state = torch.get_rng_state()
    first, second, other = run(1, 12), run(1, 12), run(2, 12)
    assert torch.equal(flat(first[0]), flat(second[0]))
    assert torch.equal(first[1].history["loss"], second[1].history["loss"])
    assert not torch.equal(flat(first[0]), flat(other[0]))
    assert torch.equal(state, torch.get_rng_state())


def test_a_resumed_run_is_the_uninterrupted_one():
    whole, _ = run(3, 25)
    modules = regression()
    _, half = run(3, 10, modules=modules)
    again, rest = run(99, 25, state=half.state, modules=modules)
    assert rest.steps == 25
    assert len(rest.history["loss"]) == 15
    torch.testing.assert_close(flat(again), flat(whole), rtol=0, atol=0)


@pytest.mark.parametrize("estimator", [lambda: IWHVI(4, 4, steps=2), lambda: AVB((8,), steps=2)], ids=["IWHVI", "AVB"])
def test_networks_of_an_estimator_are_trained_by_it_alone(estimator):
    """It makes them in the first step; a later training is resumed, and does not train them towards a lower bound."""
    found = []
    for parts in ((6,), (3, 6)):
        torch.manual_seed(0)
        net, generator, state = small_net(), torch.Generator().manual_seed(4), None
        builder = ImplicitGenerator(latent_size=2, embedding_size=2, hidden_layers=(4,))
        guide = HypernetGuide(builder.build(net.weight_spec).double(), estimator()).condition(0)
        model = BayesianModel(net, FanInGaussian(net.weight_spec, dtype=DTYPE), Gaussian(0.5))
        for steps in parts:
            result = fit(model, guide, data(), num_steps=steps, state=state, generator=generator, alarms=False)
            state = result.state
        found.append(flat(guide))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    before = [p.clone() for p in guide.estimator.parameters()]
    guide.estimator.steps = 0
    fit(model, guide, data(), num_steps=2, alarms=False)
    assert before
    assert all(torch.equal(a, b) for a, b in zip(before, guide.estimator.parameters(), strict=True))


class Chooses(AddedLoss):
    """A loss with a generator of its own."""

    def __init__(self, generator):
        self.generators = (generator,)

    def __call__(self, context):
        return context.weights.sum() * 0


def test_a_step_that_is_kept_has_the_generators_of_losses():
    own, common = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    model, guide = ridge()
    losses = [Chooses(own), Chooses(common)]  # the second one's is that of the training
    loop = Loop(None, Objective(ImplicitELBO(), model, guide, 12, losses=losses), None, common)
    kept = [generator.get_state() for generator in (own, common)]
    state = {"modules": [dict(m.state_dict()) for m in (guide, model)], "state": None, "derived": kept[:1]}
    first = torch.rand(3, generator=own)
    loop.resume(state)
    assert torch.equal(torch.rand(3, generator=own), first)
    with pytest.raises(ValueError, match="state: expected states of 1 generators, which the losses have, got 2"):
        loop.resume({**state, "derived": kept})


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_step(self, run):
        self.seen.append(run.parts["lr"])


SCHEDULES = {
    "cosine": ("cosine", lambda t: 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t / 8))),
    "function": (lambda step: 1 / (1 + step), lambda t: 1 / (1 + t)),
    "torch": (lambda opt: torch.optim.lr_scheduler.StepLR(opt, 3, 0.5), lambda t: 0.5 ** (t // 3)),
    "class": (torch.optim.lr_scheduler.ConstantLR, lambda t: 1 / 3 if t < 5 else 1.0),
    "none": (None, lambda t: 1.0),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedules_of_the_learning_rate(kind):
    scheduler, factor = SCHEDULES[kind]
    model, guide = ridge()
    rates = Rates()
    result = fit(model, guide, data(), num_steps=8, lr=0.2, scheduler=scheduler, callbacks=[rates])
    assert rates.seen == pytest.approx([0.2 * factor(t) for t in range(8)])
    assert result.history["lr"].tolist() == pytest.approx(rates.seen)


@pytest.mark.parametrize("generous", [True, False])
def test_the_learning_rate_falls_where_the_loss_does_not(generous):
    """Reduced by the rule, from the recorded losses: more than ``patience`` steps without a loss below the best."""
    patience = 3

    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=0.0)

    model, guide = ridge()
    scheduler = plateau if generous else torch.optim.lr_scheduler.ReduceLROnPlateau
    result = fit(model, guide, data(), num_steps=60, lr=0.3, scheduler=scheduler, generator=generator())
    best, bad, rate = math.inf, 0, 0.3
    allowed, factor, share = (patience, 0.5, 1.0) if generous else (10, 0.1, 1 - 1e-4)
    for loss, lr in zip(result.history["loss"].tolist(), result.history["lr"].tolist(), strict=True):
        assert lr == pytest.approx(rate)
        best, bad = (loss, 0) if loss < best * share else (best, bad + 1)
        if bad > allowed:
            rate, bad = rate * factor, 0
    assert rate < 0.3


NO_DENSITY = [(Bernoulli(), 2.0), (Gaussian(0.3), float("nan")), (Categorical(), -100)]


@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize(("likelihood", "bad"), NO_DENSITY)
def test_targets_without_a_density_in_the_middle_of_a_loader_are_refused(likelihood, bad, transformed):
    x, y = torch.randn(12, 1), torch.zeros(12, dtype=torch.long if isinstance(likelihood, Categorical) else None)
    y[9] = bad
    net = nn.Linear(1, 2 if isinstance(likelihood, Categorical) else 1)
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), likelihood)
    told = Calls()
    transform = (lambda batch, generator: (batch["x"], batch["y"])) if transformed else None
    examples = [{"x": a, "y": b} for a, b in zip(x, y, strict=True)] if transformed else TensorDataset(x, y)
    with pytest.raises(ValueError, match=r"^y: expected .* \(1 such of 4\)"):
        fit(model, guide, DataLoader(examples, 4), num_steps=3, transform=transform, callbacks=[told])
    assert told.events == ["start", 1, 2, "end"]


def test_beta_may_change_from_step_to_step():
    model, guide = regression()
    result = fit(model, guide, data(), num_steps=5, beta=LinearWarmup(4, 0.2, 1.0))
    assert result.history["beta"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


OPTIMIZERS = {
    "class": lambda guide: torch.optim.SGD,
    "function": lambda guide: lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "instance": lambda guide: torch.optim.SGD(guide.parameters(), lr=0.1),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_any_optimizer(kind):
    """One step of gradient descent, clipped, is a step of the length of the rate along the gradient of everything."""
    model, guide = ridge()
    before = flat(guide)
    fit(
        model,
        guide,
        data(),
        num_steps=1,
        lr=0.1,
        optimizer=OPTIMIZERS[kind](guide),
        grad_clip=0.5,
        penalties=[lambda: 1e6 * guide.posterior.mean.u.sum()],
    )
    assert float((flat(guide) - before).norm()) == pytest.approx(0.05, rel=1e-4)


def test_parameters_of_the_model_are_trained_too():
    net = nn.Linear(2, 1).to(DTYPE)
    spec = small_spec(net)
    likelihood = Gaussian(torch.tensor(1.0, dtype=DTYPE), learn=True)
    model = BayesianModel(net, FanInGaussian(spec, dtype=DTYPE), likelihood)
    guide = HypernetGuide(MeanFieldPosterior(spec, sigma=0.01).to(DTYPE))
    x, y = data(N=100)
    fit(model, guide, (x, y), num_steps=600, lr=0.05, scheduler="cosine", generator=generator())
    design = torch.cat([x, torch.ones(100, 1, dtype=DTYPE)], 1)
    residuals = y - design @ torch.linalg.lstsq(design, y).solution
    assert likelihood.scale.item() == pytest.approx(float(residuals.square().mean().sqrt()), rel=0.05)


class Calls(Callback):
    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def on_start(self, run):
        self.events.append("start")

    def on_step(self, run):
        self.events.append(run.step)
        if run.step == self.stop_at:
            run.stop("enough")

    def on_end(self, run):
        self.events.append("end")


def test_callbacks_are_called_and_can_stop_the_run():
    model, guide = ridge()
    told = Calls(stop_at=3)
    result = fit(model, guide, data(), num_steps=10, callbacks=[told])
    assert told.events == ["start", 1, 2, 3, "end"]
    assert (result.steps, result.stopped) == (3, "enough")


def test_progress_shows_rate_remaining_time_and_parts(caplog):
    model, guide = regression()
    seen = []
    with caplog.at_level(logging.INFO, logger="bayeshnet.inference.callbacks"):
        fit(
            model,
            guide,
            data(),
            num_steps=4,
            callbacks=[LogProgress(interval=0.0)],
            progress=lambda run: seen.append((run.step, run.eta, run.rate, run.parts.get("kl"))),
        )
    assert seen[0][0] == 0
    assert seen[-1][0] == 4
    assert seen[-1][1] == 0
    assert seen[-1][2] > 0
    assert "step 4 of 4" in caplog.messages[-1]
    assert "nll" in caplog.messages[-1]


def test_early_stopping_waits_its_patience():
    model, guide = ridge()
    values = iter([5.0, 4.0, 4.5, 3.9, 3.95, 3.99, 1.0])
    stopping = EarlyStopping(patience=2, every=2, monitor=lambda run: next(values))
    result = fit(model, guide, data(), num_steps=100, early_stopping=stopping)
    assert result.steps == 12
    assert result.stopped.startswith("early")
    flat_loss = fit(model, guide, data(), num_steps=3000, lr=1e-12, early_stopping=EarlyStopping(3, 10, 1e-6))
    assert flat_loss.steps == 40


class Pairs(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def test_data_in_all_forms():
    x, y = data(N=20)
    forms = [(x, y), [x, y], Split(x, y), TensorDataset(x, y), Pairs(x, y)]
    for form in forms:
        model, guide = ridge()
        result = fit(model, guide, form, num_epochs=2, batch_size=6, generator=generator())
        assert result.steps == 6
    model, guide = ridge()
    assert fit(model, guide, DataLoader(Pairs(x, y), 8), num_epochs=2).steps == 6


def test_batches_are_permutations_without_repetition():
    seen = []
    model, guide = ridge()
    x = torch.arange(20, dtype=DTYPE).unsqueeze(-1).expand(20, 2) / 20

    def transform(inputs, targets, generator=None):
        seen.append(inputs[:, 0].clone())
        return inputs, targets

    fit(model, guide, (x, x[:, :1]), num_steps=8, batch_size=5, transform=transform, generator=generator())
    for epoch in (seen[:4], seen[4:]):
        torch.testing.assert_close(torch.cat(epoch).sort().values, x[:, 0])
    assert not torch.equal(torch.cat(seen[:4]), torch.cat(seen[4:]))


def test_arguments_reach_the_guide():
    model, guide = regression(num_conds=2)
    before = guide.posterior.c.detach().clone()
    fit(model, guide, data(), num_steps=2, arguments={"cond_id": 1})
    moved = (guide.posterior.c.detach() - before).abs().sum(1)
    assert moved[0] == 0
    assert moved[1] > 0


def test_it_trains_pyros_own_guides_with_pyros_own_losses():
    with pyro.settings.context(module_local_params=True):
        model, _ = regression()
        guide = AutoNormal(model)
        loss = Trace_ELBO(num_particles=4, vectorize_particles=True)
        result = fit(model, guide, data(), num_steps=100, lr=0.02, elbo=loss, generator=generator())
    assert result.history["loss"][-20:].mean() < result.history["loss"][:20].mean()
    assert result.history["nll"].isnan().all()


def test_a_model_without_data():
    def model():
        return pyro.sample("weights", dist.Normal(torch.zeros(13, dtype=DTYPE), 1.0).to_event(1))

    guide = HypernetGuide(MeanFieldPosterior(small_net().weight_spec, sigma=0.5).to(DTYPE))
    fit(model, guide, num_steps=300, lr=0.1, scheduler="cosine", generator=generator())
    q = guide.distribution()
    torch.testing.assert_close(q.scale, torch.ones_like(q.scale), atol=1e-3, rtol=0)


REFUSALS = {
    "no length": ({}, "one of the two"),
    "two lengths": ({"num_steps": 1, "num_epochs": 1}, "one of the two"),
    "loss": ({"num_steps": 1, "elbo": RenyiELBO(alpha=0.5)}, "differentiable_loss"),
    "beside": ({"num_steps": 1, "elbo": Trace_ELBO(), "num_particles": 3}, "Give them to the loss itself"),
    "local noise beside": ({"num_steps": 1, "elbo": Trace_ELBO(), "local_noise": True}, "Give them to the loss itself"),
    "term": ({"num_steps": 1, "elbo": Trace_ELBO(), "extra_terms": [lambda w, x, y, t: 0.0]}, "Use ImplicitELBO"),
    "rate": ({"num_steps": 1, "lr": 0.0}, "lr: expected a number > 0"),
    "schedule": ({"num_steps": 1, "scheduler": "linear"}, "'cosine'"),
    "clip": ({"num_steps": 1, "grad_clip": -1.0}, "grad_clip"),
    "batch": ({"num_steps": 1, "batch_size": 0}, "batch_size"),
    "closure": ({"num_steps": 1, "optimizer": torch.optim.LBFGS}, "optimizer: expected one that .*, got LBFGS"),
    "made": ({"num_steps": 1, "optimizer": lambda p: torch.optim.LBFGS(p)}, "optimizer: expected one that .* gradient"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_arguments_that_do_not_fit_are_refused(case):
    model, guide = ridge()
    arguments, message = REFUSALS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        fit(model, guide, data(), **arguments)


def test_data_that_do_not_fit_are_refused():
    model, guide = ridge()
    x, y = data()
    with pytest.raises(ValueError, match="one length"):
        fit(model, guide, (x, y[:3]), num_steps=1)
    with pytest.raises(TypeError, match="data: expected"):
        fit(model, guide, "data", num_steps=1)
    with pytest.raises(ValueError, match="which has its own"):
        fit(model, guide, DataLoader(Pairs(x, y), 4), num_steps=1, batch_size=4)
    with pytest.raises(ValueError, match="Give num_steps"):
        fit(model, guide, num_epochs=1)
    guide.requires_grad_(False)
    with pytest.raises(ValueError, match="parameters to train"):
        fit(model, guide, (x, y), num_steps=1)
    with pytest.raises(TypeError, match="guide: expected"):
        fit(model, lambda x, y: None, (x, y), num_steps=1)


def test_a_loss_that_is_not_finite_ends_the_run_at_once():
    model, guide = ridge()
    x, y = data()
    told = Calls()
    with pytest.raises(ValueError, match="finite loss"):
        fit(model, guide, (x * float("nan"), y), num_steps=10, callbacks=[told])
    assert told.events == ["start", "end"]


class _Shifted(AddedLoss):
    """Mean square of the outputs at shifted inputs."""

    joins_batch = True

    def __call__(self, context):
        return context.outputs(context.x[:7] + 1).square().mean()


def test_losses_of_outputs_join_the_batch(monkeypatch):
    """One pass of the network gives the same as two, in value and gradient; within Pyro's handlers there are two."""
    model, guide = regression(num_data=60)
    x, y = data()
    outputs, sizes, found = BayesianModel.outputs, [], []
    monkeypatch.setattr(BayesianModel, "outputs", lambda self, w, x: sizes.append(len(x)) or outputs(self, w, x))
    for wrap in (nullcontext(), poutine.block()):
        torch.manual_seed(1)
        bound = ImplicitELBO(LIVI(), 3, 4, max_plate_nesting=1)
        objective = Objective(bound, model, guide, 60, losses=[_Shifted()])
        with wrap:
            loss, row = objective(0, (x, y), 0.1)
        found.append((torch.tensor(row, dtype=torch.float64), *torch.autograd.grad(loss, list(guide.parameters()))))
        assert sizes == ([len(x) + 7] if len(found) == 1 else [len(x) + 7, len(x), 7])
    torch.manual_seed(1)
    terms = ImplicitELBO(LIVI(), 3, 4).terms(model, guide, x, y)
    loss = terms.loss / 60 + model.outputs(terms.weights, x[:7] + 1).square().mean()
    wanted = torch.autograd.grad(loss, list(guide.parameters()))
    torch.testing.assert_close(found[0][0][0], loss.detach().to(found[0][0]))
    for one, two, reference in zip(*(f[1:] for f in found), wanted, strict=True):
        torch.testing.assert_close(one, reference)
        assert two.shape == reference.shape


def test_data_that_the_network_does_not_take_are_named_with_the_cause():
    net = nn.Linear(3, 2)
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Categorical())
    with pytest.raises(ValueError, match="data or net: expected inputs that the network takes") as caught:
        fit(model, guide, (torch.zeros(6, 4), torch.zeros(6).long()), num_steps=1)
    assert isinstance(caught.value.__cause__, RuntimeError)
    for wrong in ({"callbacks": (3,)}, {"losses": (3,)}, {"transform": 3}, {"arguments": {"cond": 1}}):
        with pytest.raises((ValueError, TypeError), match=f"{next(iter(wrong))}: expected"):
            fit(model, guide, (torch.zeros(6, 3), torch.zeros(6).long()), num_steps=1, **wrong)


@pytest.mark.parametrize("plan", [{"num_steps": 0}, {"num_epochs": 0}])
def test_a_plan_of_no_step_is_refused(plan):
    with pytest.raises(ValueError, match=f"{next(iter(plan))}: expected an integer >= 1, got 0"):
        fit(*regression(), data(), **plan)


def test_an_optimizer_of_other_parameters_is_refused():
    """It would train nothing, in silence."""
    model, guide = regression()
    stranger = torch.optim.SGD([nn.Parameter(torch.zeros(3))], lr=0.1)
    with pytest.raises(ValueError, match="optimizer: expected one with parameters of the guide or the model"):
        fit(model, guide, data(), optimizer=stranger, num_steps=2)
    some = list(guide.parameters())[:1]
    assert fit(model, guide, data(), optimizer=torch.optim.SGD(some, lr=0.01), num_steps=2).steps == 2


def test_a_schedule_that_ends_early_is_named_with_the_cause():
    def short(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=2)

    with pytest.raises(ValueError, match="scheduler: expected a schedule for all planned steps") as caught:
        fit(*regression(), data(), scheduler=short, num_steps=5)
    assert isinstance(caught.value.__cause__, ValueError)
    assert fit(*regression(), data(), scheduler=short, num_steps=2).steps == 2


def test_a_network_that_cannot_be_differentiated_is_named_with_the_cause():
    """Activations that are computed anew see the module's own weights, not those that were given."""

    class Recomputed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(1, 5), nn.Linear(5, 1)

        def forward(self, x):
            run = torch.utils.checkpoint.checkpoint
            return self.last(run(lambda h: torch.relu(self.first(h)), x, use_reentrant=False))

    net = Recomputed()
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(0.1))
    with pytest.raises(ValueError, match="net or losses: expected operations that can be differentiated") as caught:
        fit(model, guide, (torch.ones(4, 1), torch.ones(4, 1)), num_steps=1)
    assert isinstance(caught.value.__cause__, RuntimeError)
