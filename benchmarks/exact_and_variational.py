"""Posteriors of weights beside the exact head, on the same frozen features of Split Fashion-MNIST: a table.

Usage: ``python benchmarks/exact_and_variational.py DATA_DIR RESULTS.jsonl [--order 0] [--examples 2000] [--rows ...]``.
A line of the file is a row of the table; rows that are there are not computed again. Linear layers with posteriors
stand on the features of 20 patch filters. Their prior's scale is chosen by a quarter of the examples of
the first task, held out of training. Few examples per task are the case in which unknown weights matter most.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from exact_stream import IMAGE, class_order

from bayeshnet import metrics
from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, MLPNetwork, PointWeights
from bayeshnet.continual import DensitySettings, ExactStream, PosteriorReplay, Separate, Split, Task, Training
from bayeshnet.continual.exact_stream.learner import memory_of
from bayeshnet.data import split_fashion_mnist
from bayeshnet.features import Frozen, PatchFilters
from bayeshnet.guides import HypernetGuide
from bayeshnet.inference import Predictive

DENSITY = DensitySettings(num_parts=1, num_components=1)
SCALES = (1.0, 5.0, 25.0)
NUM_DRAWS, JOINT = 100, 2000
TRAINING = Training(steps=400, batch_size=128, lr=5e-3, num_particles=4, num_samples=6, beta=1.0, local_noise=True)
PLAIN = Training(steps=400, batch_size=128, lr=5e-3, num_particles=1, num_samples=1, beta=1.0)


def learners(scale):
    """Return the learners of the rows for a scale of the prior of the linear layer."""
    linear, common = MLPNetwork(()), {"density": DENSITY, "num_samples": NUM_DRAWS}
    implicit = ImplicitGenerator(
        latent_size=8, hidden_layers=(32,), sigma="generated", sigma_init=0.3, init_std=0.3, last_gain=scale
    )
    return {
        "point": Separate(linear, PointWeights(last_gain=scale), training=PLAIN, **common),
        "mean-field": Separate(linear, MeanFieldWeights(sigma=0.3, last_gain=scale), training=TRAINING, **common),
        "hypernetwork": PosteriorReplay(linear, implicit, training=TRAINING, **common),
    }


def on_features(features, x):
    """Return the features of inputs, computed in chunks."""
    return torch.cat([features(part) for part in x.split(1000)])


def featured(task, features):
    """Return a task whose inputs are the features of those of ``task``."""
    train, test = (Split(on_features(features, split.x), split.y) for split in (task.train, task.test))
    return Task(task.name, train, test, task.num_outputs, labels=task.labels)


def chosen_scale(name, task):
    """Return the scale of the prior with the lowest NLL of held-out examples, a quarter of the first task's."""
    count = len(task.train) // 4
    some = Split(task.train.x[:-count], task.train.y[:-count])
    x, y = task.train.x[-count:], task.train.y[-count:]
    losses = {}
    for scale in SCALES:
        learner = learners(scale)[name]
        state = learner.learn(None, Task(task.name, some, task.test, 2))
        losses[scale] = float(metrics.nll(learner.predict(state, x, 0).mean, y))
    return min(losses, key=losses.get)


def under_draws(learner, state, x, number):
    """Return the probabilities of a task's classes under each draw of the weights, ``(S, N, 2)``."""
    guide = HypernetGuide(learner.predictive_posterior(state), learner.estimator).condition(number)
    predictive = Predictive(guide, learner.task_network(state, number), state.likelihood, num_samples=NUM_DRAWS)
    return predictive(x, generator=torch.Generator().manual_seed(0), keep_samples=True).samples


def exact_draws(head, x):
    """Return the probabilities of all classes under draws of the exact posterior of the weights, ``(S, N, 10)``."""
    fit, generator = head.fit(), torch.Generator().manual_seed(0)
    wide, std = torch.nn.functional.pad(x.double(), (0, 1), value=1.0), fit.noise.sqrt()
    draws = []
    for _ in range(NUM_DRAWS):
        noise = torch.randn(fit.weight.shape, generator=generator, dtype=torch.float64)
        weight = fit.weight + std * torch.linalg.solve_triangular(fit.factor.T, noise, upper=True)
        draws.append((head.beta * (wide @ weight - 0.5) / std).softmax(1))
    return torch.stack(draws)


