"""A posterior of your own
==========================

Generated Gaussians in continual learning, low rank plus diagonal: the builder builds a posterior with a condition per
task. From the command line: ``bayeshnet run --learner.posterior low_rank_replay.LowRankGenerator``.
"""

import torch
from torch import Tensor, nn

from bayeshnet.builders import MLPNetwork, PosteriorBuilder
from bayeshnet.continual import PosteriorReplay, Training
from bayeshnet.data import get_stream
from bayeshnet.distributions import ConditionalPosterior, LowRankGaussian
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec, Whitening


class GeneratedLowRank(ConditionalPosterior[LowRankGaussian]):
    """Gaussians whose mean, log standard deviations and factor are generated from the task."""

    def __init__(self, weight_spec: WeightSpec, rank: int, whitening: Whitening, mean: Tensor) -> None:
        super().__init__()
        num = weight_spec.numel
        self.weight_spec, self.rank, self.cond_id, self.sizes = weight_spec, rank, 0, [num, num, num * rank]
        self.hnet = HMLP([[num], [num], [num, rank]], cond_in_size=16, layers=(32,), verbose=False)
        self.loc, self.scale = nn.Buffer(whitening.loc), nn.Buffer(whitening.scale)
        self.start = nn.Buffer(mean)  # added to the means of all tasks: a draw from the prior

    @property
    def num_conditions(self) -> int:
        return self.hnet.num_known_conds

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        return self.hnet.add_conditions(num)

    def rows(self, cond_ids: list[int] | None, cond_input: Tensor | None = None) -> Tensor:
        """Generate the numbers of several tasks in one pass: ``(T, (2 + rank) * P)``."""
        return self.hnet(cond_id=cond_ids, cond_input=cond_input, ret_format="flattened")

    def at(self, row: Tensor, cond_id: int | None = None, cond_input: Tensor | None = None) -> LowRankGaussian:
        """Make the distribution of one task."""
        mean, std, factor = self.outputs_at(row).split(self.sizes)
        factor = self.scale.unsqueeze(1) * factor.unflatten(0, (-1, self.rank))
        diag = (self.scale * std) ** 2
        return LowRankGaussian(self.loc + self.scale * (self.start + mean), factor, diag, self.weight_spec)

    def outputs_at(self, rows: Tensor, cond_ids: list[int] | None = None, z: Tensor | None = None) -> Tensor:
        """Compute whitened means, standard deviations and factor, which the output regularizer compares."""
        mean, rho, factor = rows.split(self.sizes, dim=-1)
        return torch.cat([mean, 0.1 * rho.exp(), 0.1 * factor], dim=-1)


class LowRankGenerator(PosteriorBuilder):
    """The builder of the posterior; its settings can be given in configuration files."""

    def __init__(self, rank: int = 4, gain: float | None = None) -> None:
        super().__init__(gain)
        self.rank = rank

    def build(self, weight_spec: WeightSpec) -> GeneratedLowRank:
        mean = torch.randn(weight_spec.numel) * weight_spec.mask(lambda entry: entry.role == "weight")
        return GeneratedLowRank(weight_spec, self.rank, self.whitening(weight_spec), mean)


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
