"""Intervals of the KL against independent truths: python benchmarks/intervals.py [--cases N] [--rst FILE].

Random hypernetworks (one to three hidden layers, five activations, gains 0.3 to 4, 1 to 16 latents, 2 to 1,000 weights,
noise 1e-3 to 1) are given to ``kl_interval`` in single precision. Their truths are computed by
``intervals_truth.py`` in plain torch; where a truth is uncertain by more than 0.1 nats the case is left out and
counted. Of those left out, some whose weights have up to nine coordinates are judged by ``intervals_neighbors.py``.
The rest are cases of ``intervals_cases.py``: linear maps, products of ``abs`` and ``cos`` with 2^n modes and more,
random networks of cosines, hypernetwork posteriors as their own priors, and ``diagnose`` of maps in single precision.
docs/results/intervals.rst is written by
``python benchmarks/intervals.py --rst docs/results/intervals.rst``, seeds from 0. With --keep cases
are written to a file as they are found, and those in it are not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from intervals_cases import Single, cosines, separate, single_precision
from intervals_neighbors import neighbor_kl
from intervals_page import write_page
from intervals_truth import ACTIVATIONS, Network, Truth, true_kl
from torch import Tensor

from bayeshnet.distributions import MeanFieldGaussian, SemiImplicit
from bayeshnet.estimators import diagnose, kl_interval
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.hnets import HMLP

MAPS = (("module", 1_000), ("module", 100_000), ("function", 1_000))
SPREADS, CONDITIONS = (1e2, 1e3, 1e4, 1e5, 1e6), (1.0, 1e3, 1e6)
"""Maps and numbers of weights, singular values over sigma, and conditions, of maps in single precision."""
UNCERTAIN = 0.1
"""Error in nats of a truth above which a case is left out."""


@dataclass(frozen=True)
class Case:
    """An interval beside the truth.

    Attributes:
        group: activation, or kind of map.
        latents: number of latents.
        truth: the KL, with its error.
        error: of the truth, in nats.
        lower: end of the interval.
        value: estimate.
        upper: other end.
        trusted: verdict.
        seconds: taken by the interval.
    """

    group: str
    latents: int
    truth: float
    error: float
    lower: float
    value: float
    upper: float
    trusted: bool
    seconds: float

    @property
    def inside(self) -> bool:
        """True if the interval contains a value that the truth may have."""
        return self.lower - self.error <= self.truth <= self.upper + self.error

    @property
    def miss(self) -> float:
        """Distance of the estimate from the truth beyond the error of the truth."""
        return max(0.0, abs(self.value - self.truth) - self.error)

    def line(self) -> str:
        """Describe the case in a line."""
        return (
            f"{self.group:9} n {self.latents:2} truth {self.truth:10.3f} +- {self.error:.3f} "
            f"[{self.lower:.3f}, {self.upper:.3f}] {'trusted' if self.trusted else 'not certified':13} "
            f"{'in' if self.inside else 'OUT'} {self.seconds:.1f} s"
        )


def judged(
    group: str, latents: int, q: SemiImplicit, p: MeanFieldGaussian | SemiImplicit, truth: Truth, seed: int
) -> Case:
    """Compute an interval and print it beside the truth."""
    start = time.perf_counter()
    found = kl_interval(q, p, generator=torch.Generator().manual_seed(seed))
    seconds = time.perf_counter() - start
    case = Case(
        group,
        latents,
        truth.kl,
        truth.error,
        found.lower,
        found.value,
        found.upper,
        found.verdict == "trusted",
        seconds,
    )
    print(seed, case.line(), "" if case.trusted else list(found.reasons), flush=True)
    return case


def posterior(net: Network) -> SemiImplicit:
    """Return the posterior of a network as a hypernetwork of the library, in single precision."""
    act, _ = ACTIVATIONS[net.activation]
    num = len(net.head[1])
    widths = [len(bias) for _, bias in net.layers]
    hnet = HMLP([[num]], net.latent_size, 0, widths, verbose=False, activation_fn=act)
    tensors = [t for pair in [*net.layers, net.head] for t in pair]
    with torch.no_grad():
        for parameter, tensor in zip(hnet.unconditional_params, tensors, strict=True):
            parameter.copy_(tensor)
    return SemiImplicit(hnet.geometry(), net.sigma)


def standard(num: int) -> MeanFieldGaussian:
    """Return a standard normal prior."""
    return MeanFieldGaussian(torch.zeros(num), torch.ones(num))


def random_truth(seed: int) -> Truth:
    """Return the truth of a random network, however uncertain."""
    return true_kl(Network.random(seed), 1_000 + seed)


def random_network(seed: int, truth: Truth) -> Case:
    """Return the case of a random network."""
    net = Network.random(seed)
    return judged(net.activation, net.latent_size, posterior(net), standard(len(net.head[1])), truth, seed)


def left_out(seed: int, truth: Truth) -> Case:
    """Return the case of a network whose truth is uncertain, with that by distances between neighbors if it is better.

    The verdict is known in any case; where it is "not certified", the interval misses nothing.
    """
    other = neighbor_kl(Network.random(seed), 1_000 + seed)
    return random_network(seed, truth if other is None or other.error > truth.error else other)


def linear_map(seed: int) -> Case:
    """Return the case of a linear map that the library cannot know to be linear."""
    gen = torch.Generator().manual_seed(seed)
    n, num, sigma = 1 + seed % 8, (10, 60, 300)[seed % 3], (0.01, 0.1, 0.5)[(seed // 3) % 3]
    matrix = torch.randn(num, n, generator=gen, dtype=torch.float64) / math.sqrt(n)
    geometry = JacobianGeometry(_times(matrix), n, num, like=matrix)
    squares = matrix.square().sum() + num * (sigma**2 - 1 - 2 * math.log(sigma))
    information = 0.5 * torch.linalg.svdvals(matrix / sigma).square().log1p().sum()
    truth = Truth(float(0.5 * squares - information), 0.0)
    return judged("linear", n, SemiImplicit(geometry, sigma), standard(num), truth, seed)


def _times(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda z: z @ matrix.T


def product(name: str, n: int, sigma: float = 0.05) -> Case:
    """Return the case of independent weights ``abs(z_i)`` or ``cos(z_i)``, whose truth is an integral over one."""
    function = getattr(torch, name)
    geometry = JacobianGeometry(function, n, n, like=torch.zeros(1, dtype=torch.float64))
    truth = Truth(n * separate(function, sigma), 0.0)
    return judged(name, n, SemiImplicit(geometry, sigma), standard(n), truth, n)


def cosine_network(seed: int) -> Case:
    """Return the case of a random network of cosines of two latents, whose density is an integral on a grid."""
    net = cosines(seed)
    truth = true_kl(net, 1_000 + seed)
    return judged("cosines", 2, posterior(net), standard(len(net.head[1])), truth, seed)


def single(kind: str, num_weights: int, largest: float, condition: float) -> Single:
    """Diagnose a linear map in single precision."""
    q, truth = single_precision(num_weights, largest, condition, kind)
    report = diagnose(q, standard(num_weights), generator=torch.Generator().manual_seed(0))
    information = report.information.get("sandwich_lower")
    found = Single(kind, num_weights, largest, condition, truth, report.value, report.verdict, information)
    print(found, "" if report.value is None else f"off by {report.value - truth:.3f}", flush=True)
    return found


def itself(seed: int) -> Case:
    """Return the case of a hypernetwork posterior as its own prior, where the KL is 0."""
    net = Network.random(seed)
    q = posterior(net)
    return judged("itself", net.latent_size, q, q, Truth(0.0, 0.0), seed)


class Kept:
    """Cases and truths in a file, by study and seed.

    Args:
        path: the file, a line of JSON for each case, or None to keep none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self.found = dict(map(json.loads, lines))

    def case(self, key: str, make: Callable[[], Case]) -> Case:
        """Return the case, made by ``make`` if it is not in the file."""
        return Case(**self._get(key, make))

    def truth(self, key: str, make: Callable[[], Truth]) -> Truth:
        """Return the truth, made by ``make`` if it is not in the file."""
        return Truth(**self._get(key, make))

    def single(self, key: str, make: Callable[[], Single]) -> Single:
        """Return the diagnosis, made by ``make`` if it is not in the file."""
        return Single(**self._get(key, make))

    def _get(self, key: str, make: Callable[[], Case | Truth | Single]) -> dict[str, Any]:
        if key not in self.found:
            self.found[key] = asdict(make())
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps([key, self.found[key]]) + "\n")
        return self.found[key]


