"""The ``config.yaml`` of an experiment.

The command line writes all settings, including those of the learner, and reads them by a parser made from the signature
of :class:`~bayeshnet.runs.Experiment`. The learner of an experiment that was made in Python has no description in YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NoReturn

from ..data import STREAMS, drawn_options, stream_options
from ..data.own import is_own, split_name
from ..errors import MissingExtraError, value_error
from ..reports.repetitions import DRAWN
from ..representation import flat_settings
from .experiment import Experiment
from .fingerprints import HEAD
from .folder import RunFolder
from .judged_settings import check_resolved, inline, read_settings

__all__ = [
    "experiment_from",
    "in_plain_words",
    "lacks_learner",
    "make_experiment_parser",
    "open_folder",
    "parse_experiment",
    "read_experiment",
    "recorded_settings",
    "settings_text",
]

_KEY = re.compile(r'\s*Parser key "([^"]*)":\s*')
_UNLIKELY = ("<class 'NoneType'>", "does not correspond to a subclass of")
_PLACE = re.compile(r"[a-z_][\w.]*: ")
_BARE = re.compile(r"Expected a <class '(?:\w+\.)*(\w+)'>")
_UNKNOWN = re.compile(r"Option '([^']*)' is not accepted\.?|unrecognized arguments: --([\w.]+).*", re.DOTALL)
_NO_CLASS = re.compile(r"Expected a dot import path string: (.*)", re.DOTALL)
_KIND = re.compile(r"Expected a <class '(?:\w+\.)*(\w+)'>\. Got value: (.*)", re.DOTALL)


def make_experiment_parser(prog: str = "experiment") -> Any:
    """Build a ``jsonargparse`` parser with ``--config`` and the arguments of an experiment.

    Its errors are ``ValueError``.

    Raises:
        MissingExtraError: if jsonargparse is not installed.
    """
    try:
        import jsonargparse
    except ImportError:
        raise MissingExtraError("jsonargparse", "app", "reading the configuration of a run") from None

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            raise ValueError(in_plain_words(message)) from None

    parser = Parser(prog=prog, allow_abbrev=False, description=(Experiment.__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", action="config", help="YAML file over the named configuration; may be repeated")
    parser.add_class_arguments(Experiment)
    return parser


def in_plain_words(message: str) -> str:
    r"""Return what a message of jsonargparse is about: the place in the settings, and the reason of the likeliest type.

    Example:
        >>> in_plain_words('Parser key "learner": Parser key "steps": Expected a <class \'int\'>. Got value: x')
        'learner.steps: expected int, got x'
    """
    keys, text = [], message
    while True:
        key = _KEY.match(text)
        reasons = [] if key else _reasons(text)
        if key:
            keys.append(key[1])
            text = text[key.end() :]
        elif reasons:
            for unlikely in _UNLIKELY:
                reasons = [reason for reason in reasons if unlikely not in reason] or reasons
            kinds = [kind[1] for reason in reasons if (kind := _BARE.fullmatch(reason))]
            given = text.rpartition("Given value: ")[2].strip()
            plain = f"expected {' or '.join(kinds)}, got {given}"
            text = plain if _BARE.fullmatch(reasons[-1]) else reasons[-1]
        else:
            break
    unknown, name = _UNKNOWN.fullmatch(text), _NO_CLASS.fullmatch(text)
    if keys[:1] == ["config"]:  # the option that names the file
        del keys[0]
    if unknown and (keys or unknown[1]):
        keys.append(unknown[1] or unknown[2])
        text = "expected a setting of that object, got an unknown one"
    elif name:
        text = f"expected the name of a class, got {name[1]}"
    kind = _KIND.fullmatch(text)
    text = text if kind is None else f"expected {kind[1]}, got {kind[2]}"
    between = "." if _PLACE.match(text) else ": "
    return f"{'.'.join(keys)}{between}{text}" if keys else text


def _reasons(text: str) -> list[str]:
    """Return why a value is none of the types of a union."""
    if not text.startswith("Does not validate against any of the Union subtypes"):
        return []
    inner = text.partition("Errors:")[2].rpartition("Given value type:")[0]
    return [part.strip() for part in re.split(r"(?:^|\n)\s*- ", inner) if part.strip()]


def experiment_from(parser: Any, settings: Any) -> Experiment:
    """Build the experiment from the settings that the parser returned.

    Raises:
        ValueError: if an object cannot be built from its settings, for whatever reason.
    """
    names = {f.name for f in fields(Experiment)}
    try:
        built = vars(parser.instantiate(settings))
        return Experiment(**{name: value for name, value in built.items() if name in names})
    except (ValueError, TypeError) as error:
        found = in_plain_words(str(error))
        if found == str(error):
            raise
        if _PLACE.match(found):
            raise ValueError(found) from error
        raise value_error("learner", expected="settings of which it can be built", found=found.rstrip(".")) from error
    except Exception as error:  # of a layer of torch, or a class of the user
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise value_error("learner", expected="settings of which it can be built", found=cause) from error


def parse_experiment(parser: Any, words: Sequence[str], allow: Sequence[str] = ()) -> Any:
    """Parse words whose texts have been judged, and judge the classes that their short names stand for.

    Returns:
        The settings, for :func:`experiment_from`.
    """
    settings = parser.parse_args(list(words))
    check_resolved(settings.get("learner"), allow)
    return settings


def read_experiment(
    config: str, allow: Sequence[str] = (), what: str = "config", *, device: str | None = None
) -> Experiment:
    """Build the experiment that a ``config.yaml`` written by ``bayeshnet run`` describes.

    Args:
        config: YAML text.
        allow: names of modules whose classes may be named beside those of the library and the layers of torch.
        what: description of the text for messages.
        device: device in place of the one that is described, which this machine may not have.

    Raises:
        ValueError: if the text lacks the settings of the learner, they are not valid, or name other classes. Classes
            are judged by their names, before anything is imported.
    """
    parser, settings = make_experiment_parser(), read_settings(config, what, allow)
    words = [f"--config={inline(settings)}", *([] if device is None else [f"--device={device}"])]
    try:
        return experiment_from(parser, parse_experiment(parser, words, allow))
    except (ValueError, TypeError) as error:
        found = " ".join(str(error).split()).rstrip(".")
        raise value_error(what, expected="the configuration of an experiment", found=found) from error


def settings_text(experiment: Experiment) -> str:
    """Return the settings as YAML, those of the learner as comments.

    Device and threads are left out, since a run may be continued with others.
    """
    lines = [f"# {line}" for line in f"learner: {experiment.learner!r}".splitlines()]
    for name in ("data", "data_dir", "data_options", "method", "seed", "judge_on"):
        lines.append(f"{name}: {json.dumps(getattr(experiment, name), default=str)}")
    return "\n".join([HEAD, *lines, ""])


def recorded_settings(experiment: Experiment) -> dict[str, str]:
    """Return the settings on which results depend, as text by name, for the record of a run.

    They are those of the learner and the options of the stream, defaults included. Data, method, seed and split have
    fields of their own in the record; device, threads and the folder of the data do not matter.
    """
    known = stream_options(experiment.data) if experiment.data in STREAMS else {}
    given = experiment.data_options or {}
    options = {name: repr(value) for name, value in {**known, **given}.items() if name != "data_dir"}
    if known:
        options |= dict.fromkeys(drawn_options(experiment.data, 1, given), DRAWN)
    stream = {f"data_options.{name}": value for name, value in options.items()}
    if is_own(experiment.data):
        stream |= dict(zip(("data.module", "data.function"), split_name(experiment.data), strict=True))
    return {**flat_settings(experiment.learner, "learner"), **stream}


def lacks_learner(config: str) -> bool:
    """Return whether ``config`` was written by :func:`settings_text`."""
    return config.startswith(HEAD)


def open_folder(folder: RunFolder, experiment: Experiment) -> None:
    """Create the folder of a run, unless it has been begun with the same settings.

    Raises:
        ValueError: if the folder holds something else.
    """
    if not folder.config.is_file():
        folder.create(settings_text(experiment))
        return
    known, wanted = folder.open(), settings_text(experiment)
    if lacks_learner(known) and _settings(known) != _settings(wanted):
        raise value_error(
            "folder",
            expected="a new folder, or one of a run with the same settings",
            got=str(folder.path),
            hint=f"Compare {folder.config} with the experiment.",
        )


def _settings(config: str) -> list[str]:
    return [line for line in config.splitlines() if line and not line.startswith("#")]
