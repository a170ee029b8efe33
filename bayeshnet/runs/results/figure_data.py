"""Computation of the data of a run's figures: predictions, entropies, generated weights, maps of the plane."""

from __future__ import annotations

import torch
from torch import Tensor

from ...continual import Learner, LearnerState
from ...deprecation import moved_names
from ...reports import Bands, FigureData, Planes
from ...tasks import Task, TaskStream
from .ood import FinalPredictions

__all__ = ["make_figure_data"]

__getattr__ = moved_names(
    __name__,
    {
        "make_arrays": "runs.results.figure_data.make_figure_data",
    },
)

_GRID = 100


@torch.no_grad()
def make_figure_data(
    learner: Learner, state: LearnerState, stream: TaskStream, predictions: FinalPredictions, seed: int = 0
) -> FigureData:
    """Compute all that can be drawn for a stream of this kind and input shape."""
    if stream.kind == "regression":
        drawn = stream.input_shape == (1,) and _in_memory(stream)
        return FigureData(bands=_bands(learner, state, stream, seed) if drawn else None)
    entropy = -predictions.known.scores("entropy")
    own = torch.nn.functional.one_hot(predictions.number, entropy.shape[1]).bool()
    return FigureData(
        probs=predictions.known.means[own].cpu(),
        targets=predictions.y.cpu(),
        entropy_own=entropy[own].cpu(),
        entropy_other=entropy[~own].cpu(),
        entropy_ood={name: -p.scores("entropy").amax(dim=-1).cpu() for name, p in predictions.ood.items()},
        weights=_first_layer_images(state, stream, seed),
        planes=_planes(learner, state, stream, seed) if stream.input_shape == (2,) and _in_memory(stream) else None,
    )


def _first_layer_images(state: LearnerState, stream: TaskStream, seed: int, max_units: int = 16) -> dict[str, Tensor]:
    """Draw the first layer of each task's network once and return it as images; empty if inputs are not images."""
    entry = next((e for e in state.net.weight_spec.entries if e.role == "weight"), None)
    if entry is None or len(entry.shape) not in (2, 4):
        return {}
    side = round(entry.shape[1] ** 0.5)
    if len(entry.shape) == 2 and (side < 3 or side * side != entry.shape[1]):
        return {}
    device = next(state.parameters()).device
    images = {}
    for t in range(state.num_tasks):
        weights = state.posterior(t).draw(1, torch.Generator(device=device).manual_seed(seed)).w
        weight = state.net.weight_spec.unflatten(weights)[entry.name][0, :max_units].cpu()
        images[stream[t].name] = weight.mean(1) if weight.ndim == 4 else weight.unflatten(1, (side, side))
    return images


def _in_memory(stream: TaskStream) -> bool:
    return all(task.train.in_memory and task.test.in_memory for task in stream)


def _plot_range(stream: TaskStream, x: Tensor) -> tuple[float, float]:
    """Return the range of inputs to draw: that of the stream, or a little more than the training inputs ``x``."""
    low, high = stream[0].info.get("plot_range", (1.3 * float(x.min()), 1.3 * float(x.max())))
    return low, high


def _planes(learner: Learner, state: LearnerState, stream: TaskStream, seed: int) -> Planes:
    x = torch.cat([task.train.x for task in stream])
    low, high = _plot_range(stream, x)
    line = torch.linspace(low, high, _GRID, dtype=x.dtype, device=x.device)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
    prediction = learner.predict_each(state, grid, seed=seed)
    entropy = -prediction.scores("entropy").T.reshape(-1, _GRID, _GRID)
    return Planes(
        entropy.cpu(),
        (low, high),
        [task.train.x.cpu() for task in stream],
        [task.train.y.cpu() for task in stream],
        prediction.task("combined").reshape(_GRID, _GRID).cpu(),
    )


def _bands(learner: Learner, state: LearnerState, stream: TaskStream, seed: int) -> Bands:
    x = torch.cat([task.train.x for task in stream])
    low, high = _plot_range(stream, x)
    line = torch.linspace(low, high, 2 * _GRID, dtype=x.dtype, device=x.device)
    predictions = learner.predict_each(state, line.unsqueeze(-1), seed=seed).predictions
    return Bands(
        line.cpu(),
        torch.stack([p.mean[:, 0] for p in predictions]).cpu(),
        torch.stack([p.epistemic.clamp_min(0).sqrt() for p in predictions]).cpu(),
        [task.train.x[:, 0].cpu() for task in stream],
        [task.train.y[:, 0].cpu() for task in stream],
        [_truth(task) for task in stream],
    )


def _truth(task: Task) -> tuple[Tensor, Tensor]:
    """Return inputs and values of the true function if it is known, else the test examples in order of inputs."""
    x, y = task.test.x[:, 0].cpu(), task.test.y[:, 0].cpu()
    if "function" in task.info and "domain" in task.info:
        low, high = task.info["domain"]
        line = torch.linspace(low, high, _GRID, dtype=x.dtype)
        return line, task.info["function"](line)
    return x.sort().values, y[x.argsort()]
