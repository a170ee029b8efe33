"""Known finite symmetries of a posterior: signs and permutations of named sites, exact by construction."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_items
from ..errors import value_error
from ..representation import Settings

__all__ = ["Flip", "Group", "Swap", "Symmetry"]

_MOST, _MOST_GATHERED = 5040, 128
_REAL = (constraints.real, constraints.real_vector)
_POSITIVE = (constraints.positive, constraints.nonnegative)


class Symmetry(Settings, ABC):
    """A symmetry of a posterior in its unconstrained unknowns: changes of signs and of places.

    Attributes:
        names: of the sites that change together.
    """

    names: tuple[str, ...]
    centered = False
    """True if intervals around zero have the symmetry, too."""

    @abstractmethod
    def generators(self, places: Mapping[str, Tensor]) -> list[tuple[dict[int, int], set[int]]]:
        """Return elements that generate the group, each by the places that move and those whose sign changes.

        Args:
            places: of the entries of each site in the flat vector, in the shape of its unconstrained values.
        """

    def check(self, nodes: Mapping[str, Any]) -> None:
        """Refuse sites that are missing, or whose values the symmetry does not take to values."""
        for name in self.names:
            if name not in nodes:
                raise value_error("symmetries", expected=f"sites among {', '.join(nodes)}", got=name)
            support = nodes[name]["fn"].support
            while isinstance(support, constraints.independent):
                support = support.base_constraint
            if support not in self.supports() and not (self.centered and _is_centered(support)):
                kind = " or positive" if len(self.supports()) > len(_REAL) else ""
                found = f"site {name!r} with other values"
                raise value_error("symmetries", expected=f"sites whose values are real{kind}", found=found)

    @abstractmethod
    def supports(self) -> tuple[Any, ...]:
        """Return the supports of sites that may have the symmetry."""


class Flip(Symmetry):
    """The sign of all entries of the named sites together: factors and their loadings, for example.

    Args:
        names: of the sites, which are real or in intervals around zero.

    Example:
        >>> Flip(["factor", "loading"])
        Flip(names=('factor', 'loading'))
    """

    centered = True

    def __init__(self, names: Sequence[str]) -> None:
        self.names = check_items("names", names, "names of sites", str, 1)

    def supports(self) -> tuple[Any, ...]:
        """Return the supports of sites that may have the symmetry."""
        return _REAL

    def generators(self, places: Mapping[str, Tensor]) -> list[tuple[dict[int, int], set[int]]]:
        """Return the one change of signs."""
        return [({}, {int(i) for name in self.names for i in places[name].flatten()})]


class Swap(Symmetry):
    """All permutations of the first dimension of the named sites together: names of clusters, or hidden units.

    Args:
        names: of the sites, real or positive, whose first dimensions are of one size.

    Example:
        >>> Swap(["center", "width"])
        Swap(names=('center', 'width'))
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = check_items("names", names, "names of sites", str, 1)

    def supports(self) -> tuple[Any, ...]:
        """Return the supports of sites that may have the symmetry."""
        return (*_REAL, *_POSITIVE)

    def generators(self, places: Mapping[str, Tensor]) -> list[tuple[dict[int, int], set[int]]]:
        """Return the exchanges of neighbors."""
        sizes = {places[name].shape[0] if places[name].ndim else 0 for name in self.names}
        if len(sizes) != 1 or sizes == {0}:
            raise value_error("symmetries", expected="sites of one first dimension", found=f"sizes {sorted(sizes)}")
        found = []
        for i in range(sizes.pop() - 1):
            moves: dict[int, int] = {}
            for name in self.names:
                first, second = places[name][i].flatten().tolist(), places[name][i + 1].flatten().tolist()
                moves |= dict(zip(first, second, strict=True)) | dict(zip(second, first, strict=True))
            found.append((moves, set[int]()))
        return found


class Group:
    r"""The finite group of signed permutations of flat vectors that some symmetries generate.

    A distribution ``q`` becomes invariant, :math:`\bar q(x) = \frac1{|G|} \sum_{g \in G} q(g x)`, by applying a random
    element to its draws. It is never further from an invariant posterior than ``q``.

    Args:
        symmetries: that hold.
        nodes: sites of the model, by name.
        shapes: of their unconstrained values, in the order of the flat vector.

    Attributes:
        index: ``(G, D)``; element ``g`` takes ``x`` to ``sign[g] * x[index[g]]``, and the first is the identity.
        sign: ``(G, D)``.
    """

    def __init__(
        self, symmetries: Sequence[Symmetry], nodes: Mapping[str, Any], shapes: Mapping[str, torch.Size]
    ) -> None:
        places, start = {}, 0
        for name, shape in shapes.items():
            places[name] = torch.arange(start, start + shape.numel()).reshape(shape)
            start += shape.numel()
        steps = []
        for symmetry in symmetries:
            symmetry.check(nodes)
            for moves, signs in symmetry.generators(places):
                steps.append([(moves.get(i, i), -1 if i in signs else 1) for i in range(start)])
        elements = [tuple((i, 1) for i in range(start))]
        known = set(elements)
        for element in elements:
            for step in steps:
                new = tuple((element[i][0], element[i][1] * sign) for i, sign in step)
                if new not in known:
                    known.add(new)
                    elements.append(new)
            if len(elements) > _MOST:
                raise value_error("symmetries", expected=f"a group of at most {_MOST} elements", found="a larger one")
        self.index = torch.tensor([[i for i, _ in element] for element in elements])
        self.sign = torch.tensor([[s for _, s in element] for element in elements])

    def __len__(self) -> int:
        return len(self.index)

    def apply(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Apply a random element to each vector of ``x`` ``(*B, D)``."""
        device = x.device if generator is None else generator.device
        chosen = torch.randint(len(self), x.shape[:-1], generator=generator, device=device).to(self.index.device)
        return x.gather(-1, self.index[chosen].to(x.device)) * self.sign[chosen].to(x)

    def gathered(self, x: Tensor, center: Tensor) -> Tensor:
        """Return of each vector of ``x`` ``(S, D)`` the image nearest to a vector ``(D,)``; of large groups ``x``."""
        if len(self) > _MOST_GATHERED:
            return x
        images = x[:, self.index.to(x.device)] * self.sign.to(x)
        nearest = (images - center).square().sum(-1).argmin(-1)
        return images[torch.arange(len(x), device=x.device), nearest]

    def log_densities(self, density: Callable[[Tensor], Tensor], x: Tensor, *owns: Tensor) -> list[Tensor]:
        """Return log-densities ``(S,)`` of the invariant distribution at ``x`` ``(S, D)``.

        Args:
            density: function from vectors to log-densities of the distribution that is made invariant.
            x: vectors.
            owns: one or more estimates of its log-densities at ``x``; there is a result for each.
        """
        others = [density(x[:, i.to(x.device)] * s.to(x)) for i, s in zip(self.index[1:], self.sign[1:], strict=True)]
        return [
            torch.stack([own, *(other.to(own) for other in others)]).logsumexp(0) - math.log(len(self)) for own in owns
        ]


def _is_centered(support: Any) -> bool:
    """Return whether a support is an interval around zero, whose unconstrained values change sign with its own."""
    if not isinstance(support, type(constraints.unit_interval)):
        return False
    return bool((torch.as_tensor(support.lower_bound) == -torch.as_tensor(support.upper_bound)).all())
