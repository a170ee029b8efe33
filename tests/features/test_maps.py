"""Features against formulas, loops and kernels that are computed directly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bayeshnet.features import FeatureCache, Frozen, PatchFilters, RandomFourier, RandomProjection
from bayeshnet.inference import load_checkpoint, save_checkpoint

IMAGES = torch.rand(40, 1, 10, 9, generator=torch.Generator().manual_seed(0)).double()
FLAT = torch.randn(60, 4, generator=torch.Generator().manual_seed(1)).double()
TRUNK = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 2)).double()
MAPS = {
    "fourier": (RandomFourier(30), FLAT),
    "patches": (PatchFilters(7, patch_size=4, grid=2), IMAGES),
    "mirrored": (PatchFilters(7, patch_size=(3, 5), grid=2, mirror=True), IMAGES),
    "contrast": (PatchFilters(7, patch_size=(3, 5), grid=2, mirror=True, contrast=0.2), IMAGES),
    "projection": (RandomProjection(20, on=RandomFourier(30)), FLAT),
    "linear": (RandomProjection(3, on=PatchFilters(7, patch_size=4), rectified=False), IMAGES),
    "frozen": (Frozen(TRUNK, at="2"), FLAT),
}
each_map = pytest.mark.parametrize(("features", "x"), MAPS.values(), ids=MAPS)


@each_map
def test_maps_are_fixed_by_the_seed_and_the_first_inputs(features, x):
    first, second = features.fit(x, seed=3), features.fit(x, seed=3)
    found = first(x)
    assert found.shape == (len(x), first.num_features)
    assert found.dtype == x.dtype
    assert torch.equal(found, second(x))
    assert found.isfinite().all()
    torch.testing.assert_close(first(x[:3]), found[:3])
    assert first(x[:0]).shape == (0, first.num_features)
    single = features.fit(x.float(), seed=3)(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=1e-3, atol=1e-3)


@each_map
def test_maps_are_saved_and_loaded(features, x, tmp_path):
    fitted = features.fit(x)
    save_checkpoint(tmp_path / "map", fitted)
    loaded = features.build(tuple(x.shape[1:])).double()
    load_checkpoint(tmp_path / "map", loaded)
    assert torch.equal(loaded(x), fitted(x))
    assert fitted.num_bytes == sum(t.numel() * t.element_size() for t in fitted.state_dict().values())


@each_map
def test_bad_inputs_are_refused(features, x):
    fitted, bad = features.fit(x), x.clone()
    bad[0, 0] = float("nan")
    with pytest.raises(ValueError, match="x: expected finite values"):
        features.fit(bad)
    with pytest.raises(ValueError, match="x: expected inputs of shape"):
        fitted(x[..., :-1])
    with pytest.raises(ValueError, match="x: expected at least one input"):
        features.fit(x[:0])


def test_products_of_fourier_features_are_a_gaussian_kernel():
    fitted = RandomFourier(40_000, lengthscale=0.8).fit(FLAT[:20])
    flat = FLAT[:20]
    pairs = torch.randint(20, (2, 1000), generator=torch.Generator().manual_seed(0))
    distance = torch.cdist(flat, flat)
    own = (flat[pairs[0]] - flat[pairs[1]]).norm(dim=1)
    width = 0.8 * own[own > 0].median()
    right = (-0.5 * (distance / width).square()).exp()
    features = fitted(flat)
    torch.testing.assert_close(features @ features.T, right, atol=0.03, rtol=0)


def test_patch_features_are_means_over_cells_of_rectified_responses():
    """The loop over places takes patches by hand; 7 x 6 places have cells of 4 x 3, which overlap by one row."""
    fitted = PatchFilters(3, patch_size=4, grid=2, threshold=0.1).fit(IMAGES)
    found = (fitted(IMAGES[:2]) * fitted.standardize.scale + fitted.standardize.mean).square()
    plain = PatchFilters(3, patch_size=4, grid=2, threshold=0.1, root=False).fit(IMAGES)
    torch.testing.assert_close(plain(IMAGES[:2]) * plain.standardize.scale + plain.standardize.mean, found)
    for n in range(2):
        response = torch.zeros(3, 7, 6).double()
        for i in range(7):
            for j in range(6):
                patch = IMAGES[n, :, i : i + 4, j : j + 4].flatten()
                response[:, i, j] = fitted.filters.flatten(1) @ patch + fitted.bias
        rows, columns = [(0, 4), (3, 7)], [(0, 3), (3, 6)]
        cells = [
            (sign * response - 0.1).clamp_min(0)[:, a:b, c:d].mean((1, 2))
            for sign in (1, -1)
            for a, b in rows
            for c, d in columns
        ]
        right = torch.stack(cells, 1).reshape(3, 2, 4).permute(1, 0, 2).flatten()
        torch.testing.assert_close(found[n], right)


def raw(fitted, x):
    """Return the averages before they are standardized."""
    return fitted(x) * fitted.standardize.scale + fitted.standardize.mean


def test_mirrored_features_are_averages_over_an_image_and_its_mirror_image():
    plain = PatchFilters(7, patch_size=4, grid=2, root=False).fit(IMAGES)
    fitted = PatchFilters(7, patch_size=4, grid=2, root=False, mirror=True).fit(IMAGES)
    torch.testing.assert_close(raw(fitted, IMAGES), (raw(plain, IMAGES) + raw(plain, IMAGES.flip(-1))) / 2)
    torch.testing.assert_close(fitted(IMAGES.flip(-1)), fitted(IMAGES))
    root = PatchFilters(7, patch_size=4, grid=2, mirror=True).fit(IMAGES)
    torch.testing.assert_close(raw(root, IMAGES).square(), raw(fitted, IMAGES))
    last = IMAGES.permute(0, 2, 3, 1)
    torch.testing.assert_close(
        PatchFilters(7, patch_size=4, grid=2, mirror=True).fit(last, layout="HWC")(last), root(IMAGES)
    )


def test_patches_are_divided_by_what_they_vary():
    """The loop over places normalizes patches of two channels by hand; weak and strong images are nearly the same."""
    images = torch.cat([IMAGES, 0.3 + IMAGES.flip(0)], dim=1)
    fitted = PatchFilters(3, patch_size=4, grid=2, threshold=0.1, root=False, contrast=0.2).fit(images)
    found = raw(fitted, images[:2])
    least = float(fitted.least_variance)
    assert least == pytest.approx(0.2 * float(images.unfold(2, 4, 1).unfold(3, 4, 1).var((1, 4, 5)).mean()), rel=0.05)
    for n in range(2):
        response = torch.zeros(3, 7, 6).double()
        for i in range(7):
            for j in range(6):
                patch = images[n, :, i : i + 4, j : j + 4].flatten()
                plain = (patch - patch.mean()) / (patch.var(correction=0) + least).sqrt()
                response[:, i, j] = fitted.filters.flatten(1) @ plain + fitted.bias
        pooled = [torch.nn.functional.adaptive_avg_pool2d((s * response - 0.1).clamp_min(0), 2) for s in (1, -1)]
        torch.testing.assert_close(found[n], torch.cat(pooled).flatten())
    strong = PatchFilters(3, patch_size=4, grid=2, contrast=1e-9).fit(images)
    torch.testing.assert_close(strong(7 * images + 1), strong(images), rtol=1e-6, atol=1e-6)


def test_patches_of_several_sizes_share_the_filters():
    """Of 7 filters 4 have the first size; all are whitened patches, and their features follow one another."""
    fitted = PatchFilters(7, patch_size=[3, 5], grid=2).fit(IMAGES)
    assert (fitted.filters.shape, fitted.filters1.shape) == ((4, 1, 3, 3), (3, 1, 5, 5))
    assert fitted.num_features == 56
    single = PatchFilters(4, patch_size=3, grid=2).fit(IMAGES)
    torch.testing.assert_close(fitted(IMAGES)[:, :32], single(IMAGES))
    response = torch.nn.functional.conv2d(IMAGES, fitted.filters1, fitted.bias1)
    pooled = torch.nn.functional.adaptive_avg_pool2d((response - 0.25).clamp_min(0), 2).flatten(1)
    torch.testing.assert_close(raw(fitted, IMAGES)[:, 32:44].square(), pooled)
    with pytest.raises(ValueError, match="patch_size: expected at most 2 sides"):
        PatchFilters(2, patch_size=(3, 4, 5))


def test_responses_to_patches_of_the_first_task_have_variance_one():
    """Whitened patches have the covariance I, but for what epsilon holds back."""
    fitted = PatchFilters(50, patch_size=3, grid=1, epsilon=1e-6).fit(IMAGES)
    patches = IMAGES.unfold(2, 3, 1).unfold(3, 3, 1)[:, 0].flatten(0, 2).flatten(1)
    response = patches @ fitted.filters.flatten(1).T + fitted.bias
    assert response.mean(0).abs().max() < 0.1
    torch.testing.assert_close(response.var(0), torch.ones(50).double(), atol=0.15, rtol=0)


def test_flattened_images_and_both_layouts_give_the_same():
    maps = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    settings = {"num_filters": 4, "patch_size": 3}
    plain = PatchFilters(**settings).fit(maps)(maps)
    last = maps.permute(0, 2, 3, 1)
    flat = PatchFilters(**settings, image_shape=(3, 8, 8))
    for fitted, x in [
        (PatchFilters(**settings).fit(last, layout="HWC"), last),
        (flat.fit(maps.flatten(1), layout="CHW"), maps.flatten(1)),
        (flat.fit(last.flatten(1), layout="HWC"), last.flatten(1)),
    ]:
        torch.testing.assert_close(fitted(x), plain)
    with pytest.raises(ValueError, match=r"x: expected images of three dimensions.*image_shape="):
        PatchFilters().fit(maps.flatten(1))
    with pytest.raises(ValueError, match="room for patches of 9"):
        PatchFilters(patch_size=9).fit(maps)


def test_images_without_contrast_have_features():
    assert PatchFilters(4, patch_size=3).fit(torch.zeros(5, 1, 8, 8))(torch.rand(3, 1, 8, 8)).isfinite().all()


def test_projections_are_a_rectified_layer():
    fitted = RandomProjection(500, on=None, bias=0.2).fit(FLAT)
    z = (FLAT - FLAT.mean(0)) / FLAT.std(0, correction=0)
    torch.testing.assert_close(fitted(FLAT), (z @ fitted.weight + fitted.offset).clamp_min(0))
    assert float(fitted.weight.var()) == pytest.approx(1 / 4, rel=0.1)
    assert float(fitted.offset.std()) == pytest.approx(0.2, rel=0.1)


def test_linear_projections_keep_distances():
    fitted = RandomProjection(4000, rectified=False).fit(FLAT)
    z = (FLAT - FLAT.mean(0)) / FLAT.std(0, correction=0)
    found = torch.pdist(fitted(FLAT)) / torch.pdist(z) * (4 / 4000) ** 0.5
    assert float((found - 1).abs().max()) < 0.1


def test_frozen_features_are_those_of_the_layer_in_evaluation_mode():
    TRUNK.train()
    fitted = Frozen(TRUNK, at="2").fit(FLAT)
    right = (FLAT @ TRUNK[0].weight.T + TRUNK[0].bias).clamp_min(0).detach()
    right = (right - right.mean(0)) / fitted.standardize.scale
    torch.testing.assert_close(fitted(FLAT), right)
    assert TRUNK.training
    assert not any(p.requires_grad for p in fitted.parameters())
    whole = Frozen(TRUNK).fit(FLAT)
    assert whole(FLAT.clone().requires_grad_()).requires_grad is False
    half = Frozen(TRUNK, at="2", dtype=torch.bfloat16).fit(FLAT)(FLAT)
    assert half.dtype == torch.float64
    assert 0 < float((half - right).abs().max()) < 0.1
    with pytest.raises(ValueError, match="at: expected the name of a layer, one of '0'"):
        Frozen(TRUNK, at="9")
    with pytest.raises(ValueError, match="module: expected one whose outputs"):
        Frozen(TRUNK).fit(FLAT[:, :3])


def test_frozen_features_of_several_layers_are_averaged_over_cells():
    maps = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(100, 5))
    x = torch.randn(30, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    fitted = Frozen(maps, at=("0", "2", "4"), pool=(2, None, 3)).fit(x)
    first = maps[0](x)
    cells = [
        first[..., rows, columns].mean((2, 3))
        for rows in (slice(4), slice(3, 7))
        for columns in (slice(4), slice(3, 7))
    ]
    right = torch.cat([torch.stack(cells, 2).flatten(1), maps[:3](x).flatten(1), maps(x)], 1).detach()
    torch.testing.assert_close(fitted.outputs(x), right)
    torch.testing.assert_close(Frozen(maps, at=["2"], pool=5).fit(x).outputs(x), maps[:3](x).flatten(1).detach())
    torch.testing.assert_close(fitted(x).mean(0), torch.zeros(fitted.num_features), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"pool: expected a number of cells, or one .* for each layer: 2, got"):
        Frozen(maps, at=("0", "2"), pool=(2, 1, 1))
    with pytest.raises(ValueError, match="pool: expected an integer"):
        Frozen(maps, at="0", pool=0)
    with pytest.raises(ValueError, match="at: expected the name of an inner layer, names of several"):
        Frozen(maps, at=[])
    with pytest.raises(TypeError, match="at: expected the name of an inner layer, names of several"):
        Frozen(maps, at=[2])


def test_frozen_embeddings_take_integers():
    trunk = nn.Sequential(nn.Embedding(10, 3), nn.Flatten())
    tokens = torch.randint(10, (30, 5), generator=torch.Generator().manual_seed(0))
    fitted = Frozen(trunk).fit(tokens)
    assert fitted(tokens).shape == (30, 15)
    torch.testing.assert_close(fitted(tokens).mean(0), torch.zeros(15), atol=1e-5, rtol=0)


def test_a_cache_computes_features_once(tmp_path):
    calls = []

    class Counting(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            return x

    fitted = Frozen(Counting()).fit(FLAT)
    calls.clear()
    cache = FeatureCache(chunk_size=25)
    found = cache.of(fitted, FLAT)
    assert calls == [25, 25, 10]
    assert cache.of(fitted, FLAT) is found
    torch.testing.assert_close(found, fitted(FLAT))
    calls.clear()
    changed = FLAT.clone()
    cache.of(fitted, changed)
    changed.add_(1)
    torch.testing.assert_close(cache.of(fitted, changed), fitted(changed))
    assert len(calls) == 7
    mapped = FeatureCache(limit=100, folder=tmp_path, chunk_size=25).of(fitted, FLAT)
    assert torch.equal(mapped, found)
    assert list(tmp_path.iterdir()) == []


def test_images_far_from_zero_have_the_features_of_those_around_it():
    """Divided by their contrast patches do not change under a shift, but for the digits that the images lose."""
    images = torch.rand(30, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    fitted = PatchFilters(5, patch_size=4, grid=2, contrast=0.2).fit(images)
    torch.testing.assert_close(fitted(images + 300), fitted(images), rtol=1e-2, atol=1e-2)
