"""Estimators on a device: values and gradients of the CPU, without a wait; the exceptions are listed."""

import pytest
import torch
from torch import nn

from bayeshnet import estimators
from bayeshnet.builders import ImplicitGenerator, LowRankWeights, MeanFieldWeights
from bayeshnet.distributions import FanInGaussian, HypernetPosterior
from bayeshnet.estimators import AVB, IWHVI, ImportanceSandwich, KLEstimator, NuMethod
from bayeshnet.geometry.linalg import identity_plus_cholesky, smallest_eigenvalue
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec
from tests.support.places import PLACES, unexpected
from tests.support.pretended_device import PretendedDevice

SPEC = WeightSpec.of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
BUILDERS = {
    "implicit": ImplicitGenerator(latent_size=2, embedding_size=2, hidden_layers=(4,)),
    "mean field": MeanFieldWeights(),
    "low rank": LowRankWeights(rank=2),
}
SHORT = {
    "AVB": lambda: AVB((8,), steps=3),
    "IWHVI": lambda: IWHVI(16, 4, steps=3),
    "ImportanceSandwich": lambda: ImportanceSandwich(8, num_starts=1),
    "NuMethod": lambda: NuMethod(20, regularization=1e-2),
}
EXCEPTIONS = {
    "SSGE": ("estimators/samples/ssge.py:spectral_matrix",),
    "StochasticLIVI": ("estimators/latent/livi_stochastic.py:_lanczos",),
}
ELSEWHERE = ("rng.py:_drawn_seed", "estimators/draws.py:sample_beside")
NAMES = [
    name
    for name in estimators.__all__
    if isinstance(getattr(estimators, name), type)
    and issubclass(getattr(estimators, name), KLEstimator)
    and not getattr(getattr(estimators, name), "__abstractmethods__", None)
]


def shared_noise():
    """A posterior with one noise vector for latent and output."""
    hnet = HMLP(SPEC.shapes, uncond_in_size=3, cond_in_size=2, num_cond_embs=1, layers=[4], verbose=False)
    return HypernetPosterior(hnet, noise="shared", weight_spec=SPEC)


def estimate(name, builder, device, prior_device, seed=0):
    """One estimate with its gradient; a second call of the same, which caches what does not change, is watched."""
    torch.manual_seed(seed)
    posterior = (BUILDERS[builder].build(SPEC) if builder in BUILDERS else shared_noise()).double().to(device)
    q = posterior(0) if builder in ("implicit", "shared noise") else posterior()
    p = FanInGaussian(SPEC, dtype=torch.float64, device=prior_device)
    method = SHORT[name]() if name in SHORT else getattr(estimators, name)()
    num = None if method.min_samples is None else min(method.num_samples, 20)
    generator = torch.Generator(device=device).manual_seed(seed)
    method.estimate(q, p, num, generator)
    return posterior, lambda: method.estimate(q, p, num, generator)


def outcome(posterior, found):
    """Value and gradient of an estimate, on the CPU."""
    parameters = [p for p in posterior.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(found.surrogate, parameters, allow_unused=True)
    return [found.surrogate.detach().cpu(), *(g.cpu() for g in gradient if g is not None)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "builder",
    ["implicit", "mean field", *(pytest.param(b, marks=pytest.mark.slow) for b in ("low rank", "shared noise"))],
)
@pytest.mark.parametrize("name", NAMES)
def test_estimators(place, name, builder):
    try:
        posterior, again = estimate(name, builder, "cpu", "cpu")
    except (TypeError, ValueError) as refusal:
        if "use " not in str(refusal).lower():
            raise
        return
    expected = outcome(posterior, again())
    with place() as there:
        posterior, again = estimate(name, builder, there.device, there.device)
        before = there.waits
        found = again()
        found.surrogate.backward(retain_graph=True)
        assert unexpected(there.waits - before, EXCEPTIONS.get(name, ())) == {}
        assert found.surrogate.device.type == there.device.type
        values = outcome(posterior, found)
    if place is PretendedDevice:  # CUDA draws other numbers
        for value, wanted in zip(values, expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["KernelRatio", "NearestNeighbor"])
@pytest.mark.parametrize("here", [True, False], ids=["posterior there", "prior there"])
def test_a_prior_on_another_device_gives_its_draws(place, name, here):
    with place() as there:
        device, other = (there.device, "cpu") if here else ("cpu", there.device)
        _, again = estimate(name, "mean field", device, other)
        before = there.waits
        found = again()
        assert unexpected(there.waits - before, ELSEWHERE) == {}
        assert found.value.device.type == torch.device(device).type
        assert torch.isfinite(found.value.cpu())


@pytest.mark.parametrize("place", PLACES)
def test_a_prior_on_another_device_is_named_where_it_cannot_be_used(place):
    with place() as there, pytest.raises(ValueError, match="p: expected a prior on"):
        estimate("MonteCarlo", "mean field", there.device, "cpu")


@pytest.mark.parametrize("place", PLACES)
def test_the_factor_of_a_matrix_that_rounding_made_indefinite(place):
    """The factor is that of the matrix up to the size of rounding errors; of NaN it is NaN; and nobody waits."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    values = torch.tensor([[3.0, 2.0, 0.5, 0.0], [1e8, 1e3, 1.0, -1.5]], dtype=torch.float64)
    gram = (vectors * values.unsqueeze(-2)) @ vectors.T  # as of products in single precision
    with place() as there:
        moved = gram.float().to(there.device)
        spoiled = torch.full((4, 4), torch.nan).to(there.device)
        before = there.waits
        root, nan = identity_plus_cholesky(moved), identity_plus_cholesky(spoiled)
        assert unexpected(there.waits - before) == {}
        root, nan = root.cpu(), nan.cpu()
    assert nan.isnan().all()
    wanted = gram + torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(root[0] @ root[0].T, wanted[0], rtol=1e-6, atol=1e-6)
    errors = torch.finfo(torch.float32).eps * 4 * 1e8
    assert (root[1] @ root[1].T - wanted[1]).abs().max() < 2 * errors


def test_the_smallest_eigenvalue_has_value_and_gradient_of_the_solver():
    generator = torch.Generator().manual_seed(1)
    roots = torch.randn(6, 5, 5, generator=generator, dtype=torch.float64)
    matrix = (roots @ roots.mT).requires_grad_()
    found = smallest_eigenvalue(matrix)
    wanted = torch.linalg.eigvalsh(matrix)[..., 0]
    torch.testing.assert_close(found, wanted)
    ours, theirs = (torch.autograd.grad(value.sum(), matrix)[0] for value in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    singular = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert smallest_eigenvalue(singular) == 0.0
