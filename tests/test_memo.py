"""The cache of values computed from tensors: when a value is reused, and when it must not be."""

import copy
import pickle
import threading

import pytest
import torch
from torch.autograd import forward_ad

from bayeshnet import speed
from bayeshnet.memo import Memo, transforms_active


class Counted:
    """A function that returns a new object at each call, and counts the calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return object()


@pytest.fixture
def make():
    return Counted()


def test_a_value_is_computed_once_for_the_same_keys(make):
    memo, x, other = Memo(), torch.zeros(2), "mode"
    assert memo.get((x, other), make) is memo.get((x, other), make)
    assert make.calls == 1


def test_keys_are_compared_by_identity(make):
    memo, x = Memo(), torch.zeros(2)
    value = memo.get((x,), make)
    assert memo.get((x.clone(),), make) is not value
    assert memo.get((x.view(2),), make) is not value
    assert memo.get((x, x), make) is not value
    assert make.calls == 4


def test_none_is_a_value():
    memo, x, calls = Memo(), torch.zeros(2), []
    for _ in range(2):
        assert memo.get((x,), lambda: calls.append(None)) is None
    assert len(calls) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.double(),
        lambda layer: torch.nn.utils.vector_to_parameters(torch.ones(3), layer.parameters()),
        lambda layer: setattr(layer.weight, "data", torch.ones(1, 2)),
    ],
    ids=["dtype", "vector", "data"],
)
def test_other_data_of_a_parameter_invalidate(change, make):
    layer, memo = torch.nn.Linear(2, 1), Memo()
    value = memo.get((layer.weight,), make)
    change(layer)
    assert memo.get((layer.weight,), make) is not value


@pytest.mark.parametrize("x", [torch.zeros(2, device="meta"), torch.eye(2).to_sparse()], ids=["meta", "sparse"])
def test_keys_without_an_address(x, make):
    memo = Memo()
    assert memo.get((x,), make) is memo.get((x,), make)


def test_errors_are_not_cached(make):
    memo, x = Memo(), torch.zeros(2)
    with pytest.raises(ZeroDivisionError):
        memo.get((x,), lambda: 1 / 0)
    assert memo.peek((x,)) is None
    assert memo.get((x,), make) is memo.peek((x,))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1),
        lambda x: x.__setitem__(0, 5.0),
        lambda x: x.detach().zero_(),
        lambda x: x[:1].mul_(2),
        lambda x: torch.nn.init.ones_(x),
        lambda x: x.copy_(torch.ones(2)),
    ],
    ids=["add", "index", "alias", "view", "init", "copy"],
)
def test_in_place_changes_of_a_key_invalidate(change, make):
    memo, x = Memo(), torch.zeros(2)
    value = memo.get((x,), make)
    change(x)
    assert memo.peek((x,)) is None
    assert memo.get((x,), make) is not value


def test_an_optimizer_step_and_a_loaded_state_invalidate(make):
    layer = torch.nn.Linear(2, 1)
    memo, optimizer = Memo(), torch.optim.SGD(layer.parameters(), lr=0.1)
    first = memo.get((layer.weight,), make)
    layer(torch.ones(1, 2)).sum().backward()
    assert memo.get((layer.weight,), make) is first  # the gradient is no part of the value
    optimizer.step()
    second = memo.get((layer.weight,), make)
    assert second is not first
    layer.load_state_dict(layer.state_dict())
    assert memo.get((layer.weight,), make) is not second


@pytest.mark.parametrize("requires_grad", [False, True])
def test_grad_mode_matters_if_a_key_requires_gradients(requires_grad, make):
    memo, x = Memo(size=2), torch.zeros(2, requires_grad=requires_grad)
    with torch.no_grad():
        without = memo.get((x,), make)
    recorded = memo.get((x,), make)
    assert (without is recorded) != requires_grad
    with torch.no_grad():
        assert memo.get((x,), make) is without
    assert memo.get((x,), make) is recorded


def test_a_value_without_a_graph_is_not_used_for_training():
    memo, x = Memo(), torch.ones(2, requires_grad=True)
    with torch.no_grad():
        memo.get((x,), lambda: x * 2)
    memo.get((x,), lambda: x * 2).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2,), 2.0))


def test_values_of_inference_mode_stay_in_it(make):
    memo, x = Memo(size=2), torch.zeros(2)
    with torch.inference_mode():
        inside = memo.get((x,), make)
        assert memo.get((x,), make) is inside
        y = torch.zeros(2)  # an inference tensor, which has no version
        assert memo.get((y,), make) is memo.get((y,), make)
    outside = memo.get((x,), make)
    assert outside is not inside
    assert memo.get((x,), make) is outside


def test_nothing_is_cached_within_function_transforms(make):
    memo, x = Memo(), torch.ones(3)

    def fn(row):
        assert transforms_active()
        memo.get((x,), make)
        assert memo.peek((x,)) is None
        return row * 2

    kept = memo.get((x,), make)
    torch.func.vmap(fn)(torch.ones(2, 3))
    torch.func.grad(lambda row: fn(row).sum())(x)
    torch.func.jvp(fn, (x,), (x,))
    assert make.calls == 4
    assert not transforms_active()
    assert memo.get((x,), make) is kept


def test_nothing_is_cached_within_forward_mode(make):
    memo, x = Memo(), torch.ones(3)
    kept = memo.get((x,), make)
    with forward_ad.dual_level():
        assert transforms_active()
        assert memo.peek((x,)) is None
        assert memo.get((x,), make) is not kept
    assert memo.peek((x,)) is kept


def test_nothing_is_cached_within_compilation():
    memo, seen = Memo(), []
    torch._dynamo.reset()

    def fn(x):
        return memo.get((x,), lambda: x + 1) if not transforms_active() else x + 2

    compiled = torch.compile(fn, backend="eager")
    x = torch.zeros(2)
    seen.append(compiled(x))
    torch.testing.assert_close(seen[0], torch.full((2,), 2.0))
    assert memo.peek((x,)) is None


def test_the_shortcut_switches_it_off(make):
    memo, x = Memo(), torch.zeros(2)
    kept = memo.get((x,), make)
    with speed.using(memo=False):
        assert memo.peek((x,)) is None
        assert memo.get((x,), make) is not memo.get((x,), make)
    assert memo.get((x,), make) is kept


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_oldest_value_is_dropped(size, make):
    memo, keys = Memo(size), [torch.zeros(1) for _ in range(size + 1)]
    values = [memo.get((key,), make) for key in keys]
    assert memo.peek((keys[0],)) is None
    assert [memo.peek((key,)) for key in keys[1:]] == values[1:]


def test_clear(make):
    memo, x = Memo(), torch.zeros(2)
    memo.get((x,), make)
    memo.clear()
    assert memo.peek((x,)) is None


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda memo: pickle.loads(pickle.dumps(memo))])
def test_copies_begin_empty(duplicate, make):
    """A value computed from the tensors of the original does not belong to a copy; it may not even be picklable."""
    memo, x = Memo(size=2), torch.ones(2, requires_grad=True)
    memo.get((x,), lambda: (x * 2, lambda: None))
    other = duplicate(memo)
    assert (type(other), other.size) == (Memo, 2)
    assert other.peek((x,)) is None
    assert memo.peek((x,)) is not None


def test_a_module_with_a_memo_can_be_copied():
    """The value has a graph, which deepcopy refuses."""
    layer = torch.nn.Linear(2, 2)
    layer.memo = Memo()
    layer.memo.get((layer.weight,), lambda: layer.weight * 2)
    other = copy.deepcopy(layer)
    assert other.memo.peek((other.weight,)) is None
    other.memo.get((other.weight,), lambda: other.weight * 3).sum().backward()
    assert layer.weight.grad is None


def test_threads_get_complete_values():
    memo, tensors, wrong = Memo(size=2), [torch.full((1,), float(i)) for i in range(4)], []

    def work(x):
        wrong.extend(x for _ in range(500) if memo.get((x,), lambda: x.item() + 1) != x.item() + 1)

    threads = [threading.Thread(target=work, args=(x,)) for x in tensors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
