"""The text of ``bayeshnet run --help``: examples, options, and the settings of the learner that the words choose."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from .parser import DEFAULT_DATA, make_parser, parse_run

__all__ = ["EXAMPLES", "run_help", "setting_names", "wants_help"]

EXAMPLES = (
    ("bayeshnet run --quick", "the same in a fraction of the time"),
    ("bayeshnet run --data split-fashion-mnist --data-dir FOLDER", "from the four IDX files"),
    ("bayeshnet run --method ewc --seed 1 --learner.training.steps 400", "other objects, other settings"),
)
"""Commands, with what they do."""

_WORDS = {"-h", "--help"}
_LEFT_OUT = {"help", "learner", "print_config"}
_COLUMN, _WIDTH = 34, 110


def wants_help(words: Sequence[str]) -> bool:
    """Return whether the words ask for help."""
    return bool(_WORDS & set(words))


def run_help(words: Sequence[str]) -> str:
    """Return the help of ``bayeshnet run`` for the learner that the other words choose.

    Raises:
        ValueError: if another word is not valid.
    """
    import yaml

    request = parse_run([word for word in words if word not in _WORDS])
    experiment, settings = request.experiment, yaml.safe_load(request.config)
    examples = [_line(f"  {command}", text, 66) for command, text in EXAMPLES]
    chosen = [f"  {_cut(line)}" for line in _flat("--learner", settings["learner"])]
    title = f"settings of the method {experiment.method} on {experiment.data}, with their values"
    return "\n".join(
        [
            "usage: bayeshnet run [--data NAME] [--method NAME] [--learner.SETTING VALUE] [options]",
            "",
            f"Learn a stream of tasks ({DEFAULT_DATA} by default) and write a folder with metrics and a report.",
            "",
            "examples:",
            *examples,
            "",
            "options:",
            *_options(),
            "",
            f"{title}; of another one by --method NAME --help:",
            *chosen,
            "",
        ]
    )


def setting_names(config: str) -> list[str]:
    """Return the options that set the learner of a configuration: ``--learner.training.steps``, and so on."""
    import yaml

    return [line.split()[0] for line in _flat("--learner", yaml.safe_load(config)["learner"])]


def _options() -> Iterator[str]:
    """Yield the options that are no settings of the learner."""
    for action in make_parser()._actions:
        names = [name.replace("_", "-") for name in action.option_strings if not name.endswith(".help")]
        if names and action.dest not in _LEFT_OUT and not action.dest.startswith("learner."):
            text = " ".join(str(action.help or "").replace("``", "").split())
            yield _line(f"  {names[-1]}", text, _COLUMN)


def _flat(name: str, value: Any) -> Iterator[str]:
    """Yield each setting with its value; objects by the names of their classes, followed by their own settings."""
    if isinstance(value, dict) and "class_path" in value:
        yield f"{name} {value['class_path'].rpartition('.')[2]}"
        value = value.get("init_args") or {}
    elif not isinstance(value, dict) or not value:
        yield f"{name} {'null' if value is None else value}"
        return
    for key, inner in value.items():
        yield from _flat(f"{name}.{key}", inner)


def _line(head: str, text: str, column: int) -> str:
    """Put a text beside its head, on further lines below itself."""
    lines = textwrap.wrap(text, _WIDTH - column) or [""]
    first = f"{head:<{column}}{lines[0]}" if len(head) < column else f"{head}\n{'':<{column}}{lines[0]}"
    return "\n".join([first.rstrip(), *(f"{'':<{column}}{line}" for line in lines[1:])])


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."
