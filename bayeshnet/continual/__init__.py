"""Continual learning: streams of tasks, learners that keep a posterior per task, inference of the task."""

from ..tasks import Split, Task, TaskStream
from .baselines import FineTuning, Separate
from .density import DensitySettings, TaskDensity, log_densities
from .evidence import CRITERIA, StreamPrediction
from .families import PosteriorFamily
from .generators import DiracGenerator, HyperHypernetwork, ImplicitGenerator, MeanFieldGenerator
from .learner import Learner
from .networks import ACTIVATIONS, MLPNetwork, NetworkBuilder
from .outliers import NoiseOutliers, PatchOutliers, PseudoOutliers
from .posterior_replay import PosteriorReplay
from .regularizers import OutputRegularizer
from .seeds import derive_seed
from .state import LearnerState
from .training import Training
from .variational import VariationalLearner

__all__ = [
    "ACTIVATIONS",
    "CRITERIA",
    "DensitySettings",
    "DiracGenerator",
    "FineTuning",
    "HyperHypernetwork",
    "ImplicitGenerator",
    "Learner",
    "LearnerState",
    "MLPNetwork",
    "MeanFieldGenerator",
    "NetworkBuilder",
    "NoiseOutliers",
    "OutputRegularizer",
    "PatchOutliers",
    "PosteriorFamily",
    "PosteriorReplay",
    "PseudoOutliers",
    "Separate",
    "Split",
    "StreamPrediction",
    "Task",
    "TaskDensity",
    "TaskStream",
    "Training",
    "VariationalLearner",
    "derive_seed",
    "log_densities",
]
