"""Time hypernetworks beside those of hypnettorch: python benchmarks/hnets.py [--seconds 0.5] [--threads 1].

Each line is a hypernetwork with 1 or 10 conditions; the columns give milliseconds of ours, how many times longer
hypnettorch takes, and its peak of allocated memory as a multiple of ours, for the forward pass alone and for forward
and backward. Both take turns in one process, and the quickest run of each counts (in time of the processor if there is
one thread), so that what else the machine does falls on both alike. Ratios above 1 mean that ours needs less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bayeshnet import hnets as ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from hypnettorch import hnets as theirs
    from hypnettorch.hnets.structured_mlp_hnet import StructuredHMLP as TheirStructured

SMALL = [[10, 1], [10], [10, 10], [10], [1, 10], [1]]
WIDE = [[100, 784], [100], [100, 100], [100], [10, 100], [10]]


def split(chunks: list[Any]) -> list[Any]:
    """Two matrices whose rows come in halves, and a third one."""
    return [torch.cat([chunks[0][0], chunks[1][0]]), torch.cat([chunks[2][0], chunks[3][0]]), chunks[4][0]]


def build(package: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """A hypernetwork of one of the two packages."""
    cls = TheirStructured if name == "StructuredHMLP" and package is theirs else getattr(package, name)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(*args, **{"verbose": False, "num_cond_embs": 10, **kwargs})


def cases() -> Iterator[tuple[str, list[Any]]]:
    """Names, and the same hypernetwork twice."""
    options: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = [
        ("HMLP small", "HMLP", (SMALL,), {"layers": (50, 50)}),
        ("HMLP wide", "HMLP", (WIDE,), {"layers": (100, 100)}),
        ("HMLP linear", "HMLP", (WIDE,), {"layers": ()}),
        ("ChunkedHMLP small", "ChunkedHMLP", (SMALL, 20), {"layers": (50, 50)}),
        ("ChunkedHMLP wide, chunks of 100", "ChunkedHMLP", (WIDE, 100), {"layers": (50,)}),
        ("ChunkedHMLP wide, chunks of 1000", "ChunkedHMLP", (WIDE, 1000), {"layers": (50, 50)}),
        (
            "ChunkedHMLP wide, conditional chunks",
            "ChunkedHMLP",
            (WIDE, 1000),
            {"layers": (50, 50), "cond_chunk_embs": True},
        ),
        ("ChunkedHMLP linear, chunks of 100", "ChunkedHMLP", (WIDE, 100), {"layers": ()}),
        ("ChunkedHMLP linear, chunks of 1000", "ChunkedHMLP", (WIDE, 1000), {"layers": ()}),
        (
            "StructuredHMLP",
            "StructuredHMLP",
            ([[200, 100], [200, 100], [10, 100]], [[[100, 100]], [[10, 100]]], [4, 1], 8, {"layers": (50,)}, split),
            {},
        ),
        (
            "StructuredHMLP linear",
            "StructuredHMLP",
            ([[200, 100], [200, 100], [10, 100]], [[[100, 100]], [[10, 100]]], [4, 1], 8, {"layers": ()}, split),
            {},
        ),
    ]
    for label, name, args, kwargs in options:
        yield label, [build(package, name, *args, **kwargs) for package in (ours, theirs)]


def runs(nets: list[Any], ids: list[int], backward: bool) -> list[Callable[[], None]]:
    """One pass of each."""

    def run(net: Any) -> None:
        with torch.set_grad_enabled(backward):
            out = net(cond_id=list(ids))
            if backward:
                tensors = out if isinstance(out[0], torch.Tensor) else [t for sample in out for t in sample]
                torch.stack([t.sum() for t in tensors]).sum().backward()
                for p in net.parameters():
                    p.grad = None

    return [lambda net=net: run(net) for net in nets]  # type: ignore[misc]


def seconds(passes: list[Callable[[], None]], budget: float) -> list[float]:
    """Seconds of the quickest run of each pass, taking turns."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = [float("inf")] * len(passes)
    start = time.perf_counter()
    while time.perf_counter() - start < budget or max(best) == float("inf"):
        for i, one in enumerate(passes):
            begin = clock()
            one()
            best[i] = min(best[i], clock() - begin)
    return best


def peak(one: Callable[[], None]) -> float:
    """Bytes allocated at once in one pass, beyond what is there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        one()
    now = most = 0
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return float(most)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each line and direction")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--only", default="", help="part of the names of the lines to run")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    columns = " | ".join(f"{name:>10} {'ratio':>6} {'memory':>6}" for name in ("forward ms", "+ backward"))
    print(f"{'':38} conds | {columns}")
    for label, nets in cases():
        if options.only not in label:
            continue
        for ids in ([3], list(range(10))):
            line = f"{label:38} {len(ids):5d}"
            for backward in (False, True):
                passes = runs(nets, ids, backward)
                for one in passes:
                    one()
                mine, other = seconds(passes, options.seconds)
                memory = peak(passes[1]) / max(1.0, peak(passes[0]))
                line += f" | {1e3 * mine:10.3f} {other / mine:6.2f} {memory:6.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
