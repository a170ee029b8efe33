"""A posterior of your own in continual learning: generated Gaussians, low rank plus diagonal.

The builder builds a posterior with a condition per task, which returns a distribution for each. Run the example with
``python examples/low_rank_replay.py``, or the builder from the command line if it can be imported:
``bayeshnet run --learner.posterior low_rank_replay.LowRankGenerator``.
"""

import torch
from torch import Tensor, nn

from bayeshnet.builders import MLPNetwork, PosteriorBuilder
from bayeshnet.continual import PosteriorReplay, Training
from bayeshnet.continual.losses.output_regularizer import emitted
from bayeshnet.data import get_stream
from bayeshnet.distributions import LowRankGaussian, WeightPosterior
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec, Whitening


class GeneratedLowRank(WeightPosterior):
    """Gaussians whose mean, log standard deviations and factor are generated from the task."""

    def __init__(self, spec: WeightSpec, rank: int, whitening: Whitening, mean: Tensor) -> None:
        super().__init__()
        self.weight_spec, self.shape = spec, (spec.numel, rank)
        self.hnet = HMLP([[spec.numel], [spec.numel], list(self.shape)], cond_in_size=16, layers=(32,), verbose=False)
        self.loc, self.scale = nn.Buffer(whitening.loc), nn.Buffer(whitening.scale)
        self.start = nn.Buffer(mean)  # added to the means of all tasks: a draw from the prior

    @property
    def num_conditions(self) -> int:
        return self.hnet.num_known_conds

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        return self.hnet.add_conditions(num)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> LowRankGaussian:
        mean, rho, factor = self.hnet(cond_id=cond_id, cond_input=cond_input)
        std, factor = self.scale * 0.1 * rho.exp(), self.scale.unsqueeze(1) * 0.1 * factor
        return LowRankGaussian(self.loc + self.scale * (self.start + mean), factor, std**2, self.weight_spec)


class LowRankGenerator(PosteriorBuilder):
    """The builder of the posterior; its settings can be given in configuration files."""

    def __init__(self, rank: int = 4, gain: float | None = None) -> None:
        super().__init__(gain)
        self.rank = rank

    def build(self, spec: WeightSpec) -> GeneratedLowRank:
        mean = torch.randn(spec.numel) * spec.mask(lambda entry: entry.role == "weight")
        return GeneratedLowRank(spec, self.rank, self.whitening(spec), mean)


@emitted.register
def _(distribution: LowRankGaussian, z: Tensor | None, unit: Tensor) -> Tensor:
    """Return the outputs that the output regularizer acts on, in units of the prior."""
    parts = (distribution.loc / unit, distribution.diag.sqrt() / unit, (distribution.factor.T / unit).flatten())
    return torch.cat(parts)


def main(steps: int = 300) -> None:
    """Learn five tasks of two digits and print the accuracies; the KL has a closed form."""
    training = Training(steps=steps, batch_size=32, lr=4e-3, num_particles=4, beta=0.1)
    learner = PosteriorReplay(MLPNetwork((32,), "gaussian"), LowRankGenerator(gain=3.0), training=training)
    stream, state = get_stream("split-digits"), None
    for number, task in enumerate(stream):
        state = learner.learn(state, task, seed=number)
    for number, task in enumerate(stream):
        label = learner.predict(state, task.test.x, task_id=number).label
        print(f"{task.name}: {(label == task.test.y).float().mean():.1%}")


if __name__ == "__main__":
    main()
