"""Costs of a run, and data drawn by its seed."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, MLPNetwork
from bayeshnet.continual import Coreset, ExperienceReplay, PosteriorReplay, Training
from bayeshnet.data import STREAMS, drawn_options, get_stream, modes2d
from bayeshnet.reports.repetitions import find_repetitions
from bayeshnet.runs import Experiment, run_experiment
from bayeshnet.runs.experiment_config import recorded_settings
from bayeshnet.runs.results.costs import measure_costs

NETWORK, POSTERIOR = MLPNetwork((4,)), ImplicitGenerator(latent_size=1, embedding_size=2, hidden_layers=(2,))


def test_costs_worked_out_by_hand():
    training = Training(steps=3, batch_size=5, num_particles=1, num_samples=1, beta=0.5)
    learner, stream, state = (
        ExperienceReplay(NETWORK, MeanFieldWeights(), training=training, memory_size=4),
        modes2d(),
        None,
    )
    for task in stream[:2]:
        state = learner.learn(state, task)
    found = measure_costs(learner, state, stream)
    size = len(stream[0].train)
    assert found["examples_stored"] == 8
    assert found["gradient_steps"] == 6
    assert found["passes"] == pytest.approx(3 * 5 / size)
    assert (found["beta"], found["scenario"]) == (0.5, "class")
    tensors = {k: t for k, t in state.state_dict().items() if not k.endswith("_extra_state")}
    assert found["bytes_stored"] == sum(t.nbytes for t in tensors.values())


def test_the_steps_after_the_last_task_count():
    training, finish = (Training(steps=n, batch_size=2, num_particles=1, num_samples=1) for n in (2, 7))
    learner = PosteriorReplay(NETWORK, POSTERIOR, training=training, coreset=Coreset(size=2, finish=finish))
    stream, state = modes2d(), None
    for task in stream[:2]:
        state = learner.learn(state, task)
    assert measure_costs(learner, state, stream)["gradient_steps"] == 2 * (2 + 7)


@pytest.mark.parametrize("name", [name for name, entry in STREAMS.items() if not entry.needs_files])
def test_the_seed_draws_the_data(name):
    """Seed 0 is the default stream; another seed is another one, the same each time."""
    default, zero = get_stream(name), get_stream(name, **drawn_options(name, 0))
    first, again = (get_stream(name, **drawn_options(name, 3)) for _ in range(2))
    same = [torch.equal(a.train.x, b.train.x) for a, b in zip(default, zero, strict=True)]
    assert all(same)
    assert all(torch.equal(a.train.x, b.train.x) for a, b in zip(first, again, strict=True))
    assert not all(
        a.train.x.shape == b.train.x.shape and torch.equal(a.train.x, b.train.x)
        for a, b in zip(default, first, strict=True)
    )


def test_the_seed_draws_the_order_of_classes_unless_the_data_have_a_seed():
    learner = ExperienceReplay(NETWORK, MeanFieldWeights())

    def labels(**settings):
        return [task.labels for task in Experiment(learner, "split-digits", **settings).stream()]

    ascending = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert labels(seed=0) == labels(seed=3, data_options={"data_seed": 0}) == ascending
    assert labels(seed=3) == labels(seed=5, data_options={"data_seed": 3, "order": "random"}) != ascending
    assert labels(seed=3, data_options={"order": [1, 0]} | {"num_tasks": 1}) == [(1, 0)]


def test_runs_of_drawn_data_are_repetitions_of_each_other():
    training = Training(steps=2, batch_size=5, num_particles=1, num_samples=1)
    learner = ExperienceReplay(NETWORK, MeanFieldWeights(), training=training, num_samples=3)
    results = [run_experiment(Experiment(learner, "modes2d", seed=seed)).result for seed in (0, 1)]
    fixed = Experiment(learner, "modes2d", seed=1, data_options={"data_seed": 0})
    assert recorded_settings(fixed)["data_options.data_seed"] == "0"
    assert results[0].settings["data_options.data_seed"] == "drawn by seed"
    assert [len(row) for row in find_repetitions(results).rows.values()] == [2]
    assert {"last_accuracy", "average_incremental_accuracy", "ece_all_classes"} <= set(results[0].final)
    assert (results[0].final["scenario"], results[0].final["gradient_steps"]) == ("class", 6)
