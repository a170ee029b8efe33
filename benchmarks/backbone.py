"""A trained backbone on Split Fashion-MNIST: an exact head, and posteriors of each task over adapters, side by side.

Usage: ``python benchmarks/backbone.py DATA_DIR FEATURES_DIR RESULTS.jsonl STAGE [--lr L]``, with the features that
``backbone_features.py`` wrote. Stages are ``choose``, ``pixels``, ``exact``, ``exact_average``, ``tune``,
``tune_lora``, ``last_layer``, ``lora`` (six times: it learns one task each time, and then predicts) and ``time``.
A line of the file is one row; the last one of a name counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from backbone_features import CHUNK, images
from backbone_network import LAYERS, SIZE, Classifier, Rest, load_lite0
from exact_stream import class_order
from torch import Tensor, nn

from bayeshnet import metrics
from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights
from bayeshnet.continual import DensitySettings, ExactStream, PosteriorReplay, Separate, Training, load_state
from bayeshnet.continual.exact_stream.learner import memory_of
from bayeshnet.continual.task_inference.prediction import StreamPrediction, join_predictions
from bayeshnet.data import from_arrays
from bayeshnet.exact import BayesianLinearHead
from bayeshnet.features import Frozen
from bayeshnet.guides import Categorical, MeanFieldGuide
from bayeshnet.inference import Predictive
from bayeshnet.mnets import adapt
from bayeshnet.tasks import Task, TaskStream

POOLED, MAPS, AVERAGE = LAYERS[:3], LAYERS[3], LAYERS[4]
WIDTHS = {**dict(zip(POOLED, (160, 448, 448), strict=True)), AVERAGE: 1280}
JUDGED, FITTED, FEW = 1500, 4500, 200
DENSITY = DensitySettings(num_parts=1, num_components=1, grid=0)


class Computed:
    """The images whose features have been computed.

    Args:
        data_dir: folder of Fashion-MNIST.
        folder: folder of the features.
        size: height and width to which images were enlarged.
    """

    def __init__(self, data_dir: Path, folder: Path, size: int = SIZE) -> None:
        self.x, self.y, self.num_train = images(data_dir)
        self.file = np.load(folder / f"lite0-{size}.npy", mmap_mode="r")
        starts = sorted(int(line) for line in (folder / f"lite0-{size}.done").read_text().split())
        rows = torch.cat([torch.arange(start, min(start + CHUNK, len(self.x))) for start in starts])
        self.train, self.test = rows[rows < self.num_train], rows[rows >= self.num_train]

    def columns(self, rows: Tensor, *layers: str) -> Tensor:
        """Return the outputs of some layers, joined, ``(N, D)``."""
        parts, begin = [], 0
        for layer in LAYERS:  # the maps have what the others leave, which depends on the size
            width = WIDTHS.get(layer, self.file.shape[1] - sum(WIDTHS.values()))
            if layer in layers:
                parts.append(torch.from_numpy(self.file[rows.numpy(), begin : begin + width]).float())
            begin += width
        return torch.cat(parts, 1)

    def stream(self, order: int, inputs: Callable[[Tensor], Tensor], validation_fraction: float = 0.0) -> TaskStream:
        """Return the tasks of two classes in a class order, with inputs that a function makes of rows."""
        classes = class_order(order)
        arrays = []
        for first, second in zip(classes[::2], classes[1::2], strict=True):
            own = [rows[(self.y[rows] == first) | (self.y[rows] == second)] for rows in (self.train, self.test)]
            arrays.append(tuple(part for rows in own for part in (inputs(rows), self.y[rows])))
        return from_arrays(arrays, validation_fraction=validation_fraction)


def choose(data_dir: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the accuracy of an exact head of ten classes on training images set aside, for sizes and layers."""
    first, second, third = POOLED
    for size in (64, SIZE):
        if not (folder / f"lite0-{size}.npy").exists():
            continue
        data = Computed(data_dir, folder, size)
        rows = data.train[: FITTED + JUDGED]
        for layers in ((first,), (second,), (third,), (AVERAGE,), (first, second), POOLED, (*POOLED, AVERAGE)):
            x, y = data.columns(rows, *layers), data.y[rows]
            x = (x - x[:FITTED].mean(0)) / x[:FITTED].std(0).clamp_min(1e-6)
            head = BayesianLinearHead(x.shape[1]).update(x[:FITTED], y[:FITTED])
            found = head.labels[head.predict(x[FITTED:]).mean.argmax(1)]
            right = 100 * float((found == y[FITTED:]).double().mean())
            yield {"stage": "choose", "name": f"{size} {layers}", "size": size, "layers": layers, "accuracy": right}


