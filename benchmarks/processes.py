"""One run in one process and in two: python benchmarks/processes.py [--docs docs].

Posterior replay learns the split digits in its quick form: in one process; in two that share out the data; in two that
``fabric run`` starts (if the package click is installed, which Fabric's command needs); and in two, the second of which
is killed after the second task, whereupon the run is resumed. Noise in pre-activations, which each process draws for
itself, is off. Needs the extra ``dist``. With --docs the page docs/results/processes.rst is written.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PAGE = """\
.. This page is written by benchmarks/processes.py. Do not edit it: run the script.

One run in two processes
========================

Posterior replay on the split digits with the settings of ``--quick``, {steps:.0f} steps in all, in single precision:
the same command in one process and in two, which share out each batch and speak by gloo on one machine.

.. code-block:: text

{commands}

{table}
*Largest difference* is that of any number in ``metrics.json`` (accuracies after each task under all criteria,
calibration, divergences with their intervals, out-of-distribution measures) from the same number of the first run,
relative to it where it is above 1; *of accuracies* counts those in percent. Two processes draw the same weights, and
add their gradients in another order than one process does: numbers differ by rounding. The run that was killed lost its
second process after the second task, and the first one said
{message}. Resumed from the checkpoint of the last finished task, it {resumed}. Noise in
pre-activations is off: each process draws its own, and two processes are then one in expectation alone.
"""

NAMES = ("nll", "ece", "ood_auroc", "negative_elbo")
PLAIN = ["--data", "split-digits", "--quick", "--device", "cpu", "--learner.training.local_noise", "false"]


def start(words: list[str], launcher: list[str] | None = None) -> subprocess.Popen[str]:
    """Start a run, by a launcher if one is given."""
    command = [*(launcher or [sys.executable, "-m", "bayeshnet"]), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait(process: subprocess.Popen[str]) -> None:
    """Wait for a run that has to succeed."""
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(err)


def killed(folder: Path) -> str:
    """Begin a run of two processes, kill the second one after the second task, and return what the first one says."""
    process = start(["run", *PLAIN, "--devices", "2", "--output", str(folder)])
    while not (folder / "checkpoints" / "task-02.json").exists():
        if process.poll() is not None:
            raise SystemExit(process.communicate()[1])
        time.sleep(0.01)
    (second,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(second), signal.SIGKILL)
    return process.communicate()[1].strip()


def numbers(found: Any, where: str = "") -> dict[str, float]:
    """Return all numbers of the results by their places, but for times and settings."""
    if isinstance(found, dict):
        left_out = ("seconds", "versions", "settings") if not where else ()
        parts = ((f"{where}/{key}", value) for key, value in found.items() if key not in left_out)
    elif isinstance(found, list):
        parts = ((f"{where}/{i}", value) for i, value in enumerate(found))
    else:
        known = isinstance(found, int | float) and not isinstance(found, bool)
        return {where: float(found)} if known else {}
    return {name: number for place, value in parts for name, number in numbers(value, place).items()}


def differences(first: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    """Return the largest difference of any number, relative where it is above 1, and that of accuracies in percent."""
    a, b = numbers(first), numbers(other)
    if a.keys() != b.keys():
        raise ValueError(f"results: expected the same numbers, got others: {sorted(a.keys() ^ b.keys())[:5]}.")
    away = {name: abs(value - b[name]) for name, value in a.items() if value == value or b[name] == b[name]}
    accuracies = [d for name, d in away.items() if name.startswith("/matrix")]
    return max(d / max(1.0, abs(a[name])) for name, d in away.items()), max(accuracies)


def page(found: dict[str, dict[str, Any]], message: str) -> str:
    """Write the page from the results of all runs."""
    cells = [["run", "task given (%)", "combined (%)", *NAMES, "largest difference", "of accuracies"]]
    for name, result in found.items():
        final = result["final"]
        accuracies = (final["accuracy_task_given"], final["accuracy_task_inferred"]["combined"])
        shown = [f"{value:.3f}" for value in (*accuracies, *(final[key] for key in NAMES))]
        away = differences(found["one process"], result)
        cells.append([name, *shown, *(f"{value:.1e}" for value in away)])
    table = ".. list-table::\n   :header-rows: 1\n\n"
    table += "".join("   * - " + "\n     - ".join(row) + "\n" for row in cells)
    again = differences(found["two processes"], found["two, killed and resumed"])
    command = "bayeshnet run " + " ".join(PLAIN)
    fabric = "fabric run --accelerator cpu --devices 2 $(which bayeshnet) run " + " ".join(PLAIN)
    commands = [command, f"{command} --devices 2", f"{fabric} --devices 2"]
    return PAGE.format(
        steps=found["one process"]["final"]["gradient_steps"],
        commands="\n".join(f"   {line}" for line in commands),
        table=table,
        message=f"``{message}``",
        resumed="has the numbers of the run that was not killed, all of them equal"
        if again == (0.0, 0.0)
        else f"differs from the run that was not killed by {again[0]:.1e} at most",
    )


def main() -> None:
    """Make all runs one after the other, print what they say and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, help="folder of the documentation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        plans: dict[str, tuple[list[str], list[str] | None]] = {
            "one process": (PLAIN, None),
            "two processes": ([*PLAIN, "--devices", "2"], None),
        }
        if importlib.util.find_spec("click") is not None:
            fabric = [str(Path(sys.executable).parent / "fabric"), "run", "--accelerator=cpu", "--devices=2"]
            fabric = [sys.executable, *fabric, str(Path(sys.executable).parent / "bayeshnet")]
            plans["two by ``fabric run``"] = ([*PLAIN, "--devices", "2"], fabric)
        found = {}
        for name, (words, launcher) in plans.items():
            folder = base / name.replace("`", "")
            wait(start(["run", *words, "--output", str(folder)], launcher))
            found[name] = json.loads((folder / "metrics.json").read_text())
            print(name, found[name]["final"]["accuracy_task_given"], flush=True)
        folder = base / "killed"
        message = killed(folder).replace(str(folder), "FOLDER")
        wait(start(["run", "--resume", str(folder), "--devices", "2"]))
        found["two, killed and resumed"] = json.loads((folder / "metrics.json").read_text())
        print(message)
    text = page(found, message)
    print(text)
    if options.docs is not None:
        (options.docs / "results" / "processes.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
