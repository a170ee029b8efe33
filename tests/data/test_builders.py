from __future__ import annotations

import numpy as np
import pytest
import torch

from bayeshnet.data import class_order, from_arrays, from_datasets, split_by_class, split_dataset


def labeled(classes=6, each=8):
    y = torch.arange(classes).repeat(each)
    x = torch.stack([y.float(), torch.arange(len(y)).float()], dim=1)
    return x, y


def test_every_task_holds_its_own_classes_numbered_from_zero():
    x, y = labeled()
    stream = split_by_class(x, y, order=[4, 0, 1, 5])
    assert [t.labels for t in stream] == [(4, 0), (1, 5)]
    assert [t.name for t in stream] == ["4 / 0", "1 / 5"]
    for task in stream:
        for split in task.splits().values():
            assert torch.equal(torch.tensor(task.labels)[split.y], split.x[:, 0].long())
    assert sum(len(t.train) + len(t.test) for t in stream) == 32


def test_training_and_test_examples_are_disjoint_whatever_the_order():
    x, y = labeled()
    ids = [
        {task.name: set(task.test.x[:, 1].tolist()) for task in split_by_class(x, y, order=order, classes_per_task=1)}
        for order in (None, [3, 2, 1, 0, 5, 4], "random")
    ]
    assert ids[0] == ids[1] == ids[2]
    task = split_by_class(x, y, validation_fraction=0.2)[0]
    parts = [set(s.x[:, 1].tolist()) for s in task.splits().values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 16


def test_given_test_set_bytes_flattening_names_and_limits():
    x = torch.randint(256, (40, 2, 3), dtype=torch.uint8)
    y = np.arange(40) % 4 + 10
    stream = split_by_class(
        x, y, x[:20], y[:20], flatten=True, class_names="abcd", max_train=6, max_test=4, info={"image_shape": (1, 2, 3)}
    )
    task = stream[1]
    assert (task.name, task.labels, task.input_shape) == ("c / d", (12, 13), (6,))
    assert (len(task.train), len(task.test)) == (6, 4)
    assert task.train.y.bincount().tolist() == [3, 3]
    assert 0 <= float(task.train.x.min()) <= float(task.train.x.max()) <= 1
    assert task.info["image_shape"] == (1, 2, 3)


def test_scenarios_differ_in_global_labels():
    x, y = labeled()
    assert [t.labels for t in split_by_class(x, y, scenario="domain")] == [(0, 1)] * 3
    assert [t.labels for t in split_by_class(x, y, scenario="task")] == [(0, 1), (2, 3), (4, 5)]
    assert split_by_class(x, y, scenario="task").scenario == "task"


def test_class_order():
    assert class_order([2, 1, 0], None) == [0, 1, 2]
    assert class_order(range(9), "random", 1) == class_order(range(9), "random", 1)
    assert class_order(range(9), "random", 1) != class_order(range(9), "random", 2)
    assert sorted(class_order(range(9), "random", 1)) == list(range(9))
    for bad in ([0, 0], [11], "backwards"):
        with pytest.raises(ValueError, match="order"):
            class_order(range(9), bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tasks": 4}, "at most 6 classes"),
        ({"classes_per_task": 7}, "at most 6 classes"),
        ({"scenario": "other"}, "scenario"),
        ({"x_test": torch.zeros(2, 2)}, "both or neither"),
        ({"x_test": torch.zeros(2, 2), "y_test": [0, 1]}, "class 2"),
        ({"test_fraction": 1.5}, "test_fraction"),
    ],
)
def test_bad_requests_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        split_by_class(*labeled(), **options)


def test_from_arrays_numbers_labels_per_task_or_together():
    pairs = [(np.ones((8, 3)), [5, 7] * 4), (np.ones((8, 3)), [5, 1] * 4)]
    by_class = from_arrays(pairs, names=["a", "b"], validation_fraction=0.3)
    assert [t.labels for t in by_class] == [(5, 7), (1, 5)]
    assert [t.name for t in by_class] == ["a", "b"]
    assert (len(by_class[0].train), len(by_class[0].validation), len(by_class[0].test)) == (4, 2, 2)
    domain = from_arrays(pairs, scenario="domain")
    assert [t.labels for t in domain] == [(1, 5, 7)] * 2
    assert set(domain[1].train.y.tolist()) == {0, 1}


