"""Learnable weight posteriors: modules that return a weight distribution for a condition."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn

from ...checks import check_generator, check_path
from ...deprecation import renamed_arguments
from ...errors import check_floating, check_instance, check_int, check_shape, check_size, value_error
from ...representation import ModuleSettings
from ...saving import save
from ...weights import WeightSpec
from ..base import WeightDistribution, WeightDraw, check_spec, draw_from
from .export import plain_states

__all__ = ["SampledNetwork", "WeightPosterior"]


class WeightPosterior(ModuleSettings, nn.Module, ABC):
    """A module with parameters that returns a :class:`WeightDistribution` when called with a condition.

    Attributes:
        weight_spec: names and shapes of the weights.
    """

    weight_spec: WeightSpec

    @abstractmethod
    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """Return the distribution at a condition, or at the default one."""

    def draw(
        self,
        num: int,
        generator: torch.Generator | None = None,
        cond_id: int | None = None,
        cond_input: Tensor | None = None,
    ) -> WeightDraw:
        """Draw ``num`` weight vectors, together with the noise that produced them."""
        return draw_from(self.forward(cond_id, cond_input), num, generator)

    def rsample(
        self,
        sample_shape: torch.Size | tuple[int, ...] = torch.Size(),
        generator: torch.Generator | None = None,
        cond_id: int | None = None,
        cond_input: Tensor | None = None,
    ) -> Tensor:
        """Draw reparameterized weights ``(*sample_shape, P)``."""
        shape = torch.Size(sample_shape)
        return self.draw(shape.numel(), generator, cond_id, cond_input).w.reshape(*shape, self.weight_spec.numel)

    @torch.no_grad()
    def sample_networks(
        self,
        net: nn.Module,
        k: int = 1,
        generator: torch.Generator | None = None,
        cond_id: int | None = None,
        cond_input: Tensor | None = None,
    ) -> list[nn.Module]:
        """Draw ``k`` networks with sampled weights.

        Args:
            net: the network to which the posterior belongs. A torch module is copied, and its parameters are set; a
                main network without own weights is wrapped together with the weights.
            k: number of networks.
            generator: random generator of the noise.
            cond_id: the condition, or None for the default one.
            cond_input: the condition as a vector.

        Example:
            >>> from bayeshnet.distributions import MeanFieldPosterior
            >>> net = nn.Linear(3, 2)
            >>> networks = MeanFieldPosterior(WeightSpec.of(net)).sample_networks(net, 4)
            >>> len(networks), networks[0](torch.zeros(5, 3)).shape
            (4, torch.Size([5, 2]))
        """
        weights = self.draw(check_int("k", k, 1), generator, cond_id, cond_input).w
        return [_with_weights(net, self.weight_spec, w) for w in weights]

    @torch.no_grad()
    def state_dicts(
        self,
        module: nn.Module,
        num: int | None = None,
        generator: torch.Generator | None = None,
        cond_id: int | None = None,
        cond_input: Tensor | None = None,
    ) -> list[dict[str, Tensor]]:
        """Return draws as plain states of a module, for ``module.load_state_dict``: no class of the library is in them.

        Args:
            module: a torch module with the parameters of the specification, by name or else by order and shape; all
                else in its state, such as buffers, is copied. For a :class:`~bayeshnet.mnets.ModuleMainNet` the states
                are those of the module that it was made of, with the statistics that it has learned since.
            num: number of draws; if None one, or, of a posterior that is given by draws, all.
            generator: random generator of the noise. A posterior that is given by draws takes ``num`` of them, evenly
                spaced.
            cond_id: the condition, or None for the default one.
            cond_input: the condition as a vector.

        Example:
            >>> from bayeshnet.distributions import MeanFieldPosterior
            >>> net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
            >>> states = MeanFieldPosterior(WeightSpec.of(net)).state_dicts(net, 4)
            >>> len(states), list(states[0])[:3], net.load_state_dict(states[3])
            (4, ['0.weight', '0.bias', '1.weight'], <All keys matched successfully>)
        """
        check_instance("module", module, nn.Module, "a torch.nn.Module")
        count = None if num is None else check_size("num", num)
        check_generator(generator)
        if cond_id is not None:
            check_int("cond_id", cond_id, 0)
        law = self.forward(cond_id, cond_input)
        spaced = getattr(law, "spaced", None)
        weights = spaced(count) if callable(spaced) else draw_from(law, count or 1, generator).w
        return plain_states(module, self.weight_spec, weights)

    def save(self, path: str | Path) -> None:
        """Save the posterior in a folder, for ``bayeshnet.load(path)``; see :func:`bayeshnet.save`.

        Args:
            path: the folder, which is created if necessary. A posterior that has a method ``write(path)``
                writes its own files.

        Example:
            >>> import tempfile, bayeshnet
            >>> from bayeshnet.distributions import MeanFieldPosterior
            >>> posterior = MeanFieldPosterior(WeightSpec.of(nn.Linear(3, 2)))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     posterior.save(folder)
            ...     again = bayeshnet.load(folder)
            >>> torch.equal(again().mean, posterior().mean)
            True
        """
        check_path("path", path, "a folder to save in")
        write = getattr(self, "write", None)
        if callable(write):
            write(path)
        else:
            save(self, path)


class SampledNetwork(ModuleSettings, nn.Module):
    """A main network with one draw of its weights.

    Args:
        net: called as ``net(x, weights=...)``.
        weight_spec: names and shapes of the weights.
        flat: the weights ``(P,)``.
    """

    @renamed_arguments(spec="weight_spec")
    def __init__(self, net: nn.Module, weight_spec: WeightSpec, flat: Tensor) -> None:
        super().__init__()
        self.net = check_instance("net", net, nn.Module, "a torch.nn.Module")
        self.weight_spec = check_spec(weight_spec)
        check_floating("flat", check_shape("flat", flat, (weight_spec.numel,)))
        self._names = [f"weight_{i}" for i in range(len(weight_spec.entries))]
        for name, tensor in zip(self._names, weight_spec.split(flat.clone()), strict=True):
            self.register_buffer(name, tensor)

    @property
    def weights(self) -> list[Tensor]:
        """Weights in the order of the specification."""
        return [self.get_buffer(name) for name in self._names]

    def forward(self, x: Tensor, **options: object) -> Tensor:
        """Compute the network's outputs for inputs ``x``; options are passed on to it."""
        found: Tensor = self.net(x, weights=self.weights, **options)
        return found


def _with_weights(net: nn.Module, spec: WeightSpec, flat: Tensor) -> nn.Module:
    """Return a copy of a torch module with given weights, or wrap a main network together with them."""
    own = getattr(net, "weight_spec", None)
    if own is not None:
        if own.numel != spec.numel:
            raise value_error("net", expected=f"a network of {spec.numel} weights", found=f"one of {own.numel}")
        return SampledNetwork(net, spec, flat)
    parameters = dict(net.named_parameters())
    named = spec.unflatten(flat)
    if not set(named) <= set(parameters):  # a specification made from shapes alone: match by order
        shapes = tuple(tuple(p.shape) for p in parameters.values())
        if shapes != spec.shapes:
            raise value_error("net", expected=f"parameters {spec.names} of shapes {spec.shapes}", found=str(shapes))
        named = dict(zip(parameters, named.values(), strict=True))
    network = copy.deepcopy(net)
    parameters = dict(network.named_parameters())
    for name, tensor in named.items():
        parameters[name].copy_(tensor)
    return network
