"""Building blocks of networks, whose weights may be passed to ``forward``."""

from __future__ import annotations

from .activations import GaussianBump
from .batchnorm_layer import BatchNormLayer
from .context_mod_layer import ContextModLayer
from .initializers import calc_fan_in_and_out, init_params, xavier_fan_in_
from .self_attention_layer import SelfAttnLayerV2
from .spectral_norm import SpectralNorm

__all__ = [
    "BatchNormLayer",
    "ContextModLayer",
    "GaussianBump",
    "SelfAttnLayerV2",
    "SpectralNorm",
    "calc_fan_in_and_out",
    "init_params",
    "xavier_fan_in_",
]
