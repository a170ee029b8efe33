"""Time the strategies of batched_forward side by side: python benchmarks/batched_forward.py [--rst FILE].

Each line is a network with its sizes; the columns give milliseconds of the loop and, for the other strategies, how many
times quicker they are. The strategies take turns in one process, and the quickest run of each counts, in CPU time, so
that what else the machine does falls on all of them alike. With --rst the page docs/results/batched-forward.rst is
written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bayeshnet.functional import batched_forward
from bayeshnet.mnets import MLP, LeNet, MainNetInterface, ModuleMainNet, ResNet, SimpleRNN
from bayeshnet.reports import Column, Table

STRATEGIES = ("loop", "vmap", "bmm", "auto")

PAGE = """\
.. This page is written by benchmarks/batched_forward.py. Do not edit it: run the script.

Outputs under many weight vectors
=================================

:func:`~bayeshnet.functional.batched_forward` under ``S`` weight vectors on ``N`` inputs: CPU milliseconds of the loop
over weight vectors on {threads} thread(s), torch {torch}, and how many times quicker the other strategies are,
forward alone and with the gradient of the weights. All take turns in one process, and the quickest run of each
counts. ``auto`` is what is used by default: the network's own implementation where it has one (``bmm``), a few
samples at a time where all their activations would leave the cache; else ``vmap`` for small networks, and the loop.
Where it takes the loop the two are one program, and a ratio of 0.9 to 1.1 is what such times vary by.

{table}

In these lines ``auto`` is {least:.2f} times as quick as the loop at least. Of the perceptron with 100-100 hidden
units it computes {hundred}. For many inputs all strategies consist of the same matrix products, and come close to
each other.
"""


def networks() -> Iterator[tuple[str, MainNetInterface, Tensor, int]]:
    """Names, networks, inputs and numbers of samples, from small to wide."""
    for sizes, samples, rows in (
        ((1, 10, 10, 1), 1, 20),
        ((1, 10, 10, 1), 10, 20),
        ((1, 10, 10, 1), 100, 20),
        ((2, 50, 50, 1), 10, 100),
        ((8, 100, 100, 4), 20, 128),
        ((8, 100, 100, 4), 100, 1000),
        ((784, 100, 100, 10), 10, 128),
        ((784, 100, 100, 10), 100, 1),
        ((784, 100, 100, 10), 100, 128),
        ((784, 100, 100, 10), 100, 1000),
        ((784, 400, 400, 10), 10, 128),
    ):
        yield (
            f"mlp {'-'.join(map(str, sizes))}",
            MLP(sizes[0], sizes[-1], sizes[1:-1]),
            torch.randn(rows, sizes[0]),
            samples,
        )
    yield "mlp 4-32-32-2 modulated", MLP(4, 2, (32, 32), use_context_mod=True), torch.randn(50, 4), 10
    yield "mlp 4-32-32-2 batch norm", MLP(4, 2, (32, 32), use_batch_norm=True), torch.randn(50, 4), 10
    encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    yield "transformer encoder 16", ModuleMainNet(encoder), torch.randn(8, 10, 16), 10
    yield "lstm 4-16", ModuleMainNet(nn.LSTM(4, 16)), torch.randn(10, 8, 4), 10
    yield "simple rnn 4-16-1", SimpleRNN(4, (16,)), torch.randn(10, 8, 4), 10
    small = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    yield "small cnn 8x8", ModuleMainNet(small), torch.randn(16, 1, 8, 8), 10
    yield "lenet mnist_small", LeNet(arch="mnist_small"), torch.randn(16, 784), 10
    resnet = ResNet((16, 16, 3), n=1, num_feature_maps=(8, 8, 16, 16), bn_track_stats=False)
    yield "resnet-8 16x16", resnet, torch.randn(8, 768), 5


def runs(net: MainNetInterface, weights: Tensor, x: Tensor, backward: bool) -> dict[str, Callable[[], None]]:
    """One pass per strategy that the network allows."""

    def run(strategy: str) -> None:
        with torch.set_grad_enabled(backward):
            out = batched_forward(net, weights, x, strategy)
            out = out[0] if isinstance(out, tuple) else out
            if backward:
                torch.autograd.grad(out.square().mean(), weights)

    allowed = {}
    for strategy in STRATEGIES:
        try:
            run(strategy)
        except (ValueError, RuntimeError):
            continue
        allowed[strategy] = lambda strategy=strategy: run(strategy)
    return allowed


def quickest(functions: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Milliseconds of the quickest run of each function, in turns for ``seconds`` each."""
    best = dict.fromkeys(functions, float("inf"))
    end = time.process_time() + seconds * len(functions)
    while time.process_time() < end:
        for name, function in functions.items():
            start = time.process_time()
            function()
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    return best


def page(rows: list[dict[str, Any]], threads: int) -> str:
    """Write the page from the lines that were measured."""
    header = ("network", "S", "N", "P", "pass", "loop (ms)", "vmap", "bmm", "auto")
    cells = []
    for row in rows:
        times = row["times"]
        ratios = tuple(f"{times['loop'] / times[s]:.2f}" if s in times else "-" for s in STRATEGIES[1:])
        sizes = tuple(str(row[key]) for key in ("name", "S", "N", "P", "pass"))
        cells.append((*sizes, f"{times['loop']:.2f}", *ratios))
    table = Table("Loop, and how many times quicker the others are", tuple(Column(h, "") for h in header), tuple(cells))
    known = [(row, row["times"]["loop"] / row["times"]["auto"]) for row in rows]
    hundred = [
        f"{row['S']} samples of outputs at {row['N']} inputs {ratio:.2f} times as quick ({row['name'][4:]})"
        for row, ratio in known
        if "100-100" in row["name"] and row["S"] == 100 and row["pass"] == "forward"
    ]
    least = min(ratio for _, ratio in known)
    version = torch.__version__.partition("+")[0]
    text = ", ".join(hundred) or "nothing here"
    return PAGE.format(threads=threads, torch=version, table=table.rst().strip(), least=least, hundred=text)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="time per strategy and line")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rst", type=Path, help="page of the documentation to write")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} thread(s); x: times quicker than the loop")
    print(f"{'network':26}{'S':>5}{'N':>5}{'P':>9}  {'pass':9}{'loop ms':>9}{'vmap x':>8}{'bmm x':>8}{'auto x':>8}")
    rows = []
    for name, net, x, samples in networks():
        weights = (0.1 * torch.randn(samples, net.weight_spec.numel)).requires_grad_()
        for label, backward in (("forward", False), ("+backward", True)):
            times = quickest(runs(net, weights, x, backward), options.seconds)
            ratios = [f"{times['loop'] / times[s]:8.2f}" if s in times else f"{'-':>8}" for s in STRATEGIES[1:]]
            line = f"{name:26}{samples:5}{x.shape[0]:5}{weights.shape[1]:9}"
            print(f"{line}  {label:9}{times['loop']:9.2f}{''.join(ratios)}", flush=True)
            sizes = {"name": name, "S": samples, "N": x.shape[0], "P": weights.shape[1]}
            rows.append({**sizes, "pass": label, "times": times})
    if options.rst is not None:
        options.rst.write_text(page(rows, options.threads), encoding="utf-8")


if __name__ == "__main__":
    main()
