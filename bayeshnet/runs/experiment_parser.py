"""Experiments as YAML text: a parser made from the signature of :class:`~bayeshnet.runs.Experiment`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NoReturn

from ..errors import MissingExtraError, value_error
from .experiment import Experiment

__all__ = ["experiment_from", "make_experiment_parser", "read_experiment"]


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
            raise ValueError(message) from None

    parser = Parser(prog=prog, description=(Experiment.__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", action="config", help="YAML file over the named configuration; may be repeated")
    parser.add_class_arguments(Experiment)
    return parser


def experiment_from(parser: Any, settings: Any) -> Experiment:
    """Build the experiment from the settings that the parser returned."""
    names = {f.name for f in fields(Experiment)}
    return Experiment(**{name: value for name, value in vars(parser.instantiate(settings)).items() if name in names})


def read_experiment(config: str) -> Experiment:
    """Build the experiment that a ``config.yaml`` written by ``bayeshnet run`` describes.

    Args:
        config: YAML text.

    Raises:
        ValueError: if the text lacks the settings of the learner, or they are not valid.
    """
    parser = make_experiment_parser()
    try:
        return experiment_from(parser, parser.parse_args([f"--config={config}"]))
    except ValueError as error:
        raise value_error("config", expected="the configuration of an experiment", found=str(error)) from None
