"""Processes on Lightning Fabric."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, final

import torch
from torch import Tensor

from ..errors import MissingExtraError, check_choice, check_int, value_error
from .current import using
from .processes import Processes, ProcessLostError
from .shares import SHARES

__all__ = ["FabricProcesses", "launched"]

_PATIENCE = timedelta(hours=6)
"""Time for which a process waits for another one: the first one assesses while the others wait."""


def launched(
    devices: int = 1, nodes: int = 1, *, device: str = "cpu", share: str = "data"
) -> AbstractContextManager[Processes]:
    """Start processes that run this program, and share the work of training within the context.

    Without a launcher this process starts those of its machine, which run the same command from the beginning; the
    others come from ``torchrun`` or ``fabric run``, whose numbers of devices and machines are then those to give.

    Args:
        devices: number of processes of each machine, on accelerators one for each.
        nodes: number of machines.
        device: kind of device, ``"cpu"`` or ``"cuda"``; on CPUs the processes speak by gloo, on CUDA by NCCL.
        share: what is shared out, see :mod:`bayeshnet.parallel`.

    Raises:
        MissingExtraError: if Lightning Fabric is not installed.
        ValueError: if there are not so many devices, or a launcher has started other numbers of processes.
    """
    check_choice("share", share, SHARES)
    check_choice("device", device, ("cpu", "cuda"))
    count = check_int("devices", devices, 1) * check_int("nodes", nodes, 1)
    known = int(os.environ.get("WORLD_SIZE", count))
    if known != count:
        advice = "Give the launcher's numbers of processes of a machine and of machines."
        raise value_error("devices, nodes", expected=f"those of {known} processes", found=f"{count}", hint=advice)
    if device == "cuda" and devices > torch.cuda.device_count():
        raise value_error("devices", expected=f"at most {torch.cuda.device_count()} CUDA devices", got=devices)
    return _launched(devices, nodes, device, share)


@contextmanager
def _launched(devices: int, nodes: int, device: str, share: str) -> Iterator[Processes]:
    group = FabricProcesses(_launch(devices, nodes, device), share)
    try:
        with using(group):
            yield group
    finally:
        group.close()


def _launch(devices: int, nodes: int, device: str) -> Any:
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError:
        raise MissingExtraError("lightning-fabric", "dist", "a run of several processes") from None
    for name in ("lightning_fabric", "lightning.fabric", "lightning_utilities"):
        logging.getLogger(name).setLevel(logging.WARNING)
    strategy = DDPStrategy(process_group_backend="nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    with _as_by_torchrun():
        fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy)
        fabric.launch()
    return fabric


@contextmanager
def _as_by_torchrun() -> Iterator[None]:
    """Hide the settings of ``fabric run``, which starts processes by torchrun: a Fabric refuses others beside them."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("LT_")}
    try:
        yield
    finally:
        os.environ.update(hidden)


@final
class FabricProcesses(Processes):
    """Processes that a launched Fabric connects.

    Args:
        fabric: a ``lightning_fabric.Fabric`` after its ``launch()``.
        share: what is shared out.

    Attributes:
        device: device of this process.
    """

    def __init__(self, fabric: Any, share: str = "data") -> None:
        self.fabric, self.share = fabric, check_choice("share", share, SHARES)
        self.rank, self.size = int(fabric.global_rank), int(fabric.world_size)
        self.device: torch.device = fabric.device

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means, all of one dtype in one message."""
        for group in _by_dtype(tensors):
            flat = torch.cat([t.detach().flatten() for t in group])
            with _partners():
                self.fabric.all_reduce(flat, reduce_op="mean")
            _fill(group, flat)

    def gather(self, x: Tensor) -> Tensor:
        """Concatenate the tensors of all processes."""
        found: Tensor = _Gather.apply(x, self) if self.size > 1 else x  # type: ignore[no-untyped-call]
        return found

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process, all of one dtype in one message."""
        for group in _by_dtype(tensors):
            flat = torch.cat([t.detach().flatten() for t in group])
            with _partners():
                torch.distributed.broadcast(flat, 0)
            _fill(group, flat)

    def collect(self, value: Any) -> list[Any]:
        """Return the values of all processes."""
        found: list[Any] = [None] * self.size
        with _partners():
            torch.distributed.all_gather_object(found, value)
        return found

    def close(self) -> None:
        """Leave the group, without waiting for the others."""
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Concatenation over processes; the gradient of an own entry is the sum of those that all processes have."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: FabricProcesses) -> Tensor:
        ctx.group, ctx.count = group, len(x)
        with _partners():
            parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(group.size)]
            torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        start, total = ctx.group.rank * ctx.count, grad.contiguous().clone()
        with _partners():
            ctx.group.fabric.all_reduce(total, reduce_op="sum")
        return total[start : start + ctx.count], None


@contextmanager
def _partners() -> Iterator[None]:
    """Name what torch reports where another process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError("another process of this run has ended") from error


def _fill(tensors: Sequence[Tensor], flat: Tensor) -> None:
    """Copy the entries of ``flat`` into tensors, one after the other."""
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def _by_dtype(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the tensors in groups of one dtype, in their order."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())
