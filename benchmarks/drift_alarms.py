"""Alarms of drift: python benchmarks/drift_alarms.py [--seeds 20] [--trained 20] [--rst docs/results/drift-alarms.rst].

Small posteriors are compared with themselves, with the same mean and noise without their latent, and with the posterior
of another seed, by what a run measures between a task's posterior just after learning and at the end. The first should
raise no alarm, the others one. Posteriors are those of random hypernetworks, and of ones that were trained on twenty
points of a sine from one initialization each.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Distribution

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, SemiImplicit
from bayeshnet.geometry import ConstantGeometry
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import fit
from bayeshnet.mnets import MLP
from bayeshnet.reports import Column, DriftRecord, Table, write_text
from bayeshnet.runs.results.drift import compare_posteriors, has_moved

PAGE = """.. This page is written by benchmarks/drift_alarms.py. Do not edit it: run the script.

Alarms of drift
===============

.. code-block:: console

   $ python benchmarks/drift_alarms.py --seeds {seeds} --trained {trained} --rst docs/results/drift-alarms.rst

What a run says of a posterior that has moved since its task was learned, and of one that has not, for {seeds} seeds
of random posteriors and {trained} of trained ones. *Alarms* should be none for the unchanged posterior and all for the
others. The alarm is raised by any of three: a classifier that tells draws of then from draws of now, with a p-value
below 0.001; a KL(then, now) above 0.5 nats, by a trusted interval or by what it is at least; changed predictions, which
are left out here.
*Told apart* is the median share of draws that the classifier gets right, *KL* the median of KL(then, now) in nats,
whatever its verdict, *trusted* counts verdicts, and *MMD* is the median of the squared maximum mean discrepancy, which
raises no alarm.

Random posteriors have 3 latents and 38 weights, noise 0.2 of the prior's width. Trained ones have 4 latents, 25 weights
and a learned noise; those of two seeds have learned the same function in other weights. Without the latent, mean and
noise stay as they are. Between two hypernetworks whose KL is tens of nats or more its interval is too wide to be
trusted; the classifier sees them.

{table}

