"""Coordinates that bend: against closed forms of Gaussians that depend on few unknowns, and evidence by quadrature."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal

from bayeshnet.guides import AutoHypernet
from bayeshnet.guides.checking.joint import log_joint
from bayeshnet.guides.wide import bend, bending, start
from bayeshnet.guides.wide.bend import Bend, BentFrame, frame_of
from bayeshnet.guides.wide.bending import bent_frame
from bayeshnet.guides.wide.frame import Frame
from bayeshnet.guides.wide.margins import Margins, fitted_margins
from bayeshnet.guides.wide.newton import GaussianStart, variational_newton
from bayeshnet.inference import fit
from tests.support.oracles import DTYPE

ONE = torch.ones((), dtype=DTYPE)
SIZE = 32


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=DTYPE, generator=noise(seed))


def some_frame(k=2, others=3):
    parts = (0.3 * normal(4 * k, *shape, seed=3) for shape in ((others,), (others,), (others, others)))
    shift, log_scale, shear = parts
    size = k + others
    near, far = (
        Frame(normal(size, seed=s), torch.eye(size, dtype=DTYPE) + 0.2 * normal(size, size).tril()) for s in (1, 2)
    )
    margins = Margins(*(normal(k, seed=s).exp() for s in (4, 5, 6)), normal(k, seed=7))
    return BentFrame(margins, near, Bend(shift, log_scale, shear.tril(-1)), far, torch.tensor([3, 1, 0, 2, 4]))


def test_the_frame_has_the_density_of_autograd_and_is_undone(monkeypatch):
    frame, u = some_frame(), normal(2, 3, 5)
    x, density = frame.place(u)
    for index in ((0, 0), (1, 2)):
        jacobian = torch.autograd.functional.jacobian(lambda v: frame.place(v)[0], u[index])
        torch.testing.assert_close(density[index].sum(), -torch.linalg.slogdet(jacobian)[1])
    torch.testing.assert_close(frame.undo(x), u)
    monkeypatch.setattr(bend, "_ENTRIES", 2 * 3**2)  # two rows at a time, or one
    torch.testing.assert_close(frame.undo(x), u)
    torch.testing.assert_close(frame.place(u)[1], density)


def test_the_frame_is_made_from_its_state():
    frame, u = some_frame(), normal(4, 5)
    again = frame_of({f"frame.{name}": value for name, value in frame.state_dict().items()})
    again.load_state_dict(frame.state_dict())
    torch.testing.assert_close(again.place(u)[0], frame.place(u)[0], rtol=0.0, atol=0.0)
    straight = frame_of({"frame.root": torch.eye(2), "frame.loc": torch.zeros(2)})
    assert isinstance(straight, Frame)
    assert frame_of({"posterior.log_scale": torch.zeros(2)}) is None


def funnel():
    """A normal ``a`` at place 1, and three unknowns that are normal given it: mean and root by ``a``, log-density."""
    matrix = normal(3, 3, seed=5).tril(-1)

    def given(a):
        scales = torch.stack([0.4 * a, -0.3 * a, 0 * a], -1).exp()
        return 0.5 * a.square() - a, torch.diag_embed(scales) + 0.5 * a[..., None, None] * matrix

    def log_density(x):
        mean, root = given(x[:, 1])
        others = MultivariateNormal(mean.unsqueeze(-1).expand(-1, 3), scale_tril=root)
        return others.log_prob(x[:, [0, 2, 3]]) - 0.5 * (x[:, 1] - 0.5).square()

    return given, log_density


def test_at_its_nodes_the_frame_is_the_exact_gaussian_given_the_leading_unknown():
    given, log_density = funnel()
    begun = variational_newton(log_density, torch.zeros(4, dtype=DTYPE), 1.0, generator=noise())
    frame = bent_frame(log_density, begun, [1], noise())
    scale = (begun.root @ begun.root.T)[1, 1].sqrt()
    for side in (-2.5, -1.0, 0.0, 1.0, 2.5):
        a = begun.loc[1] + side * scale
        w = torch.cat([torch.full((4, 1), side, dtype=DTYPE), torch.cat([torch.zeros(1, 3), torch.eye(3)])], 1)
        x, _ = frame.far.place(frame.bend.place(w)[0])
        torch.testing.assert_close(x[:, 0], a.expand(4))
        mean, root = given(a)
        torch.testing.assert_close(x[0, 1:], mean.expand(3), rtol=0.0, atol=1e-3)
        torch.testing.assert_close((x[1:, 1:] - x[:1, 1:]).T, root, rtol=0.0, atol=1e-3)


def test_there_is_no_frame_where_bending_is_no_gain(monkeypatch):
    target = MultivariateNormal(normal(4), torch.eye(4, dtype=DTYPE))
    begun = GaussianStart(target.mean, torch.eye(4, dtype=DTYPE), 0.0)
    monkeypatch.setattr(bending, "_bound", lambda density, frame, u: 0.0 if isinstance(frame, Frame) else -1.0)
    assert bent_frame(target.log_prob, begun, [0], noise()) is None
    monkeypatch.undo()
    assert bent_frame(lambda x: target.log_prob(x) * math.nan, begun, [0], noise()) is None


def test_the_margin_of_an_unknown_is_that_of_its_mean_field():
    """Given ``v``, ``u`` is normal around ``v / 2``; ``v`` is a log-gamma: ``E log p`` over ``u`` is known up to 1."""
    shape = 1.5

    def log_density(w):
        return shape * w[:, 0] - w[:, 0].exp() - 0.5 * w[:, 1].square()

    found = fitted_margins(log_density, 1, torch.zeros(2, dtype=DTYPE), noise())
    w, density = found.place(torch.cat([normal(100_000, 1), torch.zeros(100_000, 1)], 1))
    gamma = w[:, 0].exp()
    truth = (shape * w[:, 0] - gamma) - math.lgamma(shape)
    excess = (density[:, 0] - 0.5 * normal(100_000, 1)[:, 0].square() - 0.5 * math.log(2 * math.pi) - truth).mean()
    assert -0.002 < float(excess) < 0.005  # KL to the truth
    assert float(gamma.mean()) == pytest.approx(shape, abs=0.03)


Y = torch.linspace(-1, 3, SIZE, dtype=DTYPE)


def groups():
    mean = pyro.sample("mean", dist.Normal(0 * ONE, ONE))
    scale = pyro.sample("scale", dist.HalfNormal(ONE))
    with pyro.plate("groups", SIZE):
        x = pyro.sample("x", dist.Normal(mean, scale))
        pyro.sample("y", dist.Normal(x, ONE), obs=Y)


def evidence():
    """Given the scale ``y`` is normal: an integral in one dimension."""
    scale = torch.linspace(0, 6, 6001, dtype=DTYPE)[1:]
    covariance = (scale.square() + 1)[:, None, None] * torch.eye(SIZE, dtype=DTYPE) + torch.ones(SIZE, SIZE)
    each = MultivariateNormal(torch.zeros(SIZE, dtype=DTYPE), covariance).log_prob(Y)
    each = each + dist.HalfNormal(ONE).log_prob(scale) + math.log(1e-3)
    shares = (each - each.logsumexp(0)).exp()
    mean = (shares * scale.log()).sum()
    return each.logsumexp(0), mean, (shares * (scale.log() - mean).square()).sum().sqrt()


def missing_nats(guide):
    """Log-evidence minus the bound of normal draws in the coordinates of a guide, with the standard error."""
    sites = guide._sites((), {})
    u = normal(4000, guide.latent_dim, seed=7)
    with torch.no_grad():
        x, way = sites.rows(u)
        weights = log_joint(groups, sites.by_name(x)) - way + 0.5 * (u.square() + math.log(2 * math.pi)).sum(-1)
    return float(evidence()[0] - weights.mean()), float(weights.std()) / 4000**0.5


def test_the_start_follows_a_hierarchy_into_its_funnel(monkeypatch):
    guide = AutoHypernet(groups)
    guide()
    assert isinstance(guide.frame, BentFrame)
    bent, error = missing_nats(guide)
    monkeypatch.setattr(start, "_BENT", 0)
    plain = AutoHypernet(groups)
    plain()
    straight, _ = missing_nats(plain)
    assert -3 * error < bent < 0.1 < 0.5 < straight


def test_models_without_scales_or_plates_have_straight_coordinates():
    def real():
        with pyro.plate("all", SIZE):
            pyro.sample("x", dist.Normal(0.0, 1.0))

    def single():
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        x = pyro.sample("x", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1))
        pyro.factor("seen", -((torch.eye(SIZE) @ x - scale).square().sum()))

    for model in (real, single):
        guide = AutoHypernet(model)
        guide()
        assert isinstance(guide.frame, Frame)


def test_where_bending_raises_the_gaussian_stays_and_the_log_says_why(monkeypatch, caplog):
    def brittle(*given):
        raise ArithmeticError("too far")

    monkeypatch.setattr(start, "bent_frame", brittle)
    guide = AutoHypernet(groups)
    with caplog.at_level("INFO", logger="bayeshnet"):
        guide()
    assert isinstance(guide.frame, Frame)
    assert "too far" in caplog.text


def begun_guide(most):
    """A guide of the groups that has been run, with a frame that bends with at most so many unknowns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "_BENT", most)
        guide = AutoHypernet(groups)
        guide()
    return guide


@pytest.mark.parametrize("kinds", [(0, 1), (1, 0), (1, 1)])
def test_a_guide_that_has_been_run_takes_the_coordinates_of_a_state(kinds):
    kept, other = (begun_guide(most) for most in kinds)
    before = kept.sample_posterior(3, generator=noise())
    other.load_state_dict(kept.state_dict())
    for name, value in other.sample_posterior(3, generator=noise()).items():
        torch.testing.assert_close(value, before[name])


@pytest.mark.parametrize("size", [31, 62, 100, 125, 1000])
def test_searches_stay_within_a_budget(size):
    k = start._most_leading(size)
    assert 1 <= k <= 32
    assert (4 * k + 1) * (size - k) <= max(4000, 10 * size)
    assert k in (32, size - 1) or (4 * k + 5) * (size - k - 1) > max(4000, 10 * size)


def test_coordinates_bend_beside_a_strong_correlation_in_single_precision():
    """Intercept and slope of a covariate far from zero: conditional deviations of a ten-thousandth."""

    def log_density(x):
        v, a, b = x.double().T
        return -0.5 * (v.square() + (a * (-v).exp()).square() + ((b - a) * (-v).exp() / 1e-4).square()) - 2 * v

    root = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 1e-4]])
    assert bent_frame(log_density, GaussianStart(torch.zeros(3), root, -1e9), [0], noise()) is not None


@pytest.mark.slow
def test_the_guide_of_a_hierarchy_is_right():
    torch.manual_seed(0)
    guide = AutoHypernet(groups)
    fit(groups, guide, num_steps=300, lr=0.005, num_particles=32, num_samples=8, alarms=False)
    truth, mean, std = evidence()
    found = guide.sample_posterior(4000, generator=noise())["scale"].log()
    assert float((found.mean() - mean).abs() / std) < 0.15
    check = guide.check(groups, num_particles=0, generator=noise())
    assert check.reliable
    assert check.effective > 0.7 * check.num_samples
    assert check.log_evidence == pytest.approx(float(truth), abs=0.05)
