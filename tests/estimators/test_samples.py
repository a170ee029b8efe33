"""Bounds and ratios: SIVI, IWHVI, AVB, kernel ratios, nearest neighbors."""

import math

import pytest
import torch
from torch.distributions import Independent, Laplace, Normal

from bayeshnet.distributions import MeanFieldGaussian, SemiImplicit
from bayeshnet.estimators import AVB, IWHVI, SIVI, KernelRatio, NearestNeighbor
from bayeshnet.estimators.latent.reverse_model import ReverseModel
from tests.support.oracles import DTYPE, BananaProblem, DenseGeometry, LinearProblem, cosine, gradients, standard_prior


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fixed_sigma(n, P, sigma):
    problem = LinearProblem.make(n, P, sigma)
    problem.sigma.requires_grad_(False)
    return problem


def exact_kl(problem):
    return problem.kl(torch.zeros_like(problem.b), torch.ones((), dtype=DTYPE))


class TestSIVI:
    def test_the_bound_in_its_relative_form(self):
        """Against the densities themselves, written out."""
        problem = LinearProblem.make(2, 7, 0.3)
        q = problem.q()
        draw = q.draw(5, generator())
        info = SIVI(num_latents=20).mutual_information(q, draw, generator(1))
        fresh = torch.randn(20, 2, dtype=DTYPE, generator=generator(1))
        means = torch.cat([q.geometry(draw.z)[:, None], q.geometry(fresh)[None].expand(5, -1, -1)], dim=1)
        logs = Normal(means, problem.sigma).log_prob(draw.w[:, None]).sum(-1)
        by_hand = logs[:, 0] - torch.logsumexp(logs, dim=1) + math.log(21)
        torch.testing.assert_close(info.per_draw, by_hand)
        ours, reference = (gradients(x.mean(), problem.parameters) for x in (info.per_draw, by_hand))
        assert cosine(ours, reference) > 1 - 1e-10

    def test_tight_once_latents_suffice_and_never_more_than_the_information(self):
        problem = LinearProblem.make(2, 4, 0.7)
        with torch.no_grad():
            estimate = SIVI(4000, 1000).estimate(problem.q(), standard_prior(4), generator=generator())
        slack = 4 * estimate.diagnostics["standard_error"].item()
        assert estimate.diagnostics["mutual_information"].item() == pytest.approx(problem.information().item(), abs=0.1)
        assert estimate.diagnostics["mutual_information"].item() < problem.information().item() + slack
        assert estimate.upper == estimate.value
        assert not estimate.diagnostics["saturated"]

    def test_log_k_is_all_it_can_find(self):
        problem = LinearProblem.make(8, 100, 0.1)
        estimate = SIVI(32, 100).estimate(problem.q(), standard_prior(100), generator=generator())
        missing = problem.information().item() - estimate.diagnostics["mutual_information"].item()
        assert missing >= problem.information().item() - math.log(101) - 0.1
        assert estimate.diagnostics["saturated"]
        info = SIVI(32, 100).mutual_information(problem.q(), problem.q().draw(32, generator()), generator())
        norms = [gradients(x, [problem.A])[0].norm() for x in (info.value, problem.information())]
        assert norms[0] < 1e-6 * norms[1]  # nothing keeps the generated weights apart

    @pytest.mark.xfail(strict=True, reason="SIVI recovers log(K + 1) nats of the mutual information, no more")
    def test_value_in_many_dimensions(self):
        problem = LinearProblem.make(8, 100, 0.1)
        draw = problem.q().draw(64, generator())
        found = SIVI(64, 1000).mutual_information(problem.q(), draw, generator())
        assert found.value.item() == pytest.approx(problem.information().item(), abs=1.0)


