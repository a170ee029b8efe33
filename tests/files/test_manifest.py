"""Manifests: what is listed is as it was saved, at whatever moment the process is stopped."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from bayeshnet.files import (
    MANIFEST,
    FileEntry,
    Manifest,
    check_file,
    check_format,
    fingerprint,
    listing,
    read_manifest,
    write_bytes,
    write_manifest,
    write_text,
)


class StoppedError(Exception):
    """Stands for the end of the process."""


def make(folder):
    write_text(folder / "a.txt", "one")
    write_text(folder / "deep" / "b.txt", "two")
    return write_manifest(folder, ["a.txt", "deep/b.txt"], {"configuration": fingerprint("c")})


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "nowhere") is None
    written = make(tmp_path)
    assert read_manifest(tmp_path) == written
    digest = hashlib.blake2b(b"one", digest_size=16).hexdigest()
    assert written.files["a.txt"] == FileEntry(3, digest)
    assert check_file(tmp_path, "deep/b.txt") == tmp_path / "deep" / "b.txt"


def write_again(folder):
    """Replace one file and add another."""
    with listing(folder, ["a.txt", "c.txt"], {"data": "d"}):
        write_bytes(folder / "a.txt", b"new one")
        write_bytes(folder / "c.txt", b"three")


@pytest.mark.parametrize("content", [b"", b"on", b"onE", b"ones", b"two"])
def test_a_changed_file_is_named(tmp_path, content):
    make(tmp_path)
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"file '.*a\.txt': expected the file as it was saved, got"):
        check_file(tmp_path, "a.txt")
    check_file(tmp_path, "deep/b.txt")


def test_files_that_are_missing_unlisted_or_special_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a manifest"):
        check_file(tmp_path, "a.txt")
    make(tmp_path)
    write_text(tmp_path / "c.txt", "three")
    with pytest.raises(ValueError, match=r"c\.txt.*expected a file of the manifest"):
        check_file(tmp_path, "c.txt")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.txt"):
        check_file(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(ValueError, match=r"a\.txt.*expected a regular file"):
        check_file(tmp_path, "a.txt")


@pytest.mark.slow
def test_every_flipped_bit_of_a_manifest_is_found_or_changes_nothing(tmp_path):
    known = make(tmp_path)
    path = tmp_path / MANIFEST
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            path.write_bytes(changed)
            try:
                assert read_manifest(tmp_path) == known
            except ValueError as error:
                assert MANIFEST in str(error)  # noqa: PT017
                assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        {},
        {"format": "1"},
        {"format": True},
        {"format": 1, "files": [], "fingerprints": {}},
        {"format": 1, "files": {"a": 1}, "fingerprints": {}},
        {"format": 1, "files": {"a": {"size": 1}}, "fingerprints": {}},
        {"format": 1, "files": {"../a": {"size": 1, "checksum": ""}}, "fingerprints": {}},
        {"format": 1, "files": {}, "fingerprints": 3},
    ],
)
def test_content_of_another_form_is_named(tmp_path, body):
    if isinstance(body, dict):
        body["checksum"] = fingerprint(json.dumps(body, sort_keys=True))
    (tmp_path / MANIFEST).write_text(json.dumps(body))
    with pytest.raises(ValueError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_a_newer_format_is_refused_in_a_sentence(tmp_path):
    assert check_format("x", 1, 2) == 1
    body = {"format": 2, "files": {}, "fingerprints": {}}
    body["checksum"] = fingerprint(json.dumps(body, sort_keys=True))
    (tmp_path / MANIFEST).write_text(json.dumps(body))
    with pytest.raises(ValueError, match=r"expected format 1 or older, got 2\. It was written by a newer version"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../x", "/x", "", ".", "a/../b", "a\\b", "a//b"])
def test_names_stay_in_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="name: expected a path below the folder"):
        write_manifest(tmp_path, [name])


@pytest.mark.parametrize("moment", range(4))
def test_what_is_listed_is_valid_whenever_the_process_stops(tmp_path, monkeypatch, moment):
    """One file is replaced and one added; the process stops at the n-th atomic step, or after all four."""
    make(tmp_path)
    steps = []
    replace = os.replace

    def stop(*paths):
        if len(steps) == moment:
            raise StoppedError
        steps.append(paths)
        replace(*paths)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(StoppedError):
        write_again(tmp_path)
    known = read_manifest(tmp_path)
    for name in known.files:
        check_file(tmp_path, name)
    assert "deep/b.txt" in known.files
    assert known.fingerprints == {"configuration": fingerprint("c")}
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    monkeypatch.undo()
    write_again(tmp_path)
    known = read_manifest(tmp_path)
    assert isinstance(known, Manifest)
    assert list(known.files) == ["a.txt", "c.txt", "deep/b.txt"]
    assert known.fingerprints == {"configuration": fingerprint("c"), "data": "d"}
    for name in known.files:
        check_file(tmp_path, name)