Of {unchanged} unchanged posteriors {false} raised an alarm, of {changed} changed ones {missed} did not; one unchanged
posterior in a thousand is expected to raise one. {within} of the unchanged posteriors have a trusted KL, at most
{largest:.2f} nats.
"""


def random_posterior(seed: int) -> tuple[SemiImplicit, Distribution]:
    """Return the posterior of a random hypernetwork of three latents over 38 weights, with its prior."""
    torch.manual_seed(seed)
    shapes = [[6, 4], [6], [1, 6], [2]]
    hnet = HMLP(shapes, uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
    posterior = HypernetPosterior(hnet.double(), sigma=0.2, scale="fan_in")
    return posterior(), FanInGaussian(posterior.weight_spec, dtype=torch.float64)


def trained_posterior(seed: int) -> tuple[SemiImplicit, Distribution]:
    """Return a posterior that was trained on twenty points of a sine, with its prior."""
    noise = torch.Generator().manual_seed(0)
    x = torch.linspace(-2, 2, 20).unsqueeze(-1)
    y = (2 * x).sin() + 0.1 * torch.randn(x.shape, generator=noise)
    torch.manual_seed(seed)
    net = MLP(1, 1, hidden_layers=(8,), activation_fn=nn.Tanh(), no_weights=True, verbose=False)
    hnet = HMLP(
        net.hyper_shapes_learned,
        uncond_in_size=4,
        cond_in_size=0,
        num_cond_embs=0,
        layers=[16],
        verbose=False,
        activation_fn=nn.Tanh(),
        linear_skip=True,
    )
    posterior = HypernetPosterior(hnet, sigma="learned", scale="fan_in", weight_spec=net.weight_spec)
    prior = FanInGaussian(net.weight_spec)
    model = BayesianModel(net, prior, Gaussian(0.1))
    guide = HypernetGuide(posterior)
    generator = torch.Generator().manual_seed(seed)
    fit(model, guide, (x, y), num_steps=200, lr=2e-2, num_particles=4, generator=generator, alarms=False)
    with torch.no_grad():
        return posterior(), prior


def without_latent(q: SemiImplicit) -> SemiImplicit:
    """Return the same mean and noise, without what the latent makes."""
    z = q.geometry.draw_latent(4000, torch.Generator().manual_seed(7))
    return SemiImplicit(ConstantGeometry(q.geometry(z).mean(0).detach(), 1), q.sigma.detach(), q.whitening)


@dataclass(frozen=True)
class Compared:
    """Records of one kind of posterior and one kind of change."""

    kind: str
    change: str
    records: list[DriftRecord]

    @property
    def alarms(self) -> int:
        """Number of records that raise the alarm."""
        return sum(has_moved(record) for record in self.records)

    def row(self) -> tuple[str, ...]:
        """Return a row of the table."""
        kls = [record.kl for record in self.records if record.kl is not None]
        return (
            self.kind,
            self.change,
            f"{self.alarms} of {len(self.records)}",
            f"{100 * statistics.median(r.accuracy for r in self.records if r.accuracy is not None):.0f} %",
            f"{statistics.median(kls):.2f}",
            str(sum(record.verdict == "trusted" for record in self.records)),
            f"{statistics.median(r.mmd for r in self.records):.4f}",
        )


KINDS: dict[str, Callable[[int], tuple[SemiImplicit, Distribution]]] = {
    "random": random_posterior,
    "trained": trained_posterior,
}
CHANGES = ("unchanged", "without its latent", "of another seed")


class Kept:
    """Records in a file, a line of JSON each, so that what is there is not computed again.

    Args:
        path: the file, or None to keep none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self.found = {(kind, seed): records for kind, seed, records in map(json.loads, lines)}

    def get(self, kind: str, seed: int) -> list[DriftRecord]:
        """Compare the posterior of a kind and a seed with its changed selves, in the order of the changes."""
        if (kind, seed) not in self.found:
            q, prior = KINDS[kind](seed)
            others = (q, without_latent(q), KINDS[kind](seed + 100)[0])
            self.found[kind, seed] = [asdict(compare_posteriors(q, other, prior, seed)) for other in others]
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps([kind, seed, self.found[kind, seed]]) + "\n")
        records = [DriftRecord(**record) for record in self.found[kind, seed]]
        print(kind, seed, ["alarm" if has_moved(record) else "none" for record in records], flush=True)
        return records


def compare(kind: str, seeds: Sequence[int], kept: Kept) -> list[Compared]:
    """Compare posteriors of a kind with their changed selves, for each seed."""
    records = [kept.get(kind, seed) for seed in seeds]
    return [Compared(kind, change, [row[i] for row in records]) for i, change in enumerate(CHANGES)]


def page(compared: Sequence[Compared]) -> str:
    """Return the page."""
    names = ("posterior", "now", "alarms", "told apart", "KL", "trusted", "MMD")
    table = Table("Drift", tuple(Column(name) for name in names), tuple(part.row() for part in compared))
    same = [part for part in compared if part.change == CHANGES[0]]
    moved = [part for part in compared if part.change != CHANGES[0]]
    trusted = [r.kl for part in same for r in part.records if r.verdict == "trusted" and r.kl is not None]
    return PAGE.format(
        seeds=len(compared[0].records),
        trained=len(compared[-1].records),
        table=table.rst().strip(),
        unchanged=sum(len(part.records) for part in same),
        false=sum(part.alarms for part in same),
        changed=sum(len(part.records) for part in moved),
        missed=sum(len(part.records) - part.alarms for part in moved),
        within=len(trusted),
        largest=max(trusted, default=float("nan")),
    )


def main() -> None:
    """Run the comparisons and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="random posteriors")
    parser.add_argument("--trained", type=int, default=20, help="trained posteriors")
    parser.add_argument("--keep", type=Path, help="file of records")
    parser.add_argument("--rst", type=Path, help="page to write")
    args = parser.parse_args()
    kept = Kept(args.keep)
    numbers = {"random": args.seeds, "trained": args.trained}
    text = page([part for kind, number in numbers.items() for part in compare(kind, range(number), kept)])
    if args.rst is not None:
        write_text(args.rst, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
