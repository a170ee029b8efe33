"""The manifest of a folder: size and checksum of each file, and fingerprints of what the files were made from.

A file counts when the manifest lists it. New files are written first and listed last, in one atomic step, so a process
that is killed in between leaves a folder whose older files are all valid; the unlisted ones are written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import value_error
from .atomic import write_text
from .texts import read_json

__all__ = [
    "MANIFEST",
    "FileEntry",
    "Manifest",
    "check_file",
    "check_format",
    "fingerprint",
    "listing",
    "read_manifest",
    "write_manifest",
]

MANIFEST = "manifest.json"
"""Name of the file with sizes and checksums of the files of a folder."""

_FORMAT = 1
_ADVICE = "Restore it; or remove it, and the folder is read without its checksums."


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and checksum (BLAKE2b, 16 bytes, hexadecimal) of a file."""

    size: int
    checksum: str

    @classmethod
    def of(cls, path: str | Path) -> FileEntry:
        """Measure the file at ``path``; what is not a regular file is refused."""
        digest, size = hashlib.blake2b(digest_size=16), 0
        with _open_regular(Path(path)) as file:
            while block := file.read(2**20):
                digest.update(block)
                size += len(block)
        return cls(size, digest.hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The files of a folder and the fingerprints of what they were made from.

    Args:
        files: entry of each file, by its path relative to the folder, with forward slashes.
        fingerprints: digests by name, such as ``configuration``.
    """

    files: Mapping[str, FileEntry] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)


def fingerprint(*parts: str | bytes | memoryview) -> str:
    """Return a digest of texts or bytes, 32 hexadecimal digits.

    Example:
        >>> fingerprint("seed: 0") == fingerprint(b"seed: 0") != fingerprint("seed", ": 0")
        True
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def check_format(path: str | Path, found: Any, newest: int) -> int:
    """Return the format number ``found`` in a file, if it is at most ``newest``.

    Raises:
        ValueError: if the file was written by a newer version, or the number is none.
    """
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise value_error(f"file {str(path)!r}", expected="a format number", got=found)
    if found > newest:
        advice = "It was written by a newer version of bayeshnet; install that one to read it."
        raise value_error(f"file {str(path)!r}", expected=f"format {newest} or older", got=found, hint=advice)
    return found


def write_manifest(folder: str | Path, files: Iterable[str], fingerprints: Mapping[str, str] | None = None) -> Manifest:
    """Measure ``files`` and write the manifest that lists them, atomically; an existing one is replaced.

    Args:
        folder: folder of the files.
        files: their paths relative to ``folder``.
        fingerprints: digests by name.
    """
    entries = {_checked_name(name): FileEntry.of(Path(folder) / name) for name in files}
    return _write(folder, Manifest(entries, dict(fingerprints or {})))


def read_manifest(folder: str | Path) -> Manifest | None:
    """Read the manifest of ``folder``; None if it has none.

    Raises:
        ValueError: if the manifest is damaged, changed by hand, or of a newer format.
    """
    path = Path(folder) / MANIFEST
    if not os.path.lexists(path):
        return None
    body = _read_body(path)
    check_format(path, body.get("format"), _FORMAT)
    if body.get("checksum") != _checksum(body):
        raise _damaged(path, "content that does not have the checksum written in it")
    try:
        entries = {_checked_name(name): FileEntry(**entry) for name, entry in body["files"].items()}
        return Manifest(entries, dict(body["fingerprints"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"entries that are none ({type(error).__name__})") from error


@contextmanager
def listing(folder: str | Path, names: Iterable[str], fingerprints: Mapping[str, str] | None = None) -> Iterator[None]:
    """Let files of ``folder`` be written inside the context, and list them when it ends without an exception.

    Files that are listed already are taken off the list first: whenever the process is killed, each listed file has the
    content that is listed. Other files stay listed.

    Args:
        folder: folder with or without a manifest.
        names: paths relative to ``folder`` that the context writes; ``*`` stands for any characters of a file name.
        fingerprints: digests that are added, or replace those of the same name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with listing(folder, ["*.txt"], {"data": fingerprint("letters")}):
        ...         _ = (Path(folder) / "a.txt").write_text("a")
        ...     check_file(folder, "a.txt").name, read_manifest(folder).files["a.txt"].size
        ('a.txt', 1)
    """
    folder, patterns = Path(folder), [_checked_name(name) for name in names]
    before = read_manifest(folder) or Manifest()
    others = {name: e for name, e in before.files.items() if not any(fnmatchcase(name, p) for p in patterns)}
    if len(others) < len(before.files):
        _write(folder, Manifest(others, before.fingerprints))
    yield
    paths = [path for p in patterns for path in (sorted(folder.glob(p)) if "*" in p else [folder / p])]
    entries = {path.relative_to(folder).as_posix(): FileEntry.of(path) for path in paths}
    _write(folder, Manifest({**others, **entries}, {**before.fingerprints, **(fingerprints or {})}))


def check_file(folder: str | Path, name: str, manifest: Manifest | None = None) -> Path:
    """Check a file against the manifest of its folder and return its path.

    Args:
        folder: folder with a manifest.
        name: path relative to ``folder``.
        manifest: the manifest, if it has been read already.

    Raises:
        FileNotFoundError: if the folder has no manifest, or the file is missing.
        ValueError: if the manifest does not list the file, or lists it with another size or checksum.
    """
    folder, path = Path(folder), Path(folder) / name
    known = read_manifest(folder) if manifest is None else manifest
    if known is None:
        raise FileNotFoundError(f"folder: expected a manifest, got no file {str(folder / MANIFEST)!r}.")
    if name not in known.files:
        advice = "It was being written when its process was stopped, or was put there by hand."
        raise value_error(f"file {str(path)!r}", expected="a file of the manifest", found="another one", hint=advice)
    wanted, expected = known.files[name], "the file as it was saved"
    with _open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size != wanted.size:
        raise value_error(f"file {str(path)!r}", expected=expected, found=f"{size} bytes, not {wanted.size}")
    if FileEntry.of(path) != wanted:
        raise value_error(f"file {str(path)!r}", expected=expected, found="another content (its checksum differs)")
    return path


def _write(folder: str | Path, manifest: Manifest) -> Manifest:
    files = {name: {"size": e.size, "checksum": e.checksum} for name, e in sorted(manifest.files.items())}
    body: dict[str, Any] = {"format": _FORMAT, "fingerprints": dict(manifest.fingerprints), "files": files}
    write_text(Path(folder) / MANIFEST, json.dumps({**body, "checksum": _checksum(body)}, indent=1) + "\n")
    return manifest


def _read_body(path: Path) -> dict[str, Any]:
    try:
        body = read_json(path)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(body, dict):
        raise _damaged(path, f"a {type(body).__name__}")
    return body


def _checksum(body: Mapping[str, Any]) -> str:
    content = {name: value for name, value in body.items() if name != "checksum"}
    return fingerprint(json.dumps(content, sort_keys=True))


def _checked_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or str(path) != name:
        raise value_error("name", expected="a path below the folder, with forward slashes", got=name)
    return name


def _open_regular(path: Path) -> Any:
    """Open a regular file for reading; others (folders, pipes, devices) could block or never end."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise FileNotFoundError(f"file {str(path)!r}: expected the file as it was saved, got none.") from None
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise value_error(f"file {str(path)!r}", expected="a regular file", found="a folder, pipe or device")
    return os.fdopen(handle, "rb")


def _damaged(path: Path, found: str) -> ValueError:
    return value_error(f"file {str(path)!r}", expected="an undamaged manifest", found=found, hint=_ADVICE)
