"""The sampler of many chains on densities that are known: dynamics, transitions, adaptation and draws."""

import math

import pytest
import torch

from bayeshnet.inference import BatchedHMC
from bayeshnet.inference.sampling.adaptation import PooledVariance, StepSize, TrajectoryLength, warmup_windows
from bayeshnet.inference.sampling.dynamics import Phase, energy, hmc_transition, leapfrog, phase_at
from tests.support.oracles import DTYPE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(size, seed=0):
    """A correlated Gaussian of scales from 0.1 to 10: its log-density, mean and covariance."""
    root = torch.randn(size, size, dtype=DTYPE, generator=generator(seed))
    correlated = root @ root.T / size + 0.1 * torch.eye(size, dtype=DTYPE)
    scales = torch.logspace(-1, 1, size, dtype=DTYPE) / correlated.diagonal().sqrt()
    covariance = correlated * scales * scales.unsqueeze(1)
    mean, precision = torch.linspace(-2, 3, size, dtype=DTYPE), torch.linalg.inv(covariance)
    return lambda q: -0.5 * (((q - mean) @ precision) * (q - mean)).sum(-1), mean, covariance


def quartic(q):
    return -0.25 * q.pow(4).sum(-1) - 0.5 * (q[:, 0] - q[:, 1]).square()


def start_phase(log_density, chains=5, size=3):
    q = torch.randn(chains, size, dtype=DTYPE, generator=generator(1))
    return phase_at(log_density, q, torch.randn(chains, size, dtype=DTYPE, generator=generator(2)))


def test_gradients_and_log_densities_are_those_of_each_chain():
    phase = start_phase(quartic)
    for q, value, grad in zip(phase.q, phase.log_density, phase.grad, strict=True):
        at = q.clone().requires_grad_()
        own = quartic(at.unsqueeze(0))
        torch.testing.assert_close(own[0].detach(), value)
        torch.testing.assert_close(torch.autograd.grad(own.sum(), at)[0], grad)


def test_the_dynamics_are_those_of_an_oscillator():
    """On a standard normal the leapfrog map is linear: it is compared with the powers of its matrix."""
    eps, steps = 0.3, 11
    phase = start_phase(lambda q: -0.5 * q.square().sum(-1), size=1)
    kick = torch.tensor([[1.0, 0.0], [-eps / 2, 1.0]], dtype=DTYPE)
    drift = torch.tensor([[1.0, eps], [0.0, 1.0]], dtype=DTYPE)
    matrix = torch.linalg.matrix_power(kick @ drift @ kick, steps)
    end = leapfrog(lambda q: -0.5 * q.square().sum(-1), phase, eps, steps, torch.ones(1, dtype=DTYPE))
    wanted = matrix @ torch.stack([phase.q[:, 0], phase.r[:, 0]])
    torch.testing.assert_close(torch.stack([end.q[:, 0], end.r[:, 0]]), wanted)


def test_the_dynamics_can_be_reversed_and_keep_volumes():
    scale = torch.tensor([0.5, 1.0, 2.0], dtype=DTYPE)
    phase = start_phase(quartic)
    end = leapfrog(quartic, phase, 0.07, 13, scale)
    back = leapfrog(quartic, Phase(end.q, end.log_density, end.grad, -end.r), 0.07, 13, scale)
    torch.testing.assert_close(back.q, phase.q)
    torch.testing.assert_close(-back.r, phase.r)

    def end_of(flat):
        """The map on positions and momenta of one chain, differentiable: written out step by step."""
        q, r = flat[:3], flat[3:]
        slope = torch.func.grad(lambda at: quartic(at.unsqueeze(0))[0])
        for _ in range(13):
            r = r + 0.035 * scale * slope(q)
            q = q + 0.07 * scale * r
            r = r + 0.035 * scale * slope(q)
        return torch.cat([q, r])

    flat = torch.cat([phase.q[0], phase.r[0]])
    torch.testing.assert_close(end_of(flat), torch.cat([end.q[0], end.r[0]]))
    assert torch.linalg.det(torch.func.jacrev(end_of)(flat)).item() == pytest.approx(1.0, abs=1e-10)


