"""Values of a network, or of its predictions, under many weight vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import value_error
from ...guides import Likelihood
from ...guides.likelihoods.contract import as_outputs, network_outputs
from ...mnets import MainNetInterface, ModuleMainNet
from ...mnets.inputs import Inputs, num_examples
from ..predicting.modes import predicting

__all__ = ["values_of"]


def values_of(samples: Tensor, net: nn.Module, x: Inputs, likelihood: Likelihood | None, chunk: int) -> Tensor:
    """Compute outputs, or the means of a likelihood, under weights ``(S, P)`` in evaluation mode: ``(S, N, C)``.

    Args:
        samples: weight vectors.
        net: the network.
        x: inputs.
        likelihood: whose means are computed; None for the outputs.
        chunk: weight vectors at a time.
    """
    main = net if isinstance(net, MainNetInterface) else ModuleMainNet(net)
    size, parts = num_examples(x), []
    if not size:
        raise value_error("x", expected="at least one input", found="none")
    if main.weight_spec.numel != samples.shape[1]:
        expected, found = f"a network of {samples.shape[1]} weights", f"one of {main.weight_spec.numel}"
        raise value_error("net", expected=expected, found=found)
    with predicting(main, False):
        for weights in samples.split(chunk):
            outputs = network_outputs(main, weights, x)
            if likelihood is None:
                parts.append(as_outputs(outputs, size))
            else:
                checked = likelihood.outputs(outputs, size)
                parts.append(likelihood.on(checked).mean(checked))
    return torch.cat(parts)
