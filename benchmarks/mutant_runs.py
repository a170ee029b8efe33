"""Runs of tests in forks of one warm process: one for the lines that a test file covers, one for each mutant."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

import pytest
from mutant_sites import Mutant

__all__ = ["WARM", "Coverage", "Settings", "in_forks", "measure", "preload", "run_mutant", "stages"]

WARM = [
    "numpy",
    "scipy.stats",
    "scipy.special",
    "torch",
    "torch.func",
    "torch.nn.utils",
    "torch.fx.experimental.symbolic_shapes",
    "sympy",
    "pyro",
    "pyro.infer",
    "pyro.optim",
    "pyro.distributions",
    "hypothesis",
    "sklearn.metrics",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "jsonargparse",
    "yaml",
    "safetensors.torch",
    "tabulate",
    "coverage",
    "doctest",
]
_OPTIONS = [
    "-q",
    "--no-header",
    "--tb=no",
    *("-n", "0"),
    *("-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
]


@dataclass(frozen=True)
class Settings:
    """A tree whose package is changed and whose tests judge.

    Attributes:
        root: folder of the package and of its tests.
        package: name of the package, a folder of ``root``.
        tests: test folders and files, below ``root``.
        limit: seconds of testing after which a mutant counts as survived.
    """

    root: Path
    package: str
    tests: tuple[str, ...]
    limit: float = 150.0


def preload(names: Iterable[str] = WARM) -> None:
    """Import what tests need besides the package itself, pytest and its plugins among it; forks inherit it."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stdout(io.StringIO()):
        pytest.main([empty, "--rootdir", empty, *_OPTIONS])


# --- forks


