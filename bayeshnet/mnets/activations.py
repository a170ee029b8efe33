"""Number of values that a network computes for an example, from which chunks of bounded memory follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .inputs import Inputs, num_examples, take

__all__ = ["values_per_example"]


class _Counter(TorchDispatchMode):
    """Count the entries of all tensors that are computed; views are not."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            self.count += sum(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


@torch.no_grad()
def values_per_example(function: Callable[[Any], Any], x: Inputs) -> int:
    """Count the values that ``function`` computes for one more example.

    It is called with one and with two examples: what does not depend on their number, such as a transformation of
    weights, drops out of the difference. The state of random generators does not change.

    Args:
        function: a network under given weights.
        x: inputs, at least two examples, or a tuple of several inputs.

    Returns:
        Their number, at least 1.

    Example:
        >>> values_per_example(torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU()), torch.zeros(2, 3))
        10
    """
    counts = []
    some = x[0] if isinstance(x, tuple) else x
    for size in (1, min(2, num_examples(x))):
        with torch.random.fork_rng([some.device] if some.device.type == "cuda" else []), _Counter() as counter:
            function(take(x, slice(0, size)))
        counts.append(counter.count)
    found: int = max(1, counts[1] - counts[0])
    return found
