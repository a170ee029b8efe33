"""Guides with an exact density, with the interface of hypernetwork guides."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..distributions import LowRankPosterior, MeanFieldPosterior, RadialPosterior
from ..errors import check_size, type_error, value_error
from ..estimators.base import KLEstimator
from ..weights import WeightSpec
from .hypernet_guide import HypernetGuide

__all__ = ["LowRankGuide", "MeanFieldGuide", "RadialGuide"]


class MeanFieldGuide(HypernetGuide):
    """Independent Gaussian weights.

    Args:
        net: the network, or the :class:`~bayeshnet.weights.WeightSpec` of its weights.
        estimator: of the KL; None for the exact one where there is a closed form.
        name: of the site.
        options: other arguments of :class:`~bayeshnet.distributions.MeanFieldPosterior`.

    Example:
        >>> MeanFieldGuide(nn.Linear(3, 2), scale="fan_in")().shape
        torch.Size([8])
    """

    def __init__(
        self,
        net: nn.Module | WeightSpec,
        estimator: KLEstimator | None = None,
        name: str = "weights",
        **options: Any,
    ) -> None:
        super().__init__(MeanFieldPosterior(spec_of(net), **options), estimator, name)


class LowRankGuide(HypernetGuide):
    """Gaussian weights whose covariance is a low rank plus a diagonal.

    Args:
        net: the network, or the :class:`~bayeshnet.weights.WeightSpec` of its weights.
        rank: rank of the first part of the covariance.
        estimator: of the KL; None for the exact one where there is a closed form.
        name: of the site.
        options: other arguments of :class:`~bayeshnet.distributions.LowRankPosterior`.

    Example:
        >>> LowRankGuide(nn.Linear(3, 2), rank=2)().shape
        torch.Size([8])
    """

    def __init__(
        self,
        net: nn.Module | WeightSpec,
        rank: int = 8,
        estimator: KLEstimator | None = None,
        name: str = "weights",
        **options: Any,
    ) -> None:
        super().__init__(LowRankPosterior(spec_of(net), check_size("rank", rank), **options), estimator, name)
        self.rank = rank


class RadialGuide(HypernetGuide):
    """A radial distribution per weight tensor, whose distance from the mean is that of a scalar Gaussian.

    Args:
        net: the network, or the :class:`~bayeshnet.weights.WeightSpec` of its weights.
        estimator: of the KL; None for the exact one where there is a closed form.
        name: of the site.
        options: other arguments of :class:`~bayeshnet.distributions.RadialPosterior`.

    Example:
        >>> RadialGuide(nn.Linear(3, 2))().shape
        torch.Size([8])
    """

    def __init__(
        self,
        net: nn.Module | WeightSpec,
        estimator: KLEstimator | None = None,
        name: str = "weights",
        **options: Any,
    ) -> None:
        super().__init__(RadialPosterior(spec_of(net), **options), estimator, name)


def spec_of(net: nn.Module | WeightSpec) -> WeightSpec:
    """Return names and shapes of the weights of a main network or of any module, or the given specification."""
    if isinstance(net, WeightSpec):
        return net
    if not isinstance(net, nn.Module):
        raise type_error("net", expected="a main network, a torch.nn.Module or a WeightSpec", got=net)
    own = getattr(net, "weight_spec", None)
    if isinstance(own, WeightSpec):
        return own
    if next(net.parameters(), None) is None:
        raise value_error("net", expected="a network with parameters", got=net)
    return WeightSpec.of(net)
