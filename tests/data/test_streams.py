from __future__ import annotations

import builtins
import math

import pytest
import torch

from bayeshnet.data import (
    STREAMS,
    digits,
    get_stream,
    load_digits,
    modes2d,
    permuted,
    permuted_digits,
    regression1d,
    rotated,
    split_digits,
    stream_options,
)
from bayeshnet.data.outliers import image_outliers, resized
from bayeshnet.errors import MissingExtraError
from bayeshnet.tasks import Split, Task


def test_split_digits_as_documented():
    stream = split_digits()
    assert (len(stream), stream.input_shape, stream.num_outputs, stream.scenario) == (5, (64,), 2, "class")
    assert sum(len(t.test) for t in stream) == 450
    assert sum(len(t.train) for t in stream) == 1797 - 450
    assert [t.labels for t in stream] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert max(float(t.train.x.max()) for t in stream) == 1.0
    assert stream[0].info["image_shape"] == (1, 8, 8)
    assert {k: v.shape for k, v in stream.outliers.items()} == dict.fromkeys(
        ("noise", "inverted", "shuffled"), (450, 64)
    )


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits as reference

    data, target = reference(return_X_y=True)
    x, y = load_digits()
    assert torch.equal(x.flatten(1), torch.tensor(data, dtype=torch.float32) / 16)
    assert y.tolist() == target.tolist()


def test_seeds_choose_other_test_images_and_order_does_not():
    first, again, other = split_digits(), split_digits(order=range(9, -1, -1)), split_digits(data_seed=1)
    assert torch.equal(first[0].test.x, again[4].test.x)
    assert first[0].test.x.shape != other[0].test.x.shape or not torch.equal(first[0].test.x, other[0].test.x)
    assert split_digits(2, 3, flatten=False).input_shape == (1, 8, 8)


def test_settings_can_be_judged_on_validation_examples():
    stream = split_digits(validation_fraction=0.2)
    judged = stream.judged_on("validation")
    for task, before in zip(judged, stream, strict=True):
        assert torch.equal(task.test.x, before.validation.x)
        assert torch.equal(task.train.x, before.train.x)
        assert task.validation is None
    assert judged.outliers.keys() == stream.outliers.keys()
    assert stream.judged_on("test")[0] is stream[0]
    with pytest.raises(ValueError, match=r"split: expected validation examples .* none in task '0 / 1'"):
        split_digits().judged_on("validation")


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    real, table = builtins.__import__, digits._table()
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    assert (digits._table() == table).all()  # where the file is not, scikit-learn itself reads it

    def refuse(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"bayeshnet\[app\]"):
        split_digits()


def test_permuted_digits_are_permutations_that_do_not_depend_on_the_number_of_tasks():
    stream = permuted_digits(3)
    base = split_digits(1, 10)[0]
    assert torch.equal(stream[0].train.x, base.train.x)
    for task in stream:
        assert torch.equal(task.train.x.sort(1).values, base.train.x.sort(1).values)
        assert torch.equal(task.train.y, base.train.y)
    assert not torch.equal(stream[1].train.x, stream[2].train.x)
    assert torch.equal(stream[2].test.x, permuted_digits(5)[2].test.x)
    late = permuted_digits(3, order=(2, 0))
    assert [torch.equal(a.test.x, stream[b].test.x) for a, b in zip(late, (2, 0), strict=True)] == [True, True]
    # One permutation for all inputs of a task: pixel statistics move together.
    assert torch.equal(stream[1].train.x.mean(0).sort().values, base.train.x.mean(0).sort().values)


def test_permuted_labels_follow_the_scenario():
    data = Split(torch.rand(4, 2, 3), torch.arange(4) % 2)
    base = Task("a", data, data, 2, validation=data)
    assert [t.labels for t in permuted(base, 2)] == [(0, 1), (0, 1)]
    stream = permuted(base, 2, scenario="class", keep_first=False)
    assert [t.labels for t in stream] == [(0, 1), (2, 3)]
    assert [t.name for t in stream] == ["permuted 1", "permuted 2"]
    assert stream[0].input_shape == (2, 3)
    assert torch.equal(stream[0].validation.x, stream[0].train.x)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 6)])