def in_forks(
    jobs: Iterable[tuple[str, Callable[[], object], float]], workers: int
) -> Iterator[tuple[str, object | None, str]]:
    """Yield for each job its name, its result and ``"done"``, ``"crash"`` or ``"timeout"``, as the jobs end.

    Args:
        jobs: name, function whose result JSON can hold, and seconds after which its process is ended.
        workers: processes side by side.
    """
    waiting, running = iter(jobs), {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        while True:
            while len(running) < workers and (job := next(waiting, None)) is not None:
                name, work, seconds = job
                path = Path(folder) / f"{len(running)}-{time.monotonic_ns()}"
                running[_fork(work, path)] = (name, path, time.monotonic() + seconds)
            if not running:
                return
            for pid, (name, path, deadline) in list(running.items()):
                ended, _ = os.waitpid(pid, os.WNOHANG)
                late = time.monotonic() > deadline
                if not ended and late:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                if ended or late:
                    del running[pid]
                    if path.exists():
                        result = json.loads(path.read_text())
                        if "broken" in result:
                            raise RuntimeError(f"{name}: the run itself failed\n{result['broken']}")
                        yield name, result, "done"
                    else:
                        yield name, None, "crash" if ended else "timeout"
                    shutil.rmtree(f"{path}-tmp", ignore_errors=True)
            time.sleep(0.02)


def _fork(work: Callable[[], object], path: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(quiet, descriptor)
        tempfile.tempdir = f"{path}-tmp"
        Path(tempfile.tempdir).mkdir()
        whole = path.with_suffix(".part")
        try:
            text = json.dumps(work())
        except Exception:
            text = json.dumps({"broken": traceback.format_exc()})
        whole.write_text(text)
        whole.rename(path)
        code = 0
    finally:
        os._exit(code)


# --- lines that tests cover


class Coverage:
    """Lines of the package that each test executes, measured once for each test file and kept in a folder.

    Args:
        settings: the tree.
        folder: where the measurements are kept, a JSON file for each test file.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.found: dict[str, dict] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.test_files():
            path = self._path(file)
            if path.exists() and (measured := json.loads(path.read_text()))["digest"] == self._digest(file):
                self.found[file] = measured

    def test_files(self) -> list[str]:
        """Return the test files that there are."""
        root, found = self.settings.root, set()
        for name in self.settings.tests:
            place = root / name
            if not place.exists():
                raise FileNotFoundError(f"no tests at {place}")
            found |= {place} if place.is_file() else set(place.rglob("test_*.py"))
        return sorted(path.relative_to(root).as_posix() for path in found)

    def stale(self) -> list[str]:
        """Return the test files that are new or have changed since they were measured."""
        return [file for file in self.test_files() if file not in self.found]

    def add(self, file: str, measured: dict | None) -> None:
        """Keep what a test file covers; nothing if its run broke off."""
        empty = {"times": {}, "sources": {}, "lines": {}}
        self.found[file] = {"digest": self._digest(file), **(measured or empty)}
        whole = self._path(file)
        part = whole.with_suffix(".part")
        part.write_text(json.dumps(self.found[file]))
        part.rename(whole)

    @property
    def times(self) -> dict[str, float]:
        """Seconds of all tests that pass."""
        return {name: seconds for measured in self.found.values() for name, seconds in measured["times"].items()}

    def covering(self, mutant: Mutant, whole: bool = False) -> dict[str, dict[str, float]]:
        """Return seconds of the tests that execute a mutant's lines, by test file.

        Where the source has changed since, or the lines run as modules or shared fixtures are set up, or with
        ``whole``, these are all tests of a file that reaches them.
        """
        digest, found = self._digest(mutant.file), {}
        place = set(range(mutant.line, mutant.end + 1))
        for file, measured in self.found.items():
            groups, times = measured["lines"].get(mutant.file, ()), measured["times"]
            names = {name for lines, tests in groups if place & set(lines) for name in tests}
            moved = bool(groups) and measured["sources"][mutant.file] != digest
            if moved or "" in names or (whole and names):
                names = set(times)
            if chosen := {name: times[name] for name in sorted(names) if name in times}:
                found[file] = chosen
        return found

    def _path(self, file: str) -> Path:
        return self.folder / f"{file.replace('/', '.')}.json"

    def _digest(self, file: str) -> str:
        return hashlib.sha256((self.settings.root / file).read_bytes()).hexdigest()[:16]


def measure(settings: Settings, file: str) -> dict:
    """Run a test file; return its tests with their seconds and the lines that each executes. To be called in a fork."""
    import coverage

    cover = coverage.Coverage(data_file=None, source=[str(settings.root / settings.package)], config_file=False)
    cover.start()
    watch = _Watch(cover)
    _pytest(settings, [file], watch)
    cover.stop()
    data, lines, sources = cover.get_data(), {}, {}
    for path in data.measured_files():
        groups: dict[tuple[str, ...], list[int]] = {}
        for line, tests in data.contexts_by_lineno(path).items():
            groups.setdefault(tuple(sorted(set(tests))), []).append(line)
        if any(name for tests in groups for name in tests):
            place = Path(path).relative_to(settings.root).as_posix()
            lines[place] = [[numbers, tests] for tests, numbers in groups.items()]
            sources[place] = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    return {"times": watch.times, "sources": sources, "lines": lines}


class _Watch:
    """Names the test that runs to the measurement; lines of shared fixtures go to all tests, as the name ``""``."""

    def __init__(self, cover) -> None:
        self.cover, self.times, self.name = cover, {}, ""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        self.name = item.nodeid
        self.cover.switch_context(item.nodeid)
        yield
        self.name = ""
        self.cover.switch_context("")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        shared = fixturedef.scope != "function" and self.name
        if shared:
            self.cover.switch_context("")
        yield
        if shared:
            self.cover.switch_context(self.name)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.outcome == "passed" and not hasattr(report, "wasxfail"):
            self.times[report.nodeid] = round(report.duration, 4)


# --- mutants


def stages(settings: Settings, mutant: Mutant, covering: dict[str, dict[str, float]]) -> list[tuple[str, list[str]]]:
    """Return test files with their tests, first those that mirror the mutant's place, each from the fastest test."""
    place = Path(mutant.file).relative_to(settings.package)

    def order(file: str) -> tuple[int, float]:
        parts, common = Path(file).parts[1:-1], 0
        for one, other in zip(parts, place.parts[:-1], strict=False):
            if one != other:
                break
            common += 1
        named = Path(file).stem.removeprefix("test_") in {place.stem, place.parent.name}
        return -common - 2 * named, sum(covering[file].values())

    return [(file, sorted(covering[file], key=covering[file].__getitem__)) for file in sorted(covering, key=order)]


def run_mutant(settings: Settings, mutant: Mutant, plan: Sequence[tuple[str, list[str]]], times: dict) -> dict:
    """Run the planned tests with the mutant in the place of its file. To be called in a fork.

    Returns:
        ``status`` (``killed``, ``timeout`` or ``survived``), ``by`` (the test that failed), ``tests`` (how many ran)
        and ``seconds``.
    """
    began = time.monotonic()
    source = (settings.root / mutant.file).read_text(encoding="utf-8")
    sys.meta_path.insert(0, _Changed(settings, mutant, mutant.apply(source)))
    resource.setrlimit(resource.RLIMIT_DATA, (12 << 30, 12 << 30))
    judge = _Judge(times, began + settings.limit)
    for file, tests in plan:
        judge.wanted = {name: place for place, name in enumerate(tests)}
        code = _pytest(settings, [file, "-x"], judge)
        if judge.failed is not None or code in {2, 3, 4}:
            status = "timeout" if judge.slow else "killed"
            seconds = round(time.monotonic() - began, 2)
            return {"status": status, "by": judge.failed or file, "tests": judge.count, "seconds": seconds}
        if time.monotonic() > judge.end:
            break
    seconds = round(time.monotonic() - began, 2)
    return {"status": "survived", "by": None, "tests": judge.count, "seconds": seconds}


class _Changed(importlib.abc.MetaPathFinder):
    """Finds the changed module before the one on disk is found."""

    def __init__(self, settings: Settings, mutant: Mutant, source: str) -> None:
        parts = list(Path(mutant.file).with_suffix("").parts)
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.loader = _ChangedLoader(self.name, str(settings.root / mutant.file), source)

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.loader.path, loader=self.loader)


class _ChangedLoader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.changed = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.changed, self.path, "exec", dont_inherit=True)


class _Judge:
    """Chooses and orders tests, stops at the end of the time, and ends a test that takes far longer than it did."""

    def __init__(self, times: dict[str, float], end: float) -> None:
        self.times, self.end, self.wanted = times, end, {}
        self.failed: str | None = None
        self.slow, self.count = False, 0

    def pytest_collection_modifyitems(self, items):
        items[:] = sorted(
            (item for item in items if item.nodeid in self.wanted), key=lambda item: self.wanted[item.nodeid]
        )

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        signal.signal(signal.SIGALRM, self._too_slow)
        signal.alarm(int(20 + 20 * self.times.get(item.nodeid, 1.0)))
        yield
        signal.alarm(0)
        if time.monotonic() > self.end:
            item.session.shouldstop = "out of time"

    def pytest_runtest_logreport(self, report):
        self.count += report.when == "call"
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def _too_slow(self, signum: int, frame: FrameType | None) -> None:
        self.slow = True
        pytest.fail("takes far longer than without the change")


def _pytest(settings: Settings, arguments: list[str], plugin: object) -> int:
    os.chdir(settings.root)
    if str(settings.root) not in sys.path:
        sys.path.insert(0, str(settings.root))
    return int(pytest.main([*arguments, "--basetemp", f"{tempfile.tempdir}/p", *_OPTIONS], plugins=[plugin]))
