"""Texts that are read are bounded in size and depth, and hold plain values only."""

from __future__ import annotations

import os
import time

import pytest

from bayeshnet.files import parse_json, parse_yaml, read_json, read_text, read_yaml
from bayeshnet.files.texts import TEXT_LIMIT

BAD_JSON = {
    "nothing": ("", "Expecting value"),
    "NaN": ('{"a": NaN}', "the number NaN"),
    "infinity": ("[-Infinity]", "the number -Infinity"),
    "a number that becomes infinity": ("1e999", "the number 1e999"),
    "a key twice": ('{"a": 1, "a": 2}', "the key 'a' twice"),
    "many brackets": ("[" * 200_000, "more than 32 deep"),
    "33 braces": ('{"a":' * 33 + "1" + "}" * 33, "more than 32 deep"),
    "an integer without end": ("1" * 5000, "limit"),
    "half a character": ('"\\ud800"', "surrogate"),
    "an open string of escapes": ('"' + '\\"' * 500_000, "Unterminated"),
    "an open string in brackets": ('["a' + "[" * 100, "Unterminated"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_json_that_is_refused(name):
    text, said = BAD_JSON[name]
    begin = time.process_time()
    with pytest.raises(ValueError, match="file 'x': expected JSON, got ") as caught:
        parse_json(text, "file 'x'")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - begin < 5


def test_json_that_is_read():
    deep = '{"a":' * 32 + "1" + "}" * 32
    value = parse_json(deep)
    for _ in range(32):
        value = value["a"]
    assert value == 1
    assert parse_json('["' + "[{" * 100 + '\\"", 1e3, -2, true, null]') == ["[{" * 100 + '"', 1000.0, -2, True, None]


BAD_YAML = {
    "a tag": ("a: 1\nb: !!python/name:os.system", "a tag in line 2"),
    "a harmless tag": ("a: !!str 1", "a tag in line 1"),
    "a local tag": ("a: !include other.yaml", "a tag in line 1"),
    "an alias": ("a: &x [1]\nb: *x", "an anchor or alias in line 1"),
    "lists of lists": (
        "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(30)),
        "alias",
    ),
    "a key twice": ("seed: 1\nseed: 2", "a key twice"),
    "many brackets": ("[" * 60_000, "more than 32 levels"),
    "many braces": ("{a: " * 15_000, "more than 32 levels"),
    "many dashes": ("- " * 30_000, "more than 32 levels"),
    "two documents": ("a: 1\n---\na: 2", "single document"),
    "a tab": ("a:\t1", "cannot start any token"),
    "a null character": ("\0", "not allowed"),
    "a list as key": ("? [1]\n: 2", "unhashable"),
    "an integer without end": ("a: " + "1" * 6000, "limit"),
    "too long": ("#" * (TEXT_LIMIT + 1), "at most"),
}


@pytest.mark.parametrize("name", BAD_YAML)
def test_yaml_that_is_refused(name):
    text, said = BAD_YAML[name]
    begin = time.process_time()
    with pytest.raises(ValueError, match="file 'x': expected ") as caught:
        parse_yaml(text, "file 'x'")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - begin < 5


def test_yaml_that_is_read():
    text = "a: {b: [1, 2.5, yes, ~, word]}\nday: 2020-01-01\n<<: {c: 1}"
    assert parse_yaml(text) == {"a": {"b": [1, 2.5, True, None, "word"]}, "day": "2020-01-01", "<<": {"c": 1}}


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml])
def test_what_is_no_ordinary_file_is_named_and_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("pipe", "", "missing", "bytes", "a\0b", "x" * 300):
        path = tmp_path / name
        with pytest.raises((ValueError, OSError)) as caught:
            read(path)
        assert repr(str(path)) in str(caught.value)
    with pytest.raises(ValueError, match="ordinary file"):
        read("/dev/zero")


def test_the_size_is_bounded_before_the_file_is_read(tmp_path):
    file = tmp_path / "large"
    with file.open("wb") as handle:
        handle.truncate(2**40)
    for read in (read_text, read_json, read_yaml):
        with pytest.raises(ValueError, match=r"large.*expected at most"):
            read(file)
