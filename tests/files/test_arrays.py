"""Arrays in files: whole under their names, or not there."""

import errno

import numpy as np
import pytest

from bayeshnet.files import read_arrays, writing_arrays


def test_they_appear_when_all_are_whole(tmp_path):
    with writing_arrays(tmp_path / "new", {"a": (3, 2), "b": (3,)}, np.float32) as arrays:
        arrays["a"][:] = 1.5
        arrays["b"][:] = [1, 2, 3]
        assert not list(tmp_path.glob("new/*.npy"))
    read = read_arrays(tmp_path / "new", ("a", "b"))
    np.testing.assert_array_equal(read["a"], np.full((3, 2), 1.5, np.float32))
    np.testing.assert_array_equal(read["b"], [1, 2, 3])
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.npy", "b.npy"]


def test_a_failure_leaves_what_was_there(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(2))
    with pytest.raises(RuntimeError, match="half way"), writing_arrays(tmp_path, {"a": (3,)}, np.float32):
        raise RuntimeError("half way")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.zeros(2))


def test_errors_of_the_disk_name_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as caught, writing_arrays(tmp_path / "file", {"a": (3,)}, np.float32):
        pass
    assert caught.value.filename == str(tmp_path / "file")
    full = pytest.raises(OSError, match="No space left")
    with full as caught, writing_arrays(tmp_path / "full", {"a": (3,)}, np.float32):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "full")
    assert not list((tmp_path / "full").iterdir())


def test_objects_are_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        read_arrays(tmp_path, ("a",))
