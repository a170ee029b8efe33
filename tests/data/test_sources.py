"""Sources of examples that stay where they are: folders of images, rows, arrays on disk, Avalanche benchmarks."""

from __future__ import annotations

import importlib.util
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from bayeshnet.cli import main
from bayeshnet.data import ArrayRows, DictRows, FolderImages, from_avalanche, get_stream, image_folder
from bayeshnet.tasks import Split

SIZE = (6, 5)


def write_images(folder, classes=4, count=8, size=SIZE):
    """Write images whose mean brightness grows with the class."""
    draw = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"class-{label}").mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 40, (*size, 3)) + 50 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class-{label}" / f"{number}.png")
    return folder


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def test_a_folder_of_images_is_its_files(images):
    data = FolderImages(images)
    assert (len(data), data.classes) == (32, [f"class-{label}" for label in range(4)])
    assert data.targets.tolist() == [label for label in range(4) for _ in range(8)]
    image, label = data[9]
    path, known = data.samples[9]
    expected = np.asarray(Image.open(path)).transpose(2, 0, 1) / 255
    assert (label, known, image.shape) == (1, 1, (3, *SIZE))
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    gray = FolderImages(images, grayscale=True)[9][0]
    np.testing.assert_allclose(gray.numpy()[0], np.asarray(Image.open(path).convert("L")) / 255, atol=1e-6)
    assert FolderImages(images, image_size=(3, 4))[0][0].shape == (3, 3, 4)


def test_images_of_all_modes_have_the_values_that_they_show(tmp_path):
    """Bits and palettes are no intensities; beside them the arithmetic of Pillow."""
    drawn = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8))
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.putdata([0, 1])
    images = (drawn.convert("1"), palette, Image.new("RGBA", (1, 1), (51, 0, 102, 255)))
    rows = DictRows([{"image": image, "label": 0} for image in images])
    assert rows[0][0].tolist() == [[[0.0, 1.0], [1.0, 0.0]]]
    torch.testing.assert_close(rows[1][0] * 255, torch.tensor([[[10.0, 200.0]], [[20.0, 100.0]], [[30.0, 0.0]]]))
    torch.testing.assert_close(rows[2][0].flatten(), torch.tensor([0.2, 0.0, 0.4, 1.0]))
    palette.save(write_images(tmp_path / "images", 2, 1, (1, 2)) / "class-0" / "0.png")
    torch.testing.assert_close(FolderImages(tmp_path / "images")[0][0], rows[1][0])


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_images_of_more_than_eight_bits_are_refused(mode, tmp_path):
    """Pillow cuts their values at 255: an image at half of its range would be white."""
    image = Image.new(mode, (2, 2), 30_000)
    with pytest.raises(ValueError, match=f"^image: expected an image of eight bits a channel, got one of mode {mode}"):
        DictRows([{"image": image, "label": 0}])[0]
    image.save(write_images(tmp_path / "images", 1, 1) / "class-0" / "1.tiff")
    with pytest.raises(ValueError, match=r"1.tiff': expected an image of eight bits a channel, got one of mode (I|F)"):
        FolderImages(tmp_path / "images")[1]


def test_sources_say_what_they_hold(images):
    assert repr(FolderImages(images)) == "FolderImages(32 images (3, 6, 5) of 4 classes)"
    assert repr(FolderImages(images, (3, 4), grayscale=True)) == "FolderImages(32 images (1, 3, 4) of 4 classes)"
    assert repr(DictRows([{"a": 1.0, "b": 2}], "a", "b")) == "DictRows(1 rows, x='a', y='b')"
    assert repr(ArrayRows(np.zeros((3, 2, 4), np.uint8), [0, 1, 2])) == "ArrayRows(3 rows (2, 4), uint8)"


