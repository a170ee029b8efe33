"""Doors of :mod:`bayeshnet.mnets`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bayeshnet.mnets import MLP, BiasAdapter, adapt
from tests.support.doors import Door

_MODULATION: dict[str, Any] = {
    "use_context_mod": True,
    "context_mod_inputs": False,
    "no_last_layer_context_mod": False,
    "context_mod_no_weights": False,
    "context_mod_post_activation": False,
    "context_mod_gain_offset": False,
    "context_mod_gain_softplus": False,
}
_NORM: dict[str, Any] = {"use_batch_norm": True, "bn_track_stats": True, "distill_bn_stats": False}
_QUIET: dict[str, Any] = {"verbose": False, "no_weights": False}


def _mlp() -> MLP:
    return MLP(3, 2, [4], verbose=False)


def _without_weights() -> MLP:
    return MLP(3, 2, [3], no_weights=True, verbose=False)


def _module() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()


_MLP_ARGUMENTS: dict[str, Any] = {
    "n_in": 3,
    "n_out": 2,
    "hidden_layers": (4,),
    "activation_fn": nn.ReLU(),
    "use_bias": True,
    "init_weights": None,
    "dropout_rate": 0.1,
    "use_spectral_norm": False,
    "out_fn": None,
    "flatten_inputs": False,
    **_QUIET,
    **_NORM,
    **_MODULATION,
}
_LENET: dict[str, Any] = {
    "in_shape": (28, 28, 1),
    "num_classes": 3,
    "arch": "mnist_small",
    "init_weights": None,
    "dropout_rate": 0.1,
    **_QUIET,
    "layout": "HWC",
    "use_context_mod": True,
}
_RESNET: dict[str, Any] = {
    "in_shape": (8, 8, 3),
    "num_classes": 3,
    "use_bias": True,
    "num_feature_maps": (2, 2, 2, 2),
    "n": 1,
    "k": 1,
    "init_weights": None,
    "context_mod_apply_pixel_wise": False,
    "use_context_mod": False,
    "layout": "HWC",
    **_QUIET,
    **_NORM,
}
_WRN: dict[str, Any] = {
    "in_shape": (8, 8, 3),
    "num_classes": 3,
    "n": 1,
    "k": 1,
    "num_feature_maps": (2, 2, 2, 2),
    "use_bias": True,
    "use_fc_bias": None,
    "dropout_rate": 0.1,
    "chw_input_format": False,
    "layout": "HWC",
    "use_context_mod": False,
    **_QUIET,
    **_NORM,
}
_RNN: dict[str, Any] = {
    "n_in": 3,
    "rnn_layers": (4,),
    "fc_layers_pre": (2,),
    "fc_layers": (2,),
    "activation": nn.Tanh(),
    "use_lstm": False,
    "use_bias": True,
    "init_weights": None,
    "kaiming_rnn_init": False,
    "context_mod_last_step": False,
    "context_mod_num_ts": -1,
    "context_mod_separate_layers_per_ts": False,
    **_QUIET,
    **_MODULATION,
}
_ZENKE: dict[str, Any] = {
    "in_shape": (32, 32, 3),
    "num_classes": 3,
    "arch": "cifar",
    "init_weights": None,
    "dropout_rate": 0.25,
    "layout": "HWC",
    "verbose": False,
    "no_weights": True,
}

DOORS: dict[str, Door] = {
    "Adapter": Door(closed="abstract"),
    "BiasAdapter": Door({"layers": ("0", "2")}),
    "FiLMAdapter": Door({"layers": ("0", "2")}),
    "LeNet": Door(_LENET),
    "LowRankAdapter": Door({"layers": ("0", "2"), "rank": 2, "alpha": 1.0}),
    "MLP": Door(_MLP_ARGUMENTS),
    "MainNetInterface": Door(closed="abstract"),
    "ModuleMainNet": Door(
        lambda: {
            "module": _module(),
            "select": ["2.*"],
            "batch_norm": "eval",
            "train_rest": False,
            "adapter": BiasAdapter("0"),
        }
    ),
    "ModuleMainNet.to_module": Door(lambda: {"weights": torch.ones(12)}, of=lambda: adapt(_module(), layers="2")),
    "OutputView": Door(lambda: {"net": _mlp(), "start": 0, "stop": 1, "gaps": ()}),
    "PriorFunctionNet": Door(lambda: {"net": _without_weights(), "scale": 0.5, "prior_weights": torch.ones(20)}),
    "ResNet": Door(_RESNET),
    "SimpleRNN": Door(_RNN),
    "WRN": Door(_WRN),
    "ZenkeNet": Door(_ZENKE),
    "adapt": Door(
        lambda: {"module": _module(), "kind": "lora", "layers": "2", "select": "0.*", "batch_norm": None, "rank": 2}
    ),
}
