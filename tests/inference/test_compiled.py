"""The bound as one program: the same numbers as its evaluation, whatever changes between steps, and bfloat16."""

import copy
import shutil

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MeanFieldGenerator
from bayeshnet.commands.parser import parse_run
from bayeshnet.continual import OutputRegularizer
from bayeshnet.continual.task_posterior import GeneratedTasks
from bayeshnet.distributions import FanInGaussian
from bayeshnet.guides import BayesianModel, Gaussian, HeteroscedasticGaussian, HypernetGuide, MeanFieldGuide
from bayeshnet.inference import ImplicitELBO, fit
from bayeshnet.inference.compiled import BoundProgram, CapturedBound
from bayeshnet.mnets import MLP
from tests.support.parallel_problems import PROBLEMS, build, parameters
from tests.support.pretended_device import PretendedDevice


def train(name, dtype=torch.float64, steps=4, **options):
    """Train a problem with draws from torch's global generator, and return parameters and history."""
    torch.manual_seed(0)
    model, guide, data = build(name, dtype)
    chosen = {"batch_size": 8, "num_particles": 4, "num_samples": 6, "lr": 0.05, "alarms": False, **options}
    result = fit(model, guide, data, num_steps=steps, beta=lambda step: 0.1 * (step + 1), **chosen)
    return parameters(guide), result


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "eager") for name in PROBLEMS if name != "ssge"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("ssge", "eager"), ("livi", "aot_eager"))),
    ],
)
def test_a_compiled_training_is_the_same(name, backend):
    """Parameters, batches and the temperature change from step to step; the graph has no breaks (``fullgraph``)."""
    wanted, plain = train(name)
    found, compiled = train(name, compile=backend)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for part, values in plain.history.items():
        torch.testing.assert_close(compiled.history[part], values, rtol=1e-10, atol=1e-12, equal_nan=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler of C++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own, of itself
@pytest.mark.parametrize("name", ["closed", "livi"])
def test_a_training_compiled_by_inductor_is_the_same(name):
    """Kernels that torch writes and compiles give the numbers of the evaluation, draws included."""
    wanted, plain = train(name)
    found, compiled = train(name, compile=True)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    for part, values in plain.history.items():
        torch.testing.assert_close(compiled.history[part], values, rtol=1e-10, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", PROBLEMS)
def test_loss_and_gradient_of_the_program(name):
    model, guide, batch = build(name, torch.float64)
    elbo = ImplicitELBO(None, 3, 5)
    program = BoundProgram(elbo, model, guide, {})
    torch.manual_seed(4)
    loss, nll, kl, *_, first, _ = values = program(program.parameters, torch.tensor(0.7, dtype=torch.float64), *batch)
    torch.manual_seed(4)
    elbo.beta = 0.7
    terms = elbo.terms(model, guide, *batch)
    gradients = torch.autograd.grad(terms.loss, program.parameters, allow_unused=True)
    assert loss.item() == pytest.approx(terms.loss.item(), rel=1e-12)
    assert nll.item() == pytest.approx(terms.nll.item(), rel=1e-12)
    assert terms.kl is None or kl.item() == pytest.approx(terms.kl.item(), rel=1e-12)
    for found, wanted in zip(values[5:], gradients, strict=True):
        torch.testing.assert_close(found, torch.empty(0).to(found) if wanted is None else wanted)
    assert first.numel() > 0


@pytest.mark.slow
def test_batches_of_two_shapes_and_penalties():
    """Each shape has a program of its own; losses that look at no draws are added as they are."""

    def data():
        x = torch.randn(10, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x[:, :1] + 1), batch_size=7)

    found = []
    for compile in (False, "eager"):
        torch.manual_seed(0)
        model, guide, _ = build("livi", torch.float64)
        trained = list(guide.parameters())
        penalty = lambda trained=trained: sum(p.square().sum() for p in trained)  # noqa: E731
        options = {"num_particles": 2, "num_samples": 3, "alarms": False, "compile": compile}
        result = fit(model, guide, data(), num_steps=4, penalties=[penalty], **options)
        found.append((parameters(guide), result.history["penalty"]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"compile": "gcc"}, "compile: expected True, False or a backend of torch.compile"),
        ({"compile": 3}, "compile: expected True or False, got 3"),
        ({"compile": True, "capture": True}, "capture: expected a guide on a CUDA device, got one on cpu"),
        ({"capture": True}, "capture: expected a guide on a CUDA device, got one on cpu"),
        ({"compile": "eager", "losses": [lambda context: context.weights.sum()]}, "losses that do not look at weight"),
        ({"compile": "eager", "elbo": ImplicitELBO(generator=torch.Generator())}, "elbo: expected one without a gen"),
    ],
)
def test_what_cannot_be_compiled_is_refused(options, says):
    model, guide, data = build("livi", torch.float64)
    with pytest.raises((ValueError, TypeError), match=says):
        fit(model, guide, data, num_steps=1, **options)


