from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from bayeshnet.continual.task_inference.density import DensitySettings, TaskDensity, log_densities
from bayeshnet.continual.task_inference.image_features import ImageFeatures
from bayeshnet.continual.task_inference.ppca import clusters, principal
from bayeshnet.data import split_digits, split_fashion_mnist
from bayeshnet.saving import load_checkpoint, save_checkpoint
from tests.support.real_data import fashion_folder


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def correlated(count, size, seed=0):
    return normal(count, size, seed=seed) @ normal(size, size, seed=seed + 1) + 3 * normal(size, seed=seed + 2)


def dense(density, x, noise=None):
    """The same mixture with its covariance matrices written out."""
    terms = []
    for k in range(len(density.log_weight)):
        if density.log_weight[k] == -math.inf:
            continue
        own = density.noise[k] if noise is None else noise
        used = density.directions[k].norm(dim=0) > 0.5
        u, v = density.directions[k][:, used], density.variance[k][used].clamp(min=float(own))
        cov = u @ torch.diag(v - own) @ u.T + own * torch.eye(len(u), dtype=u.dtype)
        terms.append(density.log_weight[k] + MultivariateNormal(density.mean[k], cov).log_prob(x))
    return torch.logsumexp(torch.stack(terms), 0)


@pytest.mark.parametrize(("count", "size"), [(200, 7), (40, 60)])
@pytest.mark.parametrize("noise", [None, 0.7])
def test_log_density_and_its_gradient_are_those_of_the_dense_mixture(count, size, noise):
    noise = None if noise is None else torch.tensor(noise, dtype=torch.float64)
    density = DensitySettings(num_parts=3, num_components=4).fit(correlated(count, size), torch.arange(count) % 2)
    x = correlated(9, size, seed=5).requires_grad_()
    value = density.log_density(x, noise)
    assert torch.allclose(value, dense(density, x, noise))
    (gradient,) = torch.autograd.grad(value.sum(), x)
    (expected,) = torch.autograd.grad(dense(density, x, noise).sum(), x)
    assert torch.allclose(gradient, expected)


@pytest.mark.parametrize(("count", "size"), [(300, 12), (60, 90)])
def test_one_part_is_the_probabilistic_pca_of_scikit_learn(count, size):
    from sklearn.decomposition import PCA

    x, new = correlated(count, size), correlated(20, size, seed=7)
    density = DensitySettings(num_parts=1, num_components=5, floor=1e-9).fit(x)
    reference = PCA(5, svd_solver="full").fit(x.numpy())
    assert float(density.noise[0]) == pytest.approx(reference.noise_variance_ * (min(count, size) - 5) / (size - 5))
    if count > size:  # with fewer examples than dimensions scikit-learn averages over the examples' subspace alone
        assert torch.allclose(density.log_density(new), torch.from_numpy(reference.score_samples(new.numpy())))


