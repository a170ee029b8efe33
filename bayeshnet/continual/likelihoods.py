"""The likelihood of a task: the default for its kind, and a check of a given one."""

from __future__ import annotations

from ..errors import value_error
from ..guides import Categorical, Gaussian, Likelihood
from ..tasks import Task

__all__ = ["check_likelihood", "default_likelihood"]


def check_likelihood(likelihood: Likelihood, task: Task) -> None:
    """Refuse likelihoods of values, or of several answers of yes or no, for tasks with classes."""
    if task.kind == "classification" and not (likelihood.kind == "classification" and likelihood.exclusive):
        expected = f"one of classes, such as Categorical(), for task {task.name!r}"
        advice = 'For Bernoulli() state the answers as values 0 and 1, in a task of kind="regression".'
        raise value_error("likelihood", expected=expected, got=likelihood, hint=advice)


def default_likelihood(task: Task) -> Likelihood:
    """Return a categorical likelihood for classes, and a Gaussian one for values.

    The Gaussian has the noise of the task where that is known, and learned noise otherwise.
    """
    if task.kind == "classification":
        return Categorical()
    noise = task.info.get("noise_std")
    return Gaussian(noise) if noise else Gaussian(learn=True)
