"""The ``config.yaml`` of an experiment that was made in Python, whose learner has no description in YAML."""

from __future__ import annotations

import json

from ..errors import value_error
from .experiment import Experiment
from .folder import RunFolder

__all__ = ["lacks_learner", "open_folder", "settings_text"]

_HEAD = "# An experiment that was made in Python: its learner is shown in comments only."


def settings_text(experiment: Experiment) -> str:
    """Return the settings as YAML, those of the learner as comments.

    Device and threads are left out, since a run may be continued with others.
    """
    lines = [f"# {line}" for line in f"learner: {experiment.learner!r}".splitlines()]
    for name in ("data", "data_dir", "data_options", "method", "seed", "judge_on"):
        lines.append(f"{name}: {json.dumps(getattr(experiment, name), default=str)}")
    return "\n".join([_HEAD, *lines, ""])


def lacks_learner(config: str) -> bool:
    """Return whether ``config`` was written by :func:`settings_text`."""
    return config.startswith(_HEAD)


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
