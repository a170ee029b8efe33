"""Ways to damage a file, for readers that must name it or lose nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import time

FOREIGN = {
    "empty": b"",
    "zeros": bytes(100),
    "other bytes": b"\xff\xfe\x00\x80" * 30,
    "null": b"null",
    "number": b"1",
    "list": b"[]",
    "mapping": b"{}",
    "text": b'"text"',
    "not a number": b'{"format": NaN, "data": NaN}',
    "page": b"<html>not found</html>\n",
    "deep": b"[" * 200_000,
    "deep mappings": b'{"a":' * 100_000,
    "long number": b"9" * 100_000,
    "long text": b"a" * 300_000,
    "twice": b'{"format": 1, "format": 2}',
    "surrogate": b'{"data": "\\ud800"}',
    "bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b]\n",
    "class": b"class_path: subprocess.Popen\ninit_args: {args: [true]}\n",
    "tensors": (10**15).to_bytes(8, "little") + b"{}",
    "packed": b"\x1f\x8b\x08\x00" + bytes(30),
}
SPECIAL = ("folder", "pipe", "loop", "device", "sparse", "socket name too far")


def truncated(content, count, rng):
    """Cut the content at random places."""
    return [(f"cut at {n}", content[:n]) for n in (rng.randrange(len(content)) for _ in range(count))]


def flipped(content, count, rng):
    """Flip one bit at random places."""
    found = []
    for _ in range(count):
        place = rng.randrange(8 * len(content))
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        found.append((f"bit {place}", bytes(changed)))
    return found


def overwritten(content, count, rng):
    """Overwrite a stretch with random bytes, or leave one out."""
    found = []
    for number in range(count):
        start = rng.randrange(len(content))
        stop = min(len(content), start + rng.randrange(1, 40))
        middle = rng.randbytes(stop - start) if number % 2 else b""
        found.append((f"{'noise' if number % 2 else 'gap'} at {start}", content[:start] + middle + content[stop:]))
    return found


def damages(content, count, seed=0):
    """Make ``count`` damaged contents of each kind, and all the foreign ones."""
    rng = random.Random(seed)
    changed = truncated(content, count, rng) + flipped(content, 2 * count, rng) + overwritten(content, count, rng)
    return [(name, new) for name, new in [*changed, *FOREIGN.items()] if new != content]


def make_special(path, kind):
    """Put a special file in the place of ``path``."""
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**40)
    else:
        path.symlink_to("/proc/self/mem")


def put_back(path, content):
    """Restore an ordinary file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.write_bytes(content)


def check_reader(path, name, read, expected, *, seconds=5.0):
    """Read a damaged file: it is named in one line, or the result is the expected one. Return whether it was named."""
    begin = time.monotonic()
    try:
        found = read()
    except (ValueError, TypeError, OSError) as error:
        message = str(error)
        assert path.name in message, f"{name}: {path.name} is not named in {message!r}"
        assert "\n" not in message, f"{name}: several lines in {message!r}"
        assert len(message) < 1500, f"{name}: {len(message)} characters"
        named = True
    else:
        assert found == expected, f"{name}: {path.name} was changed in silence"
        named = False
    assert time.monotonic() - begin < seconds, f"{name}: {path.name} took too long"
    return named


def leaves(node, path=()):
    """Paths of all entries of nested lists and mappings."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, key)
        yield from leaves(value, (*path, key))


def with_entry(record, path, value):
    """A copy with another value at a path."""
    changed = json.loads(json.dumps(record))
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed
