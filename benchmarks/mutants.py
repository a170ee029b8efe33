"""Mutants of the mathematics: small changes of the formulas, each of which some test should notice.

    python benchmarks/mutants.py --number 200 --seed 0 --output runs/mutants.jsonl
    python benchmarks/mutants.py --list                            # the changes that would be made
    python benchmarks/mutants.py --again --output ...              # those that survived, once more
    python benchmarks/mutants.py --number 60 --seed 2 --output runs/fresh.jsonl
    python benchmarks/mutants.py --page docs/results/mutants.rst --fresh runs/fresh.jsonl --output ...

A mutant is one change of one file: an operator, a comparison, a constant, a branch, a function of a pair (``sum`` and
``mean``), a term or a ``detach`` left out. The tests that execute the changed lines judge it, the nearest and fastest
first, up to the first that fails; each mutant runs in a fork of a process that has torch and Pyro loaded. Which test
executes which lines is measured once and kept beside the output, with all results: a run that was stopped goes on where
it was. Changes that change nothing are listed with a reason in ``benchmarks/mutants_equivalent.toml``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mutant_runs import WARM, Coverage, Settings, in_forks, measure, preload, run_mutant, stages
from mutant_sites import Mutant, mutants
from mutants_page import write_page

ROOT = Path(__file__).parents[1]
MATHEMATICS = [
    "estimators",
    "distributions",
    "geometry",
    "hnets",
    "inference/bound",
    "metrics",
    "guides/likelihoods",
    "continual/losses",
    "continual/task_inference",
    "layers",
]
JUDGES = [
    *(
        f"tests/{folder}"
        for folder in ("estimators", "distributions", "geometry", "layers", "metrics", "hnets", "guides")
    ),
    "tests/continual/losses",
    "tests/continual/task_inference",
    *(f"tests/inference/test_{name}.py" for name in ("bound_terms", "elbo", "local_noise", "reference")),
    *(f"tests/contracts/test_{name}_contract.py" for name in ("bounds", "criteria", "estimators")),
    *(f"tests/contracts/test_{kind}hypernetworks.py" for kind in ("", "composed_", "deconv_")),
]
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw mutants, run those that have no result yet, and tell the figures."""
    options = _parser().parse_args(arguments)
    settings = Settings(options.root.resolve(), options.package, tuple(options.tests), options.limit)
    drawn = draw(settings, options.files, options.number, options.seed, options.only)
    if options.list:
        for mutant in drawn:
            print(_told(mutant, (settings.root / mutant.file).read_text(encoding="utf-8")))
        return 0
    options.output.parent.mkdir(parents=True, exist_ok=True)
    preload(options.preload)
    coverage = Coverage(settings, options.output.with_suffix(".coverage"))
    _measure(settings, coverage, options.workers)
    _run(settings, coverage, drawn, options)
    results = read(options.output)
    reasons = equivalent(options.equivalent)
    drawn = [mutant for mutant in drawn if mutant.key in results]
    print(summary(drawn, results, reasons))
    if options.page is not None:
        fresh = first(options.fresh) if options.fresh is not None else []
        now = read(options.fresh) if fresh else {}
        later = sum(record["status"] == "survived" != now[record["key"]]["status"] for record in fresh)
        write_page(options.page, [results[mutant.key] for mutant in drawn], fresh, reasons, options.seed, later)
    return 0


def draw(
    settings: Settings, files: Sequence[str], number: int | None, seed: int, only: Sequence[str] = ()
) -> list[Mutant]:
    """Return ``number`` mutants of all (all of them for None), by file and line.

    The choice depends on the seed and on each mutant alone: a change of one file leaves those of the others.
    """
    found = []
    for name in files:
        place = settings.root / settings.package / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            file = path.relative_to(settings.root).as_posix()
            found += mutants(path.read_text(encoding="utf-8"), file)
    if only:
        found = [mutant for mutant in found if any(mutant.key.startswith(key) for key in only)]
    chosen = sorted(found, key=lambda mutant: hashlib.sha256(f"{seed} {mutant.key}".encode()).digest())[:number]
    return sorted(chosen, key=lambda mutant: (mutant.file, mutant.start, mutant.new))


def read(path: Path) -> dict[str, dict]:
    """Return the last result of each mutant."""
    if not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {record["key"]: record for record in records}