def test_networks_that_change_as_they_run_are_refused():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(0.1))
    with pytest.raises(ValueError, match="without batch norm in training mode"):
        fit(model, guide, (torch.randn(4, 2), torch.randn(4, 1)), num_steps=1, compile="eager")


@pytest.mark.parametrize("likelihood", [Gaussian(0.3), Gaussian(0.3, learn=True), HeteroscedasticGaussian()])
@pytest.mark.parametrize("name", ["closed", "livi"])
def test_a_program_waits_for_no_device_once_it_has_run(name, likelihood):
    """So that it can be captured: what the host has to know, it knows from the runs before."""
    with PretendedDevice() as there:
        model, guide, batch = moved_to(there.device, *build(name, torch.float64))
        likelihood = copy.deepcopy(likelihood).double().to(there.device)
        model = BayesianModel(model.net, model.prior, likelihood, num_data=24).to(there.device)
        if isinstance(likelihood, HeteroscedasticGaussian):
            model.net = MLP(2, 2, hidden_layers=(3,), no_weights=True, verbose=False)
            guide = MeanFieldGuide(model.net).double().to(there.device)
            model.prior = FanInGaussian(model.net.weight_spec, dtype=torch.float64, device=there.device)
        program = BoundProgram(ImplicitELBO(None, 3, 5), model, guide, {})
        beta = torch.full((), 0.7, dtype=torch.float64, device=there.device)
        for _ in range(2):
            program(program.parameters, beta, *batch)
        before = there.waits
        program(program.parameters, beta, *batch)
        assert there.waits == before


def moved_to(device, model, guide, data):
    """Return a problem on a device."""
    prior = FanInGaussian(model.net.weight_spec, dtype=data[0].dtype, device=device)
    model = BayesianModel(model.net, prior, model.likelihood, num_data=model.num_data).to(device)
    return model, guide.to(device), tuple(part.to(device) for part in data)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own, of itself
@pytest.mark.parametrize("compile", [False, "aot_eager", pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["closed", "livi"])
def test_a_captured_training_ends_where_a_plain_one_does(name, compile):
    losses = []
    for accelerated in ({}, {"capture": True, "compile": compile}):
        torch.manual_seed(0)
        model, guide, data = moved_to("cuda", *build(name, torch.float32))
        options = {"num_particles": 32, "num_samples": 32, "lr": 0.02, "alarms": False, **accelerated}
        losses.append(fit(model, guide, data, num_steps=500, batch_size=12, **options).final()["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["closed", "livi"])
def test_a_captured_step_is_the_step(name):
    """Value and gradient of one step in double precision, at the same numbers."""
    model, guide, batch = moved_to("cuda", *build(name, torch.float64))
    program = BoundProgram(ImplicitELBO(None, 3, 5), model, guide, {})
    captured, gradients, losses = CapturedBound(program), [], []
    for bound in (
        lambda: captured(batch, 0.7).loss,
        lambda: ImplicitELBO(None, 3, 5, beta=0.7).terms(model, guide, *batch).loss,
    ):
        bound()
        torch.manual_seed(4)
        losses.append(bound())
        gradients.append(torch.autograd.grad(losses[-1], program.parameters, allow_unused=True))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-12)
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)


class Looks(Gaussian):
    """A likelihood that reads a value in each step."""

    def log_prob_sum(self, outputs, y):
        return super().log_prob_sum(outputs, y) * float(outputs.detach().isfinite().all())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_cannot_be_captured_is_refused_and_breaks_nothing():
    model, guide, data = moved_to("cuda", *build("closed", torch.float32))
    there = BayesianModel(model.net, model.prior, Looks(0.3), num_data=24).cuda()
    prior_here = BayesianModel(model.net, FanInGaussian(model.net.weight_spec), model.likelihood, num_data=24)
    for bad, says in (
        (there, "capture: expected a bound whose steps neither wait for the device"),
        (prior_here, "p: expected a prior on cuda:0, got one on cpu"),
    ):
        with pytest.raises(ValueError, match=says):
            fit(bad, guide, data, num_steps=2, capture=True)
        assert torch.randn(3, device="cuda").isfinite().all()
        assert torch.cuda.get_sync_debug_mode() == 0
    fit(model, guide, data, num_steps=2, capture=True)


def test_the_network_alone_is_in_bfloat16():
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(0.5), num_data=20)
    x, y = torch.randn(20, 2), torch.randn(20, 1)
    found = {}
    for amp in (None, "bf16"):
        elbo = ImplicitELBO(num_particles=4, generator=torch.Generator().manual_seed(1), amp=amp)
        evaluation = elbo.evaluation(model, guide, (x, y))
        found[amp] = terms = elbo.join(evaluation.parts())
        assert terms.kl.dtype == terms.loss.dtype == evaluation.weights.dtype == torch.float32
        assert evaluation.outputs(x).dtype == torch.float32
    assert found["bf16"].kl.item() == found[None].kl.item()
    difference = abs(found["bf16"].nll.item() - found[None].nll.item())
    assert 0 < difference < 0.02 * abs(found[None].nll.item())
    gradients = [torch.autograd.grad(found[amp].loss, list(guide.parameters())) for amp in (None, "bf16")]
    for exact, rounded in zip(*gradients, strict=True):
        assert rounded.dtype == torch.float32
        assert (rounded - exact).norm() < 0.05 * exact.norm()


