"""Continual learning: learners for streams of tasks, with a weight posterior, and task inference."""

from ..deprecation import moved_names
from ..tasks import Split, Task, TaskStream
from .baselines import FineTuning, Separate
from .ewc import EWC, diagonal_fisher
from .exact_stream import ExactStream
from .experience_replay import ExperienceReplay, Joint, ReplayLearner
from .heads import FixedSoftmax, GrowingSoftmax, Heads, SharedHead, SplitHeads
from .learner import Learner
from .losses import Coreset, NoiseOutliers, OutputRegularizer, PatchOutliers, PseudoOutliers
from .memory import ExampleMemory
from .per_task_learner import PerTaskLearner
from .posterior_replay import PosteriorReplay
from .prior_focused import PriorFocused
from .saved.loading import load_state
from .shared_learner import SharedLearner
from .state import LearnerState
from .task_inference import (
    CRITERIA,
    Abstention,
    Combination,
    Criterion,
    DensitySettings,
    EvidenceSettings,
    StreamPrediction,
    TaskDensity,
    log_densities,
)
from .training import Training
from .variational import VariationalLearner

__all__ = [
    "CRITERIA",
    "EWC",
    "Abstention",
    "Combination",
    "Coreset",
    "Criterion",
    "DensitySettings",
    "EvidenceSettings",
    "ExactStream",
    "ExampleMemory",
    "ExperienceReplay",
    "FineTuning",
    "FixedSoftmax",
    "GrowingSoftmax",
    "Heads",
    "Joint",
    "Learner",
    "LearnerState",
    "NoiseOutliers",
    "OutputRegularizer",
    "PatchOutliers",
    "PerTaskLearner",
    "PosteriorReplay",
    "PriorFocused",
    "PseudoOutliers",
    "ReplayLearner",
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
    "diagonal_fisher",
    "load_state",
    "log_densities",
]

__getattr__ = moved_names(
    __name__,
    {
        "ACTIVATIONS": "builders.ACTIVATIONS",
        "ConvNetwork": "builders.ConvNetwork",
        "DiracGenerator": "builders.DiracGenerator",
        "HyperHypernetwork": "builders.HyperHypernetwork",
        "ImplicitGenerator": "builders.ImplicitGenerator",
        "LowRankWeights": "builders.LowRankWeights",
        "MLPNetwork": "builders.MLPNetwork",
        "MeanFieldGenerator": "builders.MeanFieldGenerator",
        "MeanFieldWeights": "builders.MeanFieldWeights",
        "NetworkBuilder": "builders.NetworkBuilder",
        "PointWeights": "builders.PointWeights",
        "PosteriorFamily": "builders.PosteriorBuilder",
        "RadialGenerator": "builders.RadialGenerator",
        "RadialWeights": "builders.RadialWeights",
        "derive_seed": "rng.derive_seed",
    },
)
