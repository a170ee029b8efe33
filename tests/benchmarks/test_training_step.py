"""The benchmark of training steps runs, and its published loop does what the documented formulas say."""

import sys
from pathlib import Path

import pytest
import torch

from bayeshnet.estimators.samples.ssge import spectral_matrix

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from published_step import spectral_score
from training_configurations import CONFIGURATIONS, make_data
from training_floor import Floor
from training_step import COLUMNS, WIDE, library_steps, load_published, row, summary
from training_step_page import write_page

PUBLISHED = load_published()
PARAMETERS = {
    "reg_bbb": 3326,
    "reg_ssge": 211497,
    "reg_avb": 181197,
    "gmm_bbb": 25308,
    "gmm_ssge": 286802,
    "gmm_avb": 3222812,
    "split_bbb": 174180,
    "split_ssge": 86698,
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_steps_of_both_kinds(name):
    """Two steps of every column at task 2, with finite losses, on networks of the published sizes."""
    c = CONFIGURATIONS[name]
    data = make_data(c, torch.Generator().manual_seed(0))
    for step in library_steps(c, 1).values():
        losses = step.run(data, 2).losses
        assert len(losses) == 2
        assert torch.isfinite(torch.tensor(losses)).all()
        assert sum(p.numel() for p in step.guide.posterior.parameters()) == PARAMETERS[name]
    if PUBLISHED is None:
        pytest.skip("hypnettorch is not installed")
    theirs = PUBLISHED(c, 1)
    assert sum(p.numel() for p in theirs.generator.parameters()) == PARAMETERS[name]
    before = [p.detach().clone() for p in theirs.generator.parameters()]
    losses = [theirs(data[0][: c.batch], data[1][: c.batch]) for _ in range(2)]
    assert torch.isfinite(torch.tensor(losses)).all()
    assert any(not torch.equal(a, b) for a, b in zip(before, theirs.generator.parameters(), strict=True))


def test_the_floor_has_products_random_numbers_and_optimizer_alone():
    """Of the third step of a linear regression: a product, its gradient's, noise and Adam, which leave it as it is."""
    x, layer = torch.randn(7, 3), torch.nn.Linear(3, 2, bias=False)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)

    def train(steps, callbacks):
        for _ in range(steps):
            optimizer.zero_grad()
            (layer(x) + torch.randn(7, 2)).square().sum().backward()
            optimizer.step()
            callbacks[0].on_step(None)

    floor = Floor(train)
    assert [call[0].overloadpacket.__name__ for call in floor.calls] == ["mm", "randn", "mm", "_fused_adam_"]
    before = layer.weight.detach().clone()
    assert len(floor.seconds(4)) == 4
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("threshold", [1.0, 0.8])
def test_the_published_score_is_the_librarys(threshold):
    """Gradients of kernels give what the library gets from a small matrix; the mode at the threshold is dropped."""
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    distances = torch.cdist(x, x).square()
    kernel = (-0.5 * distances / 2.0**2).exp()
    values = torch.linalg.eigvalsh(kernel).flip(0)
    share = values.cumsum(0) / values.sum()
    kept = share[: max(1, int((share < threshold).sum()))][-1].item() if threshold < 1 else 1.0
    matrix, _ = spectral_matrix(kernel, torch.tensor(2.0), kept - 1e-9 if threshold < 1 else 1.0)
    torch.testing.assert_close(spectral_score(x, x, 2.0, threshold), matrix @ x)


def test_the_table_says_how_many_times_longer(tmp_path):
    found = {"published": 10.0, "library": 2.0, "one old task": 1.0, "floor of library": 0.5}
    cells = row(CONFIGURATIONS["reg_bbb"], 1, found)
    assert cells == ["reg_bbb", "2", "10.0", "2.00 (5.0)", "1.00 (10.0)", "", "", "0.50 (4.0)"]
    wide = {"published": 8.0, "library": 0.4, "floor of library": 0.25, WIDE: 1.0}
    lines = summary([found, wide])
    assert lines[0] == "library: geometric mean 10.00, least 5.00 of 2 ratios"
    assert lines[-2] == "library, wide configurations: at most 1.60 times the floor (1 steps)"
    assert lines[-1] == "library, wide configurations: at their floor the ratios would be 32.00 and more"
    write_page(tmp_path / "page.rst", ["configuration", "task", "published", *COLUMNS, "floor"], [cells], lines)
    page = (tmp_path / "page.rst").read_text()
    assert "1.00 (10.0)" in page
    assert f"- {lines[0]}" in page
