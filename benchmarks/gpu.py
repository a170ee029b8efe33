"""Training steps on an accelerator: correctness, then times, samples per second and growth of memory.

``python benchmarks/gpu.py --device cuda`` from a checkout, without a network, writes ``docs/results/gpu.json`` and
``docs/results/gpu.rst``. Networks are perceptrons of the published sizes, LeNet, ResNet-32 and WRN-28-10 under
mean-field and generated posteriors, with 1, 10 and 100 weight draws a step: evaluated, captured as a CUDA graph, with
the network in bfloat16, compiled, and compiled and captured; beside them a loop over draws on hypnettorch's network, if
that is installed, which is Bayes by backprop, and the time of matrix products with as many operations. What compiles
comes last, as it takes longest. ``--device cpu --tiny`` tries all of it in a minute.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_page import page
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights
from bayeshnet.distributions import FanInGaussian
from bayeshnet.estimators import LIVI, ClosedForm
from bayeshnet.guides import BayesianModel, Categorical, HypernetGuide
from bayeshnet.inference import Callback, fit
from bayeshnet.mnets import MLP, WRN, LeNet, ResNet

ROOT = Path(__file__).parent.parent
LIMIT, SUITE_LIMIT = 480.0, 150.0
MODES: dict[str, dict[str, Any]] = {
    "eager": {},
    "captured": {"capture": True},
    "bf16": {"amp": "bf16"},
    "captured bf16": {"capture": True, "amp": "bf16"},
    "compiled": {"compile": True},
    "compiled captured": {"compile": True, "capture": True},
}


@dataclass(frozen=True)
class Case:
    """A network with the shape of its inputs, ``batch`` examples a step, and whether weights are generated."""

    name: str
    make: Callable[[], Any]
    inputs: tuple[int, ...]
    batch: int
    generated: bool = False
    outputs: int = 10


def perceptron(sizes: tuple[int, ...]) -> Callable[[], Any]:
    return lambda: MLP(sizes[0], sizes[-1], hidden_layers=sizes[1:-1], no_weights=True, verbose=False)


OPTIONS: dict[str, Any] = {"no_weights": True, "verbose": False}
CASES = [
    Case("perceptron 2-10-10-6", perceptron((2, 10, 10, 6)), (2,), 32, generated=True, outputs=6),
    Case("perceptron 784-100-100-10", perceptron((784, 100, 100, 10)), (784,), 128),
    Case("perceptron 784-100-100-10", perceptron((784, 100, 100, 10)), (784,), 128, generated=True),
    Case("LeNet", lambda: LeNet(**OPTIONS), (28, 28, 1), 128, generated=True),
    Case("ResNet-32", lambda: ResNet(use_batch_norm=False, **OPTIONS), (32, 32, 3), 32),
    Case("WRN-28-10", lambda: WRN(n=4, k=10, use_batch_norm=False, **OPTIONS), (32, 32, 3), 8),
]
TINY = [CASES[0], Case("perceptron 8-4-3", perceptron((8, 4, 3)), (8,), 4, outputs=3)]


class Timer(Callback):
    """Times the steps of a training after the first ones."""

    def __init__(self, device: str, warm: int) -> None:
        self.device, self.warm, self.seconds, self.counted = device, warm, 0.0, 0

    def on_step(self, run: Any) -> None:
        if run.step == self.warm:
            settle(self.device)
            self.begin = time.perf_counter()

    def on_end(self, run: Any) -> None:
        settle(self.device)
        if run.step > self.warm:
            self.seconds, self.counted = time.perf_counter() - self.begin, run.step - self.warm


def settle(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure(case: Case, samples: int, mode: str, device: str, steps: int) -> dict[str, Any]:
    """Time training steps of a case, and note by how many bytes its memory grows at most (on CUDA)."""
    torch.manual_seed(0)
    before = emptied() if device.startswith("cuda") else 0
    net = case.make()
    builder = ImplicitGenerator(latent_size=8, hidden_layers=(32,)) if case.generated else MeanFieldWeights()
    posterior = builder.build(net.weight_spec).to(device)
    model = BayesianModel(net, FanInGaussian(net.weight_spec, device=device), Categorical(), num_data=1000).to(device)
    data = (torch.randn(case.batch, *case.inputs).flatten(1), torch.arange(case.batch) % case.outputs)
    timer = Timer(device, max(1, steps // 4))
    fit(
        model,
        HypernetGuide(posterior, LIVI() if case.generated else ClosedForm()),
        tuple(part.to(device) for part in data),
        num_steps=steps,
        num_particles=samples,
        callbacks=[timer],
        alarms=False,
        generator=torch.Generator(device=device).manual_seed(0),
        **MODES[mode],
    )
    step = timer.seconds / timer.counted
    memory = torch.cuda.max_memory_allocated() - before if device.startswith("cuda") else None
    return {"seconds": step, "samples_per_second": samples * case.batch / step, "memory": memory}


def emptied() -> int:
    """Free the memory of measurements before, begin a new peak, and return what is left."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def loop(case: Case, samples: int, device: str, steps: int) -> dict[str, Any]:
    """Time a loop over weight draws on hypnettorch's perceptron, Bayes by backprop without a hypernetwork."""
    from hypnettorch.mnets import MLP as Published  # noqa: N811

    known = case.make()
    net = Published(case.inputs[0], case.outputs, hidden_layers=_hidden(known), no_weights=True, verbose=False)
    mean = [torch.zeros(*shape, device=device, requires_grad=True) for shape in net.param_shapes]
    rho = [torch.full(tuple(shape), -3.0, device=device, requires_grad=True) for shape in net.param_shapes]
    optimizer = torch.optim.Adam([*mean, *rho])
    x = torch.randn(case.batch, *case.inputs, device=device)
    y = (torch.arange(case.batch) % case.outputs).to(device)

    def step() -> None:
        optimizer.zero_grad()
        stds = [torch.nn.functional.softplus(r) for r in rho]
        nll: Any = 0.0
        for _ in range(samples):
            weights = [m + s * torch.randn_like(s) for m, s in zip(mean, stds, strict=True)]
            nll = nll + torch.nn.functional.cross_entropy(net.forward(x, weights=weights), y)
        kl = sum((0.5 * (s.pow(2) + m.pow(2) - 1) - s.log()).sum() for m, s in zip(mean, stds, strict=True))
        (nll / samples + kl / 1000).backward()
        optimizer.step()

    return {"seconds": timed(step, device, steps)}