def exact(data: Computed, order: int, folder: Path, average: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the row of the exact head on the layers that were chosen, or on the last averages.

    What it says of the tasks on the chosen layers is kept.
    """
    begin, layers = time.process_time(), (AVERAGE,) if average else POOLED
    stream = data.stream(order, lambda rows: data.columns(rows, *layers))
    learner, state = ExactStream(Frozen(nn.Flatten()), density=DENSITY), None
    for number, task in enumerate(stream):
        state = learner.learn(state, task, seed=number)
    prediction = join_predictions([learner.predict(state, task.test.x) for task in stream])
    if not average:
        torch.save(prediction.log_evidence, folder / f"evidence-{order}.pt")
    stage = "exact_average" if average else "exact"
    row = {"stage": stage, "name": f"{stage} {order}", "order": order, **counts(data), **scores(prediction, stream)}
    memory = memory_of(state)
    yield {**row, "beta": 1.0, "megabytes": memory.head.num_bytes / 1e6, "cpu_seconds": time.process_time() - begin}


def pixels(data: Computed, order: int) -> Iterator[dict[str, Any]]:
    """Yield the row of linear discriminants on the pixels."""
    begin = time.process_time()
    stream = data.stream(order, lambda rows: data.x[rows])
    learner, state = ExactStream(Frozen(nn.Flatten()), head="gaussian", density=DENSITY), None
    for number, task in enumerate(stream):
        state = learner.learn(state, task, seed=number)
    prediction = join_predictions([learner.predict(state, task.test.x) for task in stream])
    row = {"stage": "pixels", "name": f"pixels {order}", "order": order, **counts(data), **scores(prediction, stream)}
    memory = memory_of(state)
    yield {**row, "beta": 1.0, "megabytes": memory.head.num_bytes / 1e6, "cpu_seconds": time.process_time() - begin}


def counts(data: Computed) -> dict[str, int]:
    """Return the numbers of images."""
    return {"train": len(data.train), "test": len(data.test)}


def last_layer(training: Training) -> Separate:
    """Return the learner of mean-field posteriors over a last layer for each task."""
    return Separate(
        adapt(new_layer(), "last_layer"), MeanFieldWeights(), training=training, num_samples=100, density=DENSITY
    )


def new_layer() -> nn.Module:
    """Return the last layer alone, over averages of 1,280 channels."""
    return nn.Sequential(nn.Linear(WIDTHS[AVERAGE], 2))


def tune(data: Computed, order: int, lr: float) -> Iterator[dict[str, Any]]:
    """Yield the NLL of validation examples of the first task at a learning rate."""
    task = data.stream(order, lambda rows: data.columns(rows, AVERAGE), 0.2)[0]
    learner = last_layer(Training(steps=1000, batch_size=128, lr=lr, num_particles=4))
    nll = validated(learner, task)
    yield {"stage": "tune", "name": f"tune {lr}", "lr": lr, "nll": nll}


def tune_lora(data: Computed, order: int, lr: float) -> Iterator[dict[str, Any]]:
    """Yield the NLL of validation examples of the first task under generated adapters, at a learning rate."""
    task = data.stream(order, lambda rows: maps(data, rows), 0.2)[0]
    yield {"stage": "tune_lora", "name": f"tune_lora {lr}", "lr": lr, "nll": validated(adapters(lr), task)}


def validated(learner: Any, task: Task) -> float:
    """Return the NLL of validation examples after learning the task."""
    probs = learner.predict(learner.learn(None, task), task.validation.x, 0).mean
    return float(metrics.nll(probs, task.validation.y))


def maps(data: Computed, rows: Tensor) -> Tensor:
    """Return the maps of the last block, ``(N, 320, 3, 3)``."""
    return data.columns(rows, MAPS).reshape(len(rows), 320, SIZE // 32, -1)


def adapters(lr: float) -> PosteriorReplay:
    """Return the learner of one hypernetwork that makes a posterior over adapters for each task."""
    torch.manual_seed(0)
    net = adapt(Rest(load_lite0()), "lora", rank=4, layers="_conv_head", select="_fc.*").eval()
    training = Training(steps=200, batch_size=64, lr=lr, num_particles=1)
    builder = ImplicitGenerator(latent_size=8, hidden_layers=(32,))
    return PosteriorReplay(net, builder, training=training, num_samples=20, density=replace(DENSITY, grid=1))


def scores(prediction: StreamPrediction, stream: Any) -> dict[str, float]:
    """Return the numbers of predictions for the test examples of all tasks, in order."""
    right = torch.cat([torch.tensor(t.labels)[t.test.y] for t in stream])
    task = torch.cat([torch.full((len(t.test),), n) for n, t in enumerate(stream)])
    own, y = prediction.means[torch.arange(len(task)), task], torch.cat([t.test.y for t in stream])
    probs, column = prediction.label_probs(), torch.searchsorted(prediction.all_labels, right)
    return {
        "accuracy": 100 * float(metrics.accuracy(probs, column)),
        "task_given": 100 * float(metrics.accuracy(own, y)),
        "task_accuracy": 100 * float((prediction.task() == task).double().mean()),
        "nll": float(metrics.nll(probs, column)),
        "nll_given": float(metrics.nll(own, y)),
        "brier": float(metrics.brier(probs, column)),
        "ece": 100 * float(metrics.ece(probs, column)),
    }


def beside(parts: Any, evidence: Tensor, stream: Any, learner: Any, state: Any) -> dict[str, Any]:
    """Return the numbers of posteriors of each task, with the task given or with its probability by the exact head."""
    prediction = join_predictions(parts)
    return {
        **scores(replace(prediction, log_evidence=evidence), stream),
        "accuracy_by_density": scores(prediction, stream)["accuracy"],
        "beta": learner.training.beta,
        "weights": state.net.weight_spec.numel,
        "megabytes": sum(t.numel() * t.element_size() for t in state.posterior.state_dict().values()) / 1e6,
    }


def tasks(data: Computed, order: int, lr: float, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the row of a last layer for each task."""
    begin = time.process_time()
    stream = data.stream(order, lambda rows: data.columns(rows, AVERAGE))
    learner, state = last_layer(Training(steps=1000, batch_size=128, lr=lr, num_particles=4)), None
    for number, task in enumerate(stream):
        state = learner.learn(state, task, seed=number)
    state.save(folder / f"last-layer-{order}")
    cpu = time.process_time() - begin
    row = {
        "stage": "last_layer",
        "name": f"last_layer {order}",
        "order": order,
        **counts(data),
        "lr": lr,
        "cpu_seconds": cpu,
    }
    parts = [learner.predict(state, task.test.x) for task in stream]
    evidence = torch.load(folder / f"evidence-{order}.pt", weights_only=True)
    yield {**row, **beside(parts, evidence, stream, learner, state)}


def lora(data: Computed, order: int, lr: float, folder: Path) -> Iterator[dict[str, Any]]:
    """Learn the next task by the hypernetwork of adapters, or yield its row after the last one."""
    learner, stream = adapters(lr), data.stream(order, lambda rows: maps(data, rows))
    saved = folder / f"lora-{order}"
    state = load_state(saved, learner=learner) if saved.exists() else None
    done = 0 if state is None else state.num_tasks
    if done < len(stream):
        learner.learn(state, stream[done], seed=done).save(saved)
        return
    few = [replace(task, test=task.test.select(slice(FEW))) for task in stream]
    parts = [learner.predict(state, task.test.x) for task in few]
    whole = torch.load(folder / f"evidence-{order}.pt", weights_only=True)
    split = whole.split([len(task.test) for task in stream])
    evidence = torch.cat([part[:FEW] for part in split])
    row = {"stage": "lora", "name": f"lora {order}", "order": order, **counts(data), "lr": lr, "few": len(evidence)}
    yield {**row, **beside(parts, evidence, few, learner, state)}


def timing(repeats: int = 5, count: int = 64) -> Iterator[dict[str, Any]]:
    """Yield the times of predictions by 100 draws in passes of the plain module, the two in turn."""
    torch.manual_seed(0)
    x = torch.rand(count, 784)
    cases = {
        "last_layer": lambda net: adapt(net, "last_layer"),
        "lora_last": lambda net: adapt(net, "lora", layers="net._fc", rank=1),
        "lora": lambda net: adapt(net, "lora", rank=4, layers="net._conv_head", select="net._fc.*"),
    }
    for name, build in cases.items():
        plain = Classifier(load_lite0()).eval()
        net = build(plain).eval()
        predictive = Predictive(MeanFieldGuide(net), net, Categorical(), num_samples=100)
        each = [passes(plain, predictive, x) for _ in range(repeats + 1)][1:]  # the first one warms up
        whole, parts = ([pair[i] for pair in each] for i in range(2))
        found = {
            "passes": statistics.median(whole),
            "passes_16": statistics.median(parts),
            "each": each,
            "images": count,
        }
        yield {"stage": "time", "name": f"time {name}", "kind": name, "weights": net.weight_spec.numel, **found}


def passes(plain: nn.Module, predictive: Predictive, x: Tensor) -> tuple[float, float]:
    """Return the time of predictions in passes of the plain module, of all images at once and of 16 at a time."""
    whole, parts = seconds(lambda: plain(x)), seconds(lambda: [plain(part) for part in x.split(16)])
    own = seconds(lambda: predictive(x))
    return own / whole, own / parts


@torch.no_grad()
def seconds(function: Callable[[], Any]) -> float:
    """Return the processor time of a call."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def main() -> None:
    """Append the rows of a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument(
        "stage",
        choices=["choose", "pixels", "exact", "exact_average", "tune", "tune_lora", "last_layer", "lora", "time"],
    )
    parser.add_argument("--order", type=int, default=0)
    parser.add_argument("--lr", type=float, default=3e-3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.stage == "time":
        rows = timing()
    elif given.stage == "choose":
        rows = choose(given.data_dir, given.folder)
    else:
        data = Computed(given.data_dir, given.folder)
        rows = {
            "pixels": lambda: pixels(data, given.order),
            "exact": lambda: exact(data, given.order, given.folder),
            "exact_average": lambda: exact(data, given.order, given.folder, average=True),
            "tune": lambda: tune(data, given.order, given.lr),
            "tune_lora": lambda: tune_lora(data, given.order, given.lr),
            "last_layer": lambda: tasks(data, given.order, given.lr, given.folder),
            "lora": lambda: lora(data, given.order, given.lr, given.folder),
        }[given.stage]()
    for row in rows:
        with given.results.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
