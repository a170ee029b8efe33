"""Distributions, posteriors, noise modules and geometries show their settings."""

import inspect

import pytest
import torch
from torch import nn

from bayeshnet import distributions, geometry
from bayeshnet.distributions import (
    Dirac,
    DiracPosterior,
    FanInGaussian,
    FixedSigma,
    GeneratedPosterior,
    GeneratedSigma,
    HypernetPosterior,
    LearnedSigma,
    LowRankGaussian,
    LowRankPosterior,
    MeanFieldGaussian,
    MeanFieldPosterior,
    Mixture,
    ModuleSigma,
    ParameterSigma,
    Radial,
    RadialPosterior,
    SampledNetwork,
    ScaleMixturePrior,
    SemiImplicit,
    SharedNoise,
)
from bayeshnet.geometry import ConstantGeometry
from bayeshnet.hnets import HMLP
from bayeshnet.representation import settings_of
from bayeshnet.weights import WeightSpec

NET = nn.Linear(3, 2)
SPEC = WeightSpec.of(NET)
ZEROS, ONES = torch.zeros(8), torch.ones(8)
LATENT = HMLP(SPEC.shapes, uncond_in_size=3, cond_in_size=2, verbose=False)
MEANS = HMLP(GeneratedPosterior.target_shapes([list(s) for s in SPEC.shapes]), cond_in_size=2, verbose=False)
SIGMAS = HMLP([[8]], cond_in_size=2, verbose=False)
PUBLIC = [
    Dirac(ONES, SPEC),
    DiracPosterior(SPEC),
    FanInGaussian(SPEC, 1.5),
    FixedSigma(ONES),
    GeneratedPosterior(MEANS, sigma=0.3, cond_id=0),
    GeneratedSigma(SIGMAS, 0.2),
    HypernetPosterior(LATENT, sigma="learned", cond_id=0, scale="fan_in"),
    LearnedSigma(SPEC, 0.2, "weight"),
    LowRankGaussian(ZEROS, torch.ones(8, 2), ONES),
    LowRankPosterior(SPEC, 3),
    MeanFieldGaussian(ZEROS, ONES),
    MeanFieldPosterior(SPEC, 0.3, "fan_in"),
    Mixture(torch.zeros(2), [MeanFieldGaussian(ZEROS, ONES)] * 2),
    ModuleSigma(nn.Linear(2, 8), SPEC),
    ParameterSigma(nn.Parameter(torch.ones(2)), SPEC),
    Radial(ZEROS, ONES),
    RadialPosterior(SPEC),
    SampledNetwork(NET, SPEC, ONES),
    ScaleMixturePrior(SPEC),
    SemiImplicit(ConstantGeometry(ZEROS, 2), 0.1),
    SharedNoise(ConstantGeometry(ZEROS, 2), 0.1, SPEC.whitening(), SPEC),
]
# Tensors that a constructor turns into parameters, and switches of torch's checks.
NO_SETTINGS = {"flat", "init", "validate_args"}


def name(thing):
    return type(thing).__name__


def test_all_public_classes_are_here():
    contracts = {"ConditionalPosterior", "WeightDistribution", "WeightPosterior", "WeightDraw"}
    public = {n for n in distributions.__all__ if inspect.isclass(getattr(distributions, n))}
    assert {name(thing) for thing in PUBLIC} == public - contracts


@pytest.mark.parametrize("thing", PUBLIC, ids=name)
def test_each_setting_is_shown(thing):
    """Modules show settings that are not modules; those are listed below them."""
    wanted = set(inspect.signature(type(thing)).parameters) - NO_SETTINGS
    if isinstance(thing, LearnedSigma):
        wanted |= {"init"}
        wanted -= {"dtype"}
    found = settings_of(thing)
    assert set(found) >= wanted
    for setting in wanted:
        shown = f"({setting})" if isinstance(found[setting], nn.Module) else f"{setting}="
        assert shown in repr(thing), setting


def test_tensors_are_shown_by_shape_and_specifications_by_size():
    q = MeanFieldGaussian(ZEROS, ONES, SPEC)
    assert repr(q) == "MeanFieldGaussian(loc=tensor(8,), scale=tensor(8,), weight_spec=WeightSpec(numel=8))"
    assert "whitening=Whitening(loc=tensor(8,), scale=tensor(8,))" in repr(PUBLIC[-1])


def test_geometries_show_their_sizes():
    assert repr(ConstantGeometry(ZEROS, 2)) == "ConstantGeometry(latent_size=2, num_weights=8)"
    assert repr(LATENT.geometry(0)) == "HeadGeometry(latent_size=3, num_weights=8)"
    assert geometry.Geometry.__repr__ is ConstantGeometry.__repr__
