"""Hypernetworks as Bayesian posteriors over network weights, on PyTorch and Pyro.

A **weight distribution** is a module that, given a condition, draws flat weight vectors ``(S, P)``. A
:class:`~bayeshnet.weights.WeightSpec` gives the entries names and shapes. A **batched forward** runs the main network
under all ``S`` of them at once. An **estimator** says how far the distribution is from the prior. That number rides
into **Pyro** as the log-density of the weights.

Example:
    >>> import torch
    >>> import bayeshnet
    >>> bayeshnet.WeightSpec.of(torch.nn.Linear(3, 2)).numel
    8
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .deprecation import install

if TYPE_CHECKING:
    from .estimators import diagnose
    from .weights import WeightSpec

__all__ = ["WeightSpec", "__version__", "diagnose"]

__version__ = "0.1.0"

# Loaded at first use, so that importing the package is quick and does not import Pyro.
_HOMES = {"WeightSpec": "weights", "diagnose": "estimators"}
_MODULES = {
    "builders",
    "continual",
    "data",
    "deprecation",
    "distributions",
    "errors",
    "estimators",
    "files",
    "functional",
    "geometry",
    "guides",
    "hnets",
    "inference",
    "layers",
    "memo",
    "representation",
    "metrics",
    "mnets",
    "optim",
    "reports",
    "rng",
    "runs",
    "speed",
    "tasks",
    "weights",
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
    """List what is loaded at first use as well."""
    return sorted({*globals(), *_HOMES, *_MODULES})