def test_from_arrays_of_regression():
    stream = from_arrays([(torch.rand(6, 2), torch.rand(6), torch.rand(3, 2), torch.rand(3))], kind="regression")
    assert (stream.kind, stream.num_outputs, stream[0].test.y.shape) == ("regression", 1, (3, 1))


def test_from_arrays_refuses_what_it_cannot_read():
    with pytest.raises(TypeError, match=r"tasks\[0\]"):
        from_arrays([torch.rand(3, 2)])
    with pytest.raises(ValueError, match="names"):
        from_arrays([(torch.rand(4, 2), [0, 1, 0, 1])], names=["a", "b"])
    with pytest.raises(ValueError, match="whole numbers"):
        from_arrays([(torch.rand(4, 2), torch.rand(4))])
    with pytest.raises(ValueError, match="as many targets"):
        from_arrays([(torch.rand(4, 2), [0, 1])])
    good = (torch.rand(8, 3), [0, 1] * 4)
    with pytest.raises(ValueError, match=r"tasks\[1\]: expected at least one example"):
        from_arrays([good, (torch.zeros(0, 3), [])])
    with pytest.raises(
        ValueError, match=r"labels in test of tasks\[0\]: expected labels that occur in training.*got 5"
    ):
        from_arrays([(*good, torch.rand(3, 3), [0, 1, 5])])
    with pytest.raises(ValueError, match=r"labels in test: expected labels that occur in training.*got 7"):
        split_by_class(*good, torch.rand(3, 3), [0, 1, 7])
    with pytest.raises(ValueError, match=r"task 'task 2': expected input_shape \(3,\)"):
        from_arrays([good, (torch.rand(8, 4), [0, 1] * 4)])
    with pytest.raises(ValueError, match=r"x of tasks\[0\]: expected finite values"):
        from_arrays([(torch.full((8, 3), torch.nan), [0, 1] * 4)])


def test_split_dataset():
    data = torch.utils.data.TensorDataset(torch.rand(40, 3), torch.arange(40) % 4)
    stream = split_dataset(data, torch.utils.data.Subset(data, range(8)), order=[3, 0, 2, 1], scenario="domain")
    assert [len(task.test) for task in stream] == [4, 4]
    assert torch.equal(stream[0].train.x[stream[0].train.y == 0], data.tensors[0][3::4])
    with pytest.raises(TypeError, match="dataset: expected a map-style"):
        split_dataset(iter([]))


def test_from_datasets():
    sets = [torch.utils.data.TensorDataset(torch.rand(8, 3), torch.arange(8) % 2 + 2 * t) for t in range(2)]
    stream = from_datasets(sets, [torch.utils.data.Subset(s, range(4)) for s in sets], name="mine")
    assert [t.labels for t in stream] == [(0, 1), (2, 3)]
    assert torch.equal(stream[1].train.x, sets[1].tensors[0])
    assert len(stream[1].test) == 4
    with pytest.raises(ValueError, match="test_datasets"):
        from_datasets(sets, sets[:1])
    with pytest.raises(TypeError, match="map-style"):
        from_datasets([iter([])])
    with pytest.raises(ValueError, match="tensors of one shape"):
        from_datasets([[(torch.zeros(2), 0), (torch.zeros(3), 1)]])


@pytest.mark.parametrize("names", [["a", "b"], ["a"] * 7, []])
def test_class_names_are_one_per_label(names):
    x, y = torch.rand(60, 2), torch.arange(60) % 6
    expected = "class_names: expected 6 names, one for each of the labels 0, 1, 2, 3, 4, 5, got"
    with pytest.raises(ValueError, match=expected):
        split_by_class(x, y, class_names=names)


def test_no_class_is_left_over_in_silence():
    x, y = torch.rand(50, 2), torch.arange(50) % 5
    message = (
        r"classes_per_task: expected a number that divides that of the 5 classes, got 2\. Pass num_tasks=2 to leave"
    )
    with pytest.raises(ValueError, match=message + " out class 4"):
        split_by_class(x, y)
    assert [t.labels for t in split_by_class(x, y, num_tasks=2)] == [(0, 1), (2, 3)]
    assert [t.labels for t in split_by_class(x, y, order=[4, 1, 0, 2])] == [(4, 1), (0, 2)]
    assert len(split_by_class(x, y, classes_per_task=5)) == 1
