"""The parser of ``bayeshnet run``, made from the signature of :class:`~bayeshnet.runs.Experiment`."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs.configuration import named_configuration
from ..runs.experiment import Experiment
from ..runs.experiment_config import experiment_from, make_experiment_parser
from ..runs.folder import RunFolder

__all__ = ["DEFAULT_DATA", "DEFAULT_METHOD", "RunRequest", "parse_run"]

DEFAULT_DATA, DEFAULT_METHOD = "split-digits", "posterior-replay"
_ALIASES = {"--estimator": "--learner.estimator"}
_OWN_OPTIONS = ("config", "output", "resume", "quick")


@dataclass(frozen=True)
class RunRequest:
    """A parsed command line of ``bayeshnet run``.

    Attributes:
        experiment: settings of the learner and the stream.
        config: the same as YAML text, complete, for the run's folder.
        output: folder to write; None for one named after data, method and seed.
        resume: folder of a run to continue, or None.
    """

    experiment: Experiment
    config: str
    output: Path | None
    resume: Path | None


def parse_run(words: Sequence[str]) -> RunRequest:
    """Parse the arguments after ``bayeshnet run``.

    Raises:
        ValueError: if an argument is not valid, with a message of one line.
    """
    words = [_full_name(word) for word in words]
    first = _first_pass(words)
    parser = _make_parser()
    if first.resume is not None:
        return _resume(parser, first.resume, words)
    base = named_configuration(first.data or _data_of(first.config) or DEFAULT_DATA, first.method, quick=first.quick)
    return _request(parser, _parse(parser, [f"--config={base}", *_with_nulls(words, base)]), None)


def _full_name(word: str) -> str:
    """Return an option with its full name and with underscores, as the parser knows it."""
    head, equals, tail = word.partition("=")
    head = _ALIASES.get(head, head)
    if head.startswith("--"):
        head = "--" + head[2:].replace("-", "_")
    return head + equals + tail


def _with_nulls(words: Sequence[str], base: str) -> list[str]:
    """Replace each option that sets a part of the learner to ``null`` by an inline configuration.

    The parser accepts ``null`` for such a part only in a configuration.
    """
    import yaml

    joined: list[str] = []
    for word in words:
        if word == "null" and joined and joined[-1].startswith("--learner.") and "=" not in joined[-1]:
            joined[-1] += "=null"
        else:
            joined.append(word)
    return [_nested_null(word, yaml.safe_load(base)) if _is_null(word) else word for word in joined]


def _is_null(word: str) -> bool:
    return word.startswith("--learner.") and word.endswith("=null")


def _nested_null(word: str, base: dict[str, Any]) -> str:
    """Turn ``--learner.a.b=null`` into an inline configuration, where arguments of classes are under ``init_args``."""
    node: Any = base
    path: list[str] = []
    for name in word.removeprefix("--").removesuffix("=null").split("."):
        if isinstance(node, dict) and "class_path" in node and name != "init_args":
            path, node = [*path, "init_args"], node.get("init_args")
        path, node = [*path, name], node.get(name) if isinstance(node, dict) else None
    return "--config=" + "".join(f"{{{name}: " for name in path) + "null" + "}" * len(path)


def _first_pass(words: Sequence[str]) -> argparse.Namespace:
    """Parse the options that determine the named configuration, which all others override."""
    first = argparse.ArgumentParser("bayeshnet run", add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--data")
    first.add_argument("--method", default=DEFAULT_METHOD)
    first.add_argument("--quick", action="store_true")
    first.add_argument("--config", type=Path, action="append", default=[])
    first.add_argument("--resume", type=Path)
    try:
        options, _ = first.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    options.config = [_read_config(path) for path in options.config]
    return options


def _read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file, so that its faults are told with its name."""
    import yaml

    if not path.is_file():
        raise ValueError(f"--config: expected a YAML file, got {str(path)!r}, which does not exist.")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"--config: expected a YAML file, got {str(path)!r}, which cannot be read: {cause}") from None
    if not isinstance(settings, dict):
        found = f"{str(path)!r}, which holds {'nothing' if settings is None else f'a {type(settings).__name__}'}"
        raise ValueError(f"--config: expected a YAML file of settings by name, got {found}.")
    return settings


def _data_of(configurations: Sequence[dict[str, Any]]) -> str | None:
    """Return the stream that the last of the configurations names, or None."""
    named = [str(settings["data"]) for settings in configurations if settings.get("data")]
    return named[-1] if named else None


def _make_parser() -> Any:
    parser = make_experiment_parser("bayeshnet run")
    parser.add_argument("--output", type=Path | None, help="folder to write (by default runs/DATA-METHOD-seedS)")
    parser.add_argument("--resume", type=Path | None, help="folder of a run to continue")
    parser.add_argument("--quick", action="store_true", help="run a scaled-down version of the configuration")
    return parser


def _parse(parser: Any, words: Sequence[str]) -> Any:
    """Parse all options, explaining those that are unknown."""
    try:
        return parser.parse_args(list(words))
    except ValueError as error:
        unknown = str(error).removeprefix("unrecognized arguments: ")
        if unknown == str(error):
            raise
        raise ValueError(_unknown_option(unknown.split()[0], list(parser._option_string_actions))) from None


def _unknown_option(word: str, options: Sequence[str]) -> str:
    """Return the error message for an unknown option, given with underscores as the parser knows them."""
    known = [option for option in options if not option.endswith(".help")]
    near = difflib.get_close_matches(word.partition("=")[0], known, 1)
    hint = f"did you mean {near[0].replace('_', '-')}? " if near else ""
    return f"{word.replace('_', '-')}: expected an option, got an unknown one; {hint}bayeshnet run --help lists all."


def _resume(parser: Any, folder: Path, words: Sequence[str]) -> RunRequest:
    """Return the request to continue a run, on the machine's own devices and threads if these are given."""
    changeable = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    changeable.add_argument("--resume")
    changeable.add_argument("--device")
    changeable.add_argument("--threads", type=int)
    try:
        changes, left = changeable.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    config = RunFolder(folder).open()
    if left:
        raise ValueError(
            f"--resume: expected no other option than --device and --threads, got {' '.join(left)}. A run is finished "
            f"with the configuration it was begun with ({folder / 'config.yaml'}); start a new run for another one."
        )
    given = {k: v for k, v in vars(changes).items() if k != "resume" and v is not None}
    words = [f"--config={config}", *(f"--{name}={value}" for name, value in given.items())]
    return _request(parser, _parse(parser, words), folder)


def _request(parser: Any, settings: Any, resume: Path | None) -> RunRequest:
    output = settings.get("output")
    for key in _OWN_OPTIONS:
        settings.pop(key, None)
    config = parser.dump(settings, skip_unset=False, skip_validation=True)
    return RunRequest(experiment_from(parser, settings), config, output, resume)
