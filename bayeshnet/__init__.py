"""Hypernetworks as Bayesian posteriors over network weights, on PyTorch and Pyro.

A **weight distribution** is a module that, given a condition, draws flat weight vectors ``(S, P)``. A
:class:`~bayeshnet.weights.WeightSpec` gives the entries names and shapes. A **batched forward** runs the main network
under all ``S`` of them at once. An **estimator** computes how far the distribution is from the prior. That number
enters **Pyro** as the log-density of the weights.

The headline names are here; everything else is in the package of its kind (``bayeshnet.distributions``, ...).

Example:
    >>> import torch
    >>> from bayeshnet import WeightSpec
    >>> WeightSpec.of(torch.nn.Linear(3, 2)).numel
    8
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .deprecation import install

if TYPE_CHECKING:
    from .continual import PosteriorReplay
    from .distributions import FanInGaussian, HypernetPosterior
    from .estimators import LIVI, diagnose
    from .functional import batched_forward
    from .guides import AutoHypernet, BayesianModel, HypernetGuide
    from .hnets import HMLP
    from .inference import Predictive
    from .inference.fit import fit
    from .mnets import ModuleMainNet
    from .runs import load_run
    from .saving import load, save
    from .tasks import Task, TaskStream
    from .weights import WeightSpec

__all__ = [
    "HMLP",
    "LIVI",
    "AutoHypernet",
    "BayesianModel",
    "FanInGaussian",
    "HypernetGuide",
    "HypernetPosterior",
    "ModuleMainNet",
    "PosteriorReplay",
    "Predictive",
    "Task",
    "TaskStream",
    "WeightSpec",
    "__version__",
    "batched_forward",
    "diagnose",
    "fit",
    "load",
    "load_run",
    "save",
]

__version__ = "0.1.0"

# Loaded at first use, so that importing the package is quick and imports neither torch nor Pyro.
_HOMES = {
    "HMLP": "hnets",
    "LIVI": "estimators",
    "AutoHypernet": "guides",
    "BayesianModel": "guides",
    "FanInGaussian": "distributions",
    "HypernetGuide": "guides",
    "HypernetPosterior": "distributions",
    "ModuleMainNet": "mnets",
    "PosteriorReplay": "continual",
    "Predictive": "inference",
    "Task": "tasks",
    "TaskStream": "tasks",
    "WeightSpec": "weights",
    "batched_forward": "functional",
    "diagnose": "estimators",
    "fit": "inference",
    "load": "saving",
    "load_run": "runs",
    "save": "saving",
}
_MODULES = {
    "allowed",
    "builders",
    "checks",
    "continual",
    "data",
    "deprecation",
    "distributions",
    "errors",
    "estimators",
    "exact",
    "features",
    "files",
    "functional",
    "geometry",
    "guides",
    "hnets",
    "inference",
    "layers",
    "memo",
    "metrics",
    "mnets",
    "optim",
    "parallel",
    "per_example",
    "reports",
    "representation",
    "rng",
    "runs",
    "saving",
    "speed",
    "tasks",
    "weights",
    "whitening",
}

install()


def __getattr__(name: str) -> Any:
    """Load a public name or a public module at its first use."""
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the names that are loaded at first use as well."""
    return sorted({*globals(), *_HOMES, *_MODULES})
