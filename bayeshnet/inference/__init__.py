"""Inference: the evidence lower bound, the one training loop, predictions, checkpoints."""

from ..deprecation import moved_names
from ..saving import load_checkpoint, save_checkpoint
from .bound import BoundCheck, ELBOTerms
from .callbacks import EarlyStopping, LogProgress, Progress
from .elbo import ImplicitELBO
from .fit import fit
from .losses import AddedLoss, StepContext, Term
from .predicting import write_predictions
from .prediction import Prediction
from .predictive import Predictive
from .reference import ReferencePosterior, reference_posterior
from .run import Callback, FitResult, Run
from .sampling import BatchedHMC, Chains, Convergence, DrawnPosterior, SampledPosterior, fit_density
from .schedules import Annealing, Cosine, LinearWarmup

__all__ = [
    "AddedLoss",
    "Annealing",
    "BatchedHMC",
    "BoundCheck",
    "Callback",
    "Chains",
    "Convergence",
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
    "SampledPosterior",
    "StepContext",
    "Term",
    "fit",
    "fit_density",
    "load_checkpoint",
    "reference_posterior",
    "save_checkpoint",
    "write_predictions",
]

__getattr__ = moved_names(
    __name__,
    {
        "Agreement": "metrics.SampleComparison",
        "agreement": "metrics.compare_samples",
        "predictive_total_variation": "metrics.predictive_total_variation",
    },
)
