"""Memory and time of WRN-28-10 under a generated posterior: python benchmarks/large_network.py [--docs docs].

The 36 million weights of the wide residual network are generated in chunks from a latent. Each row is a process of its
own, on one thread: its peak of memory is the largest resident size (``getrusage``) less the one after the imports, its
time that of the process. So that the peak is what is needed, and not what glibc's allocator keeps after it was freed,
MALLOC_MMAP_THRESHOLD_ makes it give back pieces of 1 MB and more. With --docs the page docs/results/large-network.rst
is written. --tiny tries the script on a small network.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bayeshnet.distributions import FanInGaussian, HypernetPosterior
from bayeshnet.estimators import LIVI
from bayeshnet.guides import BayesianModel, Categorical, HypernetGuide
from bayeshnet.hnets import ChunkedHDeconv, ChunkedHMLP
from bayeshnet.inference import Callback, fit
from bayeshnet.mnets import WRN

PAGE = """\
.. This page is written by benchmarks/large_network.py. Do not edit it: run the script.

A large network
===============

{name} has {millions:.1f} million weights. Here it is under an implicit posterior: a hypernetwork with {own:,}
parameters and a latent of {latents} numbers generates the weights in {chunks:,} chunks, noise is added, and the prior
is the fan-in Gaussian. Weights, their gradient and the two moments of Adam take {unit:.0f} MB for a network that is
trained itself, four vectors in single precision; the last column is the peak in such units. The hypernetwork's own
parameters, their gradients and moments, which are what is trained here, take {trained:.1f} MB. Peaks are those of a
process above its size after the imports: constants of the prior and the posterior (two vectors, means and scales of
the weights, which the two share), draws, and activations for a batch of {batch} images of 32 x 32 pixels. Freed
memory is given back to the system (``MALLOC_MMAP_THRESHOLD_=1048576``); as glibc's allocator is set by default, it
keeps some hundred MB more in a training step, and gigabytes in the row of transposed convolutions. Times are CPU time
on one thread.

{table}
*KL* is an estimate by LIVI with {samples} latents and its gradient. *Step* is a whole training step by ``fit`` with
one weight draw, the KL and Adam, in the median of {steps} steps. With ``block_size`` a draw is generated block by
block into its place, nothing but the weights is kept, and the backward pass generates each block again; without it
noise and whitened weights are kept as well. The KL needs no weights in either case: Gram matrices of Jacobians and
squared norms come from the small matrices of the hypernetwork's head. Transposed convolutions have no such head;
Jacobians of their chunks are then formed by automatic differentiation, block by block, summed in double precision and
formed again in the backward pass. That row has a single latent, whose Jacobian would take {jacobian:.0f} MB.

.. code-block:: text

   prior = FanInGaussian(net.weight_spec)
   hnet = ChunkedHMLP(net.weight_spec.shapes, chunk_size=8192, uncond_in_size=8, cond_in_size=0, num_cond_embs=0)
   posterior = HypernetPosterior(hnet, scale=prior.whitening, weight_spec=net.weight_spec, block_size=2**20)
