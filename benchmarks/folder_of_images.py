"""Memory of learning a folder of many images, beside that of the imports.

``python benchmarks/folder_of_images.py --images 200000`` writes so many small images into a temporary folder (or uses
``--folder``), learns and assesses them in a process of its own, and prints the largest resident memory by phase.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE = 16


def write(folder: Path, images: int, classes: int) -> None:
    """Write images of noise, brighter in later classes, as uncompressed files."""
    draw = np.random.default_rng(0)
    for label in range(classes):
        place = folder / f"class-{label:02d}"
        place.mkdir(parents=True)
        head = f"P6 {SIDE} {SIDE} 255\n".encode()
        for number in range(images // classes):
            pixels = draw.integers(0, 60, (SIDE, SIDE, 3)) + (180 * label) // classes
            (place / f"{number}.ppm").write_bytes(head + pixels.astype(np.uint8).tobytes())


def megabytes() -> float:
    """Return the largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def learn(folder: Path, steps: int, workers: int) -> dict[str, float]:
    """Learn and assess all tasks; return seconds and memory by phase."""
    from bayeshnet.builders import ConvNetwork, MeanFieldWeights
    from bayeshnet.continual import Separate, Training
    from bayeshnet.data import image_folder
    from bayeshnet.runs.results.assessment import assess

    found, begin = {"import [MB]": megabytes()}, time.perf_counter()
    stream = image_folder(folder)
    found |= {"stream [MB]": megabytes(), "stream [s]": time.perf_counter() - begin}
    training = Training(steps=steps, batch_size=64, num_particles=1, num_workers=workers)
    learner, state = Separate(ConvNetwork((4,), (8,)), MeanFieldWeights(), training=training, num_samples=2), None
    for number, task in enumerate(stream):
        begin = time.perf_counter()
        state = learner.learn(state, task, seed=number)
        found |= {f"task {number + 1} [MB]": megabytes(), f"task {number + 1} [s]": time.perf_counter() - begin}
    begin = time.perf_counter()
    accuracy = assess(learner, state, stream).given
    found |= {"assessed [MB]": megabytes(), "assessed [s]": time.perf_counter() - begin}
    read = sum(len(task.train) + len(task.test) for task in stream)
    return {**found, "images": read, "accuracy [%]": 100 * sum(accuracy) / len(accuracy)}


def main() -> None:
    """Write the images if there are none, and measure in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=None, help="per task; by default one pass through its images")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="folder of images; by default a temporary one")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    steps = options.steps or max(1, options.images // options.classes * 2 * 3 // 4 // 64)
    if options.measure:
        print(json.dumps(learn(options.folder, steps, options.workers)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "images"
        if not folder.exists():
            write(folder, options.images, options.classes)
        words = ["--measure", "--folder", str(folder), "--steps", str(steps), "--workers", str(options.workers)]
        done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    for name, value in json.loads(done.stdout).items():
        print(f"{name:20s} {value:12.1f}")


if __name__ == "__main__":
    main()
