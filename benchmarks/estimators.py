"""Time, memory and truth of every KL estimator: python benchmarks/estimators.py [--quick] [--rst docs/estimators.rst].

For each number of weights and for a linear and a tanh hypernetwork, one line per estimator: milliseconds and peak
memory (beyond parameters and their gradients, in weight vectors) of a KL gradient, cosine of that gradient to the
exact one, and error of the value in nats. Each line is a process of its own, so that its memory is its own. The second
part runs each documented failure on the smallest problem that shows it. With --rst both become the page "Which
estimator?".
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from bayeshnet.distributions import SemiImplicit
from bayeshnet.estimators import (
    AVB,
    IWHVI,
    LIVI,
    SIVI,
    SSGE,
    ImportanceSandwich,
    KernelRatio,
    NearestNeighbour,
    NuMethod,
    Stein,
    StochasticLIVI,
)
from bayeshnet.hnets import HMLP, JacobianGeometry

N, H, M, SIGMA = 32, 64, 100, 0.1
SIZES = (1_000, 10_000, 100_000, 1_000_000)

# name: (estimator, draws or latents, largest P for which it is run)
METHODS: dict[str, tuple[Callable[[], Any], int, int]] = {
    "one weight draw": (lambda: None, 1, 10**6),
    "LIVI": (lambda: LIVI(M), M, 10**6),
    "LIVI, full Jacobians": (lambda: LIVI(M), M, 10**6),
    "StochasticLIVI": (lambda: StochasticLIVI(4, 4, 20), 4, 10**5),
    "ImportanceSandwich": (lambda: ImportanceSandwich(16), 16, 10**6),
    "SSGE": (lambda: SSGE(M), M, 10**6),
    "Stein": (lambda: Stein(M), M, 10**6),
    "NuMethod": (lambda: NuMethod(M), M, 10**6),
    "SIVI": (lambda: SIVI(16, 100), 16, 10**6),
    "IWHVI": (lambda: IWHVI(16, 8, steps=1), 16, 10**5),
    "AVB": (lambda: AVB((64, 64), 16, steps=1, batch_size=32), 16, 10**5),
    "KernelRatio": (lambda: KernelRatio(M), M, 10**5),
    "NearestNeighbour": (lambda: NearestNeighbour(M), M, 10**5),
}
FULL_JACOBIANS = {1_000: M, 10_000: M, 100_000: 10, 1_000_000: 1}
"""Latents for which full Jacobians are timed; the time of M latents follows in proportion."""


def problem(kind: str, P: int) -> tuple[HMLP, Distribution]:
    """A hypernetwork of unit output variance and the prior N(0, I)."""
    torch.manual_seed(0)
    layers = (32, H) if kind == "tanh" else ()
    hnet = HMLP([[P]], uncond_in_size=N, cond_in_size=0, layers=layers, activation_fn=torch.nn.Tanh(), verbose=False)
    with torch.no_grad():
        for parameter in hnet.parameters():
            fan_in = parameter.shape[1] if parameter.ndim > 1 else 100
            parameter.normal_().mul_(fan_in**-0.5)
    return hnet, Independent(Normal(torch.zeros(()), torch.ones(())).expand([P]), 1)


def posterior(hnet: HMLP, dense: bool = False) -> SemiImplicit:
    """The distribution for one step; ``dense`` by full Jacobians, latents in blocks of ten."""
    geometry = hnet.geometry()
    if dense:
        size = geometry.num_weights
        geometry = JacobianGeometry(geometry, N, size, like=geometry.zero_latent(), chunk_size=10)
    return SemiImplicit(geometry, SIGMA, validate_args=False)


def step(hnet: HMLP, p: Distribution, name: str, method: Any, num: int, generator: torch.Generator) -> Any:
    """One KL gradient; gradients are left in the parameters."""
    q = posterior(hnet, dense=name.endswith("Jacobians"))
    if method is None:
        q.draw(1, generator).w.square().sum().backward()
        return None
    estimate = method.estimate(q, p, num, generator)
    estimate.surrogate.backward()
    return estimate


def clear(hnet: HMLP) -> None:
    """Drop the gradients; into none there is nothing to add, which would need as much memory again."""
    for parameter in hnet.parameters():
        parameter.grad = None


def exact(hnet: HMLP, p: Distribution, kind: str) -> tuple[float, Tensor]:
    """KL and gradient: in closed form for the linear map; for the other by LIVI with many latents, its audit's best."""
    clear(hnet)
    if kind == "linear":
        from bayeshnet.estimators import ClosedForm

        estimate = ClosedForm().estimate(posterior(hnet), p)
        estimate.surrogate.backward()
        return float(estimate.value), gradient(hnet)
    value, rounds = 0.0, 20
    generator = torch.Generator().manual_seed(99)
    for _ in range(rounds):
        estimate = LIVI(10 * M).estimate(posterior(hnet), p, generator=generator)
        estimate.surrogate.backward()
        value += float(estimate.value) / rounds
    return value, gradient(hnet) / rounds


