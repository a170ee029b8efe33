"""Known symmetries: groups by brute force, densities in closed form, draws that are invariant, refusals."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from bayeshnet.guides import AutoHypernet, Flip, Swap
from bayeshnet.guides.symmetries import Group
from bayeshnet.inference import ImplicitELBO
from tests.support.oracles import DTYPE

ZERO = torch.zeros((), dtype=DTYPE)


def clusters():
    """Two names for three clusters, and a factor whose sign is not known."""
    pyro.sample("center", dist.Normal(torch.zeros(3, dtype=DTYPE), 2.0).to_event(1))
    with pyro.plate("widths", 3):
        pyro.sample("width", dist.LogNormal(ZERO, 1.0))
    scale = pyro.sample("factor", dist.Normal(ZERO, 1.0))
    pyro.sample("loading", dist.Normal(scale, 1.0))


def made(symmetries, program=clusters, **options):
    torch.manual_seed(0)
    guide = AutoHypernet(program, symmetries=symmetries, **{"layers": (), "init_scale": 0.3, **options})
    guide()
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return guide


def group_of(symmetries):
    guide = made(symmetries)
    return guide, guide._group


def test_the_group_is_the_one_written_by_hand():
    _, group = group_of([Swap(["center", "width"]), Flip(["factor", "loading"])])
    x = torch.arange(1.0, 9.0)
    found = {tuple((sign * x[index]).tolist()) for index, sign in zip(group.index, group.sign, strict=True)}
    expected = set()
    for order in itertools.permutations(range(3)):
        for sign in (1, -1):
            moved = torch.cat([x[:3][list(order)], x[3:6][list(order)], sign * x[6:]])
            expected.add(tuple(moved.tolist()))
    assert found == expected
    assert len(group) == 12
    assert group.index[0].tolist() == list(range(8))


def test_draws_get_all_elements_alike():
    _, group = group_of([Swap(["center", "width"])])
    x = torch.arange(1.0, 9.0).expand(12_000, 8)
    moved = group.apply(x, torch.Generator().manual_seed(0))
    rows, counts = moved.unique(dim=0, return_counts=True)
    assert len(rows) == 6
    assert ((counts - 2000).abs() < 4 * 2000**0.5).all()


@pytest.mark.parametrize("centring", [None, "learn"])
def test_the_density_is_the_mean_over_the_orbit_in_closed_form(centring):
    guide = made([Swap(["center", "width"]), Flip(["factor", "loading"])], centring=centring)
    draws = guide.draws_with_density(50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.lower, draws.upper)
    matrix, offset = guide.distribution().geometry.affine()
    law = torch.distributions.MultivariateNormal(
        offset.detach(), matrix.detach() @ matrix.detach().T + torch.diag(guide.distribution().sigma.detach() ** 2)
    )
    terms = []
    for order in itertools.permutations(range(3)):
        for sign in (1.0, -1.0):
            values = {n: v[:, list(order)] if v.ndim > 1 else sign * v for n, v in draws.values.items()}
            loading = values["loading"]
            if centring:
                degree = (5 * guide.degrees.logits).sigmoid().detach()
                loading = degree * values["factor"] + loading - values["factor"]  # the scale is one
            u = torch.cat([values["center"], values["width"].log(), values["factor"][:, None], loading[:, None]], 1)
            terms.append(law.log_prob(u) - values["width"].log().sum(1))
    torch.testing.assert_close(draws.upper, torch.stack(terms).logsumexp(0) - math.log(12))
    prior = guide.as_prior()
    one = {name: value[0] for name, value in draws.values.items()}
    torch.testing.assert_close(prior.log_density(one), draws.upper[0])


def test_draws_are_invariant_on_every_way():
    guide = made([Flip(["factor", "loading"])])
    with torch.no_grad():
        list(guide.posterior.hnet.params.values())[1][6:] = 5.0  # far on one side
    ways = {
        "posterior": guide.sample_posterior(600, generator=torch.Generator().manual_seed(0)),
        "density": guide.draws_with_density(600, generator=torch.Generator().manual_seed(0)).values,
    }
    torch.manual_seed(0)
    with pyro.plate("particles", 600, dim=-2):
        ways["guide"] = {name: value.flatten() for name, value in guide().items() if name in ("factor", "loading")}
    for values in ways.values():
        assert 220 < int((values["factor"] > 0).sum()) < 380
        assert bool((values["factor"].sign() == values["loading"].sign()).all())
    low, high = guide.quantiles([0.05, 0.95], num_samples=2000)["factor"]
    assert float(low) == pytest.approx(-float(high), rel=0.05)


def two_sided():
    mean = pyro.sample("mean", dist.Normal(ZERO, 3.0))
    pyro.sample("y", dist.Normal(mean.abs(), 0.5), obs=2 + ZERO)


def test_weights_of_a_guide_of_one_mode_are_those_of_both():
    """The posterior is close to N(1.95, 0.24) and its mirror image: with the symmetry the guide is nearly exact."""
    torch.manual_seed(0)
    guide = AutoHypernet(two_sided, symmetries=[Flip(["mean"])], layers=(), sigma=0.1)
    guide()
    precision = 1 / 0.25 + 1 / 9
    with torch.no_grad():
        head, offset = list(guide.posterior.hnet.params.values())[:2]
        head.fill_((precision * 1.01) ** -0.5)
        offset.fill_(8 / precision)
    found = guide.check(two_sided, generator=torch.Generator().manual_seed(0))
    assert found.effective > 990
    # The evidence is twice that of the half line, nearly all of the line.
    expected = float(dist.Normal(0.0, 9.25**0.5).log_prob(torch.tensor(2.0))) + math.log(2)
    assert found.log_evidence == pytest.approx(expected, abs=0.01)
    loss = ImplicitELBO(num_particles=2000, max_plate_nesting=0).terms(two_sided, guide).loss
    assert float(loss.detach()) == pytest.approx(-expected + math.log(2), abs=0.1)  # the bound of one mode


def test_what_is_no_symmetry_of_the_sites_is_refused():
    for symmetries, message in (
        ([Flip(["width"])], "symmetries: expected sites whose values are real, got site 'width'"),
        ([Flip(["nobody"])], "symmetries: expected sites among center, width"),
        ([Swap(["factor"])], "symmetries: expected sites of one first dimension"),
        (
            [Swap(["x"])],
            "symmetries: expected a group of at most 5040 elements",
        ),
    ):
        many = lambda: pyro.sample("x", dist.Normal(torch.zeros(8), 1.0).to_event(1))  # noqa: E731
        with pytest.raises(ValueError, match=message):
            AutoHypernet(many if symmetries[0].names == ("x",) else clusters, symmetries=symmetries)()
    with pytest.raises(TypeError, match="symmetries: expected"):
        AutoHypernet(clusters, symmetries=["factor"])
    assert isinstance(made([Swap(["center"])])._group, Group)


def in_intervals():
    pyro.sample("sign", dist.Uniform(-3.0 * torch.ones((), dtype=DTYPE), 3.0))
    pyro.sample("part", dist.Uniform(torch.zeros((), dtype=DTYPE), 1.0))


def test_intervals_around_zero_may_be_flipped_and_others_not():
    guide = made([Flip(["sign"])], in_intervals)
    values = guide.sample_posterior(400)
    x = torch.tensor([[0.7, 0.2]], dtype=DTYPE)
    names = guide._sites((), {}).by_name(torch.cat([x, x * torch.tensor([-1.0, 1.0], dtype=DTYPE)]))
    torch.testing.assert_close(names["sign"][0], -names["sign"][1])
    assert 0.35 < float((values["sign"] > 0).double().mean()) < 0.65
    with pytest.raises(ValueError, match="symmetries: expected sites whose values are real, got site 'part'"):
        made([Flip(["part"])], in_intervals)
    with pytest.raises(ValueError, match="symmetries: expected sites whose values are real or positive"):
        made([Swap(["sign"])], in_intervals)


def test_vectors_are_gathered_around_one_by_elements_of_the_group():
    _, group = group_of([Swap(["center", "width"]), Flip(["factor", "loading"])])
    torch.manual_seed(0)
    x, center = torch.randn(20, 8, dtype=DTYPE), torch.randn(8, dtype=DTYPE)
    found = group.gathered(x, center)
    for row, image in zip(x, found, strict=True):
        images = row[group.index] * group.sign
        assert bool((images == image).all(-1).any())
        assert float((image - center).norm()) == pytest.approx(float((images - center).norm(dim=-1).min()))
