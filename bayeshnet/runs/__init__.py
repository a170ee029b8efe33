"""Runs: a learner meets a stream; results, checkpoints and figures go to a folder from which a killed run resumes."""

from .configuration import available, named_configuration
from .experiment import Experiment, Listener, execute
from .folder import RunFolder

__all__ = ["Experiment", "Listener", "RunFolder", "available", "execute", "named_configuration"]
