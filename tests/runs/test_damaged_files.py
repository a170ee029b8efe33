"""Damaged files of every kind that is read: each is named in one line, or nothing changes; none in silence."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.cli import main
from bayeshnet.commands.compare import FORMATS
from bayeshnet.continual import Separate, Training
from bayeshnet.data import digits, load_cifar, split_mnist
from bayeshnet.data.idx import FILES
from bayeshnet.files import LOCK, fingerprint, lock_folder, read_manifest
from bayeshnet.reports import RunResult, run_tables
from bayeshnet.runs import Experiment, RunFolder, run_experiment
from bayeshnet.runs.fingerprints import configuration_fingerprint
from bayeshnet.runs.loading import restore_state
from tests.support.damage import SPECIAL, check_reader, damages, leaves, make_special, put_back, with_entry
from tests.support.small_runs import SMALL

CONFIG = "learner:\n  class_path: Separate\n  init_args: {steps: 2, net: [4, 4]}\ndata: modes2d\nseed: 0\nthreads: 1\n"
VALUES = (None, "x", -1, True, 1.5, 1e300, 10**60, [], {}, [[]], {"a": {"b": {}}}, [1, "x"], "9" * 2000)


def make_experiment(seed=0):
    learner = Separate(MLPNetwork((4,)), MeanFieldWeights(), training=Training(steps=2), num_samples=4)
    return Experiment(learner, data="modes2d", data_options={"num_tasks": 2}, seed=seed)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of other seeds."""
    made = []
    for seed in range(2):
        folder = RunFolder(tmp_path_factory.mktemp("runs") / f"run{seed}")
        folder.create(CONFIG.replace("seed: 0", f"seed: {seed}"))
        run_experiment(make_experiment(seed), folder)
        made.append(folder.path)
    return made


@pytest.fixture
def folder(runs, tmp_path):
    return shutil.copytree(runs[0], tmp_path / "run")


def read_state(folder):
    """All that resuming takes from the checkpoints."""
    files, task = RunFolder(folder), make_experiment().stream()[0]
    earlier = make_experiment().learner.restore(task, 1)
    first = files.load_task(1, earlier)
    state, progress = restore_state(make_experiment(), files, task)
    tensors = {
        (n, name): value.tolist()
        for n, (name, value) in enumerate([*earlier.state_dict().items(), *state.state_dict().items()])
    }
    return first, files.last_task(), tensors, progress


def read_settings(folder):
    """The settings under which a run is resumed."""
    files = RunFolder(folder)
    files.load_task(1)
    return configuration_fingerprint(files.open())


READERS = {
    "config.yaml": (read_settings, 30),
    "manifest.json": (lambda folder: read_manifest(folder), 100),
    "metrics.json": (lambda folder: RunResult.load(folder), 60),
    "checkpoints/task-01.json": (read_state, 30),
    "checkpoints/task-02.json": (read_state, 30),
    "checkpoints/task-02.safetensors": (read_state, 30),
}


@pytest.mark.parametrize("file", READERS)
def test_damaged_files_of_a_run(file, folder, runs):
    read, count = READERS[file]
    path, other = folder / file, (runs[1] / file).read_bytes()
    content, expected = path.read_bytes(), read(folder)
    named = 0
    for name, changed in [*damages(content, count), ("of another run", other)][
        : -1 if file == "manifest.json" else None
    ]:
        path.write_bytes(changed)
        named += check_reader(path, name, lambda: read(folder), expected)
    for kind in SPECIAL:
        make_special(path, kind)
        assert check_reader(path, kind, lambda: read(folder), expected)
        put_back(path, content)
    assert read(folder) == expected
    assert named > count


def test_files_of_another_task_or_run_are_found(folder, runs):
    """Names of files in messages are those of the first that does not fit."""
    expected = read_state(folder)
    other = {path.relative_to(runs[1]): path.read_bytes() for path in runs[1].rglob("*") if path.is_file()}
    own = {name: (folder / name).read_bytes() for name in other if (folder / name).exists()}
    groups = [[name] for name in own if "figures" not in str(name) and name.name not in ("report.html", "log.txt")]
    groups += [[n for n in own if "task-02" in str(n)], [n for n in own if "checkpoints" in str(n)]]
    groups += [
        [n for n in own if n.name != "config.yaml"],
        [n for n in own if n.name in ("config.yaml", "manifest.json")],
    ]
    for names in groups:
        for name in names:
            (folder / name).write_bytes(other[name])
        if [name.name for name in names] != ["metrics.json"] and "checkpoints/config.yaml" not in map(str, names):
            with pytest.raises((ValueError, OSError), match=r"(task-|config\.yaml|manifest)"):
                read_state(folder)
        for name in names:
            (folder / name).write_bytes(own[name])
    pair = [folder / "checkpoints" / f"task-0{n}.json" for n in (1, 2)]
    contents = [path.read_bytes() for path in pair]
    for path, content in zip(pair, reversed(contents), strict=True):
        path.write_bytes(content)
    with pytest.raises(ValueError, match="task-0"):
        read_state(folder)
    for path, content in zip(pair, contents, strict=True):
        path.write_bytes(content)
    assert read_state(folder) == expected


