"""HypernetPosterior in all its options, and the explicit posteriors."""

import pytest
import torch
from torch import nn

from bayeshnet.distributions import (
    Dirac,
    DiracPosterior,
    FanInGaussian,
    GeneratedPosterior,
    HypernetPosterior,
    LearnedSigma,
    LowRankPosterior,
    MeanFieldGaussian,
    MeanFieldPosterior,
    Radial,
    RadialPosterior,
    SemiImplicit,
    SharedNoise,
)
from bayeshnet.hnets import HMLP, ChunkedHMLP, HPerturbWrapper
from bayeshnet.mnets import MLP
from bayeshnet.weights import WeightSpec, Whitening

SHAPES = [[3, 2], [3], [1, 3], [1]]
SPEC = WeightSpec.of_shapes(SHAPES)
P = SPEC.numel


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def hmlp(**options):
    settings = {"uncond_in_size": 4, "cond_in_size": 3, "num_cond_embs": 3, "layers": (6,), "verbose": False} | options
    return HMLP(SHAPES, **settings)


class TestSigma:
    def test_defaults(self):
        assert HypernetPosterior(hmlp(), cond_id=0)().sigma.item() == pytest.approx(0.02)
        assert HypernetPosterior(hmlp(), cond_id=0, scale="fan_in")().sigma.item() == pytest.approx(0.1)

    def test_per_tensor_and_per_weight(self):
        values = torch.tensor([0.1, 0.2, 0.3, 0.4])
        torch.testing.assert_close(HypernetPosterior(hmlp(), sigma=values, cond_id=0)().sigma, SPEC.spread(values))
        each = torch.linspace(0.1, 1.0, P)
        torch.testing.assert_close(HypernetPosterior(hmlp(), sigma=each, cond_id=0)().sigma, each)

    def test_learned(self):
        posterior = HypernetPosterior(hmlp(), sigma="learned", scale="fan_in", cond_id=0)
        torch.testing.assert_close(posterior().sigma, torch.full((P,), 0.1))
        posterior.rsample((3,)).square().sum().backward()
        assert posterior.sigma.rho.grad.abs().min() > 0
        with torch.no_grad():
            posterior.sigma.rho.fill_(-1e3)
        assert posterior().sigma.min() > 0  # the floor
        scalar = HypernetPosterior(hmlp(), sigma=LearnedSigma(SPEC, 0.3, "scalar"), cond_id=0)
        assert scalar().sigma.shape == ()
        assert scalar().sigma.item() == pytest.approx(0.3)

    @pytest.mark.parametrize("shape", [(), (4,), (P,)])
    def test_a_parameter_of_ones_own(self, shape):
        parameter = nn.Parameter(torch.full(shape, 0.2))
        posterior = HypernetPosterior(hmlp(), sigma=parameter, cond_id=0)
        assert any(p is parameter for p in posterior.parameters())
        torch.testing.assert_close(posterior().sigma, torch.full(() if shape == () else (P,), 0.2), atol=1e-5, rtol=0)
        with torch.no_grad():
            parameter.fill_(-0.3)  # a step too far does not break it
        assert posterior().sigma.min() > 0.29

    def test_generated_from_the_condition(self):
        maker = HMLP([[P]], cond_in_size=2, num_cond_embs=3, layers=(), verbose=False)
        posterior = HypernetPosterior(hmlp(), sigma=maker, scale="fan_in")
        one, two = posterior(cond_id=1).sigma, posterior(cond_id=2).sigma
        assert one.shape == (P,)
        assert not torch.allclose(one, two)
        posterior.draw(2, generator(), cond_id=1).w.square().sum().backward()
        assert all(p.grad is not None for p in maker.parameters() if p.shape != (2,))

    def test_any_module_of_the_condition(self):
        class PerTask(nn.Module):
            def __init__(self):
                super().__init__()
                self.values = nn.Parameter(torch.tensor([[0.1] * 4, [0.5] * 4, [0.9] * 4]))

            def forward(self, cond_id):
                return self.values[cond_id]

        posterior = HypernetPosterior(hmlp(), sigma=PerTask())
        torch.testing.assert_close(posterior(cond_id=1).sigma, torch.full((P,), 0.5), atol=1e-5, rtol=0)

    @pytest.mark.parametrize(
        "sigma", [0.0, -0.1, float("nan"), torch.zeros(P), torch.ones(5), "free", torch.full((4,), float("nan"))]
    )
    def test_bad_values(self, sigma):
        with pytest.raises(ValueError, match="sigma"):
            HypernetPosterior(hmlp(), sigma=sigma)


