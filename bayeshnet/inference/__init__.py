"""Inference: the evidence lower bound, the one training loop, predictions, checkpoints."""

from .agreement import Agreement, agreement, predictive_total_variation
from .callbacks import EarlyStopping, LogProgress, Progress
from .checkpoint import load_checkpoint, save_checkpoint
from .elbo import ImplicitELBO
from .fit import fit
from .objective import Term
from .prediction import Prediction
from .predictive import Predictive
from .reference import DrawnPosterior, ReferencePosterior, reference_posterior
from .run import Callback, FitResult, Run
from .schedules import Annealing, Cosine, LinearWarmup
from .terms import ELBOTerms

__all__ = [
    "Agreement",
    "Annealing",
    "Callback",
    "Cosine",
    "DrawnPosterior",
    "ELBOTerms",
    "EarlyStopping",
    "FitResult",
    "ImplicitELBO",
    "LinearWarmup",
    "LogProgress",
    "Prediction",
    "Predictive",
    "Progress",
    "ReferencePosterior",
    "Run",
    "Term",
    "agreement",
    "fit",
    "load_checkpoint",
    "predictive_total_variation",
    "reference_posterior",
    "save_checkpoint",
]
