"""The benchmark of accelerators in its tiny form, and its steps on a pretended device."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from tests.support.places import PLACES

FILE = Path(__file__).parent.parent.parent / "benchmarks" / "gpu.py"
sys.path.insert(0, str(FILE.parent))


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("benchmark_gpu", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its records look for their types
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_tiny_form_writes_numbers_and_a_page(gpu, tmp_path, capsys):
    gpu.main(["--device=cpu", "--tiny", f"--output={tmp_path}"])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [(row["network"], row["samples"]) for row in found["rows"]] == [
        (case.name, samples) for case in gpu.TINY for samples in (1, 3)
    ]
    for row in found["rows"]:
        for mode in ("eager", "bf16"):
            rate = row["samples"] * row["batch"] / row[mode]["seconds"]
            assert row[mode]["samples_per_second"] == pytest.approx(rate)
        assert row["products"]["seconds"] > 0
    # Products of 8 x 4 and 4 x 3 weights, twice (multiply, add), thrice (outputs, two gradients), for 4 examples.
    assert found["rows"][2]["products"]["operations"] == 2 * (8 * 4 + 4 * 3) * 3 * 4
    page = (tmp_path / "gpu.rst").read_text()
    assert page in capsys.readouterr().out
    assert page.count("   * - ") == 1 + len(found["rows"])


@pytest.mark.parametrize("place", PLACES)
def test_steps_on_a_device(gpu, place):
    with place() as there:
        found = gpu.measure(gpu.TINY[1], 2, "eager", there.name, 4)
    assert found["seconds"] > 0


def test_what_cannot_be_measured_says_why(gpu):
    found = gpu.attempt(gpu.measure, gpu.TINY[1], 1, "captured", "cpu", 2)
    assert found["none"].startswith("ValueError: capture: expected a guide on a CUDA device")
    row = {"network": "a", "posterior": "generated", "samples": 1, "batch": 2, "eager": {"none": "out of memory"}}
    row |= {"captured": {"seconds": 0.002}, "loop": {"seconds": 0.005}}
    known = {"device": "d", "torch": torch.__version__, "suite": "3 passed", "seconds": 1.0, "rows": [row]}
    made = gpu.page(known, tuple(gpu.MODES))
    assert "Tests of the device: 3 passed." in made
    assert made.rstrip().endswith("- 2.5")  # the loop takes as many times the quickest step


def test_networks_are_those_that_are_named(gpu):
    sizes = {case.name: case.make().num_params for case in gpu.CASES}
    assert sizes["perceptron 784-100-100-10"] == 784 * 100 + 100 * 100 + 100 * 10 + 210
    assert 0.45e6 < sizes["ResNet-32"] < 0.48e6
    assert 36e6 < sizes["WRN-28-10"] < 37e6