def test_a_stream_of_a_folder_reads_what_is_asked_for(images):
    stream = image_folder(images, data_seed=1)
    assert [task.labels for task in stream] == [(0, 1), (2, 3)]
    assert [task.name for task in stream] == ["class-0 / class-1", "class-2 / class-3"]
    assert (stream.input_shape, stream.layout) == ((3, *SIZE), "CHW")
    assert {name: len(x) for name, x in stream.outliers.items()} == {"noise": 8, "inverted": 8, "shuffled": 8}
    assert [len(task.train) for task in stream] == [12, 12]
    shutil.rmtree(images / "class-3")
    train = stream[1].train
    mine = [i for i in range(12) if train.y[i] == 0]
    assert train.x[mine].shape == (6, 3, *SIZE)
    other = next(i for i in range(12) if train.y[i] == 1)
    with pytest.raises(ValueError, match=r"file .*class-3.*expected an image that can be read, got FileNotFoundError"):
        train.x[other]


def test_the_folder_of_images_is_asked_for_as_the_command_line_takes_it():
    with pytest.raises(ValueError, match=r"options of 'folder': expected data_dir, got none. .*\(--data-dir FOLDER on"):
        get_stream("folder")


def test_train_and_test_may_be_folders_of_their_own(tmp_path):
    write_images(tmp_path / "all" / "train")
    write_images(tmp_path / "all" / "test", count=3)
    stream = image_folder(tmp_path / "all")
    assert [(len(task.train), len(task.test)) for task in stream] == [(16, 6), (16, 6)]
    shutil.rmtree(tmp_path / "all" / "train" / "class-2")
    with pytest.raises(ValueError, match="data_dir: expected the same classes in train and test"):
        image_folder(tmp_path / "all")


def test_images_that_do_not_fit_are_named(images):
    Image.new("RGB", (9, 9)).save(images / "class-2" / "3.png")
    (images / "class-1" / "0.png").write_bytes(b"no image")
    data = FolderImages(images)
    with pytest.raises(ValueError, match=r"file '.*class-2/3.png': expected an image of 6 x 5 pixels.*image_size="):
        data[19]
    with pytest.raises(ValueError, match=r"file '.*class-1/0.png': expected an image that can be read"):
        data[8]
    with pytest.raises(ValueError, match=r"file '.*class-2/3.png'"):
        Split(data).x[17:20]
    assert FolderImages(images, image_size=(4, 4))[19][0].shape == (3, 4, 4)
    with pytest.raises(FileNotFoundError, match="one folder for each class"):
        FolderImages(images / "nowhere")
    with pytest.raises(ValueError, match="one folder for each class, with images"):
        FolderImages(images / "class-0")