@pytest.mark.slow
def test_a_folder_without_its_manifest_is_read_by_the_checksums_of_its_records(folder):
    expected = read_state(folder)
    (folder / "manifest.json").unlink()
    assert read_state(folder) == expected
    for file in ("checkpoints/task-01.json", "checkpoints/task-02.json", "checkpoints/task-02.safetensors"):
        path = folder / file
        content = path.read_bytes()
        for name, changed in damages(content, 10, seed=1):
            path.write_bytes(changed)
            check_reader(path, name, lambda: read_state(folder), expected)
        path.write_bytes(content)


def test_a_file_of_very_many_tasks_is_passed_over_or_named_at_once(folder):
    expected = read_state(folder)
    many = folder / "checkpoints" / "task-100000000.json"
    shutil.copy(folder / "checkpoints" / "task-02.json", many)
    assert read_state(folder) == expected
    (folder / "manifest.json").unlink()
    shutil.copy(folder / "checkpoints" / "task-02.safetensors", many.with_suffix(".safetensors"))
    with pytest.raises(ValueError, match=r"task 100000000 .*expected a record of 100000000 tasks, got one of 2"):
        read_state(folder)


def test_damaged_locks_are_no_obstacle(tmp_path):
    path = tmp_path / LOCK
    with lock_folder(tmp_path):
        content = path.read_bytes()

    def lock():
        with lock_folder(tmp_path):
            return "locked"

    for name, changed in damages(content, 20):
        path.write_bytes(changed)
        assert not check_reader(path, name, lock, "locked")
    for kind in SPECIAL:
        path.write_bytes(content)
        make_special(path, kind)
        check_reader(path, kind, lock, "locked")
        put_back(path, content)


def forged(body):
    """A record whose checksum fits."""
    body = {name: value for name, value in body.items() if name != "checksum"}
    return json.dumps({**body, "checksum": fingerprint(json.dumps(body, sort_keys=True))}).encode()


@pytest.mark.slow
def test_records_of_wrong_types_with_the_right_checksum_are_named(folder):
    """Nothing tells an honest number from a forged one; wrong types are told all the same."""
    (folder / "manifest.json").unlink()
    path = folder / "checkpoints" / "task-02.json"
    body = json.loads(path.read_bytes())
    places = [place for place in leaves(body) if "curves" not in place and place != ("record", "config")]
    rng = random.Random(0)
    for _ in range(150):
        place, value = rng.choice(places), rng.choice(VALUES)
        path.write_bytes(forged(with_entry(body, place, value)))
        try:
            read_state(folder)
        except (ValueError, TypeError, OSError) as error:
            assert "\n" not in str(error), (place, value)  # noqa: PT017


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_results_of_wrong_types_are_named_or_shown(runs, tmp_path, count):
    """Whatever is accepted can be compared in every format."""
    body = json.loads((runs[0] / "metrics.json").read_bytes())
    rng, path = random.Random(count), tmp_path / "metrics.json"
    places = list(leaves(body))
    refused = 0
    for number in range(count):
        place, value = rng.choice(places), rng.choice(VALUES)
        path.write_text(json.dumps(with_entry(body, place, value)))
        try:
            results = [RunResult.load(path), RunResult.load(runs[0])]
        except ValueError as error:
            assert "metrics.json" in str(error)  # noqa: PT017
            assert "\n" not in str(error), (place, value)  # noqa: PT017
            refused += 1
        else:
            form = list(FORMATS)[number % len(FORMATS)]
            assert FORMATS[form](results), (place, value)
            assert run_tables(results[0])[0].text(), (place, value)
    assert refused > 0.4 * count


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    """Two files are packed and two are not."""
    rng, folder = np.random.default_rng(0), tmp_path / "mnist"
    folder.mkdir()
    arrays = [rng.integers(0, 256, (n, 5, 5), dtype=np.uint8) for n in (40, 20)]
    labels = [(np.arange(n) % 10).astype(np.uint8) for n in (40, 20)]
    (folder / FILES["x"]).write_bytes(idx(arrays[0]))
    (folder / FILES["y"]).write_bytes(idx(labels[0]))
    (folder / (FILES["x_test"] + ".gz")).write_bytes(gzip.compress(idx(arrays[1])))
    (folder / (FILES["y_test"] + ".gz")).write_bytes(gzip.compress(idx(labels[1])))
    return folder


