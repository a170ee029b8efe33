"""Inference: the evidence lower bound, the one training loop, predictions, checkpoints."""

from .callbacks import EarlyStopping, LogProgress, Progress
from .checkpoint import load_checkpoint, save_checkpoint
from .elbo import ImplicitELBO
from .fit import fit
from .objective import Term
from .prediction import Prediction
from .predictive import Predictive
from .run import Callback, FitResult, Run
from .schedules import Annealing, Cosine, LinearWarmup
from .terms import ELBOTerms

__all__ = [
    "Annealing",
    "Callback",
    "Cosine",
    "ELBOTerms",
    "EarlyStopping",
    "FitResult",
    "ImplicitELBO",
    "LinearWarmup",
    "LogProgress",
    "Prediction",
    "Predictive",
    "Progress",
    "Run",
    "Term",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
]
