"""Starting points of generators: each generated network begins as a freshly initialized one, with a small spread."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..hnets import ChunkedHMLP, HyperNetInterface
from ..weights import WeightSpec

__all__ = ["init_generator", "init_outer_generator"]

_TANH_POWER = 0.4
"""Mean square of tanh of a standard normal."""


@torch.no_grad()
def init_generator(hnet: HyperNetInterface, spec: WeightSpec, spread: float) -> None:
    """Initialize a perceptron generator of whitened weights so that each begins as a draw from the prior.

    With a full linear head, the head's biases are standard normal (zero at biases and norms) and its weights give each
    generated weight a standard deviation of ``spread`` over latents and conditions. A chunked head has too few biases
    for
    that: its chunks differ by their embeddings, and latents and conditions enter with the factor ``spread``.

    Args:
        hnet: an ``HMLP`` or ``ChunkedHMLP`` that keeps its unconditional parameters.
        spec: the weights it generates.
        spread: standard deviation of a whitened weight over latents.
    """
    weights, biases = _layers(hnet)
    chunked = isinstance(hnet, ChunkedHMLP)
    for weight in weights:
        weight.normal_(std=1 / math.sqrt(weight.shape[1]))
    for bias in biases:
        bias.zero_()
    head = weights[-1]
    if len(weights) > 1:
        _init_inputs(hnet, weights[0], spread if chunked else 1.0)
        head.normal_(std=(1.0 if chunked else spread) / math.sqrt(_TANH_POWER * head.shape[1]))
    else:
        _init_inputs(hnet, head, spread)
    if not chunked and biases:
        start = torch.randn_like(biases[-1])
        biases[-1].copy_(start * spec.mask(lambda e: e.role in ("weight", "embedding")).to(start))


def _init_inputs(hnet: HyperNetInterface, first: Tensor, factor: float) -> None:
    """Give latent, chunk embedding and condition the same say, the latent and the condition times ``factor``."""
    latent = hnet.uncond_in_size
    chunk = hnet.chunk_emb_size if isinstance(hnet, ChunkedHMLP) else 0
    sizes = [latent, chunk, first.shape[1] - latent - chunk]
    for part, size, scale in zip(first.split(sizes, dim=1), sizes, (factor, 1.0, factor), strict=True):
        if size:
            part.normal_(std=scale / math.sqrt(size))


@torch.no_grad()
def init_outer_generator(outer: HyperNetInterface, inner: HyperNetInterface, spec: WeightSpec, spread: float) -> None:
    """Initialize a hypernetwork that generates the parameters of another one, ``inner``.

    Its head's biases are the parameters of an initialized inner generator, and each of those varies between conditions
    by ``spread`` times the standard deviation within its tensor.

    Args:
        outer: an ``HMLP`` whose outputs are the inner one's parameters.
        inner: a hypernetwork of the inner one's structure with parameters of its own, which serves as the template.
        spec: the weights that the inner one generates.
        spread: of the inner one's weights over latents, and of its parameters over conditions.
    """
    init_generator(inner, spec, spread)
    template = list(inner.unconditional_params or [])
    weights, biases = _layers(outer)
    for weight in weights:
        weight.normal_(std=1 / math.sqrt(weight.shape[1]))
    for bias in biases:
        bias.zero_()
    head = weights[-1]
    scales = torch.cat([_typical(p).expand(p.numel()) for p in template]).to(head)
    width = head.shape[1] * (_TANH_POWER if len(weights) > 1 else 1.0)
    head.normal_(std=spread / math.sqrt(width)).mul_(scales.unsqueeze(1))
    biases[-1].copy_(torch.cat([p.flatten() for p in template]))


def _typical(parameter: Tensor) -> Tensor:
    """Root mean square of a tensor's entries; a tenth for tensors that begin at zero."""
    size = parameter.square().mean().sqrt()
    return torch.where(size > 0, size, torch.full_like(size, 0.1))


def _layers(hnet: HyperNetInterface) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of the layers, in order."""
    parameters = hnet.unconditional_params or []
    names = [hnet.param_shapes_meta[i]["name"] for i in hnet.unconditional_param_shapes_ref]
    pairs = list(zip(names, parameters, strict=True))
    return [p for n, p in pairs if n == "weight"], [p for n, p in pairs if n == "bias"]
