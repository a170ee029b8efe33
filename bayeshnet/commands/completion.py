"""``bayeshnet completion bash|zsh``: a script by which the shell completes commands, options and names."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import estimators
from ..data.registry import STREAMS
from ..estimators import KLEstimator
from ..runs.configuration import available, named_configuration
from . import compare, sweep
from .help import setting_names
from .parser import DEFAULT_DATA, make_parser

__all__ = ["COMMANDS", "completion_script", "main"]

COMMANDS = ("run", "compare", "sweep", "list", "completion")
"""Commands of ``bayeshnet``."""

SHELLS = ("bash", "zsh")

_HELP = """usage: bayeshnet completion bash|zsh

Print a script that completes commands, options, settings of learners and names of streams and methods. To use it:

  bash: bayeshnet completion bash > ~/.local/share/bash-completion/completions/bayeshnet
  zsh:  bayeshnet completion zsh >> ~/.zshrc
"""

_ZSH = "autoload -Uz compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n"

_SCRIPT = """_bayeshnet() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" words="" before=""
    COMPREPLY=()
    if [ "$current" = "=" ]; then current=""
    elif [ "$previous" = "=" ]; then previous="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
    case "$current" in
        --*=*) previous="${{current%%=*}}"; before="$previous="; current="${{current#*=}}" ;;
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands} --help --version"
    else
        case "$previous" in
{values}
        esac
        if [ -z "$words" ]; then
            case "${{COMP_WORDS[1]}}:$current" in
{options}
                completion:*) words="{shells}" ;;
                *) local IFS=$'\\n'; COMPREPLY=($(compgen -P "$before" -f -- "$current")); return ;;
            esac
        fi
    fi
    COMPREPLY=($(compgen -P "$before" -W "$words" -- "$current"))
}}
complete -o filenames -o nosort -F _bayeshnet bayeshnet 2>/dev/null || complete -F _bayeshnet bayeshnet
"""


def main(words: Sequence[str]) -> int:
    """Print the script and return the exit code."""
    if {"-h", "--help"} & set(words):
        sys.stdout.write(_HELP)
        return 0
    if len(words) != 1 or words[0] not in SHELLS:
        raise ValueError(
            f"expected bash or zsh, got {' '.join(words) or 'nothing'}. bayeshnet completion --help says how."
        )
    sys.stdout.write(completion_script(words[0]))
    return 0


def completion_script(shell: str) -> str:
    """Return the script for ``bash`` or ``zsh``; the names in it are those of this version."""
    options: dict[str, dict[str, tuple[str, ...]]] = {
        "run": _of_run(),
        "compare": _of(compare.make_parser()),
        "list": {"--help": ()},
    }
    options["sweep"] = {**options["run"], **_of(sweep.make_parser())}
    options["completion"] = {"--help": ()}
    values: dict[str, tuple[str, ...]] = {}
    for each in options.values():
        values |= {name: choices for name, choices in each.items() if choices}
    script = _SCRIPT.format(
        commands=" ".join(COMMANDS),
        values="\n".join(f'            {name}) words="{" ".join(found)}" ;;' for name, found in sorted(values.items())),
        options="\n".join(f'                {name}:-*) words="{" ".join(each)}" ;;' for name, each in options.items()),
        shells=" ".join(SHELLS),
    )
    return (_ZSH if shell == "zsh" else "") + script


def _of_run() -> dict[str, tuple[str, ...]]:
    """Return the options of a run, with the settings of the learners of all methods, and the values of each."""
    methods = available()
    found = {name: choices for name, choices in _of(make_parser()).items() if not name.startswith("--learner")}
    names = {
        name for method in methods[DEFAULT_DATA] for name in setting_names(named_configuration(DEFAULT_DATA, method))
    }
    named = {
        "--data": tuple(STREAMS),
        "--method": tuple(sorted({name for each in methods.values() for name in each})),
        "--device": ("auto", "cpu", "cuda", "mps"),
        "--judge-on": ("test", "validation"),
    }
    of_kl = [name for name in estimators.__all__ if _is_estimator(getattr(estimators, name))]
    return {**found, **named, **dict.fromkeys(sorted(names), ()), "--estimator": tuple(of_kl)}


def _of(parser: argparse.ArgumentParser | Any) -> dict[str, tuple[str, ...]]:
    """Return the options of a parser with their choices."""
    found: dict[str, tuple[str, ...]] = {}
    for action in parser._actions:
        choices = tuple(str(each) for each in action.choices or ()) if _has_choices(action) else ()
        for name in action.option_strings:
            if name.startswith("--") and not name.endswith(".help") and name != "--print_config":
                found[name.replace("_", "-")] = choices
    return found


def _is_estimator(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, KLEstimator) and not inspect.isabstract(found)


def _has_choices(action: Any) -> bool:
    return isinstance(action.choices, Iterable) and not isinstance(action.choices, (str, Mapping))
