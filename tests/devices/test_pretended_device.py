"""The pretended device keeps the rules of a real one: results, mixing, generators, and what the host waits for."""

import pytest
import torch
from torch import nn

from tests.support.pretended_device import Pretended, PretendedDevice


@pytest.fixture
def there():
    with PretendedDevice() as device:
        yield device


def test_values_and_gradients_are_those_of_the_cpu(there):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    expected = net(x).square().sum()
    gradients = torch.autograd.grad(expected, list(net.parameters()))
    parameters = list(net.parameters())
    net.to(there.device)
    assert all(p is q and isinstance(p, Pretended) for p, q in zip(net.parameters(), parameters, strict=True))
    loss = net(x.to(there.device)).square().sum()
    loss.backward()
    torch.testing.assert_close(loss.cpu(), expected)
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad.cpu(), gradient)


def test_views_change_with_what_they_look_at(there):
    a = torch.zeros(2, 3, device=there.device)
    row = a[1]
    row.add_(2.0)
    a.t_()
    assert a.shape == (3, 2)
    assert torch.equal(a.cpu(), torch.tensor([[0.0, 2.0]] * 3))
    torch.testing.assert_close((a[:, 1] @ a @ a[1].unsqueeze(1)).cpu(), torch.tensor([24.0]))


def test_tensors_of_two_devices_do_not_meet(there):
    a, b = torch.ones(3, device=there.device), torch.ones(3)
    for meet in (torch.add, torch.dot, lambda x, y: torch.cat([x, y]), lambda x, y: y[x.long()]):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            meet(a, b)
    assert torch.equal((a + torch.tensor(2.0)).cpu(), torch.full((3,), 3.0))
    assert torch.equal(a[torch.tensor([0, 1])].cpu(), torch.ones(2))


def test_generators_draw_on_their_own_device(there):
    generator = torch.Generator(device=there.device).manual_seed(0)
    assert isinstance(generator, torch.Generator)
    assert isinstance(torch.Generator(), torch.Generator)
    drawn = torch.randn(3, generator=generator, device=there.device)
    assert torch.equal(drawn.cpu(), torch.randn(3, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(RuntimeError, match="device type for generator"):
        torch.randn(3, generator=generator)
    with pytest.raises(RuntimeError, match="device type for generator"):
        torch.randn(3, generator=torch.Generator(), device=there.device)


@pytest.mark.parametrize(
    "look",
    [
        lambda t: t[0].item(),
        lambda t: bool((t > 0).any()),
        lambda t: t.tolist(),
        lambda t: t.cpu(),
        lambda t: t[t > 0],
        lambda t: (t > 0).nonzero(),
        lambda t: torch.linalg.cholesky(torch.diag(t)),
        lambda t: torch.linalg.eigh(torch.diag(t)),
    ],
)
def test_looks_of_the_host_are_counted(there, look):
    t = torch.ones(3, device=there.device)
    assert not there.waits
    look(t)
    assert sum(there.reads.values()) == 1
    assert not there.sends


def test_copies_that_the_host_waits_for_are_counted(there):
    for send in (
        lambda: torch.ones(3).to(there.device),
        lambda: torch.tensor([1.0], device=there.device),
        lambda: torch.empty(3, device=there.device).copy_(torch.ones(3)),
        lambda: torch.ones(3, device=there.device)[torch.tensor([0])],
    ):
        before = sum(there.sends.values())
        send()
        assert sum(there.sends.values()) == before + 1
    there.sends.clear()
    torch.ones(3).to(there.device, non_blocking=True)
    torch.full((3,), 2.0, device=there.device).mul_(2).where(torch.ones((), dtype=torch.bool), 0.0)
    assert not there.waits


def test_nothing_is_left_behind():
    generator, tensor = torch.Generator, torch.tensor
    with PretendedDevice():
        assert torch.Generator is not generator
    assert torch.Generator is generator
    assert torch.tensor is tensor
    assert "data" not in vars(nn.Parameter)
    assert torch.empty(1, device="meta").is_meta
