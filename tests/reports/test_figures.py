from __future__ import annotations

import math
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch

from bayeshnet.metrics import ece
from bayeshnet.reports import (
    Bands,
    Planes,
    RunResult,
    accuracy_matrices,
    comparison_chart,
    comparison_curves,
    comparison_page,
    comparison_table,
    entropy_histograms,
    learning_curves,
    png,
    regression_bands,
    reliability_diagram,
    save_figure,
    training_curves,
    uncertainty_maps,
    weight_images,
)
from bayeshnet.reports.style import panels, shown, task_colors
from tests.reports.test_records import record
from tests.reports.test_tables import runs

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def result():
    return RunResult.of(record())


def texts(axis):
    return [t.get_text() for t in axis.texts]


def test_accuracy_matrices_show_every_number(result):
    figure = accuracy_matrices(result)
    given, combined, bar = figure.axes
    assert (given.get_title(), combined.get_title()) == ("task given", "task inferred: combined")
    assert sorted(texts(given)) == ["100.0", "99.0", "99.9"]
    assert sorted(texts(combined)) == ["97.0", "99.0", "99.9"]
    drawn = given.images[0].get_array()
    assert drawn[1, 0] == 99.0
    assert bool(np.ma.getmaskarray(np.ma.masked_invalid(drawn))[0, 1])
    assert bar.get_ylabel() == "accuracy [%]"
    assert given.get_xlabel() == "task tested"
    with pytest.raises(ValueError, match="criteria"):
        accuracy_matrices(result, ["agreement"])


def test_matrices_and_curves_of_regression_are_logarithmic():
    rows = [[0.01], [0.02, 0.03]]
    result = RunResult.of(record(kind="regression", matrix={"given": rows}))
    figure = accuracy_matrices(result)
    assert figure.axes[0].images[0].get_array()[1, 1] == pytest.approx(math.log10(0.03))
    assert "2.0e-02" in texts(figure.axes[0])
    assert learning_curves(result).axes[0].get_yscale() == "log"


def test_learning_curves_follow_the_columns_of_the_matrix(result):
    axis = learning_curves(result).axes[0]
    first, second, mean = axis.lines
    assert np.round(first.get_xdata()).tolist() == [1, 2]
    assert list(first.get_ydata()) == [99.9, 99.0]
    assert (np.round(second.get_xdata()).tolist(), list(second.get_ydata())) == ([2], [100.0])
    assert first.get_xdata()[1] < second.get_xdata()[0]  # both are seen where they coincide
    assert list(mean.get_ydata()) == pytest.approx([99.9, 99.5])
    assert axis.get_ylim()[0] < 97.0


def test_training_curves_have_a_panel_per_part_and_a_line_per_task():
    curves = [{"step": [10.0, 20.0], "nll": [0.5, 0.1], "kl": [9.0, 8.0]}, {"step": [20.0], "nll": [0.2]}]
    nll, kl = training_curves(curves, ["a", "x^2"]).axes
    assert (nll.get_yscale(), nll.get_ylabel()) == ("log", "nats per example")
    assert [list(line.get_ydata()) for line in nll.lines] == [[0.5, 0.1], [0.2]]
    assert [list(line.get_ydata()) for line in kl.lines] == [[9.0, 8.0]]
    assert training_curves([{"step": [1.0], "nll": [-2.0]}], ["a"]).axes[0].get_yscale() == "linear"
    with pytest.raises(ValueError, match="curves"):
        training_curves([{}], ["a"])


def test_comparison_chart_shows_means_and_deviations():
    table = comparison_table(runs())
    figure = comparison_chart(table, ["task given"])
    line, _, (bars,) = figure.axes[0].containers[0]
    assert list(line.get_xdata()) == [row[2].value for row in table.rows]
    low, high = bars.get_segments()[0][:, 0]
    assert (high - low) / 2 == pytest.approx(table.rows[0][2].std)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert len([a for a in comparison_chart(table).axes if a.get_visible()]) == 3
    with pytest.raises(ValueError, match="columns"):
        comparison_chart(table, ["color"])


def test_comparison_curves_are_means_over_seeds_with_the_range_between_them():
    rows = {0: [[90.0], [80.0, 100.0]], 1: [[100.0], [90.0, 90.0]]}
    made = [RunResult.of(record(seed=seed, matrix={"given": row, "entropy": row})) for seed, row in rows.items()]
    figure = comparison_curves(made)
    given, entropy = figure.axes
    assert (given.get_title(), entropy.get_title()) == ("task given", "task inferred: entropy")
    (line,) = given.lines
    assert list(line.get_ydata()) == [95.0, 90.0]
    band = given.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (90.0, 100.0)
    with pytest.raises(ValueError, match="matrices"):
        comparison_curves([RunResult.of(record(matrix={}))])


def test_a_comparison_on_one_page():
    page = comparison_page([*runs(), RunResult.of(record(data="modes2d"))])
    assert page.count("<table>") == 2
    assert page.count("data:image/png;base64,") == 4
    assert "Comparison on split-digits, modes2d" in page


def test_entropy_histograms_are_shares():
    own, ood = torch.tensor([0.0, 0.0, 0.1, 0.69]), torch.tensor([0.6, 0.68])
    figure = entropy_histograms(own, torch.rand(5) * 0.69, {"noise": ood}, num_classes=2, num_bins=10)
    left, right = figure.axes
    shares = left.patches[0].get_data().values
    assert shares.sum() == pytest.approx(100)
    assert shares[0] == pytest.approx(50)
    assert right.patches[-1].get_data().values[-2:].sum() == pytest.approx(100)
    assert left.get_xlim()[1] == pytest.approx(math.log(2))
    assert left.get_xlabel() == "predictive entropy [nats]"
    assert len(entropy_histograms(own).axes) == 1
    with pytest.raises(ValueError, match="own"):
        entropy_histograms(torch.tensor([torch.nan]))


