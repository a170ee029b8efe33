"""Time, memory and accuracy of every KL estimator: python benchmarks/estimators.py [--quick] [--rst FILE].

For each number of weights and for a linear and a tanh hypernetwork, one line per estimator: CPU milliseconds and peak
memory (beyond parameters and their gradients, in weight vectors) of a KL gradient, cosine of that gradient to the
exact one, and error of the value in nats. Each line is measured in a process of its own, so that its memory is its
own; it needs Linux, which reports the peak. Then the guarantees for LIVI and SSGE are compared with the measurements,
and each documented failure is run on the smallest problem that shows it. With --rst all of it becomes the page "Which
estimator?"; docs/which-estimator.rst is written by ``python benchmarks/estimators.py --rst docs/which-estimator.rst``.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from estimator_failures import failures
from estimator_lines import DRAW, FULL, METHODS, SETTINGS, in_a_process, save_reference
from estimator_page import write_page

SIZES = (1_000, 10_000, 100_000, 1_000_000)
HEADER = [
    "estimator",
    "ms",
    "in draws",
    "faster than full Jacobians",
    "peak in weight vectors",
    "cosine",
    "error, nats",
]
Results = dict[tuple[str, int], dict[str, dict[str, Any]]]


def line(result: dict[str, Any], beside: dict[str, dict[str, Any]]) -> list[str]:
    """Return the cells of a line of the table; ``beside`` are the results of the same table."""
    if "failed" in result:
        return [result["name"], "failed", *[""] * 5]
    vectors = result["peak"] / (4 * result["P"])
    cosine, error = result.get("cosine"), result.get("error")
    return [
        result["name"],
        f"{result['ms']:.3g}",
        f"{result['ms'] / beside[DRAW].get('ms', math.nan):.3g}",
        f"{beside[FULL]['ms'] / result['ms']:.0f}" if result["name"] == "LIVI" and "ms" in beside[FULL] else "",
        f"{vectors:.3g}" if result["P"] >= 100_000 else "",
        "" if cosine is None else f"{cosine:.3f}",
        "none" if cosine is not None and error is None else "" if error is None else f"{error:+.3g}",
    ]


def run(sizes: tuple[int, ...], kept: Path | None = None) -> tuple[Results, list[tuple[str, list[list[str]]]]]:
    """Return all results, and each table with its title, printed line by line; lines in ``kept`` are not run again."""
    results: Results = {}
    tables = []
    for kind in ("linear", "tanh"):
        for P in sizes:
            title = f"{kind} hypernetwork, P = {P:,}"
            print(f"\n{title}\n" + "  ".join(HEADER), flush=True)
            found = _table(kind, P, kept)
            lines = [line(r, found) for r in found.values()]
            for cells in lines:
                print("  ".join(f"{c:>12}" if i else f"{c:22}" for i, c in enumerate(cells)), flush=True)
            tables.append((title, lines))
            results[kind, P] = found
    return results, tables


def _table(kind: str, P: int, kept: Path | None) -> dict[str, dict[str, Any]]:
    """Return results by name for one hypernetwork."""
    saved = json.loads(kept.read_text()) if kept is not None and kept.exists() else []
    found = {r["name"]: r for r in saved if (r["kind"], r["P"]) == (kind, P)}
    wanted = [name for name, (_, _, limit) in METHODS.items() if limit >= P]
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.pt"
        for name in (name for name in wanted if name not in found):
            if not reference.exists():
                save_reference(kind, P, reference)
            found[name] = in_a_process(name, kind, P, reference)
            if kept is not None:
                saved.append(found[name])
                kept.write_text(json.dumps(saved))
    return {name: found[name] for name in wanted}


def guarantees(results: Results) -> list[tuple[str, str, str]]:
    """Return each guarantee for a body of H units, the measurement, and whether it is met."""
    tanh = {P: found for (kind, P), found in results.items() if kind == "tanh"}
    rows = []

    def add(guarantee: str, value: float, unit: str, met: bool) -> None:
        rows.append((guarantee, f"{value:.3g}{unit}", "yes" if met else "no"))
        print("  ".join(rows[-1]), flush=True)

    print("\nguarantees", flush=True)
    for P in (P for P in tanh if P >= 10_000):
        ratio = tanh[P][FULL]["ms"] / tanh[P]["LIVI"]["ms"]
        add(f"LIVI at P = {P:,}: at least 25 times faster than through full Jacobians", ratio, " times", ratio >= 25)
    if 100_000 in tanh:
        ratio = tanh[100_000]["LIVI"]["ms"] / tanh[100_000][DRAW]["ms"]
        add("LIVI at P = 100,000: at most the time of 20 weight draws", ratio, " draws", ratio <= 20)
    if 1_000_000 in tanh:
        peak = tanh[1_000_000]["LIVI"]["peak"] / 4e6
        add("LIVI at P = 1,000,000: peak memory below ten weight vectors", peak, " vectors", peak < 10)
        ssge = tanh[1_000_000]["SSGE"]
        beyond = (ssge["peak"] - ssge["graph"]) / 2**30
        add("SSGE at P = 1,000,000: within 1.5 GiB beyond its samples' graph", beyond, " GiB", beyond <= 1.5)
    return rows


def main() -> None:
    """Print the tables; with --rst write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only 1e3 and 1e4 weights")
    parser.add_argument("--sizes", type=int, nargs="*", help="numbers of weights", choices=SIZES)
    parser.add_argument("--kept", type=Path, help="a file that stores the measured lines, to resume from")
    parser.add_argument("--rst", type=Path, help="write the page of the documentation")
    arguments = parser.parse_args()
    results, tables = run(tuple(arguments.sizes or (SIZES[:2] if arguments.quick else SIZES)), arguments.kept)
    met = guarantees(results)
    shown = failures()
    if arguments.rst:
        write_page(arguments.rst, HEADER, tables, met, shown, SETTINGS)


if __name__ == "__main__":
    main()
