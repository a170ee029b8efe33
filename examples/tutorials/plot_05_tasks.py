"""
Learn tasks in sequence
=======================

Tasks come one after the other, and old data are gone.
:class:`~bayeshnet.continual.PosteriorReplay` keeps a posterior for each task, all of
them made by one hypernetwork. A regularizer holds its outputs for old tasks where they
were.
"""

# %%
# Three tasks in the plane
# ------------------------
# Each task has two classes in a part of the plane of its own.

import matplotlib.pyplot as plt
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator
from bayeshnet.continual import PosteriorReplay, Split, Task, TaskStream, Training

CENTERS = torch.tensor([[-3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])


def make_task(number: int) -> Task:
    """Two classes above and below the center of the task."""
    generator = torch.Generator().manual_seed(number)
    x = CENTERS[number] + 0.7 * torch.randn(200, 2, generator=generator)
    y = (x[:, 1] > CENTERS[number, 1]).long()
    return Task(
        f"task {number}",
        Split(x[:150], y[:150]),
        Split(x[150:], y[150:]),
        num_outputs=2,
    )


tasks = TaskStream([make_task(number) for number in range(3)], "three in the plane")

# %%
# Learning
# --------
net = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 2))
learner = PosteriorReplay(
    net, ImplicitGenerator(latent_size=4), training=Training(steps=300, beta=0.1)
)
state, accuracy = None, torch.full((3, 3), torch.nan)
for after, task in enumerate(tasks):
    state = learner.learn(state, task, seed=after)
    for number in range(after + 1):
        test = tasks[number].test
        prediction = learner.predict(state, test.x, task_id=number)
        accuracy[after, number] = (prediction.label == test.y).float().mean()
print(accuracy)

# %%
# Which task does an input belong to?
# -----------------------------------
# Where the task is not said, it is inferred: from the uncertainty of the predictions
# under each task, and from a density of the inputs of each task.

side = torch.linspace(-6, 6, 60)
points = torch.cartesian_prod(side, side)
inferred = learner.predict(state, points)
probability = inferred.task_posterior().reshape(60, 60, 3)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="constrained")
for number, ax in enumerate(axes):
    ax.contourf(
        side, side, probability[:, :, number].T, levels=10, cmap="Blues", vmin=0, vmax=1
    )
    for other, task in enumerate(tasks):
        ax.scatter(
            *task.train.x.T,
            c=task.train.y,
            cmap="coolwarm",
            s=5,
            alpha=1.0 if other == number else 0.15,
        )
    ax.set_title(f"probability of task {number}")

# %%
# Without protection
# ------------------
# The same tasks, learned by one posterior that goes on from task to task, are
# forgotten.

from bayeshnet.continual import FineTuning, SharedHead

forgetful = FineTuning(
    net,
    ImplicitGenerator(latent_size=4),
    heads=SharedHead(),
    training=Training(steps=300, beta=0.1),
)
lost = None
for after, task in enumerate(tasks):
    lost = forgetful.learn(lost, task, seed=after)
shares = [
    (forgetful.predict(lost, t.test.x, task_id=i).label == t.test.y).float().mean()
    for i, t in enumerate(tasks)
]
print("fine-tuning:", [round(share.item(), 2) for share in shares])
