"""Configurations and folders from strangers: nothing runs, nothing foreign is imported, nothing is written outside."""

from __future__ import annotations

import json
import sys

import pytest

import bayeshnet.commands.compare
import bayeshnet.commands.run  # noqa: F401  what the commands import themselves is imported before
from bayeshnet.cli import main
from bayeshnet.commands.parser import parse_run
from bayeshnet.runs import load_run

EVIL = """
from pathlib import Path

Path({marker!r}).write_text("imported")


class Evil:
    def __init__(self, *args, **kwargs):
        Path({marker!r}).write_text("built")


def run(*args, **kwargs):
    Path({marker!r}).write_text("called")
"""

GADGETS = {
    "the current folder's class": "evil_module.Evil",
    "the current folder's function": "evil_module.run",
    "a process": "subprocess.Popen",
    "a shell": "os.system",
    "a terminal": "pty.spawn",
    "exec": "builtins.exec",
    "an import": "importlib.import_module",
    "a script": "runpy.run_path",
    "a library of C": "ctypes.CDLL",
    "a log file": "logging.FileHandler",
    "a temporary file": "tempfile.NamedTemporaryFile",
    "a browser": "webbrowser.open",
    "torch's processes": "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
    "torch's compiler of C": "torch.utils.cpp_extension.load_inline",
    "torch's pickles": "torch.load",
    "torch's downloads": "torch.hub.load",
    "what a module of torch imports": "torch.nn.modules.module.sys",
    "a function of torch's layers": "torch.nn.Module.load_state_dict",
    "what is near torch's layers": "torch.nn.parallel.DistributedDataParallel",
    "Pyro's modules": "pyro.nn.PyroModule",
    "Pyro's data": "pyro.contrib.examples.util.get_data_loader",
    "numpy's files": "numpy.memmap",
    "numpy's pickles": "numpy.load",
    "matplotlib's processes": "matplotlib.animation.FFMpegWriter",
    "matplotlib's files": "matplotlib.backends.backend_pdf.PdfPages",
    "jsonargparse itself": "jsonargparse.ArgumentParser",
    "what jsonargparse imports": "jsonargparse._util.import_object",
    "what the library imports": "bayeshnet.runs.folder.os",
    "a function of the library": "bayeshnet.files.write_text",
    "a private class of the library": "bayeshnet.guides._auto_posterior.AutoPosterior",
    "a class that is none": "bayeshnet.builders.Nothing",
}
PLACES = {
    "the learner": "learner: {{class_path: {}}}",
    "the learner in short": "learner: {}",
    "a part": "learner: {{init_args: {{posterior: {{class_path: {}, init_args: {{args: [touch, x]}}}}}}}}",
    "an unknown part": "learner: {{init_args: {{nowhere: [1, {{deep: {{class_path: {}}}}}]}}}}",
    "keywords": "learner: {{dict_kwargs: {{x: {{class_path: {}}}}}}}",
    "a layer": "learner: {{init_args: {{network: {{class_path: torch.nn.ReLU, init_args: {{inplace: {}}}}}}}}}",
    "a text": "learner: '{{class_path: {}}}'",
    "a text in a text": "learner: {{init_args: {{network: '\"{{class_path: {}}}\"'}}}}",
    "a key with dots": "learner.init_args.network.class_path: {}",
    "options of the data": "data_options: {{x: {{class_path: {}, init_args: {{args: [touch, x]}}}}}}",
}
OTHERS = {
    "a tag that calls": "learner: !!python/object/apply:os.system [touch x]",
    "a tag that imports": "learner: !!python/name:evil_module.run",
    "an alias": "a: &a {class_path: evil_module.Evil}\nlearner: *a",
    "a bomb": "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}, *a{i}]\n" for i in range(20)),
    "brackets": "[" * 200_000,
    "a path": "other.yaml",
    "a path as learner": "learner: other.yaml",
    "another configuration": "config: other.yaml",
    "a path in a part": "learner: {init_args: {network: ./other.yaml}}",
    "a path as key": "learner: {__path__: other.yaml, class_path: Separate}",
    "an output": "output: ../outside/run",
    "a method above": "method: ../../../outside",
    "an absolute method": "method: /tmp/outside",
    "a method for terminals": 'method: "\\e]0;owned\\a"',
    "data above": "data: ../outside",
    "threads": "threads: 1000000000",
    "a device without data": "device: meta",
    "a device that is none": "device: '[/x]'",
    "a huge seed": "seed: " + "9" * 5000,
    "too long": "#" * 10**6,
    "not text": "\ud800",
}
HOSTILE = {
    **{f"{name} as the learner": f"learner: {{class_path: {path}}}" for name, path in GADGETS.items()},
    **{f"a class in {name}": place.format("evil_module.Evil") for name, place in PLACES.items()},
    **{f"a process in {name}": place.format("subprocess.Popen") for name, place in PLACES.items()},
    **OTHERS,
}
FOREIGN = {
    *("evil_module", "pty", "runpy", "webbrowser", "torch.utils.cpp_extension", "pyro.contrib.examples.util"),
    *("torch.distributed.elastic.multiprocessing.subprocess_handler", "matplotlib.backends.backend_pdf"),
    *("matplotlib.animation", "antigravity"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Give a current folder with a module that tells if it is imported, and files that tempt."""
    folder = tmp_path / "here"
    folder.mkdir()
    evil = EVIL.format(marker=str(tmp_path / "marker"))
    (folder / "evil_module.py").write_text(evil)
    (folder / "other.yaml").write_text("learner: {class_path: evil_module.Evil}")
    (folder / "Separate").write_text("class_path: evil_module.Evil")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def refused(words, capsys, tmp_path, said=""):
    """Run the command line; assert that it refuses in one line and leaves nothing behind."""
    before = {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")}
    loaded = set(sys.modules)
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert error.isprintable() or error[:-1].isprintable()
    assert said in error
    assert not (set(sys.modules) - loaded) & FOREIGN
    assert "evil_module" not in sys.modules
    assert {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")} == before
    return error


def write(path, text):
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_configuration_is_refused(name, here, tmp_path, capsys):
    file = here / "mine.yaml"
    write(file, HOSTILE[name])
    refused(["run", "--config", "mine.yaml"], capsys, tmp_path, "mine.yaml")


@pytest.fixture(scope="module")
def harmless():
    return parse_run(["--data", "modes2d", "--quick"]).config


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_neither_resumed_nor_compared_nor_loaded(name, harmless, here, tmp_path, capsys):
    folder, text = here / "run", HOSTILE[name]
    folder.mkdir()
    key = text.partition(":")[0]
    lines = [line for line in harmless.splitlines() if key not in ("method", "data", "device", "threads", "seed")]
    write(folder / "config.yaml", text if key == "learner" else "\n".join([text, *lines]))
    refused(["run", "--resume", "run"], capsys, tmp_path, "config.yaml")
    refused(["compare", "run"], capsys, tmp_path, "metrics.json")
    with pytest.raises((ValueError, OSError)):
        load_run(folder)
    assert not (tmp_path / "marker").exists()
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize("path", GADGETS.values())
@pytest.mark.parametrize("option", ["--learner", "--learner.network.class_path", "--estimator", "--learner.help"])
def test_a_hostile_word_is_refused(option, path, here, tmp_path, capsys):
    refused(["run", f"{option}={path}"], capsys, tmp_path, path)
    refused(["run", option, f"{{class_path: {path}}}"], capsys, tmp_path, path)


def test_short_options_and_files_named_like_classes_are_not_read(here, tmp_path, capsys):
    write(here / "x", "learner: {class_path: evil_module.Evil}")
    for words in (["--confi", "x"], ["--config=-"], ["--learner=x"], ["--learner.network", "x"], ["--data_options=x"]):
        refused(["run", *words], capsys, tmp_path)
    assert type(parse_run(["--data", "modes2d", "--learner", "Separate"]).experiment.learner).__name__ == "Separate"
    assert not (tmp_path / "marker").exists()


RESULTS = {
    "data": "digits",
    "method": "m",
    "seed": 0,
    "tasks": ["a", "b"],
    "final": {"nll": 1.0, "accuracy_task_given": 90.0, "ece": 2.0},
    "matrix": {"given": [[90.0], [90.0, 80.0]]},
}
HOSTILE_RESULTS = {
    "data above": {"data": "../../outside/x"},
    "absolute data": {"data": "/tmp/outside"},
    "hidden data": {"data": ".x"},
    "data with a null": {"data": "a\0b"},
    "data with a drive": {"data": "C:x"},
    "endless data": {"data": "x" * 10**5},
    "data for terminals": {"data": "\x1b]0;owned\x07"},
    "a method for terminals": {"method": "\x1b[2J"},
    "an endless method": {"method": "x" * 10**6},
    "a task of two lines": {"tasks": ["a\nb", "c"]},
    "a number as data": {"data": 3},
    "a mapping as method": {"method": {}},
    "a list as seed": {"seed": []},
    "a text as tasks": {"tasks": "ab"},
    "a list as final": {"final": [1]},
    "a text as number": {"final": {"nll": "1"}},
    "a list in the matrix": {"matrix": {"given": [[[1]], [1, 2]]}},
    "a matrix that is none": {"matrix": [1]},
    "a ragged matrix": {"matrix": {"given": [[1, 2], [1]]}},
    "a kind that is none": {"kind": "x"},
    "a list as kl": {"kl": [[1]]},
    "a text as per_task": {"per_task": "x"},
    "a text as settings": {"settings": "x"},
    "a text as seconds": {"seconds": {"per_task": "x"}},
}
HOSTILE_TEXTS = {
    "nothing": "",
    "brackets": "[" * 200_000,
    "deep": '{"a":' * 5000 + "1" + "}" * 5000,
    "NaN": '{"data": NaN}',
    "infinity": '{"seed": 1e999}',
    "a long number": "1" * 10**5,
    "a list": "[]",
    "a key twice": '{"data": "a", "data": "b"}',
    "half a character": '{"data": "\\ud800"}',
}


@pytest.mark.parametrize("name", [*HOSTILE_RESULTS, *HOSTILE_TEXTS])
def test_hostile_results_are_not_compared(name, here, tmp_path, capsys):
    text = HOSTILE_TEXTS[name] if name in HOSTILE_TEXTS else json.dumps({**RESULTS, **HOSTILE_RESULTS[name]})
    folder = here / "run"
    folder.mkdir()
    write(folder / "metrics.json", text)
    for words in (["--figures", "figures"], ["--format", "html", "--output", "page.html"], []):
        refused(["compare", "run", *words], capsys, tmp_path, "metrics.json")


@pytest.mark.parametrize(
    "name", ["[/x]", "[bold]b[/bold]", r"$\frac{$", "$x", "x^2^3", r"\end{tabular}", "<script>", "a|b"]
)
def test_names_are_shown_as_they_are(name, here, capsys):
    for number, folder in enumerate((name.replace("/", "_"), "other")):
        (here / folder).mkdir()
        record = {**RESULTS, "method": name, "tasks": [name, "b"], "seed": number, "settings": {"a": str(number)}}
        write(here / folder / "metrics.json", json.dumps(record))
    folders = [name.replace("/", "_"), "other"]
    assert main(["compare", *folders]) == 0
    assert name in capsys.readouterr().out
    assert main(["compare", *folders, "--format", "html", "--output", "page.html", "--figures", "figures"]) == 0
    assert sorted(p.name for p in (here / "figures").iterdir()) == ["digits-comparison.png", "digits-curves.png"]
    assert "<script>" not in (here / "page.html").read_text()
    assert main(["compare", *folders, "--format", "latex"]) == 0
    assert capsys.readouterr().out.count(r"\end{tabular}") == 1


def test_a_module_is_allowed_by_name_on_the_command_line_and_in_python(here, tmp_path):
    source = "from bayeshnet.builders import MLPNetwork\n\n\nclass Mine(MLPNetwork):\n    pass\n"
    (here / "module_of_mine.py").write_text(source)
    words = ["--data", "modes2d", "--learner.network.class_path", "module_of_mine.Mine"]
    with pytest.raises(ValueError, match="--allow module_of_mine"):
        parse_run(words)
    assert "module_of_mine" not in sys.modules
    request = parse_run([*words, "--allow", "module_of_mine"])
    assert type(request.experiment.learner.network).__name__ == "Mine"
    assert "allow" not in request.config
    (here / "run").mkdir()
    (here / "run" / "config.yaml").write_text(request.config)
    with pytest.raises(ValueError, match=r"config\.yaml.*--allow module_of_mine"):
        parse_run(["--resume", "run"])
    again = parse_run(["--resume", "run", "--allow=module_of_mine"])
    assert again.config == request.config
    with pytest.raises(ValueError, match="--allow module_of_mine"):
        load_run(here / "run")
    with pytest.raises(ValueError, match="at least one complete task"):
        load_run(here / "run", allow=["module_of_mine"])
    sys.modules.pop("module_of_mine")


@pytest.mark.parametrize("name", ["checkpoints", "figures"])
def test_links_out_of_a_folder_are_not_followed(name, harmless, here, tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".task-01.json.x").write_text("precious")
    (here / "run").mkdir()
    (here / "run" / "config.yaml").write_text(harmless)
    (here / "run" / name).symlink_to(outside)
    assert main(["run", "--resume", "run"]) == 2
    error = capsys.readouterr().err
    assert f"folder 'run/{name}': expected a folder, got a link" in error
    assert error.count("\n") == 1
    assert [p.name for p in outside.iterdir()] == [".task-01.json.x"]
    assert sorted(p.name for p in (here / "run").iterdir()) == sorted(["config.yaml", name])
