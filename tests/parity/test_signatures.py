"""Names, order and defaults of arguments are those of hypnettorch 0.0.4; others are keyword-only or at the end."""

import inspect
import warnings

import pytest
from torch import nn

from bayeshnet import hnets, layers, mnets

pytest.importorskip("hypnettorch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from hypnettorch.hnets import (
        chunked_deconv_hnet,
        chunked_mlp_hnet,
        deconv_hnet,
        hnet_container,
        hnet_helpers,
        hnet_perturbation_wrapper,
        mlp_hnet,
        structured_hmlp_examples,
        structured_mlp_hnet,
    )
    from hypnettorch.mnets import lenet, mlp, resnet, simple_rnn, wide_resnet, zenkenet
    from hypnettorch.utils import batchnorm_layer, context_mod_layer, self_attention_layer

CLASSES = {
    "HMLP": mlp_hnet,
    "ChunkedHMLP": chunked_mlp_hnet,
    "HDeconv": deconv_hnet,
    "ChunkedHDeconv": chunked_deconv_hnet,
    "StructuredHMLP": structured_mlp_hnet,
    "HContainer": hnet_container,
    "HPerturbWrapper": hnet_perturbation_wrapper,
    "MLP": mlp,
    "LeNet": lenet,
    "ZenkeNet": zenkenet,
    "ResNet": resnet,
    "WRN": wide_resnet,
    "SimpleRNN": simple_rnn,
    "BatchNormLayer": batchnorm_layer,
    "ContextModLayer": context_mod_layer,
    "SelfAttnLayerV2": self_attention_layer,
}
FUNCTIONS = {
    "get_conditional_parameters": hnet_helpers,
    "init_chunk_embeddings": hnet_helpers,
    "init_conditional_embeddings": hnet_helpers,
    "resnet_chunking": structured_hmlp_examples,
    "wrn_chunking": structured_hmlp_examples,
}
LEFT_OUT = {
    "accuracy",
    "knowledge_distillation_loss",
    "logit_cross_entropy_loss",
    "num_hyper_weights",
    "softmax_and_cross_entropy",
    "basic_rnn_step",
    "compute_basic_rnn_output",
    "compute_fc_outputs",
    "compute_hidden_states",
    "lstm_rnn_step",
    "split_cm_weights",
    "split_internal_weights",
    "split_weights",
}
"""Losses of classifiers, a deprecated count, and steps within a recurrent network."""


def arguments(function):
    """Names and defaults, modules by their representation."""
    found = []
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.KEYWORD_ONLY:
            continue
        default = repr(p.default) if isinstance(p.default, nn.Module) else p.default
        found.append((p.name, tuple(default) if isinstance(default, list) else default, p.kind))
    return found


def same_arguments(mine, other):
    mine, other = arguments(mine), arguments(other)
    assert mine[: len(other)] == other
    assert all(default is not inspect.Parameter.empty for _, default, _ in mine[len(other) :])


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name):
    mine = next(getattr(package, name) for package in (hnets, mnets, layers) if hasattr(package, name))
    other = getattr(CLASSES[name], name)
    public = {attribute for attribute in dir(other) if not attribute.startswith("_")}
    assert public - set(dir(mine)) <= LEFT_OUT
    for attribute in ("__init__", *sorted(public & set(dir(mine)))):
        a, b = getattr(mine, attribute), getattr(other, attribute)
        if inspect.isfunction(b) and b.__module__.startswith("hypnettorch"):
            same_arguments(a, b)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    same_arguments(getattr(hnets, name), getattr(FUNCTIONS[name], name))
