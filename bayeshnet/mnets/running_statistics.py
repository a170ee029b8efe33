"""Running statistics of a network, which passes in training mode write: held still, or one set for each condition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..layers import BatchNormLayer
from .module_wrapper import ModuleMainNet

__all__ = [
    "BATCH_NORM_USES",
    "ConditionStatistics",
    "copy_statistics",
    "hold_norms",
    "holding",
    "norms_of",
    "running_statistics",
    "settle_batch_norm",
]

BATCH_NORM_USES = ("task", "track", "batch", "eval")
"""Uses of batch norm by learners: statistics for each task, one set for all tasks, those of the batch, frozen ones."""

_NORMS = nn.modules.batchnorm._NormBase
_NAMES = ("running_mean", "running_var", "num_batches_tracked")


class ConditionStatistics(nn.Module):
    r"""Sets of running statistics of one network, one for each condition, such as a task.

    Batch norm normalizes by means :math:`m` and variances :math:`v` that it averages over training batches. Two tasks
    that shared them would each be normalized by the other's. Here each condition :math:`c` has its own
    :math:`m^{(c)}, v^{(c)}`, which begin as those of the network, and which the network uses within :meth:`of` alone.
    The network's own statistics never change there. The singular vectors of spectral norm are kept alike.

    Sets are buffers: they are saved, loaded, moved and copied with the module that holds them.

    Example:
        >>> net = nn.BatchNorm1d(2)
        >>> sets = ConditionStatistics()
        >>> sets.grow(net, 2)
        >>> with sets.of(net, 1):
        ...     _ = net(torch.ones(4, 2))
        >>> sets.tensors(0)["running_mean"], sets.tensors(1)["running_mean"], net.running_mean
        (tensor([0., 0.]), tensor([0.1000, 0.1000]), tensor([0., 0.]))
    """

    def __init__(self) -> None:
        super().__init__()
        self.sets = nn.ModuleList()

    @classmethod
    def of_network(cls, net: nn.Module) -> ConditionStatistics | None:
        """Return an object without conditions for a network; None if this has no running statistics."""
        return cls() if running_statistics(net) else None

    def __len__(self) -> int:
        """Return the number of conditions."""
        return len(self.sets)

    def grow(self, net: nn.Module, count: int) -> None:
        """Add sets, copies of the network's own statistics, until there are ``count``."""
        while len(self.sets) < count:
            one = nn.Module()
            for name, (part, key) in running_statistics(net).items():
                # Names of buffers have no dots.
                one.register_buffer(name.replace(".", "/"), part._buffers[key].clone())  # type: ignore[union-attr]
            self.sets.append(one)

    def tensors(self, condition: int) -> dict[str, Tensor]:
        """Return the statistics of a condition by their names in the network."""
        return {name.replace("/", "."): tensor for name, tensor in self.sets[condition].named_buffers()}

    @contextmanager
    def of(self, net: nn.Module, condition: int) -> Iterator[None]:
        """Let the network use, and in training mode update, the statistics of a condition within the context.

        A condition without a set has the network's own statistics.
        """
        tensors = self.tensors(condition) if condition < len(self.sets) else {}
        with _using(net, tensors) as places:
            yield
            with torch.no_grad():
                for name, tensor in tensors.items():
                    part, key = places[name]
                    now = part._buffers[key]
                    if now is not None and now is not tensor:  # replaced rather than changed in place
                        tensor.copy_(now)

    def complete(self, state: MutableMapping[str, Tensor], prefix: str, network: str) -> None:
        """Fill in the sets that are missing in a state dict by the statistics of the network in it.

        Args:
            state: of a module that holds these sets and the network; saved, perhaps, before there were sets.
            prefix: beginning of the names of these sets in it.
            network: beginning of the names of the network's entries.
        """
        for name, _ in self.named_buffers():
            own = network + name.split(".", 2)[2].replace("/", ".")
            if prefix + name not in state and own in state:
                state[prefix + name] = state[own].clone()


