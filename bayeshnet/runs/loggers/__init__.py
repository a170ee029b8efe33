"""Loggers: where numbers of a run go while it goes on, behind one small protocol."""

from .choice import LOGGERS, check_loggers, continued_loggers, make_loggers
from .csv_files import CSVLogger
from .protocol import MetricLogger
from .recording import RunLog
from .tensorboard import TensorBoardLogger

__all__ = [
    "LOGGERS",
    "CSVLogger",
    "MetricLogger",
    "RunLog",
    "TensorBoardLogger",
    "check_loggers",
    "continued_loggers",
    "make_loggers",
]