"""

LATENTS, BATCH, SAMPLES, FEW = 8, 8, 10, 1


@dataclass(frozen=True)
class Row:
    """A measurement: what is done, with which hypernetwork, in blocks of how many weights."""

    label: str
    task: str
    kind: str = "chunks"
    block_size: int | None = None


ROWS = {
    "plain": Row("step of the network itself, with Adam", "plain"),
    "kl": Row("KL and its gradient", "kl"),
    "kl images": Row("KL and its gradient, chunks by transposed convolutions", "kl", "images"),
    "step": Row("step", "step"),
    "step blocks": Row("step, ``block_size=2**20``", "step", block_size=2**20),
}


def network(tiny: bool) -> WRN:
    """Build the wide residual network, with statistics of the batch."""
    return WRN(
        n=1 if tiny else 4,
        k=1 if tiny else 10,
        use_bias=False,
        no_weights=True,
        bn_track_stats=False,
        verbose=False,
    )


def hypernetwork(net: WRN, kind: str, tiny: bool) -> ChunkedHMLP | ChunkedHDeconv:
    """Build a hypernetwork that generates chunks of 8192 weights (256 in a trial), or images of as many pixels."""
    options: dict[str, Any] = {"uncond_in_size": LATENTS, "cond_in_size": 0, "num_cond_embs": 0, "verbose": False}
    shapes = net.weight_spec.shapes
    if kind == "images":
        image = (16, 16) if tiny else (128, 64)
        return ChunkedHDeconv(shapes, image, num_layers=3, num_filters=[8, 4], sa_units=(), **options)
    return ChunkedHMLP(shapes, 256 if tiny else 8192, layers=(64, 64), **options)


def resident() -> float:
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 * 1024


def measure(row: Row, steps: int, tiny: bool) -> dict[str, float]:
    """Measure peak and median time in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before, net = resident(), network(tiny)
    x, y = torch.randn(BATCH, 32 * 32 * 3), torch.arange(BATCH) % 10
    if row.task == "plain":
        times = _train_plain(net, x, y, steps)
        return {"peak": resident() - before, "seconds": _median(times), "weights": net.weight_spec.numel}
    prior = FanInGaussian(net.weight_spec)
    hnet = hypernetwork(net, row.kind, tiny)
    block_size = min(row.block_size, 1024) if tiny and row.block_size is not None else row.block_size
    posterior = HypernetPosterior(hnet, scale=prior.whitening, weight_spec=net.weight_spec, block_size=block_size)
    times = []
    if row.task == "kl":
        samples = FEW if row.kind == "images" else SAMPLES
        for _ in range(1 if row.kind == "images" else steps):
            begin = time.process_time()
            LIVI(samples).estimate(posterior, prior).surrogate.backward()
            times.append(time.process_time() - begin)
    else:
        model = BayesianModel(net, prior, Categorical(), num_data=50_000)
        clock = _Clock()
        options: dict[str, Any] = {"num_steps": steps, "num_samples": SAMPLES, "alarms": False, "callbacks": [clock]}
        fit(model, HypernetGuide(posterior, LIVI()), (x, y), **options)
        times = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)]
    own = sum(p.numel() for p in posterior.parameters() if p.requires_grad)
    sizes = {"weights": net.weight_spec.numel, "own": own, "chunks": hnet.num_chunks}
    return {"peak": resident() - before, "seconds": _median(times), **sizes}


class _Clock(Callback):
    """The time before the first step and after each one."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_start(self, run: Any) -> None:
        self.times.append(time.process_time())

    def on_step(self, run: Any) -> None:
        self.times.append(time.process_time())


def _train_plain(net: WRN, x: torch.Tensor, y: torch.Tensor, steps: int) -> list[float]:
    """Train the weights themselves, and return seconds of each step."""
    weights = [torch.zeros(shape).normal_(0, 0.05).requires_grad_() for shape in net.weight_spec.shapes]
    optimizer, times = torch.optim.Adam(weights), []
    for _ in range(steps):
        begin = time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x, weights=weights), y).backward()
        optimizer.step()
        times.append(time.process_time() - begin)
    return times


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def page(found: dict[str, dict[str, float]], steps: int, tiny: bool) -> str:
    """Write the page from the measurements."""
    weights, some = found["plain"]["weights"], found["step"]
    unit = 4 * 4 * weights / 1e6
    cells = [["what", "peak (MB)", "seconds", "peak / weights, gradients and moments"]]
    for name, row in found.items():
        cells.append([ROWS[name].label, f"{row['peak']:.0f}", f"{row['seconds']:.1f}", f"{row['peak'] / unit:.2f}"])
    table = ".. list-table::\n   :header-rows: 1\n\n"
    table += "".join("   * - " + "\n     - ".join(row) + "\n" for row in cells)
    return PAGE.format(
        name=str(network(tiny)).split("-B")[0],
        millions=weights / 1e6,
        own=int(some["own"]),
        latents=LATENTS,
        chunks=int(some["chunks"]),
        unit=unit,
        trained=4 * 4 * some["own"] / 1e6,
        batch=BATCH,
        table=table,
        samples=SAMPLES,
        steps=steps,
        jacobian=FEW * LATENTS * 4 * weights / 1e6,
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure each row in a process of its own, print the numbers and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, help="folder of the documentation")
    parser.add_argument("--steps", type=int, default=3, help="training steps of a row")
    parser.add_argument("--tiny", action="store_true", help="try the script on a small network")
    parser.add_argument("--row", choices=ROWS, help="measure one row in this process and print it")
    options = parser.parse_args(arguments)
    if options.row is not None:
        print(json.dumps(measure(ROWS[options.row], options.steps, options.tiny)))
        return
    found = {}
    for name in ROWS:
        command = [sys.executable, __file__, "--row", name, "--steps", str(options.steps)]
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
        run = {"check": True, "capture_output": True, "text": True, "env": environment}
        done = subprocess.run(command + ["--tiny"] * options.tiny, **run)
        found[name] = json.loads(done.stdout)
        print(name, found[name], flush=True)
    if options.docs is not None:
        text = page(found, options.steps, options.tiny)
        (options.docs / "results" / "large-network.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