def first(path: Path) -> list[dict]:
    """Return the first result of each mutant."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found: dict[str, dict] = {}
    for record in records:
        found.setdefault(record["key"], record)
    return list(found.values())


def equivalent(path: Path) -> dict[str, str]:
    """Return the reasons why mutants change nothing, by their keys."""
    table = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {entry["key"]: entry["reason"] for entry in table.get("mutant", [])}


def summary(drawn: Sequence[Mutant], results: dict[str, dict], reasons: dict[str, str]) -> str:
    """Return the figures in a line."""
    status = {mutant.key: results[mutant.key]["status"] for mutant in drawn}
    same = [key for key in status if key in reasons and status[key] == "survived"]
    counts = Counter(status[key] for key in status if key not in same)
    caught, others = counts["killed"] + counts["timeout"], len(status) - len(same)
    share = 100 * caught / max(others, 1)
    return (
        f"{len(status)} mutants: {counts['killed']} killed, {counts['timeout']} timeout, "
        f"{counts['survived']} survived, {len(same)} equivalent; {share:.1f} % of {others} caught"
    )


def _measure(settings: Settings, coverage: Coverage, workers: int) -> None:
    stale = coverage.stale()
    jobs = ((file, partial(measure, settings, file), 3600.0) for file in stale)
    for count, (file, found, how) in enumerate(in_forks(jobs, workers), 1):
        coverage.add(file, found)
        tests = len(found["times"]) if found is not None else 0
        print(f"lines of {file}: {tests} tests, {how} ({count} of {len(stale)})", file=sys.stderr, flush=True)


def _run(settings: Settings, coverage: Coverage, drawn: Sequence[Mutant], options: argparse.Namespace) -> None:
    results, times = read(options.output), coverage.times
    by_key = {mutant.key: mutant for mutant in drawn}
    survived = {key for key, record in results.items() if record["status"] == "survived"}
    again = survived - set(equivalent(options.equivalent)) if options.again else set()

    def jobs() -> Iterator[tuple[str, partial, float]]:
        for key, mutant in by_key.items():
            if key not in results or key in again:
                plan = stages(settings, mutant, coverage.covering(mutant, options.whole))
                yield key, partial(run_mutant, settings, mutant, plan, times), settings.limit + 120

    with options.output.open("a", encoding="utf-8") as file:
        for key, result, how in in_forks(jobs(), options.workers):
            mutant = by_key[key]
            ended = {"status": "killed" if how == "crash" else how, "by": how, "tests": None, "seconds": None}
            source = (settings.root / mutant.file).read_text(encoding="utf-8")
            place = {"file": mutant.file, "line": mutant.line, "kind": mutant.kind, "diff": mutant.diff(source)}
            record = {"key": key, "seed": options.seed, **(ended if result is None else result), **place}
            file.write(json.dumps(record) + "\n")
            file.flush()
            print(_told(mutant, source, record), file=sys.stderr, flush=True)


def _told(mutant: Mutant, source: str, record: dict | None = None) -> str:
    end = f": {record['status']} after {record['tests']} tests, {record['seconds']} s" if record else ""
    text = f"{mutant.key} {mutant.file}:{mutant.line} ({mutant.kind}){end}"
    return text if record and record["status"] != "survived" else f"{text}\n{mutant.diff(source)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "files", nargs="*", default=MATHEMATICS, help="folders or files of the package that are changed"
    )
    parser.add_argument("--number", type=int, default=200, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="KEY", help="mutants with these keys, or openings of keys"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument(
        "--limit", type=float, default=150.0, help="seconds of testing before a mutant counts as survived"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "mutants.jsonl", help="results, one a line")
    parser.add_argument("--list", action="store_true", help="show the drawn mutants and end")
    parser.add_argument("--again", action="store_true", help="run those that survived once more, except the equivalent")
    parser.add_argument("--whole", action="store_true", help="judge by all tests of the files that reach a mutant")
    parser.add_argument("--page", type=Path, help="where to write the page of results")
    parser.add_argument(
        "--fresh", type=Path, help="results of another draw, of whose mutants the page shows the first result"
    )
    parser.add_argument("--equivalent", type=Path, default=EQUIVALENT, help="mutants that change nothing, with reasons")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the package and its tests")
    parser.add_argument("--package", default="bayeshnet", help="name of the package")
    parser.add_argument("--tests", nargs="+", default=JUDGES, help="test folders and files that judge")
    parser.add_argument("--preload", nargs="*", default=WARM, help="modules that all forks share")
    return parser


if __name__ == "__main__":
    sys.exit(main())