def random_cases(kept: Kept, seeds: Sequence[int], chosen: Sequence[int] | None) -> tuple[list[Case], list[Case]]:
    """Return the cases whose truths are known, and the chosen ones, or all, of those whose truths are uncertain."""
    known, rest = [], []
    for i in seeds:
        truth = kept.truth(f"truth {i}", partial(random_truth, i))
        if truth.error <= UNCERTAIN:
            known.append(kept.case(f"random {i}", partial(random_network, i, truth)))
        elif chosen is None or i in chosen:
            rest.append(kept.case(f"left out {i}", partial(left_out, i, truth)))
    return known, rest


def singles(kept: Kept) -> list[Single]:
    """Return diagnoses of maps in single precision."""
    grid = itertools.product(MAPS, SPREADS, CONDITIONS)
    points = [(*kind, *spread) for kind, *spread in grid]
    return [kept.single(" ".join(map(str, ("single", *point))), partial(single, *point)) for point in points]


def main() -> None:
    """Run all studies and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200, help="random networks")
    parser.add_argument("--linear", type=int, default=100, help="linear maps")
    parser.add_argument("--itself", type=int, default=10, help="posteriors compared with themselves")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1, 2, 4, 8, 12], help="factors of products")
    parser.add_argument("--cosines", type=int, default=4, help="random networks of cosines")
    parser.add_argument("--left-out", type=int, nargs="*", help="seeds of uncertain truth to look at; all if not given")
    parser.add_argument("--keep", type=Path, help="file of cases")
    parser.add_argument("--rst", type=Path, help="page to write")
    args = parser.parse_args()
    kept = Kept(args.keep)
    studies = {
        "linear": {f"linear {i}": partial(linear_map, i) for i in range(args.linear)},
        "products": {f"{name} {n}": partial(product, name, n) for name in ("abs", "cos") for n in args.sizes},
        "cosines": {f"cosines {i}": partial(cosine_network, i) for i in range(args.cosines)},
        "itself": {f"itself {i}": partial(itself, i) for i in range(args.itself)},
    }
    cases = {study: [kept.case(key, make) for key, make in parts.items()] for study, parts in studies.items()}
    cases["random"], cases["left out"] = random_cases(kept, range(args.cases), args.left_out)
    if args.rst is not None:
        write_page(args.rst, cases, singles(kept), args.cases, args.left_out)


if __name__ == "__main__":
    main()