def test_reliability_diagram_shows_accuracy_and_gap():
    generator = torch.Generator().manual_seed(0)
    probs = (3 * torch.randn(400, 2, generator=generator)).softmax(-1)
    y = torch.distributions.Bernoulli(probs[:, 1]).sample().long()
    figure = reliability_diagram(probs, y, 10)
    top, bottom = figure.axes
    assert top.get_title() == f"calibration error {100 * float(ece(probs, y, 10)):.1f} % (400 predictions)"
    bars, gaps = top.containers
    chosen = (probs.max(1).values >= 0.9) & (probs.max(1).values < 1)
    right = (probs.argmax(1) == y)[chosen].double().mean()
    assert bars[-1].get_height() == pytest.approx(float(right))
    assert bars[-1].get_height() + gaps[-1].get_height() == pytest.approx(float(probs.max(1).values[chosen].mean()))
    assert sum(p.get_height() for p in bottom.containers[0]) == pytest.approx(100)


def test_weight_images_share_a_symmetric_scale():
    weights = {"0 / 1": torch.randn(5, 8, 8), "2 / 3": torch.randn(3, 8, 8)}
    figure = weight_images(weights, most=4)
    (image,) = figure.axes[0].images
    mosaic = image.get_array()
    assert mosaic.shape == (17, 35)  # two rows of four images, with lines between
    low, high = image.get_clim()
    assert low == -high
    assert np.array_equal(mosaic[:8, 9:17], weights["0 / 1"][1].double().numpy())
    assert np.array_equal(mosaic[9:, :8], weights["2 / 3"][0].double().numpy())
    assert bool(np.ma.getmaskarray(np.ma.masked_invalid(mosaic))[9:, 27:].all())
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["0 / 1", "2 / 3"]
    with pytest.raises(ValueError, match="weights"):
        weight_images({})
    with pytest.raises(ValueError, match="weights"):
        weight_images({"a": torch.zeros(3, 4)})


def test_uncertainty_maps_put_the_second_input_upwards():
    entropy = torch.zeros(2, 5, 5)
    entropy[0, 4, 0] = 0.5  # highest second input, lowest first input
    points = [torch.rand(6, 2), torch.rand(6, 2)]
    classes = [torch.arange(6) % 2] * 2
    figure = uncertainty_maps(Planes(entropy, (-1, 1), points, classes, entropy.argmax(0)), ["a", "b"])
    inferred, least, first = figure.axes[:3]
    assert least.get_title() == "least over the tasks"
    assert least.images[0].get_array()[4, 0] == 0
    assert inferred.get_title() == "task inferred"
    image = first.images[0]
    assert image.origin == "lower"
    assert list(image.get_extent()) == [-1, 1, -1, 1]
    assert image.get_array()[4, 0] == 0.5
    assert image.get_clim() == (0, math.log(2))
    assert sum(len(c.get_offsets()) for c in first.collections) == 12
    assert len(uncertainty_maps(Planes(entropy, (-1, 1), points, classes), ["a", "b"]).axes) == 4
    with pytest.raises(ValueError, match="names"):
        uncertainty_maps(Planes(entropy, (-1, 1), points, classes), ["a"])


def test_regression_bands_include_the_noise():
    x = torch.linspace(-1, 1, 11)
    std = torch.full((2, 11), 0.3)
    data = [torch.zeros(3), torch.ones(3)]
    figure = regression_bands(Bands(x, torch.stack([x, -x]), std, data, data, [(x, x), (x, -x)]), ["x^2", "b"], 0.4)
    wide, narrow = figure.axes[0].collections[:2]
    top = wide.get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(1 + 2 * 0.5)
    assert narrow.get_paths()[0].vertices[:, 1].max() == pytest.approx(1.5)
    assert figure.axes[0].get_title() == "under task 1: $x^2$"
    with pytest.raises(ValueError, match="names"):
        regression_bands(Bands(x, x[None], std[:1], data[:1], data[:1]), ["a", "b"])


def test_drawing_leaves_matplotlib_as_it_was(result, tmp_path):
    before = dict(mpl.rcParams)
    path = save_figure(learning_curves(result), tmp_path / "figures" / "a.png")
    assert dict(mpl.rcParams) == before
    assert path.read_bytes().startswith(PNG)
    assert path.read_bytes() == png(learning_curves(result))


def test_matplotlib_is_imported_when_it_draws_and_pyplot_never():
    code = """
import sys, torch
import bayeshnet.reports as reports
early = "matplotlib" in sys.modules
reports.png(reports.entropy_histograms(torch.rand(9)))
sys.exit(early or "matplotlib.pyplot" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_small_pieces_of_style():
    assert len(set(task_colors(7))) == 7
    assert len({tuple(c) for c in task_colors(20)}) == 20
    assert shown("0 / 1") == "0 / 1"
    assert shown("2 x^2 - 1") == "$2 x^2 - 1$"
    figure, axes = panels(5, (2, 2))
    assert len(axes) == 5
    assert len(figure.axes) == 6
    assert not figure.axes[5].get_visible()


@pytest.mark.parametrize(
    "name", [r"$\frac{$", "x^2^3", "a^", "^", "$", "$$", r"\$x$", "x_^2", "$" + "{" * 5000 + "$", "(x+1)^2 x^12"]
)
def test_names_that_are_no_mathematics_are_drawn_as_text(name):
    figure, axes = panels(1, (2, 2))
    axes[0].set_title(shown(name))
    assert png(figure, dpi=20).startswith(b"\x89PNG")