def test_the_error_of_the_energy_is_of_second_order():
    """Halving the step size at the same length divides the error by four."""
    scale = torch.ones(3, dtype=DTYPE)
    phase = start_phase(quartic, chains=40)
    errors = [
        (energy(leapfrog(quartic, phase, 0.8 / steps, steps, scale)) - energy(phase)).abs().mean().item()
        for steps in (40, 80, 160)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_acceptance_is_by_the_error_of_the_energy():
    step = hmc_transition(
        quartic, start_phase(quartic, 4000), 0.6, 2, torch.ones(3, dtype=DTYPE), generator=generator(3)
    )
    assert 0.2 < step.acceptance.mean() < 0.97
    moved = (step.phase.q == step.proposal.q).all(1)
    stayed = (step.phase.q == start_phase(quartic, 4000).q).all(1)
    assert (moved ^ stayed).all()
    taken = moved.double().mean() - step.acceptance.mean()
    assert abs(taken) < 4 * (step.acceptance * (1 - step.acceptance)).mean().sqrt() / math.sqrt(4000)
    torch.testing.assert_close(step.phase.log_density, quartic(step.phase.q))


def test_trajectories_to_nowhere_are_rejected_and_counted():
    walled = lambda q: torch.where(q[:, 0] > 0, -0.5 * q.square().sum(-1), torch.nan)  # noqa: E731
    phase = phase_at(walled, torch.full((50, 1), 0.1, dtype=DTYPE))
    step = hmc_transition(walled, phase, 1.0, 1, torch.ones(1, dtype=DTYPE), generator=generator())
    assert step.divergent.any()
    assert (step.phase.q > 0).all()
    assert torch.equal(step.acceptance[step.divergent], torch.zeros(int(step.divergent.sum()), dtype=DTYPE))


def test_the_joint_of_parameters_and_data_stays_what_it_is():
    """Draws of prior and data, then transitions given the data and new data in turn: the prior must remain."""
    chains, count, noise = 6000, 3, 0.7
    gen = generator(4)
    w = torch.randn(chains, 2, dtype=DTYPE, generator=gen) * torch.tensor([1.0, 0.5], dtype=DTYPE)
    design = torch.tensor([[1.0, -1.0], [0.3, 2.0], [-1.5, 0.4]], dtype=DTYPE)

    def observed(w):
        return torch.tanh(w @ design.T) + noise * torch.randn(chains, count, dtype=DTYPE, generator=gen)

    y = observed(w)
    for _ in range(8):

        def log_density(q, y=y):
            prior = -0.5 * (q / torch.tensor([1.0, 0.5], dtype=DTYPE)).square().sum(-1)
            return prior - 0.5 * ((y - torch.tanh(q @ design.T)) / noise).square().sum(-1)

        phase = phase_at(log_density, w)
        w = hmc_transition(log_density, phase, 0.5, 3, torch.tensor([1.2, 0.4], dtype=DTYPE), generator=gen).phase.q
        y = observed(w)
    # Mean, variance, fourth moment and correlation with the data, each within four standard errors of the prior's.
    for column, std in enumerate((1.0, 0.5)):
        unit = w[:, column] / std
        assert abs(unit.mean()) < 4 / math.sqrt(chains)
        assert abs(unit.square().mean() - 1) < 4 * math.sqrt(2 / chains)
        assert abs(unit.pow(4).mean() - 3) < 4 * math.sqrt(96 / chains)
    fresh = torch.randn(10**6, 2, dtype=DTYPE, generator=gen) * torch.tensor([1.0, 0.5], dtype=DTYPE)
    wanted = (fresh[:, :1] * torch.tanh(fresh @ design.T)).mean(0)
    products = w[:, :1] * y
    assert ((products.mean(0) - wanted).abs() < 4 * products.std(0) / math.sqrt(chains) + 2e-3).all()


@pytest.mark.parametrize("trajectory", [None, 5.0])
def test_it_samples_a_correlated_gaussian(trajectory):
    log_density, mean, covariance = gaussian(6)
    start = 3 * torch.randn(24, 6, dtype=DTYPE, generator=generator(1))
    found = BatchedHMC(trajectory=trajectory).sample(log_density, start, 150, generator=generator())
    draws = found.draws.flatten(0, 1)
    assert found.draws.shape == (24, 150, 6)
    assert found.r_hat.max() < 1.02
    assert found.divergences.sum() == 0
    assert found.acceptance.mean() == pytest.approx(0.82, abs=0.14)
    std = covariance.diagonal().sqrt()
    torch.testing.assert_close(found.scale, std, rtol=0.15, atol=0)
    assert (found.effective > 400).all()
    assert ((draws.mean(0) - mean).abs() < 4.5 * std / found.effective.sqrt()).all()
    correlation = covariance / std / std.unsqueeze(1)
    torch.testing.assert_close(draws.T.cov() / std / std.unsqueeze(1), correlation, atol=0.12, rtol=0)


def test_a_fixed_length_is_kept_and_a_learned_one_moves():
    log_density, *_ = gaussian(3)
    start = torch.randn(8, 3, dtype=DTYPE, generator=generator(1))
    fixed = BatchedHMC(trajectory=2.5, start_steps=0).sample(log_density, start, 5, 40, generator=generator())
    learned = BatchedHMC(start_steps=0).sample(log_density, start, 5, 40, generator=generator())
    assert fixed.trajectory == 2.5
    assert learned.trajectory != math.pi


def test_chains_do_not_see_one_another_after_the_warm_up():
    """With the same noise a chain of a batch is where it would be alone."""
    scale = torch.ones(3, dtype=DTYPE)
    phase = start_phase(quartic)
    both = leapfrog(quartic, phase, 0.1, 5, scale)
    for i in range(len(phase.q)):
        one = Phase(*(getattr(phase, name)[i : i + 1] for name in ("q", "log_density", "grad", "r")))
        torch.testing.assert_close(leapfrog(quartic, one, 0.1, 5, scale).q[0], both.q[i])


def test_nothing_is_read_within_a_trajectory():
    """On a device without values a transition still has its shapes."""
    q = torch.zeros(4, 3, device="meta")
    phase = Phase(q, q[:, 0], q, q)
    moved = leapfrog(lambda at: -at.square().sum(-1), phase, 0.1, 3, torch.ones(3, device="meta"))
    assert moved.q.shape == (4, 3)
    step = hmc_transition(lambda at: -at.square().sum(-1), phase, 0.1, 3, torch.ones(3, device="meta"))
    assert step.phase.q.shape == (4, 3)


def test_a_generator_fixes_the_draws():
    log_density, *_ = gaussian(3)
    start = torch.randn(4, 3, dtype=DTYPE, generator=generator(1))
    state = torch.get_rng_state()
    one, two = (BatchedHMC().sample(log_density, start, 20, generator=generator(5)) for _ in range(2))
    assert torch.equal(one.draws, two.draws)
    assert torch.equal(state, torch.get_rng_state())


def test_the_step_size_reaches_its_target():
    """If acceptance is a known function of the step size, dual averaging solves for the target."""
    step = StepSize(1.0, 0.65)
    for _ in range(2000):
        step.update(math.exp(-3 * step.value))
    assert math.exp(-3 * step.average) == pytest.approx(0.65, abs=0.02)
    step.update(math.nan)
    assert math.isfinite(step.value)


def test_the_pooled_variance_is_that_of_all_draws():
    draws = 1e4 + torch.randn(7, 5, 3, dtype=DTYPE, generator=generator()) * torch.tensor([0.1, 1, 10], dtype=DTYPE)
    found = PooledVariance(draws[0, 0])
    for part in draws:
        found.add(part)
    plain = draws.flatten(0, 1).var(0)
    prior = torch.tensor([1.0, 2.0, 3.0], dtype=DTYPE)
    torch.testing.assert_close(found.variance(prior), (35 * plain + 5 * 1e-3 * prior) / 40)


def test_the_gradient_of_the_length_is_that_of_the_changed_distances():
    """For an exact oscillator the criterion is known: its slope is compared with finite differences."""
    q, r = (torch.randn(4000, 1, dtype=DTYPE, generator=generator(i)) for i in (1, 2))

    def moved(time):
        return math.cos(time) * q + math.sin(time) * r, math.cos(time) * r - math.sin(time) * q

    def criterion(time):
        end, _ = moved(time)
        change = (end - end.mean(0)).square().sum(-1) - (q - q.mean(0)).square().sum(-1)
        return 0.25 * change.square().mean()

    end, momenta = moved(0.6)
    ones = torch.ones(4000, dtype=DTYPE)
    step = type("Step", (), {"proposal": Phase(end, ones, end, momenta), "acceptance": ones})
    slope = TrajectoryLength.gradient(2.0 * q, step_in_units(step, 2.0), torch.full((1,), 2.0, dtype=DTYPE))
    wanted = (criterion(0.6 + 1e-5) - criterion(0.6 - 1e-5)) / 2e-5
    assert slope.item() == pytest.approx(wanted.item(), rel=1e-3, abs=1e-3)


def step_in_units(step, scale):
    """The same step with positions in units of one over the scale."""
    old = step.proposal
    step.proposal = Phase(scale * old.q, old.log_density, old.grad, old.r)
    return step


def test_windows_grow_and_end_before_the_warm_up_does():
    assert warmup_windows(1000) == [150, 300, 550, 900]
    assert warmup_windows(19) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_density": lambda q: q.sum()}, r"^log_density: expected a function of positions \(4, 2\)"),
        ({"log_density": lambda q: q.sum(-1) * torch.inf}, "^log_density: expected a finite log-density"),
        ({"log_density": 3}, "^log_density: expected"),
        ({"start": torch.zeros(3)}, "^start: expected"),
        ({"start": torch.full((4, 2), torch.nan)}, "^start: expected"),
        ({"scale": torch.zeros(2)}, "^scale: expected finite values > 0"),
        ({"num_samples": 0}, "^num_samples: expected"),
    ],
)
def test_what_cannot_be_sampled_is_refused(change, message):
    arguments = {"log_density": lambda q: -q.square().sum(-1), "start": torch.zeros(4, 2), "num_samples": 3}
    with pytest.raises((ValueError, TypeError), match=message):
        BatchedHMC(start_steps=0).sample(**{**arguments, **change})


@pytest.mark.parametrize("settings", [{"target_acceptance": 1.0}, {"max_steps": 0}, {"trajectory": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=rf"^{next(iter(settings))}: expected"):
        BatchedHMC(**settings)
