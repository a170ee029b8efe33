"""A stream of 100,000 examples in batches of 10, without tasks: cost and memory per batch, and the answer of one batch.

Usage: ``python benchmarks/exact_batches.py RESULTS.json``. The classes, twenty Gaussians in twenty dimensions, come one
after the other. Times are of the process, in the median over the batches of each tenth of the stream.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from bayeshnet.continual import ExactStream
from bayeshnet.continual.exact_stream.learner import memory_of
from bayeshnet.features import RandomFourier

EXAMPLES, BATCH, FIRST, CLASSES, SIZE, FEATURES = 100_000, 10, 1_000, 20, 20, 300


def make_stream():
    """Return inputs and classes, of which the classes come in blocks after a first batch of all of them."""
    generator = torch.Generator().manual_seed(0)
    centers = 1.5 * torch.randn(CLASSES, SIZE, generator=generator, dtype=torch.float64)
    y = torch.cat(
        [torch.randint(CLASSES, (FIRST,), generator=generator), torch.arange(EXAMPLES - FIRST) * CLASSES // EXAMPLES]
    )
    return centers[y] + torch.randn(EXAMPLES, SIZE, generator=generator, dtype=torch.float64), y


def main():
    """Learn the stream twice and write the numbers."""
    torch.set_num_threads(1)
    x, y = make_stream()
    learner = ExactStream(RandomFourier(FEATURES))
    state = learner.update(None, x[:FIRST], y[:FIRST])
    whole, times, sizes = copy.deepcopy(state), [], []
    for a, b in zip(x[FIRST:].split(BATCH), y[FIRST:].split(BATCH), strict=True):
        begin = time.process_time()
        learner.update(state, a, b)
        times.append(time.process_time() - begin)
        sizes.append(memory_of(state).num_bytes)
    learner.update(whole, x[FIRST:], y[FIRST:])
    first, second = (memory_of(s).head for s in (state, whole))
    features = memory_of(state).features(x[::100])
    means = [head.predict(features).mean for head in (first, second)]
    tenth = len(times) // 10
    result = {
        "milliseconds": [1e3 * statistics.median(times[i * tenth : (i + 1) * tenth]) for i in range(10)],
        "mean_milliseconds": [1e3 * statistics.mean(times[i * tenth : (i + 1) * tenth]) for i in range(10)],
        "megabytes": [sizes[(i + 1) * tenth - 1] / 1e6 for i in range(10)],
        "difference": float((means[0] - means[1]).abs().max()),
        "beta": [first.beta, second.beta],
        "agreement": 100 * float((means[0].argmax(1) == means[1].argmax(1)).double().mean()),
    }
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