def judged(found, y, task, samples, doubt, foreign):
    """Return the numbers of a row.

    Args:
        found: log-probabilities of tasks ``(N, T)``, and probabilities of the classes of each ``(N, T, 2)``.
        y: right columns of all classes, ``(N,)``.
        task: right tasks.
        samples: probabilities of all classes under draws, for the examples of the joint predictions.
        doubt: entropy of all classes and epistemic part, of test examples.
        foreign: the same for each set of foreign inputs.
    """
    log_task, means = found
    probs = (log_task.exp().unsqueeze(-1) * means).flatten(1)
    given = means[torch.arange(len(y)), task].argmax(1) == y % 2
    areas = [[float(metrics.auroc(k, f)) for k, f in zip(doubt, each, strict=True)] for each in foreign]
    by_entropy, by_epistemic = (100 * sum(column) / len(areas) for column in zip(*areas, strict=True))
    some = y[:: len(y) // JOINT]
    joint = [
        float(metrics.joint_nll(draws, some, 10, generator=torch.Generator().manual_seed(0)))
        for draws in (samples, samples.mean(0, keepdim=True))
    ]
    return {
        "accuracy": 100 * float((probs.argmax(1) == y).double().mean()),
        "task_given": 100 * float(given.double().mean()),
        "nll": float(metrics.nll(probs, y)),
        "ece": 100 * float(metrics.ece(probs, y)),
        "foreign_entropy": by_entropy,
        "foreign_epistemic": by_epistemic,
        "joint_nll": joint[0],
        "joint_nll_of_means": joint[1],
    }


def entropy(probs):
    """Return the entropy of the last axis."""
    return torch.special.entr(probs).sum(-1)


def main():
    """Compute the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--order", type=int, default=0)
    parser.add_argument("--examples", type=int, default=2000, help="training examples of each task")
    parser.add_argument("--rows", nargs="+", default=["exact", "point", "mean-field", "hypernetwork"])
    arguments = parser.parse_args()
    lines = arguments.results.read_text().splitlines() if arguments.results.exists() else []
    setting = {"order": arguments.order, "examples": arguments.examples}
    done = {line["row"] for line in map(json.loads, lines) if setting.items() <= line.items()}
    missing = [row for row in arguments.rows if row not in done]
    if not missing:
        return
    stream = split_fashion_mnist(arguments.data_dir, order=class_order(arguments.order), max_train=arguments.examples)
    filters = PatchFilters(20, patch_size=(4, 7, 11), grid=4, mirror=True, image_shape=IMAGE)
    features = filters.fit(stream[0].train.x, layout=stream[0].layout)
    tasks = [featured(task, features) for task in stream]
    x = torch.cat([task.test.x for task in tasks])
    task = torch.cat([torch.full((len(t.test),), n) for n, t in enumerate(tasks)])
    y = 2 * task + torch.cat([t.test.y for t in tasks])
    sets = [on_features(features, some) for some in stream.outliers.values()]
    step, exact, state = len(x) // JOINT, ExactStream(Frozen(torch.nn.Identity()), density=DENSITY), None
    for number, each in enumerate(tasks):
        state = exact.learn(state, each, seed=number)
    memory = memory_of(state)
    head = memory.head
    columns = torch.searchsorted(head.labels, torch.tensor([label for t in tasks for label in t.labels]))

    def exact_of(inputs):
        prediction = exact.predict(state, inputs)
        probs = (prediction.task_log_prob.exp().unsqueeze(-1) * prediction.means).flatten(1)
        leverage = head.predict(memory.features(inputs)).leverage
        return (prediction.task_log_prob, prediction.means), (entropy(probs), leverage)

    known, foreign = exact_of(x), [exact_of(some) for some in sets]
    for row in missing:
        begin = time.process_time()
        if row == "exact":
            samples, scale = exact_draws(head, memory.features(x[::step]))[:, :, columns], None
            numbers = judged(known[0], y, task, samples, known[1], [f[1] for f in foreign])
        else:
            scale = chosen_scale(row, tasks[0])
            learner, own = learners(scale)[row], None
            for number, each in enumerate(tasks):
                own = learner.learn(own, each, seed=number)

            def composed(inputs, log_task, learner=learner, own=own):
                found = learner.predict_each(own, inputs)
                means, inferred = found.means, log_task.argmax(1)
                epistemic = torch.stack([p.epistemic for p in found.predictions], 1)
                probs = (log_task.exp().unsqueeze(-1) * means).flatten(1)
                return means, (entropy(probs), epistemic.gather(1, inferred.unsqueeze(1)).squeeze(1))

            means, doubt = composed(x, known[0][0])
            others = [composed(some, f[0][0])[1] for some, f in zip(sets, foreign, strict=True)]
            draws = torch.stack([under_draws(learner, own, x[::step], n) for n in range(len(tasks))], 2)
            samples = (known[0][0][::step].exp().unsqueeze(-1) * draws).flatten(2)
            numbers = judged((known[0][0], means), y, task, samples, doubt, others)
            alone = [entropy(means[:, n]) for n in range(len(tasks))]
            found = torch.stack(alone, 1).argmin(1)
            right = (found == task) & (means[torch.arange(len(y)), found].argmax(1) == y % 2)
            numbers["accuracy_alone"] = 100 * float(right.double().mean())
        numbers |= {"row": row, **setting, "scale": scale, "cpu_seconds": time.process_time() - begin}
        with arguments.results.open("a") as file:
            file.write(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    main()
