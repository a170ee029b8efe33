"""A part of a network's outputs as a network: the same tensors, a part of the outputs."""

import copy

import pytest
import torch

from bayeshnet.functional import batched_forward
from bayeshnet.mnets import MLP, OutputView


@pytest.fixture(params=[False, True], ids=["internal", "external"])
def net(request):
    torch.manual_seed(0)
    return MLP(3, 6, (4,), use_batch_norm=True, no_weights=request.param, verbose=False)


def test_a_view_has_the_tensors_of_the_network(net):
    view = OutputView(net, 2, 4)
    lists = ("param_shapes", "param_shapes_meta", "hyper_shapes_learned", "internal_params_ref", "num_params")
    assert all(getattr(view, name) == getattr(net, name) for name in lists)
    assert view.weight_spec == net.weight_spec
    own = (view.internal_params, net.internal_params)
    assert own == (None, None) or all(a is b for a, b in zip(*own, strict=True))
    assert [id(norm) for norm in view.batchnorm_layers] == [id(norm) for norm in net.batchnorm_layers]
    assert list(view.state_dict()) == [f"net.{key}" for key in net.state_dict()]


def test_a_copy_of_a_view_has_its_own_tensors(net):
    view = OutputView(net, 2, 4)
    other = copy.deepcopy(view)
    assert other.param_shapes == view.param_shapes
    for mine, theirs in zip(other.internal_params or (), other.net.internal_params or (), strict=True):
        assert mine is theirs
    assert not {id(p) for p in other.parameters()} & {id(p) for p in view.parameters()}


def test_outputs_are_those_of_the_network(net):
    view, x = OutputView(OutputView(net.eval(), 1, 5), 1, 3), torch.randn(7, 3)
    weights = torch.randn(2, net.weight_spec.numel)
    expected = torch.stack([net(x, weights=net.weight_spec.split(w))[:, 2:4] for w in weights])
    torch.testing.assert_close(batched_forward(view, weights, x), expected)
    one = view(x, weights=view.weight_spec.split(weights[0]))
    torch.testing.assert_close(one, expected[0])


def test_batched_outputs():
    net = MLP(3, 6, (4,), no_weights=True, verbose=False)
    weights, x = torch.randn(2, net.weight_spec.numel), torch.randn(7, 3)
    view = OutputView(net, 2, 4)
    torch.testing.assert_close(view.batched_forward(weights, x), net.batched_forward(weights, x)[..., 2:4])
    assert OutputView(MLP(3, 6, use_batch_norm=True, verbose=False), 0, 2).batched_forward(weights, x) is None


def test_outputs_that_are_left_out():
    net, x = MLP(3, 8, hidden_layers=[4], verbose=False), torch.randn(5, 3)
    view = OutputView(net, 1, 8, gaps=[(1, 2), (4, 6)])
    kept = [2, 3, 6, 7]
    assert torch.equal(view(x), net(x)[:, kept])
    weights = torch.randn(3, net.weight_spec.numel)
    assert torch.equal(batched_forward(view, weights, x), batched_forward(net, weights, x)[..., kept])
    for gaps in ([(0, 2)], [(3, 9)], [(4, 5), (2, 3)], [(3, 2)]):
        with pytest.raises(ValueError, match="gaps: expected ranges between 1 and 8 in ascending order"):
            OutputView(net, 1, 8, gaps=gaps)
    with pytest.raises(ValueError, match="gaps: expected ranges that leave an output"):
        OutputView(net, 1, 8, gaps=[(1, 8)])