class TestScale:
    def test_forms(self):
        fan_in = SPEC.whitening()
        for scale, expected in (
            (2.0, torch.tensor(2.0)),
            (torch.linspace(1, 2, P), torch.linspace(1, 2, P)),
            ("fan_in", fan_in.scale),
            (Whitening(torch.ones(P), torch.full((P,), 3.0)), torch.full((P,), 3.0)),
        ):
            posterior = HypernetPosterior(hmlp(), scale=scale, cond_id=0)
            torch.testing.assert_close(posterior().scale, expected)
            draw = posterior.draw(4, generator())
            u = posterior.hnet(uncond_input=draw.z, cond_id=0, ret_format="flattened") + 0.1 * draw.eps
            torch.testing.assert_close(draw.w, posterior().loc + expected * u)

    @pytest.mark.parametrize("scale", [0.0, torch.zeros(P), torch.ones(3), "kaiming"])
    def test_bad_values(self, scale):
        with pytest.raises(ValueError, match="scale"):
            HypernetPosterior(hmlp(), scale=scale)

    def test_the_prior_is_standard_in_u_space(self):
        posterior = HypernetPosterior(hmlp(), scale="fan_in", cond_id=0)
        p = FanInGaussian(posterior.weight_spec)
        assert p.whitened_by(posterior().whitening)
        assert posterior().whitening.scale is posterior().whitening.scale  # so that the prior compares values once
        posterior.double()
        assert posterior().whitening.scale.dtype == torch.float64
        assert posterior.draw(2).w.dtype == torch.float64


class TestConditions:
    def test_default_and_given(self):
        posterior = HypernetPosterior(hmlp(), cond_id=1)
        default, same, other = (posterior.draw(3, generator(), cond_id=c).w for c in (None, 1, 2))
        assert default.equal(same)
        assert not default.equal(other)
        by_input = posterior.draw(3, generator(), cond_input=posterior.hnet.conditional_params[2]).w
        torch.testing.assert_close(by_input, other)

    def test_fixed_parameters_from_outside(self):
        inner = HMLP(SHAPES, 4, 0, (5,), verbose=False, no_uncond_weights=True)
        given = [torch.randn(s, generator=generator()) for s in inner.hyper_shapes_learned]
        posterior = HypernetPosterior(inner, weights=given)
        z = torch.randn(2, 4)
        torch.testing.assert_close(posterior().geometry(z), inner(z, weights=given, ret_format="flattened"))

    def test_a_hyper_hypernetwork(self):
        inner = HMLP(SHAPES, 4, 0, (5,), verbose=False, no_uncond_weights=True)
        outer = HMLP(inner.hyper_shapes_learned, 0, 3, (6,), verbose=False, num_cond_embs=2)
        posterior = HypernetPosterior(inner, weights=outer)
        assert len(list(posterior.parameters())) == len(list(outer.parameters()))
        one, two = (posterior.draw(2, generator(), cond_id=c).w for c in (0, 1))
        assert not one.equal(two)
        one.sum().backward()
        assert all(p.grad is not None for n, p in outer.named_parameters() if "1" not in n.split(".")[-1])
        by_function = HypernetPosterior(inner, weights=lambda cond: outer(cond_id=cond))
        torch.testing.assert_close(by_function.draw(2, generator(), cond_id=0).w, one)

    def test_emissions_for_groups_of_conditions_however_the_parameters_come(self):
        inner = HMLP(SHAPES, 4, 0, (5,), verbose=False, no_uncond_weights=True)
        outer = HMLP(inner.hyper_shapes_learned, 0, 3, (6,), verbose=False, num_cond_embs=3)
        asked = []

        def function(cond):
            asked.append(cond)
            return outer(cond_id=cond)

        z = torch.randn(2, 5, 4, generator=generator())
        emitted = []
        for weights in (outer, function):
            posterior = HypernetPosterior(inner, weights=weights)
            with posterior.one_pass([2], [2, 0]):
                emitted.append(posterior.outputs([2, 0], z))
                torch.testing.assert_close(posterior(2).geometry(z[0]), emitted[-1][0])
            torch.testing.assert_close(posterior(0).geometry(z[1]), emitted[-1][1])
        torch.testing.assert_close(*emitted)
        assert asked == [2, 0, 0]
        with pytest.raises(ValueError, match="z: expected"):
            posterior.outputs([2, 0, 1], z)


