"""One line of the tables of benchmarks/estimators.py: an estimator on a hypernetwork, measured in a fresh process."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from bayeshnet.distributions import SemiImplicit
from bayeshnet.estimators import (
    AVB,
    IWHVI,
    LIVI,
    SIVI,
    SSGE,
    ClosedForm,
    ImportanceSandwich,
    KernelRatio,
    NearestNeighbor,
    NuMethod,
    Stein,
    StochasticLIVI,
)
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.hnets import HMLP

__all__ = ["DRAW", "FULL", "METHODS", "SETTINGS", "H", "M", "N", "in_a_process", "save_reference"]

N, H, M, SIGMA = 32, 64, 100, 0.1
SETTINGS = {"n": N, "H": H, "M": M, "sigma": SIGMA}
DRAW, FULL = "one weight draw", "LIVI, full Jacobians"

# name: (estimator, draws or latents, largest P for which it is run)
METHODS: dict[str, tuple[Callable[[], Any], int, int]] = {
    DRAW: (lambda: None, 1, 10**6),
    "LIVI": (lambda: LIVI(M), M, 10**6),
    FULL: (lambda: LIVI(M), M, 10**6),
    "StochasticLIVI": (lambda: StochasticLIVI(4, 4, 20), 4, 10**5),
    "ImportanceSandwich": (lambda: ImportanceSandwich(16), 16, 10**6),
    "SSGE": (lambda: SSGE(M), M, 10**6),
    "Stein": (lambda: Stein(M), M, 10**6),
    "NuMethod": (lambda: NuMethod(M), M, 10**6),
    "SIVI": (lambda: SIVI(16, 100), 16, 10**6),
    "IWHVI": (lambda: IWHVI(16, 8, steps=1), 16, 10**5),
    "AVB": (lambda: AVB((64, 64), 16, steps=1, batch_size=32), 16, 10**5),
    "KernelRatio": (lambda: KernelRatio(M), M, 10**5),
    "NearestNeighbor": (lambda: NearestNeighbor(M), M, 10**5),
}
FULL_JACOBIANS = {1_000: M, 10_000: M, 100_000: 10, 1_000_000: 1}
"""Latents for which full Jacobians are timed; the time of M latents follows in proportion."""
TRAINED = 100
"""Training steps of a discriminator or a reverse model before it is measured; a line is one step more."""


def problem(kind: str, P: int) -> tuple[HMLP, Distribution]:
    """Make a hypernetwork of unit output variance and the prior N(0, I)."""
    torch.manual_seed(0)
    layers = (32, H) if kind == "tanh" else ()
    hnet = HMLP([[P]], uncond_in_size=N, cond_in_size=0, layers=layers, activation_fn=torch.nn.Tanh(), verbose=False)
    with torch.no_grad():
        for parameter in hnet.parameters():
            fan_in = parameter.shape[1] if parameter.ndim > 1 else 100
            parameter.normal_().mul_(fan_in**-0.5)
    return hnet, Independent(Normal(torch.zeros(()), torch.ones(())).expand([P]), 1)


def posterior(hnet: HMLP, dense: bool = False) -> SemiImplicit:
    """Return the distribution for one step; ``dense`` with full Jacobians, latents in blocks of ten."""
    geometry = hnet.geometry()
    if dense:
        size = geometry.num_weights
        geometry = JacobianGeometry(geometry, N, size, like=geometry.zero_latent(), chunk_size=10)
    return SemiImplicit(geometry, SIGMA, validate_args=False)


def step(hnet: HMLP, p: Distribution, name: str, method: Any, num: int, generator: torch.Generator) -> Any:
    """Compute one KL gradient, left in the parameters."""
    q = posterior(hnet, dense=name == FULL)
    if method is None:
        q.draw(1, generator).w.square().sum().backward()
        return None
    estimate = method.estimate(q, p, num, generator)
    estimate.surrogate.backward()
    return estimate


def clear(hnet: HMLP) -> None:
    """Drop the gradients: adding to existing ones would need as much memory again."""
    for parameter in hnet.parameters():
        parameter.grad = None


def exact(kind: str, P: int) -> tuple[float, Tensor]:
    """Return KL and gradient: in closed form for the linear map, by LIVI with 10,000 latents for the other."""
    hnet, p = problem(kind, P)
    if kind == "linear":
        estimate = ClosedForm().estimate(posterior(hnet), p)
        estimate.surrogate.backward()
        return float(estimate.value), gradient(hnet)
    value, rounds = 0.0, 10
    generator = torch.Generator().manual_seed(99)
    for _ in range(rounds):
        estimate = LIVI(10 * M).estimate(posterior(hnet), p, generator=generator)
        estimate.surrogate.backward()
        value += float(estimate.value) / rounds
    return value, gradient(hnet) / rounds


def gradient(hnet: HMLP) -> Tensor:
    """Return all gradients as one vector."""
    return torch.cat([p.grad.reshape(-1) for p in hnet.parameters() if p.grad is not None])


def measure(name: str, kind: str, P: int, reference: str) -> dict[str, Any]:
    """Measure all figures of one line, compared with the file ``reference``."""
    torch.set_num_threads(1)
    make, num, _ = METHODS[name]
    num = FULL_JACOBIANS[P] if name == FULL else num
    small, generator = problem(kind, 100), torch.Generator().manual_seed(1)
    step(*small, name, make(), num, generator)  # first-use costs are not measured
    hnet, p = problem(kind, P)
    method = make()
    result = {"name": name, "kind": kind, "P": P, **_memory(hnet, p, name, method, num)}
    if isinstance(method, torch.nn.Module):
        method.steps, steps = TRAINED, method.steps
        step(hnet, p, name, method, num, generator)
        method.steps = steps
    times: list[float] = []
    while sum(times) < 1.0 and len(times) < 20:
        clear(hnet)
        start = time.process_time()
        estimate = step(hnet, p, name, method, num, generator)
        times.append(time.process_time() - start)
    result["ms"] = 1e3 * statistics.median(times) * (M / num if name == FULL else 1.0)
    if estimate is not None:
        found = gradient(hnet).clone()
        value, truth = torch.load(reference)
        if name != FULL or num == M:
            result["cosine"] = float(torch.nn.functional.cosine_similarity(found, truth, dim=0))
            result["error"] = None if estimate.value is None else float(estimate.value) - value
    return result


def _memory(hnet: HMLP, p: Distribution, name: str, method: Any, num: int) -> dict[str, int]:
    """Measure peak bytes of a step beyond parameters and gradients, and those held by the graph of ``num`` draws."""
    generator, before = torch.Generator().manual_seed(1), _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    step(hnet, p, name, method, num, generator)
    gradients = sum(parameter.grad.nbytes for parameter in hnet.parameters() if parameter.grad is not None)
    found = {"peak": _status("VmHWM") - before - gradients}
    if name == "SSGE":
        clear(hnet)
        before = _status("VmRSS")
        draw = posterior(hnet).draw(num, generator)
        found["graph"] = _status("VmRSS") - before
        del draw
    return found


def _status(key: str) -> int:
    """Read a size in bytes from the status of this process in Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def save_reference(kind: str, P: int, path: Path) -> None:
    """Write the exact KL and its gradient to a file, for all lines of a table."""
    torch.save(exact(kind, P), path)


def in_a_process(name: str, kind: str, P: int, reference: Path) -> dict[str, Any]:
    """Measure one line in a fresh interpreter, so that its memory is its own."""
    command = [sys.executable, __file__, json.dumps([name, kind, P, str(reference)])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"name": name, "kind": kind, "P": P, "failed": done.stderr.strip().splitlines()[-1:]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
