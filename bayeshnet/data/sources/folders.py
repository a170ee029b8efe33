"""Folders of images, one for each class, which are read when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...checks import check_path, check_seed
from ...errors import MissingExtraError, check_flags, check_sizes, value_error
from ...tasks import Split, TaskStream
from ..by_class import tasks_by_class
from ..outliers import image_outliers
from ..reading import check_options
from ..selection import held_out
from .rows import check_mode

__all__ = ["FolderImages", "image_folder"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MOST_OUTLIERS = 200


@final
class FolderImages(Dataset[tuple[Tensor, int]]):
    """Images ``(C, H, W)`` in [0, 1] from a folder with one folder for each class, in alphabetical order.

    Only the names of the files are kept. All images have the size of the first, unless they are resized.

    Args:
        folder: path of the folder.
        image_size: ``(height, width)`` to which all images are resized bilinearly; None to refuse those of another size
            than the first.
        grayscale: True for one channel, False for three.

    Attributes:
        classes: names of the classes.
        samples: path and class index of each image.
        targets: class index of each image.

    Raises:
        MissingExtraError: if Pillow is not installed.
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no folder with images, or an image cannot be read, is of another size or has more than
            eight bits a channel; the file is named.
    """

    def __init__(self, folder: str | Path, image_size: Sequence[int] | None = None, grayscale: bool = False) -> None:
        place = check_path("folder", folder, "a folder of images")
        check_flags(grayscale=grayscale)
        self.grayscale = bool(grayscale)
        self.image_size = None if image_size is None else tuple(check_sizes("image_size", image_size, 1, 2))
        _pillow()
        if not place.is_dir():
            raise FileNotFoundError(f"folder: expected a folder with one folder for each class, got {str(place)!r}.")
        inside = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = {path.name: sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES) for path in inside}
        self.classes = [name for name, found in files.items() if found]
        if not self.classes:
            expected = f"one folder for each class, with images ({', '.join(SUFFIXES)})"
            raise value_error("folder", expected=expected, found=f"none in {str(place)!r}")
        self.samples = [(str(file), label) for label, name in enumerate(self.classes) for file in files[name]]
        self.targets = torch.tensor([label for _, label in self.samples])
        self._size = self._read(self.samples[0][0]).shape[:2] if self.image_size is None else self.image_size

    def __repr__(self) -> str:
        """Show how many images there are, of which shape and classes."""
        shape = (1 if self.grayscale else 3, *self._size)
        return f"FolderImages({len(self)} images {shape} of {len(self.classes)} classes)"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """Read one image, with the index of its class."""
        path, label = self.samples[number]
        pixels = self._read(path)
        if pixels.shape[:2] != tuple(self._size):
            expected = f"an image of {self._size[0]} x {self._size[1]} pixels, as {self.samples[0][0]!r}"
            found = f"one of {pixels.shape[0]} x {pixels.shape[1]}"
            advice = "Resize all images: image_size=(height, width)."
            raise value_error(f"file {path!r}", expected=expected, found=found, hint=advice)
        image = torch.from_numpy(pixels)
        return (image.unsqueeze(0) if self.grayscale else image.permute(2, 0, 1)).float() / 255, label

    def _read(self, path: str) -> np.ndarray:
        image_of = _pillow()
        try:
            with image_of.open(path) as file:
                mode, image = file.mode, file.convert("L" if self.grayscale else "RGB")
                if self.image_size is not None and image.size != self.image_size[::-1]:
                    image = image.resize(self.image_size[::-1], image_of.Resampling.BILINEAR)
                pixels = np.array(image)
        except (OSError, ValueError, SyntaxError, image_of.DecompressionBombError) as error:
            found = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise value_error(f"file {path!r}", expected="an image that can be read", found=found) from error
        check_mode(f"file {path!r}", mode)
        return pixels


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pillow", "images", "reading images") from None
    return Image


def image_folder(
    data_dir: str | Path,
    num_tasks: int | None = None,
    classes_per_task: int = 2,
    *,
    order: Sequence[int] | str | None = None,
    scenario: str = "class",
    image_size: Sequence[int] | None = None,
    grayscale: bool = False,
    test_fraction: float = 0.25,
    validation_fraction: float = 0.0,
    max_train: int | None = None,
    max_test: int | None = None,
    data_seed: int = 0,
) -> TaskStream:
    """Split a folder of images, one folder for each class, into tasks; images are read when they are needed.

    If the folder holds two folders ``train`` and ``test`` with the same classes, these are the training and the test
    images; else a fraction is held out. Inputs are ``(C, H, W)`` in [0, 1]. OOD inputs made of up to 200 test images,
    which stay in memory: ``noise``, ``inverted`` and ``shuffled``. Other arguments are those of
    :func:`~bayeshnet.data.split_by_class`.

    Args:
        data_dir: path of the folder.
        num_tasks: number of tasks.
        classes_per_task: number of classes of each task.
        order: order of the classes, which are numbered alphabetically.
        scenario: of the stream.
        image_size: ``(height, width)`` to which images are resized; None to refuse images of several sizes.
        grayscale: True for one channel, False for three.
        test_fraction: fraction held out for tests.
        validation_fraction: fraction of each task's training set held out.
        max_train: largest number of training examples per task.
        max_test: largest number of test examples per task.
        data_seed: seed of all random choices.
    """
    check_options(
        scenario=scenario,
        num_tasks=num_tasks,
        classes_per_task=classes_per_task,
        order=order,
        fractions={"test_fraction": test_fraction, "validation_fraction": validation_fraction},
        limits={"max_train": max_train, "max_test": max_test},
        grayscale=grayscale,
    )
    data_seed = check_seed("data_seed", data_seed)
    place = check_path("data_dir", data_dir, "a folder with one folder for each class")
    if not place.is_dir():
        raise FileNotFoundError(f"data_dir: expected a folder with one folder for each class, got {str(place)!r}.")
    parts = [place / "train", place / "test"]
    apart = all(part.is_dir() for part in parts)
    read = [FolderImages(part, image_size, grayscale) for part in (parts if apart else [place])]
    if apart and read[1].classes != read[0].classes:
        found = f"{', '.join(read[1].classes)} in test, {', '.join(read[0].classes)} in train"
        raise value_error("data_dir", expected="the same classes in train and test", found=found)
    whole = Split(read[0])
    train, test = (whole, Split(read[1])) if apart else held_out(whole, test_fraction, data_seed, "test_fraction")
    some = test.sample(_MOST_OUTLIERS, data_seed)
    return tasks_by_class(
        train,
        test,
        num_tasks=num_tasks,
        classes_per_task=classes_per_task,
        order=order,
        scenario=scenario,
        validation_fraction=validation_fraction,
        max_train=max_train,
        max_test=max_test,
        class_names=read[0].classes,
        name="folder",
        info={"image_shape": train.input_shape, "layout": "CHW"},
        outliers=image_outliers(some.x, _MOST_OUTLIERS, data_seed),
        data_seed=data_seed,
    )