class TestNoise:
    def test_shared_is_the_wrappers_equation(self):
        inner = hmlp()
        wrapper = HPerturbWrapper(inner, 4, 0.3, verbose=False)
        posterior = HypernetPosterior(wrapper, cond_id=1)
        assert isinstance(posterior(), SharedNoise)
        draw = posterior.draw(5, generator())
        torch.testing.assert_close(draw.w, wrapper(draw.eps, cond_id=1, ret_format="flattened"))
        assert isinstance(HypernetPosterior(inner, noise="shared", cond_id=1)(), SharedNoise)

    def test_a_wrapper_is_unwrapped_and_noise_comes_once(self):
        wrapper = HPerturbWrapper(hmlp(), 4, 0.3, verbose=False, noise="independent")
        posterior = HypernetPosterior(wrapper, cond_id=1)
        q = posterior()
        assert isinstance(q, SemiImplicit)
        assert q.sigma.item() == pytest.approx(0.3)
        assert posterior.hnet is wrapper.internal_hnet
        draw = posterior.draw(4, generator())
        both = torch.cat([draw.z, draw.eps], dim=1)
        torch.testing.assert_close(draw.w, wrapper(both, cond_id=1, ret_format="flattened"))
        assert HypernetPosterior(wrapper, sigma=0.5, cond_id=0)().sigma.item() == 0.5

    def test_custom_handlers_are_refused(self):
        wrapper = HPerturbWrapper(hmlp(), 4, verbose=False, output_handler=lambda out, **_: out)
        with pytest.raises(ValueError, match="inner hypernetwork"):
            HypernetPosterior(wrapper)
        double = HPerturbWrapper(HPerturbWrapper(hmlp(), 4, verbose=False), P, verbose=False)
        with pytest.raises(ValueError, match="two"):
            HypernetPosterior(double)


def test_bad_hypernetworks():
    with pytest.raises(TypeError, match="hnet"):
        HypernetPosterior(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="GeneratedPosterior"):
        HypernetPosterior(hmlp(uncond_in_size=0))
    with pytest.raises(ValueError, match="weight_spec"):
        HypernetPosterior(hmlp(), weight_spec=WeightSpec.of_shapes([[3]]))
    with pytest.raises(ValueError, match="noise"):
        HypernetPosterior(hmlp(), noise="none")


@pytest.mark.parametrize("options", [{"sigma": "learned", "scale": "fan_in"}, {"sigma": 0.3}, {"scale": 2.0}])
def test_state_goes_through_a_state_dict(options):
    one, two = (HypernetPosterior(hmlp(), cond_id=0, **options) for _ in range(2))
    two.load_state_dict(one.state_dict())
    torch.testing.assert_close(one.draw(2, generator()).w, two.draw(2, generator()).w)


def test_chunked_hypernetworks_too():
    hnet = ChunkedHMLP(SHAPES, 5, 4, uncond_in_size=4, cond_in_size=2, layers=(6,), verbose=False)
    assert HypernetPosterior(hnet, cond_id=0).rsample((2, 3)).shape == (2, 3, P)


