"""The base of the tests of hypernetworks: how one is built, and its inputs."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from .. import speed
from ..layers import SpectralNorm

__all__ = ["BATCH", "Build", "HypernetworkSuite"]

BATCH = 3
"""Number of samples of a forward pass."""

Build = Callable[[], Any]
"""A function that builds a hypernetwork."""


class HypernetworkSuite(ABC):
    """The base of the tests of hypernetworks.

    Attributes:
        external: the same classes, some of whose tensors are passed in, by name.
        takes_both: True if a condition and a conditional input may be passed together.
    """

    external: ClassVar[Mapping[str, Build]] = {}
    takes_both: ClassVar[bool] = False

    @property
    @abstractmethod
    def variants(self) -> Mapping[str, Build]:
        """Functions that build a hypernetwork whose tensors are all parameters, by name; a class attribute will do."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test for each variant; what is compiled is slow but for the first."""
        for name, table in (("build", self.variants), ("build_external", self.external)):
            if name in metafunc.fixturenames:
                once = metafunc.function.__name__ in ("test_compiles_as_one_graph",)
                marks = [[pytest.mark.slow] if once and i else [] for i in range(len(table))]
                cases = [pytest.param(b, id=k, marks=m) for (k, b), m in zip(table.items(), marks, strict=True)]
                metafunc.parametrize(name, cases)

    def setup_method(self) -> None:
        """Use the algorithms for long weight vectors."""
        self._switched = speed.using(short_weights=0)
        self._switched.__enter__()

    def teardown_method(self) -> None:
        """Set the shortcuts back."""
        self._switched.__exit__(None, None, None)

    @classmethod
    def make(cls, build: Build) -> Any:
        """Build a hypernetwork in double precision, whose tensors are random."""
        torch.manual_seed(0)
        net = _scatter(build())
        if any(isinstance(m, SpectralNorm) for m in net.modules()):
            for _ in range(30):  # the estimates of the norms converge
                net.train()(**cls.inputs(net))
        return net.eval()

    @staticmethod
    def inputs(net: Any, batch: int = BATCH, ids: Any = None) -> dict[str, Any]:
        """Return arguments for a forward pass of ``batch`` samples."""
        kwargs: dict[str, Any] = {}
        if net.uncond_in_size:
            kwargs["uncond_input"] = torch.randn(batch, net.uncond_in_size, dtype=torch.float64)
        if net.num_known_conds:
            kwargs["cond_id"] = [i % net.num_known_conds for i in range(batch)] if ids is None else ids
        elif getattr(net, "cond_in_size", 0):
            kwargs["cond_input"] = torch.randn(batch, net.cond_in_size, dtype=torch.float64)
        return kwargs

    @staticmethod
    def one(net: Any) -> dict[str, Any]:
        """Return arguments that select the condition of the geometry."""
        if net.num_known_conds:
            return {"cond_id": net.num_known_conds - 1}
        if getattr(net, "cond_in_size", 0):
            return {"cond_input": torch.linspace(-1, 1, net.cond_in_size, dtype=torch.float64).unsqueeze(0)}
        return {}

    def flat(self, net: Any, **kwargs: Any) -> Tensor:
        """Generate flat weights."""
        flat: Tensor = net(ret_format="flattened", **kwargs)
        return flat

    def twins(self, net: Any) -> list[Any]:
        """Return copies of a hypernetwork, made in each way in which it must be possible."""
        return [copy.deepcopy(net)]


def _scatter(net: Any) -> Any:
    """Convert ``net`` to double precision, with random parameters and statistics that break all symmetries."""
    net = net.double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.7 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        for norm in net.batchnorm_layers or ():
            mean, var = norm.get_stats()
            mean.copy_(torch.randn(mean.shape, generator=generator, dtype=mean.dtype))
            var.copy_(0.5 + torch.rand(var.shape, generator=generator, dtype=var.dtype))
    return net
