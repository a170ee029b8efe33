"""Small dense linear algebra: determinants with their derivatives."""

import torch

from bayeshnet.geometry.linalg import half_log_det


def test_half_log_det_and_its_derivatives():
    torch.manual_seed(0)
    root = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    eye = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(half_log_det(root.mT @ root), 0.5 * torch.logdet(eye + root.mT @ root))
    assert torch.autograd.gradcheck(lambda a: half_log_det(a.mT @ a), root)
    assert torch.autograd.gradgradcheck(lambda a: half_log_det(a.mT @ a), root)
    hessian = torch.func.hessian(lambda a: half_log_det(a.mT @ a).sum())(root[0].detach())
    wanted = torch.func.hessian(lambda a: 0.5 * torch.logdet(eye + a.mT @ a))(root[0].detach())
    torch.testing.assert_close(hessian, wanted)
