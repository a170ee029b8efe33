"""Run methods on a stream over seeds, and write their comparison as a page of the documentation.

``python benchmarks/streams.py split-digits`` runs every method that is configured for the stream. Complete runs are
kept, and interrupted ones are continued. ``--page FILE`` writes the page, from whatever runs there are, and keeps its
section "Earlier runs"; ``--note FILE`` has paragraphs for it. ``--methods`` and ``--seeds`` select runs, ``--numbers``
leaves out what the page does not show, and arguments after ``--`` are passed to ``bayeshnet run``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streams_page import page

from bayeshnet.reports import load_results, write_text
from bayeshnet.runs import available

SEEDS = [0, 1, 2]


def run(folder: Path, words: list[str], *, numbers: bool = False) -> str | None:
    """Execute or continue one run, or learn its numbers alone; return a message if it fails."""
    if (folder / "metrics.json").is_file():
        return None
    begun = (folder / "config.yaml").is_file()
    if numbers and not begun:
        command = [sys.executable, str(Path(__file__).with_name("streams_numbers.py")), str(folder), *words]
    else:
        words = ["--resume", str(folder)] if begun else [*words, "--output", str(folder)]
        command = [sys.executable, "-m", "bayeshnet", "run", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()  # Empty if the run was killed.
    return f"{folder.name}: {said[-1] if said else f'ended with code {done.returncode}'}"


def command_line(options: argparse.Namespace, extra: list[str]) -> str:
    """Return the command line that makes the runs of the page."""
    words = ["python", "benchmarks/streams.py", options.data]
    words += ["--methods", *options.methods] if options.methods else []
    words += ["--seeds", *map(str, options.seeds)] if options.seeds != SEEDS else []
    words += ["--numbers"] if options.numbers else []
    return shlex.join([*words, *(["--", *extra] if extra else [])])


def main() -> None:
    """Execute the runs that are missing, then write the page."""
    words = sys.argv[1:]
    words, extra = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=list(available()))
    parser.add_argument("--methods", nargs="+", help="methods; by default all that are configured for the stream")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), help="folder of the runs")
    parser.add_argument("--jobs", type=int, default=1, help="number of simultaneous runs")
    parser.add_argument("--numbers", action="store_true", help="no checks of posteriors, foreign inputs and figures")
    parser.add_argument("--no-runs", action="store_true", help="run nothing: write the page of the runs that there are")
    parser.add_argument("--page", type=Path, help="page to write")
    parser.add_argument("--note", type=Path, help="file with paragraphs for the page")
    options = parser.parse_args(words)
    methods = options.methods or available()[options.data]
    jobs = []
    for seed in options.seeds:
        for method in methods:
            folder = options.runs / f"{options.data}-{method}-seed{seed}"
            jobs.append((folder, ["--data", options.data, "--method", method, "--seed", str(seed), *extra]))
    wanted = [] if options.no_runs else jobs
    with ThreadPoolExecutor(options.jobs) as pool:
        said = pool.map(lambda job: run(*job, numbers=options.numbers), wanted)
        for (folder, _), problem in zip(wanted, said, strict=True):
            print(problem or f"{folder.name}: done", flush=True)
    done = [folder for folder, _ in jobs if (folder / "metrics.json").is_file()]
    if options.page is not None and done:
        note = options.note.read_text().strip() if options.note else ""
        before = options.page.read_text() if options.page.is_file() else ""
        write_text(options.page, page(options.data, load_results(done), command_line(options, extra), note, before))


if __name__ == "__main__":
    main()
