"""Time predictions with chunks chosen by size beside chunks chosen by hand, and their memory for many inputs.

    python benchmarks/prediction.py [--page docs/results/prediction.rst] [--millions 1.0]

Each line is a network; columns are CPU time per input with the default, with the best and with the worst of some sizes
given by hand, and the ratio of the default to the best. Then a million inputs are predicted under 100 draws into files,
and the growth of the process's memory is measured.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bayeshnet import ModuleMainNet, Predictive
from bayeshnet.files import write_text
from bayeshnet.guides import Categorical, MeanFieldGuide
from bayeshnet.inference import write_predictions
from bayeshnet.mnets import MLP, MainNetInterface

SIZES = (50, 200, 500, 1000, 2000, 4000)
COMMAND = "python benchmarks/prediction.py --page docs/results/prediction.rst"


def networks() -> Iterator[tuple[str, MainNetInterface, Tensor, int]]:
    """Names, networks, inputs and numbers of draws."""
    yield "perceptron 8-32-32-3", MLP(8, 3, (32, 32)), torch.randn(20_000, 8), 100
    yield "perceptron 784-100-100-10", MLP(784, 10, (100, 100)), torch.randn(4_000, 784), 50
    module = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
    yield "module 8-32-3", ModuleMainNet(module), torch.randn(20_000, 8), 100
    layers = (nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten())
    image = nn.Sequential(*layers, nn.Linear(1568, 10))
    yield "convolutions, last layer random", ModuleMainNet(image, select="5.*"), torch.randn(6_000, 1, 28, 28), 50
    yield "convolutions", ModuleMainNet(image), torch.randn(500, 1, 28, 28), 20


def seconds(predictive: Predictive, x: Tensor) -> float:
    """CPU time per input, the least of three."""
    predictive(x[:20])
    found = []
    for _ in range(3):
        begin = time.process_time()
        predictive(x)
        found.append((time.process_time() - begin) / len(x))
    return min(found)


def rows() -> Iterator[tuple[str, float, float, float]]:
    """Name, and microseconds per input of the default, the best and the worst size of chunks."""
    for name, net, x, draws in networks():
        guide = MeanFieldGuide(net)
        chosen = seconds(Predictive(guide, net, Categorical(), draws), x)
        given = [
            seconds(Predictive(guide, net, Categorical(), draws, input_chunk=size), x)
            for size in (*(size for size in SIZES if size < len(x)), len(x))
        ]
        yield name, 1e6 * chosen, 1e6 * min(given), 1e6 * max(given)


def peak() -> float:
    """Largest memory of the process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(count: int) -> tuple[float, float, float]:
    """Growth of memory in MiB over a tenth of the inputs and over all of them, and seconds of CPU for all."""
    net = MLP(8, 3, (32, 32))
    predictive = Predictive(MeanFieldGuide(net), net, Categorical(), 100)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "x.npy"
        x = np.lib.format.open_memmap(inputs, "w+", np.float32, (count, 8))
        for at in range(0, count, 2**16):
            x[at : at + 2**16] = np.random.default_rng(at).standard_normal((min(2**16, count - at), 8))
        x.flush()
        mapped = torch.from_numpy(np.load(inputs, mmap_mode="r+"))
        predictive(mapped[:100])
        start = peak()
        write_predictions(predictive, Path(folder) / "out", mapped[: count // 10])
        tenth = peak() - start
        begin = time.process_time()
        write_predictions(predictive, Path(folder) / "out", mapped)
        return tenth, peak() - start, time.process_time() - begin


def page(timings: list[tuple[str, float, float, float]], count: int, found: tuple[float, float, float]) -> str:
    """Page of the documentation."""
    lines = "\n".join(f'   "{n}", "{a:.1f}", "{b:.1f}", "{c:.1f}", "{a / b:.2f}"' for n, a, b, c in timings)
    tenth, whole, time_taken = found
    return f""".. This page is written by benchmarks/prediction.py. Do not edit it: run the script.

Predictions in chunks
=====================

.. code-block:: console

   $ {COMMAND}

:class:`~bayeshnet.inference.Predictive` chooses how many inputs and draws it takes at a time from what the network
computes for an input. Microseconds of CPU time per input on one core, beside sizes given by hand
({", ".join(map(str, SIZES))} and all inputs at once):

.. csv-table:: Time per input
   :header: "network", "chosen", "best by hand", "worst by hand", "chosen / best"

{lines}

:func:`~bayeshnet.inference.write_predictions` predicted {count:,} inputs under 100 draws of the first network in
{time_taken:.0f} s of CPU time. The process grew by {tenth:.0f} MiB over the first tenth of them and by {whole:.0f} MiB
over all. Pages of the files that are mapped into memory are among them, which the system takes back when it needs them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path)
    parser.add_argument("--millions", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    count = int(arguments.millions * 1e6)
    found = memory(count)
    text = page(list(rows()), count, found)
    print(text)
    if arguments.page is not None:
        write_text(arguments.page, text)


if __name__ == "__main__":
    main()
