"""The parser of ``bayeshnet run``, made from the signature of :class:`~bayeshnet.runs.Experiment`."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..allowed import check_allowed_modules
from ..continual.learner import check_widths
from ..data.own import is_own, split_name
from ..errors import check_choice, check_int
from ..files import read_text
from ..parallel import SHARES
from ..runs.configuration import DEFAULT_METHOD, default_method, named_configuration
from ..runs.experiment import Experiment
from ..runs.experiment_config import experiment_from, make_experiment_parser, parse_experiment
from ..runs.folder import RunFolder
from ..runs.judged_settings import check_text, inline, read_settings
from ..runs.loggers import LOGGERS, check_loggers
from ..tasks import TaskStream
from .nulls import with_nulls

__all__ = ["DEFAULT_DATA", "DEFAULT_METHOD", "RunRequest", "make_parser", "parse_run"]

DEFAULT_DATA = "split-digits"
_ALIASES = {"--estimator": "--learner.estimator"}
_OWN_OPTIONS = ("config", "output", "resume", "quick", "allow", "dry_run", "logger", "log_every")
_OF_PROCESSES = ("devices", "nodes", "share")
_CHANGES = "--device, --threads, --devices, --nodes, --share, --logger, --log-every and --allow"
_PLAIN_OPTIONS = ("--data", "--data_dir", "--data_options", "--method", "--seed", "--device", "--threads", "--judge_on")


@dataclass(frozen=True)
class RunRequest:
    """A parsed command line of ``bayeshnet run``.

    Attributes:
        experiment: settings of the learner and the stream.
        config: the same as YAML text, complete, for the run's folder.
        output: folder to write; None for one named after data, method and seed.
        resume: folder of a run to continue, or None.
        data_files: files that set options of the data.
        dry_run: show what the run is composed of, and run nothing.
        loggers: names of loggers; None for those that a continued run has.
        log_every: steps of which loggers receive means.
        devices: processes of each machine; None for those of a launcher, else one.
        nodes: machines; None for those of a launcher, else one.
        share: what processes share out.
        allow: names of modules that the user allowed, which a resumed run needs again.
    """

    experiment: Experiment
    config: str
    output: Path | None
    resume: Path | None
    data_files: tuple[str, ...] = ()
    dry_run: bool = False
    loggers: tuple[str, ...] | None = None
    log_every: int = 100
    devices: int | None = None
    nodes: int | None = None
    share: str = SHARES[0]
    allow: tuple[str, ...] = ()

    def stream(self) -> TaskStream:
        """Build the stream; if that fails, the files that set options of the data are named."""
        try:
            stream = self.experiment.stream()
        except (ValueError, TypeError, OSError) as error:
            if not self.data_files:
                raise
            raise ValueError(f"{_named(self.data_files)}: {error}") from error
        check_widths(self.experiment.learner, stream)
        return stream


def parse_run(words: Sequence[str]) -> RunRequest:
    """Parse the arguments after ``bayeshnet run``.

    Raises:
        ValueError: if an argument is not valid, with a message of one line. If the fault is in a file, it is named.
    """
    words = [_full_name(word) for word in words]
    first, words = _first_pass(words)
    _judge_words(words, first.allow)
    parser = make_parser()
    if first.resume is not None:
        return _resume(parser, first, words)
    base = _base(first)
    given = {str(path): f"--config={inline(settings)}" for path, settings in first.config}
    options = with_nulls(words, base)

    def request(files: Sequence[str]) -> RunRequest:
        settings = _parse(parser, [f"--config={inline(base)}", *files, *options], first.allow)
        about_data = [path for path, given in first.config if any(str(key).startswith("data") for key in given)]
        made = _request(parser, settings, first.output, None)
        return replace(made, data_files=tuple(about_data), dry_run=first.dry_run, **_beside(first))

    try:
        return request(list(given.values()))
    except (ValueError, TypeError) as error:
        raise _blamed(error, given, request) from error


def _blamed(error: Exception, given: dict[str, str], request: Callable[[Sequence[str]], Any]) -> Exception:
    """Return the error with the name of the file that causes it, if it goes away without files."""
    if not given:
        return error
    try:
        request([])
    except (ValueError, TypeError) as other:
        if str(other) == str(error):
            return error
    return ValueError(f"{_named(list(given))}: {error}")


def _named(files: Sequence[str]) -> str:
    return f"file{'s' * (len(files) > 1)} {', '.join(repr(name) for name in files)}"


def _full_name(word: str) -> str:
    """Return an option with its full name and with underscores, as the parser knows it."""
    head, equals, tail = word.partition("=")
    head = _ALIASES.get(head, head)
    if head.startswith("--"):
        head = "--" + head[2:].replace("-", "_")
    return head + equals + tail


def _first_pass(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the options that determine the named configuration, which all others override.

    Returns:
        The options, with the settings of each configuration file, and the words that are left for the parser.
    """
    first = argparse.ArgumentParser("bayeshnet run", add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--data", "--method", "--resume", "--output"):
        first.add_argument(name)
    for name in ("--quick", "--dry_run"):
        first.add_argument(name, action="store_true")
    for name in ("--config", "--allow"):
        first.add_argument(name, action="append", default=[])
    first.add_argument("--logger", action="append")
    first.add_argument("--log_every", type=int, default=RunRequest.log_every)
    first.add_argument("--share", default=RunRequest.share)
    for name in ("--devices", "--nodes"):
        first.add_argument(name, type=int)
    try:
        options, left = first.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    for name in ("data", "method"):
        if any(word.partition("=")[0] == f"--{name}" for word in words):
            left.append(f"--{name}={getattr(options, name)}")
    options.allow = check_allowed_modules(options.allow)
    if options.data is not None and is_own(options.data):
        options.allow = (*options.allow, split_name(options.data)[0])  # it is named here, by the user
    check_int("--log-every", options.log_every, 1)
    check_loggers(options.logger or ())
    check_choice("--share", options.share, SHARES)
    for name in ("devices", "nodes"):
        check_int(f"--{name}", 1 if (given := getattr(options, name)) is None else given, 1)
    options.config = [
        (path, read_settings(read_text(path), f"file {path!r}", options.allow)) for path in options.config
    ]
    for name in ("resume", "output"):
        path = getattr(options, name)
        if path == "":
            raise ValueError(f"--{name}: expected a folder, got an empty name.")
        setattr(options, name, None if path is None else Path(path))
    return options, left


def _beside(first: argparse.Namespace) -> dict[str, Any]:
    """Return the options of loggers and processes, which are no settings of the experiment."""
    loggers = None if first.logger is None else tuple(first.logger)
    others = {name: getattr(first, name) for name in (*_OF_PROCESSES, "allow")}
    return {"loggers": loggers, "log_every": first.log_every} | others


def _judge_words(words: Sequence[str], allow: Sequence[str]) -> None:
    """Refuse classes that options may not name."""
    option = ""
    for word in words:
        head, equals, tail = word.partition("=")
        if word.startswith("--"):
            option, value = head, tail
        else:
            equals, value = "=", word
        if equals and option.partition(".")[0] not in _PLAIN_OPTIONS:
            try:
                check_text(value, allow)
            except ValueError as error:
                raise ValueError(f"{option.replace('_', '-')}: {error}") from error


def _base(first: argparse.Namespace) -> str:
    """Return the named configuration of the stream that the words name, or else the last file that names one."""
    named = [(path, str(settings["data"])) for path, settings in first.config if settings.get("data")]
    if first.data or not named:
        data = first.data or DEFAULT_DATA
        return named_configuration(data, first.method or default_method(data), quick=first.quick)
    path, data = named[-1]
    try:
        return named_configuration(data, first.method or default_method(data), quick=first.quick)
    except ValueError as error:
        raise ValueError(f"file {path!r}: {error}") from error


def make_parser() -> Any:
    """Make the parser of all options."""
    parser = make_experiment_parser("bayeshnet run")
    parser.add_argument("--output", type=Path | None, help="folder to write (by default runs/DATA-METHOD-seedS)")
    parser.add_argument("--resume", type=Path | None, help="folder of a run to continue")
    parser.add_argument("--quick", action="store_true", help="run a scaled-down version of the configuration")
    parser.add_argument("--dry_run", action="store_true", help="show parts, parameters, memory and time; run nothing")
    parser.add_argument("--logger", choices=list(LOGGERS), help="where numbers go during the run; may be repeated")
    parser.add_argument("--log_every", type=int, help=f"steps of which loggers get means ({RunRequest.log_every})")
    parser.add_argument("--devices", type=int, help="processes of a machine, on accelerators one for each")
    parser.add_argument("--nodes", type=int, help="machines, each of which runs this by torchrun or fabric run")
    parser.add_argument("--share", choices=list(SHARES), help="what processes share out: batches, or weight draws")
    parser.add_argument("--allow", help="module whose classes may be named in configurations; may be repeated")
    return parser


def _parse(parser: Any, words: Sequence[str], allow: Sequence[str]) -> Any:
    """Parse all options, explaining those that are unknown."""
    try:
        return parse_experiment(parser, words, allow)
    except ValueError as error:
        unknown = str(error).removeprefix("unrecognized arguments: ")
        if str(error).endswith("got an unknown one"):
            raise ValueError(f"{error}; bayeshnet run --help lists all.") from None
        if unknown == str(error):
            raise
        raise ValueError(_unknown_option(unknown.split()[0], list(parser._option_string_actions))) from None


def _unknown_option(word: str, options: Sequence[str]) -> str:
    """Return the error message for an unknown option, given with underscores as the parser knows them."""
    near = difflib.get_close_matches(word.partition("=")[0], [o for o in options if not o.endswith(".help")], 1)
    hint = f"did you mean {near[0].replace('_', '-')}? " if near else ""
    return f"{word.replace('_', '-')}: expected an option, got an unknown one; {hint}bayeshnet run --help lists all."


def _resume(parser: Any, first: argparse.Namespace, words: Sequence[str]) -> RunRequest:
    """Return the request to continue a run, on the machine's own devices and threads if these are given."""
    folder = first.resume
    changeable = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    changeable.add_argument("--device")
    changeable.add_argument("--threads", type=int)
    try:
        changes, left = changeable.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    files = RunFolder(folder)
    config = files.open()
    others = {"--output": first.output, "--config": first.config, "--quick": first.quick, "--dry-run": first.dry_run}
    left = [*left, *(name for name, value in others.items() if value)]
    if left:
        raise ValueError(
            f"--resume: expected no other option than {_CHANGES}, got {' '.join(left)}. A run is "
            f"finished with the configuration it was begun with ({files.config}); start a new run for another one."
        )
    what = f"file {str(files.config)!r}"
    given = [f"--{name}={value}" for name, value in vars(changes).items() if value is not None]
    settings = read_settings(config, what, first.allow)
    try:
        parsed = _parse(parser, [f"--config={inline(settings)}", *given], first.allow)
        return replace(_request(parser, parsed, None, folder), data_files=(str(files.config),), **_beside(first))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what}: {error}") from error


def _request(parser: Any, settings: Any, output: Path | None, resume: Path | None) -> RunRequest:
    for key in (*_OWN_OPTIONS, *_OF_PROCESSES):
        settings.pop(key, None)
    config = parser.dump(settings, skip_unset=False, skip_validation=True)
    return RunRequest(experiment_from(parser, settings), config, output, resume)