class TestNetworks:
    def test_copies_of_a_module(self):
        net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        posterior = HypernetPosterior(hmlp(), cond_id=0, weight_spec=WeightSpec.of(net))
        before = [p.clone() for p in net.parameters()]
        networks = posterior.sample_networks(net, 3, generator())
        weights = posterior.draw(3, generator()).w
        x = torch.randn(5, 2)
        for network, w in zip(networks, weights, strict=True):
            assert type(network) is nn.Sequential
            expected = torch.func.functional_call(net, posterior.weight_spec.unflatten(w), (x,))
            torch.testing.assert_close(network(x), expected)
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
        by_order = HypernetPosterior(hmlp(), cond_id=0).sample_networks(net, 1)[0]
        assert by_order(x).shape == (5, 1)

    def test_main_networks_without_weights(self):
        net = MLP(2, 1, [3], no_weights=True, verbose=False)
        posterior = MeanFieldPosterior(net.weight_spec)
        network = posterior.sample_networks(net, 2, generator())[1]
        x = torch.randn(5, 2)
        w = posterior.draw(2, generator()).w[1]
        torch.testing.assert_close(network(x), net(x, weights=net.weight_spec.split(w.detach())))
        assert len(network.state_dict()) >= 4

    def test_wrong_network(self):
        with pytest.raises(ValueError, match="net"):
            HypernetPosterior(hmlp(), cond_id=0).sample_networks(nn.Linear(2, 2))
        with pytest.raises(ValueError, match="net"):
            MeanFieldPosterior(SPEC).sample_networks(MLP(5, 1, [3], no_weights=True, verbose=False))


EXPLICIT = {
    "mean field": lambda **o: MeanFieldPosterior(SPEC, 0.3, **o),
    "low rank": lambda **o: LowRankPosterior(SPEC, 2, 0.3, **o),
    "radial": lambda **o: RadialPosterior(SPEC, 0.3, **o),
    "dirac": lambda **o: DiracPosterior(SPEC, **o),
}


@pytest.mark.parametrize("name", EXPLICIT)
def test_explicit_posteriors(name):
    init = torch.linspace(-1, 1, P)
    posterior = EXPLICIT[name](scale="fan_in", init=init)
    torch.testing.assert_close(posterior().mean, init)
    loss = posterior.rsample((4,)).square().sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in posterior.parameters())
    if name in ("mean field", "radial"):
        torch.testing.assert_close(posterior().scale, 0.3 * SPEC.whitening().scale)
    drawn = EXPLICIT[name](scale="fan_in")().mean
    assert drawn.shape == (P,)
    assert drawn.abs().max() > 0
    with pytest.raises(ValueError, match="init"):
        EXPLICIT[name](init=torch.zeros(2))


@pytest.mark.parametrize(("family", "kind"), [("mean_field", MeanFieldGaussian), ("radial", Radial), ("dirac", Dirac)])
def test_generated_posteriors(family, kind):
    shapes = GeneratedPosterior.target_shapes(SHAPES, family)
    hnet = HMLP(shapes, cond_in_size=3, num_cond_embs=2, layers=(6,), verbose=False)
    posterior = GeneratedPosterior(hnet, family, sigma=0.2, scale="fan_in", cond_id=1, weight_spec=SPEC)
    q = posterior()
    assert isinstance(q, kind)
    flat = hnet(cond_id=1, ret_format="flattened")[0]
    whitening = SPEC.whitening()
    torch.testing.assert_close(q.mean, whitening.loc + whitening.scale * flat[:P])
    if family != "dirac":
        torch.testing.assert_close(q.scale, whitening.scale * (1e-4 + (0.2 - 1e-4) * flat[P:].exp()))
    assert not posterior(cond_id=0).mean.equal(q.mean)
    posterior.rsample((2,)).sum().backward()
    with pytest.raises(ValueError, match="HypernetPosterior"):
        GeneratedPosterior(hmlp(), family)
    with pytest.raises(TypeError, match="hnet"):
        GeneratedPosterior(nn.Linear(2, 2))


def test_generated_posteriors_need_means_and_scales():
    hnet = HMLP([[2, 2], [3]], cond_in_size=3, verbose=False)
    with pytest.raises(ValueError, match="target_shapes"):
        GeneratedPosterior(hnet, "mean_field")
