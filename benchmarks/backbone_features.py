"""Features of Fashion-MNIST by a trained backbone, computed once and kept in a file.

Usage: ``python benchmarks/backbone_features.py DATA_DIR FEATURES_DIR [--size 96] [--limit N]``.
Images that were computed before are not computed again, so that the command may be ended and given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from backbone_network import LAYERS, SIZE, Classifier, load_lite0
from torch import Tensor

from bayeshnet.data import split_fashion_mnist
from bayeshnet.features import Frozen

CHUNK = 500


def images(data_dir: Path) -> tuple[Tensor, Tensor, int]:
    """Return all images and labels, training images first and in a drawn order, and the number of these."""
    stream = split_fashion_mnist(data_dir, validation_fraction=0.0)
    found = []
    for part in ("train", "test"):
        splits = [(task, getattr(task, part)) for task in stream]
        x = torch.cat([split.x for _, split in splits])
        y = torch.cat([torch.tensor(task.labels)[split.y] for task, split in splits])
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        found.append((x[order], y[order]))
    (x, y), (other_x, other_y) = found
    return torch.cat([x, other_x]), torch.cat([y, other_y]), len(x)


def features(folder: Path, size: int, count: int, width: int, mode: str = "r+") -> np.memmap:
    """Return the file of features, which is made if it does not exist."""
    path = folder / f"lite0-{size}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(path, "w+", np.float16, (count, width)).flush()
        (folder / f"lite0-{size}.done").touch()
    return np.lib.format.open_memmap(path, mode)


def main() -> None:
    """Compute the features that are missing, of test images first and then of training images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--limit", type=int, default=None, help="training images, all by default")
    parser.add_argument("--no-test", action="store_true", help="leave the test images out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x, _, num_train = images(arguments.data_dir)
    settings = Frozen(
        Classifier(load_lite0(), size=arguments.size), at=LAYERS, pool=(2, 2, 2, None), dtype=torch.bfloat16
    )
    trunk = settings.build((784,))
    file = features(arguments.folder, arguments.size, len(x), trunk.num_features)
    record = arguments.folder / f"lite0-{arguments.size}.done"
    done = {int(line) for line in record.read_text().split()}
    last = num_train if arguments.limit is None else min(num_train, arguments.limit)
    starts = [*range(0, last, CHUNK)]
    if not arguments.no_test:
        starts = [*range(num_train, len(x), CHUNK), *starts]
    for start in starts:
        if start not in done:
            with torch.no_grad():
                file[start : start + CHUNK] = trunk.outputs(x[start : start + CHUNK]).half().numpy()
            file.flush()
            with record.open("a") as log:
                log.write(f"{start}\n")


if __name__ == "__main__":
    main()
