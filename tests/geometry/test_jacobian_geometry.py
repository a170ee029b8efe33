"""The geometry of a function: its origin."""

import torch

from bayeshnet.geometry import JacobianGeometry


def test_the_zero_latent_is_zero():
    like = torch.zeros(5, dtype=torch.float64)
    zero = JacobianGeometry(lambda z: z @ torch.ones(3, 5, dtype=torch.float64), 3, 5, like=like).zero_latent()
    assert torch.equal(zero, torch.zeros(3, dtype=torch.float64))