def test_rotated_by_right_angles_is_rot90(height, width):
    x = torch.rand(5, 2, height, width, dtype=torch.float64)
    data = Split(x.flatten(1), torch.arange(5) % 2)
    base = Task("a", data, data, 2, info={"image_shape": (2, height, width)})
    angles = (0, 90, 180, -90) if height == width else (0, 180)
    for task, angle in zip(rotated(base, angles), angles, strict=True):
        assert torch.allclose(task.train.x.reshape(x.shape), torch.rot90(x, angle // 90, (2, 3)))
    with pytest.raises(ValueError, match="image_shape"):
        rotated(base, (0,), image_shape=(3, 5, 7))
    with pytest.raises(TypeError, match="angles"):
        rotated(base, 45)


def test_rotated_digits_are_turned_digits():
    stream, base = get_stream("rotated-digits", angles=(0, 90)), split_digits(1, 10)[0]
    assert torch.allclose(stream[0].test.x, base.test.x, atol=1e-6)
    images, turned = base.test.x.reshape(-1, 8, 8), stream[1].test.x.reshape(-1, 8, 8)
    assert torch.allclose(turned, torch.rot90(images, 1, (1, 2)), atol=1e-5)
    assert (stream.scenario, stream[1].labels) == ("domain", tuple(range(10)))


def test_rotation_of_an_oblong_image_does_not_shear():
    image = torch.zeros(1, 1, 9, 21, dtype=torch.float64)
    image[0, 0, 4, 10 + 3] = 1.0  # three to the right of the center goes three up
    data = Split(image, torch.tensor([0]))
    turned = rotated(Task("a", data, data, 1), (90,))[0].train.x[0, 0]
    assert float(turned[4 - 3, 10]) == pytest.approx(1.0)


def test_outliers_of_images():
    x = torch.rand(20, 1, 4, 4)
    made = image_outliers(x, 7)
    assert all(v.shape == (7, 1, 4, 4) for v in made.values())
    originals = {tuple(sorted(row.tolist())) for row in x.flatten(1)}
    assert all(tuple(sorted(row.tolist())) in originals for row in made["shuffled"].flatten(1))
    assert not any((row == other).all() for row in made["shuffled"].flatten(1) for other in x.flatten(1))
    back = (1 - made["inverted"]).flatten(1)
    assert all(any(torch.allclose(row, other) for other in x.flatten(1)) for row in back)
    with pytest.raises(ValueError, match="image_shape"):
        resized(x, (1, 5, 5), (8, 8))


def test_regression1d_follows_the_literature():
    stream = regression1d()
    true = [lambda x: (x + 3) ** 3, lambda x: 2 * x**2 - 1, lambda x: -((x - 3) ** 3)]
    for task, function, domain in zip(stream, true, [(-4, -2), (-1, 1), (2, 4)], strict=True):
        assert task.info["domain"] == domain
        assert len(task.train) == 20
        for split in task.splits().values():
            assert domain[0] <= float(split.x.min()) <= float(split.x.max()) <= domain[1]
        assert torch.allclose(task.test.y, function(task.test.x))
        assert torch.equal(task.info["function"](task.test.x), task.test.y)
        assert 0.02 < float((task.train.y - function(task.train.x)).std()) < 0.09
    many = regression1d(num_train=20_000, num_validation=5)
    assert float((many[1].train.y - true[1](many[1].train.x)).std()) == pytest.approx(0.05, rel=0.03)
    assert float(many[1].train.x.std()) == pytest.approx(2 / math.sqrt(12), rel=0.02)
    assert len(many[2].validation) == 5


def test_modes2d_follows_the_literature():
    stream = modes2d(num_train=5000)
    assert [t.labels for t in stream] == [(0, 1), (2, 3), (4, 5)]
    assert [len(t.test) for t in stream] == [200] * 3
    for t, task in enumerate(stream):
        for c in (0, 1):
            points = task.train.x[task.train.y == c]
            angle = 2 * math.pi * (2 * t + c + 0.5) / 6
            center = torch.tensor([5 * math.sin(angle), 5 * math.cos(angle)])
            assert torch.allclose(points.mean(0), center, atol=0.02)
            assert torch.allclose(points.std(0), torch.tensor([0.2, 0.2]), atol=0.01)
            assert torch.allclose(task.info["centers"][2 * t + c], center, atol=1e-6)
    scaled = modes2d(scale=5)
    assert torch.allclose(5 * scaled[1].train.x, modes2d()[1].train.x)
    assert scaled[0].info["std"] == pytest.approx(0.04)
    assert scaled[0].info["plot_range"] == (-1.6, 1.6)
    plane = scaled.outliers["plane"]
    assert float(torch.cdist(plane, scaled[0].info["centers"]).min()) > 0.2


@pytest.mark.parametrize("build", [regression1d, modes2d])
def test_the_order_of_toy_tasks_changes_nothing_else(build):
    plain, other = build(data_seed=3), build(data_seed=3, order=[2, 0])
    assert [task.name for task in other] == [plain[2].name, plain[0].name]
    assert torch.equal(other[0].train.x, plain[2].train.x)
    assert torch.equal(next(iter(other.outliers.values())), next(iter(plain.outliers.values())))
    for order in ([0, 0], [3], []):
        with pytest.raises(ValueError, match="order: expected distinct numbers below the 3 tasks"):
            build(order=order)


def test_registry():
    assert get_stream("split-digits", num_tasks=2, data_dir=None).name == "split-digits"
    assert "max_train" in stream_options("split-mnist")
    assert STREAMS["split-mnist"].needs_files
    assert not STREAMS["modes2d"].needs_files
    assert all(entry.description for entry in STREAMS.values())
    with pytest.raises(ValueError, match=r"'split-digits'.*'modes2d'"):
        get_stream("mnist")
    with pytest.raises(ValueError, match=r"num_tasks.*got 'number'"):
        get_stream("split-digits", number=3)


@pytest.mark.parametrize("name", ["split-mnist", "permuted-fashion-mnist", "split-cifar10", "split-cifar100"])
def test_streams_from_files_ask_for_a_folder(name, tmp_path):
    with pytest.raises(ValueError, match="data_dir: expected a folder"):
        get_stream(name)
    with pytest.raises(FileNotFoundError, match="data_dir"):
        get_stream(name, data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="data_dir"):
        get_stream(name, data_dir=tmp_path / "absent")
