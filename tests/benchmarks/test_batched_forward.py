"""The page of batched forward passes, from times worked out by hand and of a line that is measured."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import batched_forward


def test_the_page_says_how_many_times_quicker():
    sizes = {"name": "mlp 784-100-100-10", "S": 100, "N": 16, "P": 89610}
    rows = [
        {**sizes, "pass": "forward", "times": {"loop": 6.0, "vmap": 4.0, "bmm": 3.0, "auto": 2.0}},
        {"name": "lstm", "S": 10, "N": 4, "P": 9, "pass": "+backward", "times": {"loop": 6.0, "auto": 6.25}},
    ]
    text = " ".join(batched_forward.page(rows, 1).split())
    assert '"mlp 784-100-100-10","100","16","89610","forward","6.00","1.50","2.00","3.00"' in text
    assert r'"lstm","10","4","9","+backward","6.00","\-","\-","0.96"' in text
    assert "``auto`` is 0.96 times as quick as the loop at least" in text
    assert "100 samples of outputs at 16 inputs 3.00 times as quick (784-100-100-10)" in text


def test_strategies_that_a_network_allows_are_timed():
    name, net, x, samples = next(batched_forward.networks())
    assert name == "mlp 1-10-10-1"
    weights = torch.randn(samples, net.weight_spec.numel, requires_grad=True)
    times = batched_forward.quickest(batched_forward.runs(net, weights, x, backward=True), 0.01)
    assert list(times) == ["loop", "vmap", "bmm", "auto"]
    assert all(0 <= time < 1e3 for time in times.values())
