"""
Save, load, resume, export
==========================

What was learned is kept in files that hold tensors and text, no pickled objects. It can
be loaded in another process, learn further tasks there, and give plain networks to
programs that do not know bayeshnet.
"""

# %%
# A learner's state
# -----------------

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator
from bayeshnet.continual import PosteriorReplay, Split, Task, Training, load_state


def make_task(number: int) -> Task:
    """A line that separates two classes, in a direction of the task."""
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(number))
    y = (x @ torch.tensor([1.0, 1.0 - 2 * number]) > 0).long()
    return Task(
        f"task {number}",
        Split(x[:150], y[:150]),
        Split(x[150:], y[150:]),
        num_outputs=2,
    )


net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
learner = PosteriorReplay(
    net, ImplicitGenerator(latent_size=4), training=Training(steps=200, beta=0.1)
)
state = learner.learn(None, make_task(0), seed=0)

folder = Path(tempfile.mkdtemp()) / "state"
state.save(folder)
print(sorted(path.name for path in folder.iterdir()))

# %%
# Loading, and learning on
# ------------------------
# The state knows its learner.

again = load_state(folder)
x = make_task(0).test.x
same = torch.equal(
    again.learner.predict(again, x, 0, seed=1).mean,
    learner.predict(state, x, 0, seed=1).mean,
)
print("the same predictions:", same)
again = again.learner.learn(again, make_task(1), seed=1)
print("tasks now:", again.num_tasks)

# %%
# Networks for other programs
# ---------------------------
# A posterior gives as many networks as one asks for. They are ordinary modules, and
# their weights an ordinary ``state_dict``.

networks = again.posterior.sample_networks(
    nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)), 20, cond_id=0
)
torch.save(networks[0].state_dict(), folder / "one-network.pt")
print({name: tuple(tensor.shape) for name, tensor in networks[0].state_dict().items()})

# %%
# They agree on most inputs, and differ where they are not sure.

side = torch.linspace(-3, 3, 80)
points = torch.cartesian_prod(side, side)
with torch.no_grad():
    probability = torch.stack(
        [network(points).softmax(-1)[:, 1] for network in networks]
    )
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
for ax, values, title in zip(
    axes,
    (probability.mean(0), probability.std(0)),
    ("mean of 20 networks", "their standard deviation"),
    strict=True,
):
    shown = ax.contourf(side, side, values.reshape(80, 80).T, levels=12)
    figure.colorbar(shown, ax=ax)
    ax.set_title(title)