def gradient(hnet: HMLP) -> Tensor:
    """All gradients as one vector."""
    return torch.cat([p.grad.reshape(-1) for p in hnet.parameters() if p.grad is not None])


def measure(name: str, kind: str, P: int) -> dict[str, Any]:
    """All figures of one line; runs in a process of its own."""
    torch.set_num_threads(1)
    make, num, _ = METHODS[name]
    if name.endswith("Jacobians"):
        num = FULL_JACOBIANS[P]
    hnet, p = problem(kind, P)
    method, generator = make(), torch.Generator().manual_seed(1)
    clear(hnet)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(hnet, p, name, method, num, generator)
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    peak -= sum(parameter.grad.nbytes for parameter in hnet.parameters() if parameter.grad is not None)
    times = []
    while len(times) < 3 or (sum(times) < 1.0 and len(times) < 20):
        clear(hnet)
        start = time.perf_counter()
        estimate = step(hnet, p, name, method, num, generator)
        times.append(time.perf_counter() - start)
        if times[-1] > 20:
            break
    scale = M / num if name.endswith("Jacobians") else 1.0
    result = {"name": name, "kind": kind, "P": P, "ms": 1e3 * scale * min(times), "peak": peak}
    if estimate is not None:
        found = gradient(hnet).clone()
        value, truth = exact(hnet, p, kind)
        cosine = torch.nn.functional.cosine_similarity(found, truth, dim=0)
        result["cosine"] = float(cosine)
        result["error"] = None if estimate.value is None else float(estimate.value) - value
    return result


def in_a_process(name: str, kind: str, P: int) -> dict[str, Any]:
    """Run :func:`measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--measure", json.dumps([name, kind, P])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"name": name, "kind": kind, "P": P, "failed": done.stderr.strip().splitlines()[-1:]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line(result: dict[str, Any], draw_ms: float, jacobian_ms: float | None) -> list[str]:
    """The cells of a line of the table."""
    if "failed" in result:
        return [result["name"], "failed", *[""] * 5]
    vectors = result["peak"] / (4 * result["P"])
    cosine, error = result.get("cosine"), result.get("error")
    faster = jacobian_ms / result["ms"] if jacobian_ms and result["name"] == "LIVI" else None
    return [
        result["name"],
        f"{result['ms']:.3g}",
        f"{result['ms'] / draw_ms:.3g}",
        "" if faster is None else f"{faster:.0f}",
        f"{vectors:.3g}" if result["P"] >= 100_000 else "",
        "" if cosine is None else f"{cosine:.3f}",
        "none" if cosine is not None and error is None else "" if error is None else f"{error:+.3g}",
    ]


HEADER = [
    "estimator",
    "ms",
    "in draws",
    "faster than full Jacobians",
    "peak in weight vectors",
    "cosine",
    "error, nats",
]


def tables(sizes: tuple[int, ...]) -> list[tuple[str, list[list[str]]]]:
    """A title and the lines of each table, printed as they come."""
    found = []
    for kind in ("linear", "tanh"):
        for P in sizes:
            title = f"{kind} hypernetwork, P = {P:,}"
            print(f"\n{title}\n" + "  ".join(HEADER), flush=True)
            results = {n: in_a_process(n, kind, P) for n, (_, _, limit) in METHODS.items() if limit >= P}
            draw_ms = results["one weight draw"].get("ms", math.nan)
            jacobian_ms = results["LIVI, full Jacobians"].get("ms")
            lines = [line(r, draw_ms, jacobian_ms) for r in results.values()]
            for cells in lines:
                print("  ".join(f"{c:>12}" if i else f"{c:22}" for i, c in enumerate(cells)), flush=True)
            found.append((title, lines))
    return found


def main() -> None:
    """Print the tables; with --rst write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only 1e3 and 1e4 weights")
    parser.add_argument("--sizes", type=int, nargs="*", help="numbers of weights")
    parser.add_argument("--rst", type=Path, help="write the page of the documentation")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*json.loads(arguments.measure))))
        return
    from estimator_failures import failures
    from estimator_page import write_page

    sizes = tuple(arguments.sizes or (SIZES[:2] if arguments.quick else SIZES))
    found = tables(sizes)
    shown = failures()
    if arguments.rst:
        write_page(arguments.rst, HEADER, found, shown, {"n": N, "H": H, "M": M, "sigma": SIGMA})


if __name__ == "__main__":
    main()