def test_density_integrates_to_one():
    x = torch.cat([normal(50, 2), 0.3 * normal(50, 2, seed=1) + 3])
    density = DensitySettings(num_parts=4, num_components=10).fit(x, torch.arange(100) // 50)
    axis = torch.linspace(-8, 10, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = density.log_density(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1.0, abs=1e-3)


def test_in_low_dimension_it_is_the_full_gaussian():
    x = correlated(100, 2)
    density = DensitySettings(num_parts=1).fit(x)
    expected = MultivariateNormal(x.mean(0), torch.cov(x.T)).log_prob(x)
    assert torch.allclose(density.log_density(x), expected)
    line = DensitySettings(num_parts=1).fit(x[:, :1])
    expected = torch.distributions.Normal(x[:, 0].mean(), x[:, 0].std()).log_prob(x[:, 0])
    assert torch.allclose(line.log_density(x[:, :1]), expected)


def test_there_is_a_direction_less_than_features_and_three_examples_for_each_variance():
    """In the plane a part has one direction and a residual variance, so that six examples suffice for it."""
    assert DensitySettings().empty((2,)).directions.shape == (4, 2, 1)
    assert DensitySettings(num_components=1).empty((2,)).num_components == 1
    x = torch.cat([normal(6, 2), normal(6, 2, seed=1) + 30])
    density = DensitySettings(num_parts=2).fit(x)
    assert density.log_weight.exp().tolist() == pytest.approx([0.5, 0.5])
    assert sorted(density.mean[:, 0].tolist()) == pytest.approx([float(x[:6, 0].mean()), float(x[6:, 0].mean())])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_examples_and_constant_pixels_give_finite_numbers(count):
    x = torch.rand(count, 1, 8, 8)
    x[:, :, 0] = 0.0
    for settings in (DensitySettings(), DensitySettings(grid=0)):
        density = settings.fit(x, torch.zeros(count, dtype=torch.int64))
        assert bool(density.log_density(torch.rand(4, 1, 8, 8)).isfinite().all())
        assert float(density.noise.min()) > 0
        assert float(density.log_density_std) > 0
    constant = DensitySettings().fit(torch.ones(6, 5))
    assert bool(constant.log_density(torch.rand(3, 5)).isfinite().all())


def test_the_floor_is_a_fraction_of_the_mean_variance():
    x = torch.cat([normal(100, 2), torch.zeros(100, 30)], dim=1)
    density = DensitySettings(num_parts=1, num_components=2, floor=0.01).fit(x)
    assert float(density.noise[0]) == pytest.approx(0.01 * float(x.var(0, correction=0).mean()))


def test_parts_are_shared_out_among_classes():
    y = torch.arange(400) % 2
    x = normal(400, 3) + 20 * y[:, None]
    density = DensitySettings(num_parts=5, num_components=1).fit(x, y)
    assert density.log_weight.exp().sum() == pytest.approx(1.0)
    assert (density.log_weight > -math.inf).sum() == 4
    near = (density.mean[:4] - 20).norm(dim=1) < density.mean[:4].norm(dim=1)
    assert near.tolist() == [False, False, True, True]
    assert float(density.log_weight[:2].exp().sum()) == pytest.approx(0.5)
    many = DensitySettings(num_parts=2, num_components=1).fit(x, torch.arange(400) % 7)
    assert (many.log_weight > -math.inf).sum() == 2


def test_clusters_find_what_is_apart_and_keep_their_least_size():
    x = torch.cat([normal(30, 2), normal(40, 2, seed=1) + 30, normal(50, 2, seed=2) - 30])
    found = clusters(x, 3, 10, generator())
    assert sorted(map(len, found)) == [30, 40, 50]
    assert all(float(c.std(0).max()) < 2 for c in found)
    assert len(clusters(x, 3, 45, generator())) <= 2
    assert sum(map(len, clusters(x, 5, 10, generator()))) == 120
    assert len(clusters(torch.ones(20, 2), 3, 5, generator())) == 1
    assert len(clusters(x[:3], 4, 2, generator())) == 1


def test_principal_agrees_on_either_side_of_as_many_examples_as_dimensions():
    x = correlated(40, 30)
    part = principal(x, 6, torch.tensor(1e-6, dtype=x.dtype))
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    assert torch.allclose(part.variance, values.flip(0)[:6])
    assert torch.allclose(part.noise, values[:-6].mean())
    wide = principal(torch.cat([x, torch.zeros(40, 30)], 1), 6, torch.tensor(1e-6, dtype=x.dtype))
    assert torch.allclose(wide.variance, part.variance)
    assert torch.allclose(wide.noise, part.noise * 24 / 54)
    assert torch.allclose((wide.directions[:30].T @ vectors.flip(1)[:, :6]).abs(), torch.eye(6).double(), atol=1e-6)


def test_spread_is_that_of_the_fitted_examples():
    x = correlated(100, 6)
    density = DensitySettings(num_components=2).fit(x)
    assert float(density.log_density_std) == pytest.approx(float(density.log_density(x).std(correction=0)))


def test_a_density_is_saved_and_loaded_into_an_empty_one(tmp_path):
    settings = DensitySettings(num_parts=4, num_components=10)
    density = settings.fit(torch.rand(30, 1, 6, 6), torch.arange(30) % 3)
    other = settings.empty((1, 6, 6))
    assert {k: v.shape for k, v in density.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}
    save_checkpoint(tmp_path / "a", density)
    load_checkpoint(tmp_path / "a", other)
    x = torch.rand(7, 1, 6, 6)
    assert torch.equal(density.log_density(x), other.log_density(x))
    assert density.num_bytes == sum(v.numel() * 4 for v in density.state_dict().values())
    assert not list(density.parameters())


def test_the_residual_variance_is_shared_among_tasks():
    densities = [DensitySettings(num_parts=1, num_components=2).fit(s * normal(80, 6, seed=s)) for s in (1, 3)]
    x = normal(5, 6, seed=9)
    noise = (densities[0].noise[0] + densities[1].noise[0]) / 2
    expected = torch.stack([dense(d, x, noise) for d in densities], 1)
    assert torch.allclose(log_densities(densities, x), expected)
    with pytest.raises(ValueError, match="densities"):
        log_densities([], x)


def test_image_features_by_hand():
    image = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    image[..., 2:] = 1.0  # a bright right half: one edge, brighter to the right
    features = ImageFeatures((1, 4, 4), 2)(image).reshape(5, 2, 2)
    assert torch.equal(features[0], torch.tensor([[0.0, 1.0], [0.0, 1.0]]).double())
    # Central differences are 1/2 in the two middle columns, so 1/4 in the mean of every cell.
    assert torch.allclose(features[1], torch.full((2, 2), 0.5).double())
    assert float(features[2:].abs().max()) == 0
    turned = ImageFeatures((1, 4, 4), 2)(image.transpose(2, 3).flatten(1)).reshape(5, 2, 2)
    assert torch.allclose(turned[3], features[1].T)


def test_image_features_of_colors_grids_and_bad_shapes():
    assert ImageFeatures((3, 32, 32))(torch.rand(2, 3, 32, 32)).shape == (2, 7 * 49)
    assert ImageFeatures((1, 6, 8))(torch.rand(2, 48)).shape == (2, 5 * 9)
    with pytest.raises(ValueError, match="images of shape"):
        ImageFeatures((1, 6, 8))(torch.rand(2, 47))
    with pytest.raises(ValueError, match="image_shape"):
        ImageFeatures((8, 8))
    assert bool(ImageFeatures((1, 6, 8))(-torch.rand(2, 48)).isfinite().all())


def test_bad_input_is_named():
    density = DensitySettings().fit(torch.rand(10, 4))
    with pytest.raises(ValueError, match="another shape"):
        density.log_density(torch.rand(3, 5))
    with pytest.raises(ValueError, match="x: expected at least one"):
        DensitySettings().fit(torch.rand(0, 4))
    with pytest.raises(ValueError, match="y"):
        DensitySettings().fit(torch.rand(10, 4), torch.zeros(9))
    with pytest.raises(ValueError, match="num_parts"):
        DensitySettings(num_parts=0)
    assert isinstance(density, TaskDensity)


def inference_accuracy(stream, settings):
    densities = [settings.fit(task.train.x, task.train.y) for task in stream]
    return sum(
        float((log_densities(densities, task.test.x).argmax(1) == t).double().mean()) for t, task in enumerate(stream)
    ) / len(stream)


def test_the_task_of_digits_is_inferred():
    assert inference_accuracy(split_digits(), DensitySettings()) > 0.975


@pytest.mark.slow
def test_the_task_of_fashion_mnist_is_inferred():
    stream = split_fashion_mnist(fashion_folder())
    assert inference_accuracy(stream, DensitySettings(image_shape=(1, 28, 28))) > 0.85
    assert inference_accuracy(stream, DensitySettings()) > 0.83
