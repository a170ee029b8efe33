"""Processes of Lightning Fabric: the same numbers as of one process, a run, and one whose process is killed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bayeshnet.cli import main
from bayeshnet.errors import MissingExtraError
from bayeshnet.parallel import launched
from tests.support.parallel_problems import PROBLEMS, by_hand, train

ROOT = Path(__file__).parent.parent.parent
HAS_FABRIC = importlib.util.find_spec("lightning_fabric") is not None
needs_fabric = pytest.mark.skipif(not HAS_FABRIC, reason="needs Lightning Fabric: pip install 'bayeshnet[dist]'")
WORDS = ["--data=modes2d", "--method=prior-focused", "--quick", "--data-options.num_tasks=2", "--device=cpu"]
WORDS += ["--learner.num_samples=4", "--learner.training.batch_size=10"]


def start(*words, **options):
    """Start a program of this checkout, as a user would."""
    places = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    known = {"PYTHONPATH": os.pathsep.join(filter(None, places)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *words], env={**os.environ, **known}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def finished(process):
    out, err = process.communicate(timeout=600)
    return process.returncode, out.decode(), err.decode()


def numbers(folder):
    """Return the results of a run but for times."""
    found = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in found.items() if name not in ("seconds", "versions")}


def assert_close(a, b, where=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_close(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for place, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_close(x, y, f"{where}[{place}]")
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=5e-3, abs=5e-3), where
    else:
        assert a == b, where


@needs_fabric
@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "share", "dtype", "atol"),
    [
        (2, "samples", torch.float64, 1e-10),
        (4, "samples", torch.float32, 1e-6),
        (4, "data", torch.float64, 1e-10),
        (2, "data", torch.float32, 1e-6),
    ],
)
def test_processes_find_what_one_process_finds(tmp_path, size, share, dtype, atol):
    words = [str(tmp_path / "out.pt"), str(size), share, str(dtype).removeprefix("torch.")]
    code, _, err = finished(start("-m", "tests.support.parallel_problems", *words, cwd=ROOT))
    assert (code, err) == (0, "")
    saved = torch.load(tmp_path / "out.pt", weights_only=True)
    for name in PROBLEMS:
        wanted = train(name, dtype, 3)[0] if share == "data" else by_hand(name, dtype, size)[0]
        torch.testing.assert_close(saved["found"][name], wanted, rtol=0, atol=atol)
    assert all(ends == saved["ends"][0] for ends in saved["ends"])


@needs_fabric
@pytest.mark.slow
def test_a_run_of_two_processes_whose_second_is_killed_has_the_results_of_one(tmp_path):
    words = [*WORDS, "--learner.training.steps=300"]
    assert main(["run", *words, f"--output={tmp_path / 'one'}"]) == 0
    folder = tmp_path / "two"
    process = start("-m", "bayeshnet", "run", *words, "--devices=2", f"--output={folder}", cwd=tmp_path)
    limit = time.monotonic() + 300
    while not (folder / "checkpoints" / "task-01.json").exists():
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    (second,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(second), signal.SIGKILL)
    code, _, err = finished(process)
    assert (code, err.count("\n")) == (2, 1)
    assert "bayeshnet run: another process of this run has ended: 1 of 2 tasks are saved in" in err
    assert not (folder / "metrics.json").exists()
    code, out, err = finished(start("-m", "bayeshnet", "run", f"--resume={folder}", "--devices=2", cwd=tmp_path))
    assert (code, err) == (0, "")
    assert out.count("metrics, checkpoints, figures and report.html in") == 1
    assert_close(numbers(folder), numbers(tmp_path / "one"))


@needs_fabric
@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"LT_CLI_USED": "1", "LT_ACCELERATOR": "cpu", "LT_STRATEGY": "ddp"}])
def test_torchrun_starts_an_exact_run_whose_heads_are_merged(tmp_path, monkeypatch, settings):
    """So does ``fabric run``, which is torchrun with settings in variables."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    words = ["--data=split-digits", "--method=exact-stream", "--quick", "--device=cpu"]
    assert main(["run", *words, f"--output={tmp_path / 'one'}"]) == 0
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bayeshnet", "run"]
    code, out, err = finished(start(*launcher, *words, f"--output={tmp_path / 'two'}", cwd=tmp_path))
    assert code == 0, err
    assert out.count("metrics, checkpoints, figures and report.html in") == 1
    assert_close(numbers(tmp_path / "two"), numbers(tmp_path / "one"))


@pytest.mark.skipif(HAS_FABRIC, reason="Lightning Fabric is installed")
def test_a_missing_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingExtraError, match=r"bayeshnet\[dist\]"), launched(2):
        pass
    assert main(["run", *WORDS, "--devices=2"]) == 2
    assert "pip install 'bayeshnet[dist]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_processes_that_cannot_be(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="devices, nodes: expected those of 3 processes, got 2"), launched(2):
        pass
    for words, says in [
        (["--devices=0"], "--devices: expected an integer >= 1, got 0"),
        (["--share=pizza"], "--share: expected one of 'data', 'samples', got 'pizza'"),
        (["--devices=2", "--device=cpu:0"], "device: expected 'auto', 'cpu' or 'cuda' with several processes"),
    ]:
        assert main(["run", *WORDS, *words]) == 2
        assert says in capsys.readouterr().err
