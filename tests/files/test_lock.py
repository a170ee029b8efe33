"""The lock of a folder: one writer, and the lock of a process that is gone is no obstacle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest

from bayeshnet.files import LOCK, lock, lock_folder
from bayeshnet.files.lock import Owner

HOLD = """
import sys, time
from bayeshnet.files import lock_folder
with lock_folder(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["system", "existence"])
def way(request, monkeypatch):
    """Locks of the system, and a file system that has none."""
    if request.param == "existence":
        monkeypatch.setattr(lock, "_lock_file", lambda handle: None)
    return request.param


def dead_owner():
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return Owner(process.pid, socket.gethostname(), "1", "yesterday")


def test_a_folder_has_one_writer(tmp_path, way):
    with lock_folder(tmp_path) as path:
        with pytest.raises(ValueError, match=rf"one run at a time, got process {os.getpid()} on .*remove"):
            lock_folder(tmp_path).__enter__()
        assert Owner.read(path).pid == os.getpid()
    assert list(tmp_path.iterdir()) == []
    with lock_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_process_that_is_gone_is_taken_over_and_explained(tmp_path, way, caplog):
    name = LOCK if way == "system" else "lock-held.json"
    owner = dead_owner()
    (tmp_path / name).write_text(json.dumps(asdict(owner)))
    with lock_folder(tmp_path) as path:
        assert Owner.read(path).pid == os.getpid()
    assert f"process {owner.pid} on" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_without_locks_of_the_system_only_a_process_that_is_known_to_be_gone_loses_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_lock_file", lambda handle: None)
    file = tmp_path / "lock-held.json"
    here = Owner.of_this_process()
    for owner, free in [
        (here, False),
        (Owner(here.pid, "another machine", here.started, here.since), False),
        (Owner(here.pid, here.host, "1", here.since), True),  # the number was given to another process
        (Owner(10**30, here.host, "1", here.since), True),
        (Owner(-1, here.host, "1", here.since), False),
    ]:
        file.write_text(json.dumps(asdict(owner)))
        if free:
            with lock_folder(tmp_path):
                pass
        else:
            with pytest.raises(ValueError, match="one run at a time"):
                lock_folder(tmp_path).__enter__()
        file.unlink(missing_ok=True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"[" * 4000, b"\xff\0", b'{"pid": 1}', b"9" * 10_000])
def test_a_damaged_lock_is_no_obstacle_where_the_system_has_locks(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with lock_folder(tmp_path) as path:
        assert Owner.read(path).pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_special_files_in_the_place_of_the_lock_are_named(tmp_path):
    (tmp_path / LOCK).symlink_to(LOCK)
    with pytest.raises(OSError, match=r"lock\.json"):
        lock_folder(tmp_path).__enter__()
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).mkdir()
    with pytest.raises(OSError, match=r"lock\.json"):
        lock_folder(tmp_path).__enter__()


def test_a_killed_process_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match=rf"process {process.pid} on"):
            lock_folder(tmp_path).__enter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with lock_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_many_threads_one_at_a_time_holds_the_lock(tmp_path, way):
    inside, most, taken = [], [], []

    def work():
        for _ in range(60):
            try:
                with lock_folder(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    taken.append(1)
            except ValueError:
                pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert taken
    assert list(tmp_path.iterdir()) == []
