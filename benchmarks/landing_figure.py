"""The figure of the landing page: python benchmarks/landing_figure.py docs.

Three tasks of one dimension are learned one after the other by one hypernetwork. The figure shows the noise that goes
in, the weights that come out for each task, and the functions that these are, on a light and on a dark page.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor, nn

from bayeshnet.builders import ImplicitGenerator
from bayeshnet.continual import OutputRegularizer, PosteriorReplay, Split, Task, Training
from bayeshnet.functional import batched_forward

matplotlib.use("agg")
from matplotlib import pyplot as plt

COLORS = ("#3b82c4", "#e07b39", "#2f9e6e")
RANGES = ((-1.6, -0.6), (-0.5, 0.5), (0.6, 1.6))
NOISE = 0.1


def curve(x: Tensor) -> Tensor:
    """The function that all tasks show a part of."""
    return (4.2 * x + 1.48).sin() + 0.4 * x


def make_task(number: int) -> Task:
    """Sixty points on each side of a gap, in a range of the task's own."""
    generator = torch.Generator().manual_seed(number)
    low, high = RANGES[number]
    third = (high - low) / 3
    x = torch.cat([torch.linspace(low, low + third, 60), torch.linspace(high - third, high, 60)]).unsqueeze(1)
    y = curve(x) + NOISE * torch.randn(120, 1, generator=generator)
    info = {"noise_std": NOISE}
    return Task(f"task {number + 1}", Split(x, y), Split(x, curve(x)), num_outputs=1, kind="regression", info=info)


def learned(steps: int) -> tuple[Any, Any, list[Task]]:
    """Learn the tasks in sequence and return network, posterior and tasks."""
    net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
    builder = ImplicitGenerator(
        latent_size=4,
        hidden_layers=(64,),
        sigma="generated",
        sigma_init=0.05,
        gain=4.0,
        last_gain=3.0,
        bias_scale=2.0,
    )
    training = Training(steps=steps, batch_size=60, lr=1e-2, num_particles=4, beta=1.0)
    learner, state = (
        PosteriorReplay(net, builder, regularizer=OutputRegularizer(3.0, num_latents=4), training=training),
        None,
    )
    tasks = [make_task(number) for number in range(3)]
    for number, task in enumerate(tasks):
        state = learner.learn(state, task, seed=number)
    return state.net, state.posterior, tasks


@torch.no_grad()
def draw(net: Any, posterior: Any, tasks: list[Task], ink: str, path: Path) -> None:
    """Draw noise, weights and functions in an ink, on a transparent ground."""
    generator = torch.Generator().manual_seed(1)
    draws = [posterior(cond_id=number).draw(200, generator).w for number in range(3)]
    together = torch.cat(draws)
    axis = torch.linalg.svd(together - together.mean(0), full_matrices=False).Vh[:2]
    plt.rcParams.update({"text.color": ink, "axes.edgecolor": ink, "font.size": 11, "axes.titlesize": 11})
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.1), width_ratios=(1, 1.25, 2.1), layout="constrained")
    axes[0].plot(*torch.randn(400, 2, generator=generator).T, ".", color=ink, alpha=0.55, markersize=3)
    axes[0].set_title("noise z")
    for number, (w, color) in enumerate(zip(draws, COLORS, strict=True)):
        axes[1].plot(*((w - together.mean(0)) @ axis.T).T, ".", color=color, alpha=0.6, markersize=4)
        low, high = RANGES[number]
        grid = torch.linspace(low - 0.04, high + 0.04, 80).unsqueeze(1)
        functions = batched_forward(net, w[:60], grid)[..., 0]
        axes[2].plot(grid[:, 0], functions.T, color=color, alpha=0.25, linewidth=0.8)
        axes[2].plot(tasks[number].train.x[::4], tasks[number].train.y[::4], ".", color=ink, markersize=4)
    axes[1].set_title("weights of three tasks")
    axes[2].set_title("their functions, and the data")
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_facecolor("none")
    figure.savefig(path, dpi=130, transparent=True)
    plt.close(figure)


def main() -> None:
    """Learn, and write both figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("docs", type=Path, help="folder of the documentation")
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each task")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    parts = learned(options.steps)
    for name, ink in (("light", "#333333"), ("dark", "#dddddd")):
        draw(*parts, ink, options.docs / f"landing-{name}.png")


if __name__ == "__main__":
    main()
