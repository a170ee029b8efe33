"""The page of the large network, from numbers worked out by hand and from a trial in this process."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import large_network


def test_the_page_counts_in_vectors_of_weights():
    row = {"peak": 400.0, "seconds": 2.04, "weights": 12_500_000, "own": 250_000, "chunks": 1526}
    found = {name: {**row, "peak": row["peak"] + 100 * i} for i, name in enumerate(large_network.ROWS)}
    text = " ".join(large_network.page(found, 3, tiny=False).split())
    assert "WRN-28-10 has 12.5 million weights" in text
    assert "two moments of Adam take 200 MB" in text
    assert "gradients and moments, which are what is trained here, take 4.0 MB" in text
    assert "* - step of the network itself, with Adam - 400 - 2.0 - 2.00" in text
    assert "* - step, ``block_size=2**20`` - 800 - 2.0 - 4.00" in text
    assert "a single latent, whose Jacobian would take 400 MB" in text  # 8 vectors of 50 MB


@pytest.mark.parametrize("name", ["kl images", "step blocks"])
def test_a_trial(name):
    found = large_network.measure(large_network.ROWS[name], 2, tiny=True)
    assert found["weights"] == large_network.network(True).weight_spec.numel
    assert found["chunks"] == -(-found["weights"] // 256)
    assert found["peak"] >= 0
    assert found["seconds"] > 0
