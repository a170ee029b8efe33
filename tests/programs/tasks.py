"""Tasks in sequence with a network and data of one's own; inputs whose task is unknown; the state in a folder."""

from pathlib import Path

import torch
from torch import Tensor, nn

from bayeshnet.builders import ImplicitGenerator
from bayeshnet.continual import LearnerState, PosteriorReplay, Split, Task, Training, load_state


def make_task(number: int) -> Task:
    """Make two classes around a center of their own in eight dimensions."""
    generator = torch.Generator().manual_seed(number)
    x = 0.5 * torch.randn(100, 8, generator=generator) + 2 * torch.eye(8)[number]
    y = (x[:, 7] > 0).long()
    return Task(f"task {number}", Split(x[:80], y[:80]), Split(x[80:], y[80:]), num_outputs=2)


def main(folder: Path, steps: int = 100) -> Tensor:
    """Learn three tasks and return the labels of the second one's inputs."""
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))
    learner = PosteriorReplay(net, ImplicitGenerator(latent_size=4), training=Training(steps=steps, beta=0.1))
    state: LearnerState | None = None
    for number in range(3):
        state = learner.learn(state, make_task(number), seed=number)
    assert state is not None
    x = make_task(1).test.x
    assert isinstance(x, Tensor)
    given = learner.predict(state, x, task_id=1)
    means: Tensor = given.mean
    print(means.shape, given.total.mean(), given.epistemic.mean())
    inferred = learner.predict(state, x)
    labels: Tensor = inferred.label()
    print(inferred.task_posterior().mean(0), inferred.task(), inferred.mean().shape)
    weights: Tensor = state.posterior.rsample((10,), cond_id=1)
    networks: list[nn.Module] = state.posterior.sample_networks(net, 2, cond_id=1)
    print(weights.shape, len(networks))
    state.save(folder)
    again = load_state(folder)
    again = again.learner.learn(again, make_task(3), seed=3)
    print(again.labels)
    return labels