class TestIWHVI:
    @pytest.mark.parametrize(("proposals", "flows"), [(0, 0), (8, 2)])
    def test_learned_bounds_hold_and_become_tight(self, proposals, flows):
        problem = fixed_sigma(2, 6, 0.5)
        method = IWHVI(256, proposals, num_flows=flows, steps=0)
        q = problem.q()
        before = method.estimate(q, standard_prior(6), generator=generator())
        method.train_reverse(q, 250, generator())
        draw = q.draw(4000, generator(1))
        with torch.no_grad():
            info = method._information(q, draw, generator(2))
        error = info.std().item() / 4000**0.5
        assert info.mean().item() < problem.information().item() + 4 * error
        assert info.mean().item() > problem.information().item() - 0.15 - 4 * error
        assert before.diagnostics["mutual_information"] < info.mean()
        assert before.upper == before.value

    def test_gradient(self):
        problem = fixed_sigma(2, 6, 0.5)
        method = IWHVI(2000, 16, steps=0)
        method.train_reverse(problem.q(), 0)
        method.num_samples = 256
        method.train_reverse(problem.q(), 200, generator())
        estimate = method.estimate(problem.q(), standard_prior(6), 4000, generator())
        ours, exact = (gradients(x, [problem.A, problem.b]) for x in (estimate.surrogate, exact_kl(problem)))
        assert cosine(ours, exact) > 0.98

    def test_no_proposals_is_the_hierarchical_bound(self):
        problem = fixed_sigma(2, 6, 0.5)
        method = IWHVI(8, 0, steps=0)
        draw = problem.q().draw(8, generator())
        info = method._information(problem.q(), draw, generator())
        view = method.reverse.view(draw.w)
        by_hand = view.log_prob(draw.z[:, None])[:, 0] - Normal(0.0, 1.0).log_prob(draw.z).sum(-1)
        torch.testing.assert_close(info, by_hand)
        assert sum(p.numel() for p in method.parameters()) > 0

    @pytest.mark.parametrize("flows", [0, 3])
    def test_the_reverse_model_is_a_density(self, flows):
        samples = torch.randn(20, 5, dtype=DTYPE, generator=generator())
        model = ReverseModel(samples, 2, (8,), flows, generator())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, dtype=DTYPE, generator=generator(1)))
            view = model.view(samples[:2])
            z, log_prob = view.rsample(50, generator())
            torch.testing.assert_close(view.log_prob(z), log_prob)
            axis = torch.linspace(-20, 20, 500, dtype=DTYPE)
            grid = torch.cartesian_prod(axis, axis).expand(2, -1, -1)
            mass = view.log_prob(grid).exp().sum(-1) * (axis[1] - axis[0]) ** 2
        torch.testing.assert_close(mass, torch.ones(2, dtype=DTYPE), atol=0.02, rtol=0)


class TestAVB:
    def test_adaptive_contrast_in_few_dimensions(self):
        problem = fixed_sigma(2, 3, 0.7)
        method = AVB((64, 64), steps=400)
        estimate = method.estimate(problem.q(), standard_prior(3), 4000, generator())
        assert estimate.value.item() == pytest.approx(exact_kl(problem).item(), abs=0.2)
        exact = gradients(exact_kl(problem), [problem.A, problem.b])
        assert cosine(gradients(estimate.surrogate, [problem.A, problem.b]), exact) > 0.9
        assert not estimate.diagnostics["saturated"]

    def test_the_surrogate_leaves_the_discriminator_alone(self):
        problem = fixed_sigma(2, 3, 0.7)
        method = AVB((8,), steps=1)
        estimate = method.estimate(problem.q(), standard_prior(3), generator=generator())
        found = torch.autograd.grad(estimate.surrogate, list(method.parameters()), allow_unused=True)
        assert all(g is None for g in found)

    def test_without_contrast_no_prior_density_is_needed(self):
        problem = fixed_sigma(2, 3, 0.7)
        method = AVB((32,), steps=200, contrast_draws=0)
        p = problem.q()  # an implicit prior, the same distribution: KL zero
        assert method.estimate(problem.q(), p, 2000, generator()).value.item() == pytest.approx(0, abs=0.1)

    def test_other_priors(self):
        problem = fixed_sigma(2, 3, 0.7)
        p = Independent(Laplace(torch.zeros(3, dtype=DTYPE), torch.ones(3, dtype=DTYPE)), 1)
        method = AVB((64, 64), steps=300, lr=2e-3)
        draw = problem.q().draw(20_000, generator())
        exact = (problem.dense().log_prob(draw.w) - p.log_prob(draw.w)).mean()
        assert method.estimate(problem.q(), p, 4000, generator()).value.item() == pytest.approx(exact.item(), abs=0.3)

    @pytest.mark.xfail(strict=True, reason="a discriminator that separates both sides does not measure their distance")
    def test_value_in_many_dimensions(self):
        problem = fixed_sigma(8, 100, 0.1)
        estimate = AVB(steps=100).estimate(problem.q(), standard_prior(100), generator=generator())
        assert estimate.value.item() == pytest.approx(exact_kl(problem).item(), rel=0.3)

    def test_saturation_is_flagged(self):
        problem = fixed_sigma(8, 100, 0.01)
        estimate = AVB(steps=200, contrast_draws=0, lr=5e-3).estimate(
            problem.q(), standard_prior(100), generator=generator()
        )
        assert estimate.diagnostics["saturated"]
        with pytest.raises(ValueError, match="contrast_draws"):
            AVB(contrast_draws=1)