@pytest.mark.parametrize("number", range(4))
def test_damaged_data_are_named_when_they_are_read_or_when_the_run_is_resumed(number, mnist, tmp_path):
    """IDX files have no checksum; the fingerprint of the data tells, but not of which file they were."""
    files = RunFolder(tmp_path / "run")
    files.create("data: split-mnist\n")
    files.begin(split_mnist(mnist, 5, max_train=8))
    path = sorted(mnist.iterdir())[number]
    content = path.read_bytes()

    def resume():
        stream = split_mnist(mnist, 5, max_train=8)
        try:
            files.begin(stream)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
        return [(task.train.x.tolist(), task.train.y.tolist(), task.test.y.tolist()) for task in stream]

    expected = resume()
    for name, changed in damages(content, 12):
        path.write_bytes(changed)
        try:
            check_reader(path, name, resume, expected)
        except AssertionError as error:
            if "is not named" not in str(error) or not str(error).count("labels"):
                raise
    for kind in ("folder", "pipe", "loop", "device", "sparse"):
        make_special(path, kind)
        with pytest.raises((ValueError, OSError), match=path.name.partition("-")[0]):
            resume()
        put_back(path, content)
    assert resume() == expected


def test_damaged_pickles_of_images_are_named_or_differ_in_values_only(tmp_path):
    """Pickles have no checksum: what is read is an array of the right type and shape, or named."""
    rng = np.random.default_rng(0)
    for name in [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]:
        batch = {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 3]}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
    path = tmp_path / "data_batch_3"
    content = path.read_bytes()
    shapes = {key: (tuple(t.shape), t.dtype) for key, t in load_cifar(tmp_path).items()}
    head = bytearray(content)

    def read():
        data = load_cifar(tmp_path)
        return {key: (tuple(t.shape), t.dtype) for key, t in data.items()}

    start, stop = content.index(b"ndarray") - 60, len(content)
    rng = random.Random(1)
    for _ in range(150):
        changed = bytearray(head)
        place = rng.choice([rng.randrange(0, start + 200), rng.randrange(stop - 60, stop)])
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        check_reader(path, f"byte {place}", read, shapes)
    for name, changed in damages(content, 20):
        path.write_bytes(changed)
        if not name.startswith(("gap", "noise")):
            check_reader(path, name, read, shapes)
    for kind in SPECIAL:
        make_special(path, kind)
        assert check_reader(path, kind, read, None)
        put_back(path, content)


def test_a_damaged_table_of_digits_is_named(tmp_path):
    table = np.column_stack([np.arange(640).reshape(10, 64) % 17, np.arange(10)])
    text = "\n".join(",".join(map(str, row)) for row in table.tolist())
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    content, expected = path.read_bytes(), digits._read_table(path).tolist()
    for name, changed in damages(content, 40):
        path.write_bytes(changed)
        check_reader(path, name, lambda: digits._read_table(path).tolist(), expected)
    for foreign in (b"1,2\n3,4", b"17," * 64 + b"0", b"nan," * 64 + b"0", b"", b"a"):
        path.write_bytes(gzip.compress(foreign))
        assert check_reader(path, foreign[:9], lambda: digits._read_table(path).tolist(), expected)


def test_compare_names_damaged_files_in_one_line(folder, runs, capsys):
    path = folder / "metrics.json"
    content = path.read_bytes()
    samples = random.Random(0).sample(damages(content, 10), 12)
    for name, changed in samples:
        path.write_bytes(changed)
        code = main(["compare", str(folder), str(runs[1])])
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n")) == (2, "", 1), name
        assert "metrics.json" in err, name


@pytest.fixture(scope="module")
def command_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("command") / "run"
    words = [
        "--quick",
        "--data-options.num_tasks=2",
        "--learner.training.steps",
        "2",
        "--learner.num_samples",
        "4",
        *SMALL,
    ]
    assert main(["run", "--data", "modes2d", "--method", "separate", *words, "--output", str(path)]) == 0
    return path


def test_resume_names_damaged_files_in_one_line(command_run, tmp_path, capsys):
    folder = shutil.copytree(command_run, tmp_path / "run")
    for file in ("config.yaml", "manifest.json", "checkpoints/task-02.json", "checkpoints/task-02.safetensors"):
        path = folder / file
        content = path.read_bytes()
        for name, changed in (
            ("cut", content[: len(content) // 2]),
            ("noise", b"\xff\x00" * 99),
            ("deep", b"[" * 9999),
        ):
            path.write_bytes(changed)
            code = main(["run", "--resume", str(folder)])
            out, err = capsys.readouterr()
            assert (code, err.count("\n")) == (2, 1), (file, name, out, err)
            assert path.name in err or str(folder) in err, (file, name, err)
        path.write_bytes(content)


@pytest.mark.slow
def test_a_damaged_folder_crashes_no_process(command_run, tmp_path):
    """In a process of its own, since a crash would take the tests with it."""
    folder = shutil.copytree(command_run, tmp_path / "run")
    (folder / "checkpoints" / "task-02.json").write_bytes(b"[" * 200_000)
    command = [sys.executable, "-m", "bayeshnet", "run", "--resume", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "task-02.json" in done.stderr
