"""Exact learners on Split Fashion-MNIST, and on split digits, in several class orders.

Usage: ``python benchmarks/exact_stream.py DATA_DIR RESULTS.jsonl [--orders 5] [--seeds 1] [--settings patches ...]``.
A line of the file is one setting in one order; lines that are there are not computed again. The state after each task
is kept beside the file until its line is there, so that a script that was killed, or told to stop after ``--tasks``
tasks, goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import time
from pathlib import Path

import torch

from bayeshnet import metrics
from bayeshnet.continual import DensitySettings, ExactStream, load_state
from bayeshnet.continual.exact_stream.learner import memory_of
from bayeshnet.data import split_digits, split_fashion_mnist
from bayeshnet.features import Features, Frozen, PatchFilters, RandomFourier

IMAGE = (1, 28, 28)


def filters(count):
    """Return patch filters with the settings of the default."""
    return PatchFilters(count, patch_size=(4, 7, 11), grid=4, mirror=True, contrast=0.2, image_shape=IMAGE)


SETTINGS: dict[str, tuple[Features, str]] = {
    "patches": (filters(150), "linear"),
    "compact": (filters(20), "linear"),
    "fourier": (RandomFourier(2000), "linear"),
    "pixels": (Frozen(torch.nn.Flatten()), "linear"),
    "pixels-gaussian": (Frozen(torch.nn.Flatten()), "gaussian"),
    "compact-gaussian": (filters(20), "gaussian"),
    "digits": (
        PatchFilters(120, patch_size=(3, 4, 5), grid=2, threshold=0.1, contrast=1.0, image_shape=(1, 8, 8)),
        "linear",
    ),
}


def class_order(number):
    """Return the classes in their own order for number 0, else in a drawn one."""
    if number == 0:
        return list(range(10))
    return torch.randperm(10, generator=torch.Generator().manual_seed(number)).tolist()


def make_stream(name, data_dir, order):
    """Return the tasks of a setting in a class order; the digits are also divided anew."""
    if name == "digits":
        return split_digits(order=class_order(order), data_seed=order)
    return split_fashion_mnist(data_dir, order=class_order(order))


class PausedError(Exception):
    """Raised when as many tasks have been learned as were asked for."""


def learn(learner, stream, folder, most, seed):
    """Return the state after the stream, the processor time of learning, and the accuracies after tasks but the last.

    It goes on from what is in the folder.
    """
    state, known, taken = None, {"cpu": 0.0, "accuracies": []}, 0
    if (folder / "known.json").exists():
        state, known = load_state(folder), json.loads((folder / "known.json").read_text())
    for number, task in list(enumerate(stream))[state.num_tasks if state else 0 :]:
        if taken == most:
            raise PausedError
        begin, taken = time.process_time(), taken + 1
        state = learner.learn(state, task, seed=100 * seed + number)
        known["cpu"] += time.process_time() - begin
        if number < len(stream) - 1:
            prediction, right = predict(learner, state, stream[: number + 1])
            known["accuracies"].append(100 * float((prediction.label() == right).double().mean()))
        state.save(folder)
        (folder / "known.json").write_text(json.dumps(known))
    return state, known["cpu"], known["accuracies"]


def predict(learner, state, tasks):
    """Return the prediction of the test images of some tasks, and their global labels."""
    prediction = learner.predict(state, torch.cat([t.test.x for t in tasks]))
    return prediction, torch.cat([torch.tensor(t.labels)[t.test.y] for t in tasks])


def measure(learner, stream, folder, most, seed):
    """Learn the stream and return the numbers of a row."""
    folder.mkdir(parents=True, exist_ok=True)
    state, cpu, accuracies = learn(learner, stream, folder, most, seed)
    begin = time.process_time()
    prediction, right = predict(learner, state, stream)
    task = torch.cat([torch.full((len(t.test),), n) for n, t in enumerate(stream)])
    given = prediction.means[torch.arange(len(task)), task].argmax(1) == torch.cat([t.test.y for t in stream])
    probs, column = prediction.label_probs(), torch.searchsorted(prediction.all_labels, right)
    memory, accuracy = memory_of(state), 100 * float(metrics.accuracy(probs, column))
    return {
        "accuracy": accuracy,
        "incremental": statistics.mean([*accuracies, accuracy]),
        "task_given": 100 * float(given.double().mean()),
        "task_accuracy": 100 * float((prediction.task() == task).double().mean()),
        "nll": float(metrics.nll(probs, column)),
        "brier": float(metrics.brier(probs, column)),
        "ece": 100 * float(metrics.ece(probs, column)),
        "beta": getattr(memory.head, "beta", 1.0),
        "features": memory.features.num_features,
        "megabytes": memory.num_bytes / 1e6,
        "cpu_seconds": cpu + time.process_time() - begin,
    }


def main():
    """Compute the lines that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the features in each order")
    parser.add_argument("--tasks", type=int, default=None, help="tasks of a setting to be learned in this call")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = arguments.results.read_text().splitlines() if arguments.results.exists() else []
    done = {(line["setting"], line["order"], line.get("seed", 0)) for line in map(json.loads, lines)}
    for seed, order in itertools.product(range(arguments.seeds), range(arguments.orders)):
        for name in arguments.settings:
            if (name, order, seed) in done:
                continue
            stream = make_stream(name, arguments.data_dir, order)
            features, head = SETTINGS[name]
            learner = ExactStream(features, head=head, density=DensitySettings(num_parts=1, num_components=1))
            folder = arguments.results.with_suffix("") / f"{name}-{order}-{seed}"
            try:
                numbers = measure(learner, stream, folder, arguments.tasks, seed)
            except PausedError:
                return
            row = {"setting": name, "order": order, "seed": seed, "features": None, **numbers}
            with arguments.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
