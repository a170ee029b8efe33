"""Main networks: networks whose weights can be passed to ``forward``, such as those of a hypernetwork."""

from __future__ import annotations

from .adapters import Adapter, BiasAdapter, FiLMAdapter, LowRankAdapter
from .adapting import ADAPTERS, adapt
from .lenet import LeNet
from .mlp import MLP
from .mnet_interface import MainNetInterface
from .module_wrapper import ModuleMainNet
from .output_view import OutputView
from .prior_function import PriorFunctionNet
from .resnet import ResNet
from .simple_rnn import SimpleRNN
from .wide_resnet import WRN
from .zenkenet import ZenkeNet

__all__ = [
    "ADAPTERS",
    "MLP",
    "WRN",
    "Adapter",
    "BiasAdapter",
    "FiLMAdapter",
    "LeNet",
    "LowRankAdapter",
    "MainNetInterface",
    "ModuleMainNet",
    "OutputView",
    "PriorFunctionNet",
    "ResNet",
    "SimpleRNN",
    "ZenkeNet",
    "adapt",
]
