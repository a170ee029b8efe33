"""Doors of :mod:`bayeshnet.data`; those that read files read small ones, which are written first."""

from __future__ import annotations

import inspect
import pickle
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from bayeshnet import data
from bayeshnet.data.idx import FILES
from bayeshnet.tasks import Split, Task, TaskStream
from tests.support.doors import Door

_X, _Y = torch.rand(12, 4), torch.arange(12) % 3
_IMAGES = Split(torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 1, 0]))
_TASK = Task("images", _IMAGES, _IMAGES, 2)
_FOLDER = tempfile.TemporaryDirectory()


@cache
def _files() -> str:
    """Write MNIST and CIFAR of a few noisy examples and return their folder."""
    folder, draw = Path(_FOLDER.name), np.random.default_rng(0)
    for key, name in FILES.items():
        array = draw.integers(0, 255, (20, 6, 6)) if key.startswith("x") else np.arange(20) % 10
        head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / name).write_bytes(head + array.astype(np.uint8).tobytes())
    tens = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for kind, names, key, count in (
        ("cifar-10-batches-py", tens, "labels", 10),
        ("cifar-100-python", ["train", "test"], "fine_labels", 100),
    ):
        (folder / kind).mkdir()
        for name in names:
            batch = {"data": draw.integers(0, 255, (count, 3072), dtype=np.uint8), key: list(range(count))}
            (folder / kind / name).write_bytes(pickle.dumps(batch))
    return str(folder)


@cache
def _images() -> str:
    """Write two folders of four images and return the folder that holds them."""
    folder, draw = Path(_FOLDER.name) / "images", np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(draw.integers(0, 255, (5, 6, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return str(folder)


def _benchmark() -> SimpleNamespace:
    streams = [[SimpleNamespace(dataset=TensorDataset(_X, _Y))] for _ in range(2)]
    return SimpleNamespace(train_stream=streams[0], test_stream=streams[1])


def _tensors(stream: TaskStream) -> list[torch.Tensor]:
    parts = [split for task in stream for split in task.splits().values()]
    return [*(part.x for part in parts), *(part.y for part in parts), *stream.outliers.values()]


def _stream(builder: Callable[..., TaskStream], **given: Any) -> Door:
    """Return the door of a builder, whose other arguments have their defaults."""
    parameters = inspect.signature(builder).parameters.items()
    defaults = {name: p.default for name, p in parameters if p.default is not p.empty}
    reads = "data_dir" in defaults
    return Door(
        lambda: {**defaults, **given, **({"data_dir": _files()} if reads else {})},
        random=True,
        read=_tensors,
        also=(FileNotFoundError,) if reads else (),
    )


DOORS: dict[str, Door] = {
    "ArrayRows": Door({"x": np.zeros((3, 2), dtype=np.float32), "y": [0, 1, 0], "tokens": False}),
    "DictRows": Door({"rows": [{"image": [0.5], "label": 1}], "x": "image", "y": "label", "transform": None}),
    "FolderImages": Door(
        lambda: {"folder": _images(), "image_size": (4, 4), "grayscale": True}, also=(FileNotFoundError,)
    ),
    "StreamEntry": Door({"builder": data.modes2d, "description": "modes"}),
    "class_order": Door({"available": [0, 1, 2], "order": [2, 0], "seed": 0}),
    "drawn_options": Door({"name": "modes2d", "seed": 3, "given": {}}),
    "from_arrays": _stream(data.from_arrays, tasks=[(_X, _Y), (_X, _Y)], names=["a", "b"], info={"a": 1}),
    "from_avalanche": Door(
        lambda: {"benchmark": _benchmark(), "scenario": "class", "name": "experiences"}, read=lambda stream: ()
    ),
    "from_datasets": _stream(
        data.from_datasets, datasets=[TensorDataset(_X, _Y)], in_memory=True, test_datasets=[TensorDataset(_X, _Y)]
    ),
    "get_stream": Door({"name": "modes2d", "num_tasks": 2}, read=_tensors, random=True),
    "image_folder": Door(
        lambda: {
            "data_dir": _images(),
            "num_tasks": 1,
            "classes_per_task": 2,
            "order": [1, 0],
            "scenario": "class",
            "image_size": (4, 4),
            "grayscale": True,
            "test_fraction": 0.5,
            "validation_fraction": 0.0,
            "max_train": 2,
            "max_test": 2,
            "data_seed": 0,
        },
        also=(FileNotFoundError,),
        read=lambda stream: (),
    ),
    "image_outliers": Door({"x": torch.rand(3, 4), "most": 2, "seed": 0}, random=True),
    "load_cifar": Door(lambda: {"data_dir": _files(), "classes": 10}, also=(FileNotFoundError,)),
    "load_digits": Door({}),
    "load_idx_folder": Door(lambda: {"folder": _files()}, also=(FileNotFoundError,)),
    "modes2d": _stream(data.modes2d, order=[0, 1]),
    "permuted": _stream(data.permuted, task=_TASK, num_tasks=2, order=[1, 0], outliers={"noise": _IMAGES.x}),
    "permuted_digits": _stream(data.permuted_digits, num_tasks=2, max_train=20, max_test=10),
    "permuted_fashion_mnist": _stream(data.permuted_fashion_mnist, num_tasks=2),
    "permuted_mnist": _stream(data.permuted_mnist, num_tasks=2),
    "read_idx": Door(lambda: {"path": f"{_files()}/{FILES['x']}"}, also=(FileNotFoundError,)),
    "regression1d": _stream(data.regression1d, order=[0, 1]),
    "rotated": _stream(data.rotated, task=_TASK, angles=(0.0, 45.0), image_shape=(1, 4, 4)),
    "rotated_digits": _stream(data.rotated_digits, angles=(0.0,), max_train=20, max_test=10),
    "split_by_class": _stream(
        data.split_by_class, x=_X, y=_Y, x_test=_X, y_test=_Y, num_tasks=1, order=[2, 0, 1], class_names=["a", "b", "c"]
    ),
    "split_cifar10": _stream(data.split_cifar10),
    "split_cifar100": _stream(data.split_cifar100),
    "split_dataset": _stream(
        data.split_dataset,
        dataset=TensorDataset(_X, _Y),
        test_dataset=TensorDataset(_X, _Y),
        in_memory=True,
        classes_per_task=1,
    ),
    "split_digits": _stream(data.split_digits, max_train=20, max_test=10),
    "split_fashion_mnist": _stream(data.split_fashion_mnist),
    "split_mnist": _stream(data.split_mnist),
    "stream_options": Door({"name": "modes2d"}),
}
