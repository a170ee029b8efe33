"""The optimizer of small networks is torch's Adam."""

import copy
import math

import pytest
import torch
from torch import nn

from bayeshnet.hnets import HMLP
from bayeshnet.inference.optimizers import Stepper, clip_norm
from bayeshnet.optim import DirectAdam, make_adam


def test_it_is_torchs_adam_step_by_step():
    torch.manual_seed(0)
    start = [torch.randn(3, 2), torch.randn(4), torch.randn(2)]
    ours, theirs = ([nn.Parameter(t.clone()) for t in start] for _ in range(2))
    direct, reference = DirectAdam(ours, 0.1), torch.optim.Adam(theirs, lr=0.1)
    for step in range(6):
        for optimizer, parameters in ((direct, ours), (reference, theirs)):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimizer.zero_grad()
            used = parameters[: 3 if step % 2 else 2]  # one of them has no gradient now and then
            sum((p - 1).pow(4).sum() for p in used).backward()
            optimizer.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)
        if step == 2:
            state, direct = direct.state_dict(), DirectAdam(ours, 0.1)
            direct.load_state_dict(state)


def test_a_state_that_is_changed_from_outside_is_seen():
    """Emptied, replaced entry by entry, loaded or copied: the next step is that of torch's Adam."""
    torch.manual_seed(0)
    start = [torch.randn(3, 2), torch.randn(4)]
    ours, theirs = ([nn.Parameter(t.clone()) for t in start] for _ in range(2))
    direct, reference = DirectAdam(ours, 0.1), torch.optim.Adam(theirs, lr=0.1)
    changes = [
        lambda o, p: o.state.clear(),
        lambda o, p: o.state[p].update(exp_avg=torch.ones_like(p)),
        lambda o, p: o.state[p].update(step=torch.tensor(7.0)),
        lambda o, p: o.load_state_dict(copy.deepcopy(o.state_dict())),
        lambda o, p: o.state[p]["step"].add_(3),
    ]
    for change in changes:
        for optimizer, parameters in ((direct, ours), (reference, theirs)):
            for _ in range(2):
                optimizer.zero_grad()
                sum((p - 1).pow(4).sum() for p in parameters).backward()
                optimizer.step()
            change(optimizer, parameters[0])
            optimizer.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)
            torch.testing.assert_close(direct.state[a]["step"], reference.state[b]["step"])
    copied, before = copy.deepcopy(direct), float(direct.state[ours[0]]["step"])
    first = copied.param_groups[0]["params"][0]
    first.grad = torch.ones_like(first)
    copied.step()
    assert float(copied.state[first]["step"]) == before + 1
    assert float(direct.state[ours[0]]["step"]) == before


def test_a_closure_is_called_with_gradients():
    p = nn.Parameter(torch.ones(2))
    optimizer = DirectAdam([p], 0.1)

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert (p < 1).all()


def test_parameters_of_two_dtypes_are_left_to_torch():
    single, double = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, dtype=torch.float64))
    assert type(Stepper([single], None, 0.1, None, 1).optimizer) is DirectAdam
    stepper = Stepper([single, double], None, 0.1, None, 1)
    assert type(stepper.optimizer) is torch.optim.Adam
    stepper.step(single.sum() + double.sum())
    assert (single < 1).all()
    assert (double < 1).all()


@pytest.mark.parametrize("largest", [0.5, 100.0, math.inf])
@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float32), (torch.float32, torch.float64)])
def test_gradients_are_clipped_as_torch_clips(largest, dtypes):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.zeros(3, dtype=d)) for d in (*dtypes, torch.float32)]
    theirs = [nn.Parameter(torch.zeros_like(p)) for p in ours]
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        a.grad = torch.randn_like(a)
        b.grad = a.grad.clone()
    clip_norm(ours, largest)
    nn.utils.clip_grad_norm_(theirs, largest)
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert ours[2].grad is None


@pytest.mark.parametrize("dtypes", [(torch.float32,), (torch.float32, torch.float64)], ids=["direct", "fused"])
def test_steps_are_counted_as_changes(dtypes):
    """Otherwise caches of values that depend on the parameters would not notice a step."""
    parameters = [nn.Parameter(torch.ones(2, dtype=dtype)) for dtype in dtypes]
    unused = nn.Parameter(torch.ones(2))
    optimizer = make_adam([*parameters, unused], 0.1)
    sum(p.square().sum() for p in parameters).backward()
    before = [p._version for p in (*parameters, unused)]
    optimizer.step()
    assert all(p._version > v for p, v in zip(parameters, before, strict=False))
    assert unused._version == before[-1]


def test_a_geometry_sees_the_steps_of_the_optimizer():
    """A distribution that is kept while its hypernetwork is trained has the distances of the new parameters."""
    hnet = HMLP([[300, 200], [300]], uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
    geometry, z = hnet.geometry(), torch.randn(5, 3)
    with torch.no_grad():
        before = geometry.sqdist(z)
    hnet(uncond_input=z, ret_format="flattened").square().sum().backward()
    make_adam(hnet.parameters(), 0.1).step()
    with torch.no_grad():
        torch.testing.assert_close(geometry.sqdist(z), hnet.geometry().sqdist(z))
        assert not torch.allclose(geometry.sqdist(z), before)
