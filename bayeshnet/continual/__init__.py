"""Continual learning: streams of tasks, learners that keep a posterior per task, inference of the task."""

from ..tasks import Split, Task, TaskStream
from .abstention import Abstention
from .baselines import FineTuning, Separate
from .criteria import CRITERIA, Criterion, criteria_for
from .density import DensitySettings, TaskDensity, log_densities
from .evidence import StreamPrediction
from .families import PosteriorFamily
from .generators import DiracGenerator, HyperHypernetwork, ImplicitGenerator, MeanFieldGenerator, RadialGenerator
from .heads import FixedSoftmax, GrowingSoftmax, Heads, SharedHead, SplitHeads
from .learner import Learner
from .networks import ACTIVATIONS, MLPNetwork, NetworkBuilder
from .outliers import NoiseOutliers, PatchOutliers, PseudoOutliers
from .plain import LowRankWeights, MeanFieldWeights, PointWeights, RadialWeights
from .posterior_replay import PosteriorReplay
from .prior_focused import PriorFocused
from .regularizers import OutputRegularizer
from .seeds import derive_seed
from .shared import SharedLearner
from .state import LearnerState
from .training import Training
from .variational import VariationalLearner

__all__ = [
    "ACTIVATIONS",
    "CRITERIA",
    "Abstention",
    "Criterion",
    "DensitySettings",
    "DiracGenerator",
    "FineTuning",
    "FixedSoftmax",
    "GrowingSoftmax",
    "Heads",
    "HyperHypernetwork",
    "ImplicitGenerator",
    "Learner",
    "LearnerState",
    "LowRankWeights",
    "MLPNetwork",
    "MeanFieldGenerator",
    "MeanFieldWeights",
    "NetworkBuilder",
    "NoiseOutliers",
    "OutputRegularizer",
    "PatchOutliers",
    "PointWeights",
    "PosteriorFamily",
    "PosteriorReplay",
    "PriorFocused",
    "PseudoOutliers",
    "RadialGenerator",
    "RadialWeights",
    "Separate",
    "SharedHead",
    "SharedLearner",
    "Split",
    "SplitHeads",
    "StreamPrediction",
    "Task",
    "TaskDensity",
    "TaskStream",
    "Training",
    "VariationalLearner",
    "criteria_for",
    "derive_seed",
    "log_densities",
]
