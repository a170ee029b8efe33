"""Runs: a learner learns a stream; results, checkpoints and figures go to a folder from which a killed run resumes."""

from .configuration import available, named_configuration
from .execution import execute as execute
from .execution import run_experiment
from .experiment import Experiment
from .folder import RunFolder
from .listener import Listener
from .loading import TrainedRun, load_run
from .loggers import CSVLogger, MetricLogger, TensorBoardLogger
from .results.records import Assessment, ClassificationScores, RegressionScores

__all__ = [
    "Assessment",
    "CSVLogger",
    "ClassificationScores",
    "Experiment",
    "Listener",
    "MetricLogger",
    "RegressionScores",
    "RunFolder",
    "TensorBoardLogger",
    "TrainedRun",
    "available",
    "load_run",
    "named_configuration",
    "run_experiment",
]
