"""Continual learning: streams of tasks, learners that keep a posterior per task, inference of the task."""

from ..tasks import Split, Task, TaskStream
from .abstention import Abstention
from .baselines import FineTuning, Separate
from .coreset import Coreset
from .criteria import CRITERIA, Criterion
from .density import DensitySettings, TaskDensity, log_densities
from .evidence import StreamPrediction
from .ewc import EWC
from .families import PosteriorFamily
from .fisher import diagonal_fisher
from .generators import DiracGenerator, HyperHypernetwork, ImplicitGenerator, MeanFieldGenerator, RadialGenerator
from .heads import FixedSoftmax, GrowingSoftmax, Heads, SharedHead, SplitHeads
from .learner import Learner
from .memory import ExampleMemory
from .networks import ACTIVATIONS, ConvNetwork, MLPNetwork, NetworkBuilder
from .outliers import NoiseOutliers, PatchOutliers, PseudoOutliers
from .plain import LowRankWeights, MeanFieldWeights, PointWeights, RadialWeights
from .posterior_replay import PosteriorReplay
from .prior_focused import PriorFocused
from .regularizers import OutputRegularizer
from .rehearsal import ExperienceReplay, Joint
from .seeds import derive_seed
from .shared import SharedLearner
from .state import LearnerState
from .training import Training
from .variational import VariationalLearner

__all__ = [
    "ACTIVATIONS",
    "CRITERIA",
    "EWC",
    "Abstention",
    "ConvNetwork",
    "Coreset",
    "Criterion",
    "DensitySettings",
    "DiracGenerator",
    "ExampleMemory",
    "ExperienceReplay",
    "FineTuning",
    "FixedSoftmax",
    "GrowingSoftmax",
    "Heads",
    "HyperHypernetwork",
    "ImplicitGenerator",
    "Joint",
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
    "derive_seed",
    "diagonal_fisher",
    "log_densities",
]
