"""Guides that are saved in the middle of a fit: parts in the order of the first run, for the states of optimizers."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch

from bayeshnet.guides import AutoHypernet
from bayeshnet.inference import fit
from tests.support.oracles import DTYPE

ONE = torch.ones((), dtype=DTYPE)


def groups(count=3):
    scale = pyro.sample("scale", dist.HalfNormal(ONE))
    with pyro.plate("groups", count):
        x = pyro.sample("x", dist.Normal(0.0, scale))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.linspace(-1.0, 2.0, count, dtype=DTYPE))


def noise():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("options", [{"tails": 1.5}, {"components": 2}, {"wide": True, "tails": 1.5}])
def test_a_guide_that_was_loaded_goes_on_as_the_one_that_was_saved(options, monkeypatch):
    monkeypatch.setattr("bayeshnet.guides.flat_guide._PARTICLES", 100)
    options = dict(options)
    model = (lambda: groups(32)) if options.pop("wide", False) else groups
    given = {"lr": 0.02, "num_particles": 2, "alarms": False}

    def new():
        torch.manual_seed(0)
        return AutoHypernet(model, layers=(4,), **options)

    half = new()
    middle = fit(model, half, num_steps=2, generator=noise(), **given)
    loaded = new()
    loaded.load_state_dict(copy.deepcopy(half.state_dict()))
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in half.named_parameters()]
    for guide in (half, loaded):
        fit(model, guide, num_steps=4, generator=noise(), state=copy.deepcopy(middle.state), **given)
    for name, value in half.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, msg=name)


def test_a_state_of_other_parameters_is_refused():
    """Torch takes it, and its fused optimizers write beyond their ends."""
    first, second = (AutoHypernet(groups, layers=layers) for layers in ((4,), (5,)))
    state = fit(groups, first, num_steps=2).state
    with pytest.raises(ValueError, match=r"state: expected one of the same parameters, got one whose exp_avg is"):
        fit(groups, second, num_steps=3, state=state)
