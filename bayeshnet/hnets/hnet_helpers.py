"""Access to the embeddings of any hypernetwork."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from ..checks import refusing
from ..errors import check_function, check_number, type_error
from ..mnets.parts.ledger import TensorRecord
from .hnet_interface import HyperNetInterface
from .parts.arguments import check_id
from .parts.subnet_hypernetwork import ChunkedHypernetwork
from .structured_mlp_hnet import StructuredHMLP

__all__ = ["get_conditional_parameters", "init_chunk_embeddings", "init_conditional_embeddings"]


def init_conditional_embeddings(
    hnet: HyperNetInterface,
    normal_mean: float = 0.0,
    normal_std: float = 1.0,
    init_fct: Callable[[Tensor, int], Any] | None = None,
) -> None:
    """Initialize the conditional input embeddings of a hypernetwork and of those inside it.

    For conditional chunk embeddings see :func:`init_chunk_embeddings`. Hypernetworks without such embeddings are not
    changed.

    Args:
        hnet: the hypernetwork.
        normal_mean: mean of the normal distribution from which they are drawn.
        normal_std: its standard deviation.
        init_fct: a function ``(embedding, cond_id)`` that changes the embedding in place, to use instead.
    """
    init = _initializer(normal_mean, normal_std, init_fct)
    for record in _records(hnet):
        match = re.fullmatch(r"(?:hnet\d+\.)*cond(\d+)\.embedding", record.label)
        if match is not None:
            init(record.live, int(match.group(1)))


def init_chunk_embeddings(
    hnet: HyperNetInterface,
    normal_mean: float = 0.0,
    normal_std: float = 1.0,
    init_fct: Callable[..., Any] | None = None,
) -> None:
    """Initialize the chunk embeddings of a hypernetwork and of those inside it.

    Hypernetworks without chunks are not changed.

    Args:
        hnet: the hypernetwork.
        normal_mean: mean of the normal distribution from which they are drawn.
        normal_std: its standard deviation.
        init_fct: a function ``(embedding, chunk_id, cond_id=None)`` that changes the embedding ``(size,)`` in place, to
            use instead. ``cond_id`` is None unless chunk embeddings are conditional. For a
            :class:`~bayeshnet.hnets.StructuredHMLP` it is called with matrices ``(num, size)`` and their number.
    """
    init = _initializer(normal_mean, normal_std, init_fct)
    for net in _flat(hnet):
        if not isinstance(net, (ChunkedHypernetwork, StructuredHMLP)):
            continue
        for record in net._ledger.internal:
            match = re.fullmatch(r"(?:cond(\d+)\.)?chunk_embs(\d*)", record.label)
            if match is None:
                continue
            cond = None if match.group(1) is None else int(match.group(1))
            if match.group(2):
                init(record.live, int(match.group(2)), cond_id=cond)
            else:
                for chunk_id in range(record.shape[0]):
                    init(record.live[chunk_id], chunk_id, cond_id=cond)


def get_conditional_parameters(hnet: HyperNetInterface, cond_id: int) -> list[Tensor]:
    """Return the parameters of a hypernetwork that belong to condition ``cond_id``.

    Example:
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3]], num_cond_embs=2, verbose=False)
        >>> get_conditional_parameters(hnet, 1)[0] is hnet.get_cond_in_emb(1)
        True
    """
    group = f"cond{check_id(cond_id, _check(hnet).num_known_conds)}"
    return [record.live for record in hnet._ledger.internal if record.group == group]


def _initializer(mean: float, std: float, init_fct: Any) -> Callable[..., Any]:
    """Return the function that initializes an embedding: ``init_fct``, or a draw from a normal distribution."""
    check_function("init_fct", init_fct, "a function of an embedding and its number, or None")
    mean, std = check_number("normal_mean", mean), check_number("normal_std", std, 0.0)
    if init_fct is None:
        return lambda embedding, *_, **__: nn.init.normal_(embedding, mean, std)
    return refusing("init_fct", init_fct, "a function of an embedding and its number (of chunks also of cond_id)")


def _check(hnet: Any) -> HyperNetInterface:
    if not isinstance(hnet, HyperNetInterface):
        raise type_error("hnet", expected="a hypernetwork (HyperNetInterface)", got=hnet)
    return hnet


def _records(hnet: HyperNetInterface) -> list[TensorRecord]:
    return [record for net in _flat(hnet) for record in net._ledger.internal]


def _flat(hnet: HyperNetInterface) -> Iterator[HyperNetInterface]:
    """Yield the hypernetwork itself, or those inside a container or a wrapper."""
    inner = [m for m in _check(hnet).children() if isinstance(m, (HyperNetInterface, nn.ModuleList))]
    nets = [
        n for m in inner for n in ([m] if isinstance(m, HyperNetInterface) else m) if isinstance(n, HyperNetInterface)
    ]
    if not nets or isinstance(hnet, StructuredHMLP):
        yield hnet
        return
    for net in nets:
        yield from _flat(net)