@pytest.mark.slow
def test_the_command_learns_a_folder_and_saves_what_it_learned(images, tmp_path, capsys):
    words = ["run", "--data", "folder", "--data-dir", str(images), "--method", "separate", "--quick"]
    words += ["--learner.training.steps", "3", "--learner.num_samples", "2"]
    broken = images / "class-3" / "1.png"
    good = broken.read_bytes()
    broken.write_bytes(b"broken")
    assert main([*words, "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert str(broken) in error
    assert error.count("\n") == 1
    broken.write_bytes(good)
    assert main([*words, "--output", str(tmp_path / "again")]) == 0
    assert "metrics" in capsys.readouterr().out
    assert main(["run", "--data", "folder"]) == 2
    assert "data_dir" in capsys.readouterr().err


def test_rows_that_are_dicts():
    picture = Image.fromarray(np.full((2, 3, 3), 51, dtype=np.uint8))
    rows = [{"image": picture, "age": [0.5], "label": label} for label in (4, 7)]
    single, several = DictRows(rows), DictRows(rows, x=["image", "age"])
    assert torch.allclose(single[1][0], torch.full((3, 2, 3), 0.2))
    assert Split(single).y.tolist() == [4, 7]
    assert Split(several).input_shape == ((3, 2, 3), (1,))
    assert torch.equal(DictRows(rows, "age", transform=lambda v: torch.tensor(v) + 1)[0][0], torch.tensor([1.5]))
    with pytest.raises(ValueError, match=r"rows, row 0: expected a row with text, got one with image, age, label"):
        DictRows(rows, "text")[0]


class Columns:
    """Rows with columns, as those of Hugging Face: reading a row is counted."""

    column_names = ("image", "label")

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 3

    def __getitem__(self, key):
        if key == "label":
            return [1, 0, 1]
        self.reads += 1
        return {"image": np.zeros(2, dtype=np.float32), "label": [1, 0, 1][key]}


def test_columns_of_targets_are_read_without_the_inputs():
    rows = Columns()
    split = Split(DictRows(rows))
    assert (split.y.tolist(), rows.reads) == ([1, 0, 1], 1)


def test_arrays_on_disk(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 2, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    data = ArrayRows(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(5) % 2)
    assert torch.allclose(Split(data).load().x, torch.from_numpy(pixels).float() / 255)
    assert Split(ArrayRows(pixels, [0] * 5, tokens=True)).x[2:3].dtype == torch.int64
    with pytest.raises(ValueError, match="y: expected as many targets as inputs"):
        ArrayRows(pixels, [1])


class Labeled(TensorDataset):
    """Examples with a task label, as Avalanche's."""

    @property
    def targets(self):
        return self.tensors[1]


def experiences(groups, label=None):
    made = []
    for number, group in enumerate(groups):
        y = torch.tensor(group).repeat(4)
        data = Labeled(y[:, None] + 0.5, y, torch.full((len(y),), number))
        made.append(SimpleNamespace(dataset=data, task_label=0 if label is None else number))
    return made


def test_an_avalanche_benchmark_through_its_documented_attributes():
    groups = [(0, 3), (1, 2, 4), (3, 5)]
    benchmark = SimpleNamespace(train_stream=experiences(groups), test_stream=experiences(groups))
    stream = from_avalanche(benchmark)
    assert [task.labels for task in stream] == groups  # class 3 comes back
    assert (stream.scenario, [task.num_outputs for task in stream]) == ("class", [2, 3, 2])
    for task, group in zip(stream, groups, strict=True):
        assert torch.equal(torch.tensor(task.labels)[task.train.y] + 0.5, task.train.load().x[:, 0])
        assert set(task.labels) == set(group)
        assert not task.test.in_memory
    one = SimpleNamespace(train_stream=experiences(groups), test_stream=experiences([(0, 1, 2, 3, 4, 5)]))
    assert [len(task.test) for task in from_avalanche(one)] == [8, 12, 8]
    same = SimpleNamespace(train_stream=experiences([(0, 1)] * 2), test_stream=experiences([(0, 1)] * 2))
    assert from_avalanche(same).scenario == "domain"
    told = SimpleNamespace(train_stream=experiences(groups, True), test_stream=experiences(groups, True))
    assert from_avalanche(told).scenario == "task"
    unknown = SimpleNamespace(train_stream=experiences(groups), test_stream=experiences([(0, 3), (1, 9), (3, 5)]))
    with pytest.raises(ValueError, match=r"labels in test_stream\[1\]: expected labels that occur in training"):
        from_avalanche(unknown)
    with pytest.raises(TypeError, match="expected an Avalanche benchmark, with train_stream"):
        from_avalanche([])


def test_benchmarks_that_lack_something_are_named():
    groups = [(0, 3), (1, 2)]
    train = experiences(groups)
    cases = [
        ([SimpleNamespace()], TypeError, r"benchmark, test_stream\[0\]: expected an experience with a dataset"),
        (experiences([(0, 3)]), ValueError, "benchmark, test_stream for task 1: expected examples of the task"),
        (experiences(groups * 2), ValueError, "benchmark, test_stream: expected one test experience, or one for each"),
    ]
    for test, kind, message in cases:
        with pytest.raises(kind, match=message):
            from_avalanche(SimpleNamespace(train_stream=train, test_stream=test))


@pytest.mark.skipif(importlib.util.find_spec("avalanche") is None, reason="Avalanche is not installed")
def test_avalanche_itself():
    from avalanche.benchmarks import nc_benchmark

    y = torch.arange(6).repeat_interleave(4)
    data = Labeled(torch.randn(24, 3), y)
    benchmark = nc_benchmark(data, data, n_experiences=3, task_labels=False, shuffle=False)
    stream = from_avalanche(benchmark)
    assert [task.labels for task in stream] == [(0, 1), (2, 3), (4, 5)]
    assert stream[0].train.load().x.shape == (8, 3)
