from __future__ import annotations

import gzip
import os
import pickle
import struct

import numpy as np
import pytest
import torch

from bayeshnet.data import load_cifar, permuted_mnist, read_idx, split_cifar10, split_fashion_mnist, split_mnist
from bayeshnet.data.idx import FILES, load_idx_folder
from tests.support.real_data import fashion_folder

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    code = CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, compressed=False, count=40):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.integers(0, 256, (count, 6, 6), dtype=np.uint8),
        "y": (np.arange(count) % 10).astype(np.uint8),
        "x_test": rng.integers(0, 256, (20, 6, 6), dtype=np.uint8),
        "y_test": (np.arange(20) % 10).astype(np.uint8),
    }
    for key, array in arrays.items():
        content = idx_bytes(array)
        path = folder / (FILES[key] + ".gz" * compressed)
        path.write_bytes(gzip.compress(content) if compressed else content)
    return arrays


@pytest.mark.parametrize("kind", sorted(CODES))
@pytest.mark.parametrize("compressed", [False, True])
def test_read_idx_returns_what_was_written(kind, compressed, tmp_path):
    array = (np.random.default_rng(0).normal(size=(3, 2, 4)) * 50).astype(kind)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array))
    read = read_idx(path)
    assert np.array_equal(read.numpy(), array)
    assert read.numpy().dtype == array.dtype


@pytest.mark.parametrize("compressed", [False, True])
def test_torn_and_damaged_files_are_named(compressed, tmp_path):
    whole = idx_bytes(np.zeros((10, 100), np.uint8))
    whole = gzip.compress(np.random.default_rng(0).bytes(2000)) if compressed else whole
    for content in (whole[: len(whole) // 2], whole[:3], b"", b"<html>not found</html>", whole[:-1]):
        path = tmp_path / ("file.gz" if compressed else "file")
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{path.name}.*Fetch the file again"):
            read_idx(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")


def test_extra_bytes_are_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(np.zeros((2, 3), np.uint8)) + b"\0")
    with pytest.raises(ValueError, match=r"6 bytes after the header.*got 7"):
        read_idx(path)


@pytest.mark.parametrize("subfolder", ["", "MNIST/raw"])
@pytest.mark.parametrize("compressed", [False, True])
def test_split_mnist_reads_a_folder(subfolder, compressed, tmp_path):
    arrays = write_mnist(tmp_path / subfolder, compressed)
    stream = split_mnist(tmp_path)
    assert len(stream) == 5
    assert stream.input_shape == (36,)
    wanted = arrays["x"][np.isin(arrays["y"], (2, 3))].reshape(-1, 36) / np.float32(255)
    assert np.allclose(stream[1].train.x.numpy(), wanted)
    assert set(stream.outliers) == {"noise", "inverted", "shuffled"}
    assert split_mnist(tmp_path, flatten=False).input_shape == (1, 6, 6)
    assert permuted_mnist(tmp_path, 2, max_train=20)[1].num_outputs == 10


def test_fashion_streams_have_names_and_digits_as_outliers(tmp_path):
    write_mnist(tmp_path)
    stream = split_fashion_mnist(tmp_path, flatten=False)
    assert [t.name for t in stream][:2] == ["T-shirt / trouser", "pullover / dress"]
    assert stream.outliers["digits"].shape == (1000, 1, 6, 6)


def test_a_missing_file_and_unequal_numbers_are_named(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / FILES["y_test"]).unlink()
    with pytest.raises(FileNotFoundError, match=FILES["y_test"]):
        load_idx_folder(tmp_path)
    (tmp_path / FILES["y_test"]).write_bytes(idx_bytes(np.zeros(19, np.uint8)))
    with pytest.raises(ValueError, match=r"t10k-labels.*20 labels"):
        load_idx_folder(tmp_path)
    (tmp_path / FILES["x"]).write_bytes(idx_bytes(np.zeros(19, np.uint8)))
    with pytest.raises(ValueError, match=r"train-images.*images of bytes"):
        load_idx_folder(tmp_path)


def write_cifar(folder, label_key="labels", files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    content = {}
    for file in files:
        content[file] = rng.integers(0, 256, (20, 3072), dtype=np.uint8), [i % 10 for i in range(20)]
        batch = {"data": content[file][0], label_key: content[file][1], "filenames": ["a"] * 20}
        (folder / file).write_bytes(pickle.dumps(batch, protocol=2))
    return content


def test_split_cifar10_reads_torchvisions_layout(tmp_path):
    content = write_cifar(tmp_path / "cifar-10-batches-py")
    data = load_cifar(tmp_path)
    assert data["x"].shape == (100, 3, 32, 32)
    assert np.array_equal(data["x"][20:40].numpy().reshape(20, -1), content["data_batch_2"][0])
    stream = split_cifar10(tmp_path / "cifar-10-batches-py")
    assert stream[0].name == "airplane / car"
    assert stream.input_shape == (3, 32, 32)
    assert split_cifar10(tmp_path, flatten=True).outliers["noise"].shape == (20, 3072)


def test_cifar100_labels_are_the_fine_ones(tmp_path):
    write_cifar(tmp_path / "cifar-100-python", "fine_labels", ("train", "test"))
    assert load_cifar(tmp_path, 100)["y_test"].tolist() == [i % 10 for i in range(20)]


class Evil:
    def __reduce__(self):
        return os.getcwd, ()


def test_cifar_refuses_torn_files_and_pickles_that_run_code(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar(folder)
    path = folder / "data_batch_3"
    whole = path.read_bytes()
    for content in (whole[:100], b"", pickle.dumps(Evil()), pickle.dumps({"data": np.zeros((2, 3072), np.uint8)})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data_batch_3.*torn or damaged"):
            load_cifar(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3"):
        load_cifar(tmp_path)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("data", np.full((20, 3072), 300)),
        ("data", np.full((20, 3072), -1)),
        ("data", np.full((20, 3072), np.nan)),
        ("data", np.full((20, 3072), 44.5)),
        ("data", np.full((20, 3072), True)),
        ("labels", [0.5] * 20),
        ("labels", [-1] * 20),
        ("labels", [2**63] * 20),
    ],
)
def test_cifar_refuses_what_are_no_bytes_and_no_labels(key, values, tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar(folder)
    path = folder / "data_batch_3"
    batch = {"data": np.zeros((20, 3072), np.uint8), "labels": [0] * 20, key: values}
    path.write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(ValueError, match=rf"data_batch_3.*'{key}' holds"):
        load_cifar(tmp_path)


def test_the_real_fashion_mnist():
    folder = fashion_folder()
    data = load_idx_folder(folder)
    assert data["x"].shape == (60_000, 1, 28, 28)
    assert data["y"].bincount().tolist() == [6000] * 10
    stream = split_fashion_mnist(folder, max_train=100, validation_fraction=0.1)
    assert [(len(t.train), len(t.validation), len(t.test)) for t in stream] == [(90, 10, 2000)] * 5
    assert float(torch.stack([t.train.x.max() for t in stream]).max()) == 1.0