def products(case: Case, samples: int, device: str, dtype: torch.dtype, steps: int) -> dict[str, Any]:
    """Time that square matrix products take for the operations of a step, three times those of the outputs."""
    net = case.make()
    weights = [torch.zeros(*shape) for shape in net.param_shapes]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.forward(torch.zeros(1, *case.inputs).flatten(1), weights=weights)
    operations = 3 * counter.get_total_flops() * case.batch * samples
    size = 64 if device == "cpu" else 4096
    a: Tensor = torch.randn(size, size, device=device).to(dtype)
    seconds = timed(lambda: torch.matmul(a, a), device, steps)
    return {"seconds": operations / (2 * size**3 / seconds), "operations": operations}


def timed(step: Callable[[], Any], device: str, steps: int) -> float:
    """Return the mean seconds of a function after a few calls."""
    for _ in range(max(1, steps // 4)):
        step()
    settle(device)
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    settle(device)
    return (time.perf_counter() - begin) / steps


def _hidden(net: Any) -> tuple[int, ...]:
    """Return the widths of the hidden layers of a perceptron."""
    return tuple(shape[0] for shape in net.param_shapes if len(shape) == 2)[:-1]


def suite() -> str:
    """Run the tests that need a device, and return the last line of what they say."""
    words = [sys.executable, "-m", "pytest", "-q", "-n", "4", "-p", "no:cacheprovider", "-m", "gpu"]
    words += ["-o", "filterwarnings=default", "tests/devices", "tests/inference/test_compiled.py"]
    try:
        found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=SUITE_LIMIT)
    except subprocess.TimeoutExpired:
        return f"not finished after {SUITE_LIMIT:.0f} s"
    if found.returncode:
        print(found.stdout, found.stderr, file=sys.stderr)
    return (found.stdout.strip().splitlines() or [found.stderr.strip()])[-1].strip("= ")


def attempt(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Return what a measurement finds, or why there is none."""
    try:
        return work(*arguments)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {"none": "out of memory"}
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        return {"none": " ".join(f"{type(error).__name__}: {error}".split())[:200]}


def run(device: str, tiny: bool, limit: float, keep: Callable[[dict[str, Any]], object]) -> None:
    """Make all measurements for which there is time: small networks first, and compiled steps after all others.

    What has been found is given to ``keep`` after each row.
    """
    begin = time.perf_counter()
    found: dict[str, Any] = {
        "device": name_of(device),
        "torch": torch.__version__,
        "suite": "left out" if tiny else suite(),
    }
    cases, draws = (TINY, (1, 3)) if tiny else (CASES, (1, 10, 100))
    rows = [(case, samples, _head(case, samples)) for case in cases for samples in draws]
    found["rows"] = [row for *_, row in rows]
    quick = {name: options for name, options in MODES.items() if "compile" not in options}
    for modes in (("eager", "bf16"),) if tiny else (quick, set(MODES) - set(quick)):
        for case, samples, row in rows:
            steps = 4 if tiny else 20 if samples < 100 else 8
            for mode in (mode for mode in MODES if mode in modes):
                late = time.perf_counter() - begin > limit
                row[mode] = {"none": "no time left"} if late else attempt(measure, case, samples, mode, device, steps)
            if "eager" in modes:
                row |= _beside(case, samples, device, steps)
            keep({**found, "seconds": time.perf_counter() - begin})


def _head(case: Case, samples: int) -> dict[str, Any]:
    """Return the names of a row."""
    posterior = "generated" if case.generated else "mean field"
    return {"network": case.name, "posterior": posterior, "samples": samples, "batch": case.batch}


def _beside(case: Case, samples: int, device: str, steps: int) -> dict[str, Any]:
    """Measure the loop of the published network, and matrix products in two precisions."""
    found = {}
    if case.name.startswith("perceptron") and not case.generated and importlib.util.find_spec("hypnettorch"):
        found["loop"] = attempt(loop, case, samples, device, max(2, steps // 4))
    for name, dtype in (("products", torch.float32), ("products bf16", torch.bfloat16)):
        found[name] = attempt(products, case, samples, device, dtype, steps)
    return found


def name_of(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="two small networks, a few steps, no tests")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds after which no measurement begins")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results", help="folder of gpu.json and gpu.rst")
    options = parser.parse_args(words)
    options.output.mkdir(parents=True, exist_ok=True)

    def keep(found: dict[str, Any]) -> None:
        (options.output / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (options.output / "gpu.rst").write_text(page(found, tuple(MODES)), encoding="utf-8")

    run(options.device, options.tiny, options.limit, keep)
    print((options.output / "gpu.rst").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
