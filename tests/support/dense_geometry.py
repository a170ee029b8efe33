"""The geometry of any function, for tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bayeshnet.geometry.base import Geometry

DTYPE = torch.float64


class DenseGeometry(Geometry):
    """The geometry of any function, by full Jacobians and explicit weights: slow, obvious, independent."""

    def __init__(
        self, fn: Callable[[Tensor], Tensor], latent_size: int, num_weights: int, affine: bool = False
    ) -> None:
        self.fn = fn
        self.latent_size, self.num_weights, self.is_affine = latent_size, num_weights, affine

    def __call__(self, z: Tensor) -> Tensor:
        return self.fn(z)

    def jacobian(self, z: Tensor) -> Tensor:
        flat = torch.func.vmap(torch.func.jacrev(self.fn))(z.reshape(-1, self.latent_size))
        return flat.reshape(*z.shape[:-1], self.num_weights, self.latent_size)

    def gram(self, z: Tensor, precision: float | Tensor = 1.0) -> Tensor:
        jac = self.jacobian(z)
        weighted = jac * torch.as_tensor(precision, dtype=jac.dtype).expand(self.num_weights).unsqueeze(-1)
        return jac.mT @ weighted

    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: float | Tensor = 1.0) -> Tensor:
        offset = self.fn(z) if center is None else self.fn(z) - center
        return (offset**2 * precision).sum(-1)

    def sqdist_between(self, z: Tensor, other: Tensor, precision: float | Tensor = 1.0) -> Tensor:
        return ((self.fn(z) - self.fn(other)) ** 2 * precision).sum(-1)

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        return (self.fn(z) * v).sum(-1)

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda z, other: ((self.fn(z) - self.fn(other)) * v).sum(-1)

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        return (self.jacobian(z).mT @ v.unsqueeze(-1)).squeeze(-1)

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        return (self.jacobian(z) @ t.unsqueeze(-1)).squeeze(-1)

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        jac = self.jacobian(z)
        return jac if index is None else jac[..., index, :]

    def zero_latent(self) -> Tensor:
        return torch.zeros(self.latent_size, dtype=DTYPE)