class TestRatios:
    def test_nearest_neighbors_in_one_and_two_dimensions(self):
        for size, tolerance in ((1, 0.08), (2, 0.12)):
            q = MeanFieldGaussian(torch.ones(size, dtype=DTYPE), torch.full((size,), 0.5, dtype=DTYPE))
            p = standard_prior(size)
            exact = torch.distributions.kl_divergence(q, p).item()
            found = torch.stack(
                [NearestNeighbor(1000, k=3).estimate(q, p, generator=generator(i)).value for i in range(5)]
            )
            assert found.mean().item() == pytest.approx(exact, abs=tolerance)

    def test_kernel_ratio_in_one_dimension(self):
        q = MeanFieldGaussian(torch.ones(1, dtype=DTYPE), torch.full((1,), 0.8, dtype=DTYPE))
        exact = torch.distributions.kl_divergence(q, standard_prior(1)).item()
        for direction in ("reverse", "forward"):
            method = KernelRatio(400, direction=direction)
            found = torch.stack([method.estimate(q, standard_prior(1), generator=generator(i)).value for i in range(5)])
            assert found.mean().item() == pytest.approx(exact, abs=0.12), direction

    def test_the_ratio_minimizes_its_loss(self):
        """Least squares: the coefficients of the reverse form are a stationary point of the empirical loss."""
        gen = generator()
        x, y = torch.randn(6, 2, dtype=DTYPE, generator=gen), torch.randn(6, 2, dtype=DTYPE, generator=gen) + 1
        own, cross = ((-0.5 * torch.cdist(x, t).square()).exp() for t in (x, y))
        alpha = torch.linalg.solve(own @ own / 6 + 0.01 * torch.eye(6, dtype=DTYPE), cross.mean(1)).requires_grad_()
        loss = 0.5 * (own @ alpha).square().mean() - (cross.T @ alpha).mean() + 0.005 * alpha.square().sum()
        torch.testing.assert_close(torch.autograd.grad(loss, alpha)[0], torch.zeros(6, dtype=DTYPE), atol=1e-10, rtol=0)

    def test_gradients_point_the_right_way_in_few_dimensions(self):
        problem = fixed_sigma(2, 2, 0.7)
        with torch.no_grad():
            problem.b.add_(1.0)
        exact = gradients(exact_kl(problem), [problem.b])
        for method in (KernelRatio(600), KernelRatio(600, direction="forward"), NearestNeighbor(2000, k=10)):
            estimate = method.estimate(problem.q(), standard_prior(2), generator=generator())
            assert cosine(gradients(estimate.surrogate, [problem.b]), exact) > 0.8

    @pytest.mark.xfail(
        strict=True, reason="ratios from M samples saturate near log M nats; neighbors are biased as M^(-1/P)"
    )
    @pytest.mark.parametrize("method", [KernelRatio(), NearestNeighbor()], ids=["kernel", "neighbors"])
    def test_value_in_many_dimensions(self, method):
        problem = fixed_sigma(8, 100, 0.1)
        estimate = method.estimate(problem.q(), standard_prior(100), generator=generator())
        assert estimate.value.item() == pytest.approx(exact_kl(problem).item(), rel=0.3)

    def test_bad_input(self):
        problem = fixed_sigma(2, 5, 0.1)
        with pytest.raises(ValueError, match="num_samples"):
            KernelRatio().estimate(problem.q(), standard_prior(5), 1)
        with pytest.raises(ValueError, match="k = 5"):
            NearestNeighbor(k=5).estimate(problem.q(), standard_prior(5), 5)
        assert (
            not NearestNeighbor().estimate(BananaProblem.make(30).q(), standard_prior(30), 20).diagnostics["reliable"]
        )
        with pytest.raises(ValueError, match="direction"):
            KernelRatio(direction="up")


def test_distributions_of_torch_draw_from_the_generator():
    """They take no generator: one seed gives one result, and leaves the global state alone."""
    q = Independent(Normal(torch.zeros(2, dtype=DTYPE), 1.0), 1)
    state = torch.get_rng_state()
    values = [NearestNeighbor(50).estimate(q, standard_prior(2), generator=generator()).value for _ in range(2)]
    assert values[0] == values[1]
    assert torch.equal(torch.get_rng_state(), state)


def test_collapse_shows_no_information():
    flat = SemiImplicit(DenseGeometry(lambda z: 0.0 * z.sum(-1, keepdim=True) + torch.ones(4, dtype=DTYPE), 2, 4), 0.3)
    estimate = SIVI(64, 50).estimate(flat, standard_prior(4), generator=generator())
    exact = MeanFieldGaussian(torch.ones(4, dtype=DTYPE), torch.full((4,), 0.3, dtype=DTYPE))
    assert estimate.value.item() == pytest.approx(torch.distributions.kl_divergence(exact, standard_prior(4)).item())