def running_statistics(net: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Return the layer and the key of each buffer that passes in training mode update, by the name of the buffer.

    These are the statistics of batch norm and instance norm, the vectors of spectral norm, and all saved buffers of
    layers with an attribute ``updates_stats``.

    Example:
        >>> list(running_statistics(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))))
        ['1.running_mean', '1.running_var', '1.num_batches_tracked']
    """
    found = {}
    for path, part in net.named_modules():
        for key in _updated(part):
            found[f"{path}.{key}" if path else key] = (part, key)
    return found


def _updated(part: nn.Module) -> list[str]:
    names: list[str] = []
    if isinstance(part, _NORMS):
        names = [] if part.running_mean is None else list(_NAMES)
    elif isinstance(part, nn.utils.parametrizations._SpectralNorm):
        names = ["_u", "_v"]
    elif hasattr(part, "updates_stats"):
        names = [name for name in part._buffers if name not in part._non_persistent_buffers_set]
    return [name for name in names if part._buffers.get(name) is not None]


def norms_of(net: nn.Module) -> list[nn.Module]:
    """Return the layers of batch norm and instance norm that have running statistics.

    Example:
        >>> len(norms_of(nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False))))
        1
    """
    parts = [part for part in net.modules() if isinstance(part, (_NORMS, BatchNormLayer))]
    return [part for part in parts if _updated(part)]


def hold_norms(net: nn.Module) -> None:
    """Put the layers of :func:`norms_of` into evaluation mode, until the mode of the network is set anew."""
    for part in norms_of(net):
        part.eval()


def settle_batch_norm(net: nn.Module, use: str) -> None:
    """Prepare a network for a use of batch norm, in place.

    Args:
        net: the network.
        use: one of :data:`BATCH_NORM_USES`. ``"batch"`` takes all running statistics away; with the others a wrapped
            module updates them in training mode, unless its own treatment of batch norm says otherwise.
    """
    for part in net.modules():
        if isinstance(part, ModuleMainNet):
            part.allow_updates()
    for part in norms_of(net) if use == "batch" else ():
        if isinstance(part, BatchNormLayer):
            part.drop_stats()
        else:
            part.running_mean, part.running_var, part.track_running_stats = None, None, False  # type: ignore[assignment]


@torch.no_grad()
def copy_statistics(source: nn.Module, target: nn.Module) -> None:
    """Copy the statistics of a network to those of another one that have the same names and shapes."""
    places = running_statistics(target)
    for name, (part, key) in running_statistics(source).items():
        if name in places:
            other, other_key = places[name]
            old, new = part._buffers[key], other._buffers[other_key]
            if old is not None and new is not None and old.shape == new.shape:
                new.copy_(old)


@contextmanager
def holding(net: nn.Module) -> Iterator[None]:
    """Hold running statistics still: layers that have any are in evaluation mode within the context.

    They use copies, so that passes in training mode that follow do not change what gradients need.

    Example:
        >>> net = nn.BatchNorm1d(2)
        >>> with holding(net):
        ...     _ = net(torch.ones(4, 2))
        >>> net.running_mean, net.training
        (tensor([0., 0.]), True)
    """
    places = running_statistics(net)
    parts = {id(part): (part, part.training) for part, _ in places.values()}
    tensors = {name: part._buffers[key] for name, (part, key) in places.items()}
    with _using(net, {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}):
        for part, _ in parts.values():
            part.training = False
        try:
            yield
        finally:
            for part, mode in parts.values():
                part.training = mode


@contextmanager
def _using(net: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[dict[str, tuple[nn.Module, str]]]:
    """Replace buffers of the network within the context."""
    places = {name: place for name, place in running_statistics(net).items() if name in tensors} if tensors else {}
    own = {name: part._buffers[key] for name, (part, key) in places.items()}
    try:
        for name, (part, key) in places.items():
            part._buffers[key] = tensors[name]
        yield places
    finally:
        for name, (part, key) in places.items():
            part._buffers[key] = own[name]