def test_a_training_in_bfloat16_is_resumed(tmp_path):
    once = train("livi", torch.float32, steps=6, amp="bf16", generator=torch.Generator().manual_seed(2))[0]
    torch.manual_seed(0)
    model, guide, data = build("livi", torch.float32)
    state = None
    for steps in (3, 6):
        generator = torch.Generator().manual_seed(2)
        options = {"batch_size": 8, "num_particles": 4, "num_samples": 6, "lr": 0.05, "alarms": False}
        beta = lambda step: 0.1 * (step + 1)  # noqa: E731
        result = fit(
            model, guide, data, num_steps=steps, beta=beta, amp="bf16", generator=generator, state=state, **options
        )
        state = result.state
    assert torch.equal(parameters(guide), once)
    assert not torch.equal(once, train("livi", torch.float32, steps=6, generator=torch.Generator().manual_seed(2))[0])
    request = parse_run(["--data=modes2d", "--learner.training.amp=bf16"])
    (tmp_path / "config.yaml").write_text(request.config)
    assert parse_run(["--resume", str(tmp_path)]).experiment.learner.training.amp == "bf16"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"amp": "fp16"}, "amp: expected one of 'bf16', got 'fp16'"),
        ({"amp": "bf16", "local_noise": True}, "amp: expected None with local noise, got 'bf16'"),
        (
            {"amp": "bf16", "elbo": ImplicitELBO()},
            "elbo: expected no num_particles, .* local_noise or amp",
        ),
    ],
)
def test_bfloat16_that_cannot_be_is_refused(options, says):
    model, guide, data = build("closed", torch.float32)
    with pytest.raises(ValueError, match=says):
        fit(model, guide, data, num_steps=1, **options)


@pytest.mark.parametrize("family", [MeanFieldGenerator, pytest.param(ImplicitGenerator, marks=pytest.mark.slow)])
def test_a_compiled_training_beside_old_tasks_is_the_same(family):
    """The program does not use weights that were generated around it, in one pass with those of old tasks."""
    found = []
    for compile in (False, "eager"):
        torch.manual_seed(0)
        net = MLP(2, 1, hidden_layers=(3,), no_weights=True, verbose=False)
        posterior = GeneratedTasks(family(embedding_size=3, hidden_layers=(4,)), net.weight_spec)
        for _ in range(2):
            posterior.grow()
        posterior.double()
        previous = copy.deepcopy(posterior)
        term = OutputRegularizer(0.1).penalty(posterior, previous, 1, torch.Generator().manual_seed(1))
        prior = FanInGaussian(net.weight_spec, dtype=torch.float64)
        model = BayesianModel(net, prior, Gaussian(0.3), num_data=24).double()
        guide = HypernetGuide(posterior).condition(1)
        x = torch.randn(24, 2, dtype=torch.float64)
        options = {"num_particles": 3, "num_samples": 3, "alarms": False, "compile": compile, "penalties": [term]}
        result = fit(model, guide, (x, x[:, :1]), num_steps=3, batch_size=8, lr=0.05, **options)
        found.append((parameters(guide), result.history["penalty"]))
    assert found[0][1][-1] > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-12)
