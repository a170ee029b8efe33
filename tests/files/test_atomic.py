"""Atomic writing: permissions, leftovers and errors."""

from __future__ import annotations

import os
import stat

import pytest

from bayeshnet.files import remove_temporaries, write_bytes
from bayeshnet.files.atomic import TEMPORARY


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_the_umask_is_respected(tmp_path, mask):
    before = os.umask(mask)
    try:
        path = write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace", "mkdir"])
def test_an_error_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, call):
    path = write_bytes(tmp_path / "folder" / "file", b"old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*(file|new)'"):
        write_bytes(path if call != "mkdir" else tmp_path / "other" / "new", b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_only_temporary_files_are_removed(tmp_path):
    for name in (f"{TEMPORARY}1", f"{TEMPORARY}2", ".mine", "file"):
        (tmp_path / name).write_text("x")
    (tmp_path / f"{TEMPORARY}folder").mkdir()
    assert [p.name for p in remove_temporaries([tmp_path, tmp_path / "nowhere"])] == [f"{TEMPORARY}1", f"{TEMPORARY}2"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{TEMPORARY}folder", ".mine", "file"]
