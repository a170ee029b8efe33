"""Initialization of hypernetworks: the weights of each latent and condition are those of a fresh network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..deprecation import moved_names, renamed_arguments
from ..hnets import ChunkedHMLP, HyperNetInterface
from ..weights import WeightSpec

__all__ = ["init_hypernetwork", "init_outer_hypernetwork"]

_TANH_POWER = 0.4
"""Mean square of tanh of a standard normal variable."""


@renamed_arguments(spec="weight_spec", spread="init_std")
@torch.no_grad()
def init_hypernetwork(hnet: HyperNetInterface, weight_spec: WeightSpec, init_std: float) -> None:
    """Initialize a hypernetwork of whitened weights so that its outputs resemble a draw from the prior.

    With a full linear head, the head's biases are standard normal (zero for biases and norms), and its weights give
    each output a standard deviation of ``init_std`` over latents and conditions. A chunked head has too few biases for
    that: its chunks differ by their embeddings, and latents and conditions enter with the factor ``init_std``.

    Args:
        hnet: an ``HMLP`` or ``ChunkedHMLP`` with parameters of its own.
        weight_spec: the weights that it generates.
        init_std: standard deviation of a whitened weight over latents and conditions.
    """
    weights, biases = _layers(hnet)
    chunked = isinstance(hnet, ChunkedHMLP)
    for weight in weights:
        weight.normal_(std=1 / math.sqrt(weight.shape[1]))
    for bias in biases:
        bias.zero_()
    head = weights[-1]
    if len(weights) > 1:
        _init_inputs(hnet, weights[0], init_std if chunked else 1.0)
        head.normal_(std=(1.0 if chunked else init_std) / math.sqrt(_TANH_POWER * head.shape[1]))
    else:
        _init_inputs(hnet, head, init_std)
    if not chunked and biases:
        u = torch.randn_like(biases[-1])
        biases[-1].copy_(u * weight_spec.mask(lambda e: e.role in ("weight", "embedding")).to(u))


def _init_inputs(hnet: HyperNetInterface, first: Tensor, factor: float) -> None:
    """Give latent, chunk embedding and condition equal variances, those of latent and condition times ``factor**2``."""
    latent = hnet.uncond_in_size
    chunk = hnet.chunk_emb_size if isinstance(hnet, ChunkedHMLP) else 0
    sizes = [latent, chunk, first.shape[1] - latent - chunk]
    for part, size, scale in zip(first.split(sizes, dim=1), sizes, (factor, 1.0, factor), strict=True):
        if size:
            part.normal_(std=scale / math.sqrt(size))


@renamed_arguments(spec="weight_spec", spread="init_std")
@torch.no_grad()
def init_outer_hypernetwork(
    outer: HyperNetInterface, inner: HyperNetInterface, weight_spec: WeightSpec, init_std: float
) -> None:
    """Initialize a hypernetwork that generates the parameters of another one, ``inner``.

    The biases of its head are the parameters of an initialized inner hypernetwork. Over conditions, each of these
    parameters varies with ``init_std`` times the root mean square within its tensor.

    Args:
        outer: an ``HMLP`` whose outputs are the parameters of the inner hypernetwork.
        inner: a hypernetwork like the inner one with parameters of its own, which is initialized as a template.
        weight_spec: the weights that the inner hypernetwork generates.
        init_std: standard deviation of the inner hypernetwork's outputs over latents, and of its parameters over
            conditions relative to their size.
    """
    init_hypernetwork(inner, weight_spec, init_std)
    template = list(inner.unconditional_params or [])
    weights, biases = _layers(outer)
    for weight in weights:
        weight.normal_(std=1 / math.sqrt(weight.shape[1]))
    for bias in biases:
        bias.zero_()
    head = weights[-1]
    scales = torch.cat([_root_mean_square(p).expand(p.numel()) for p in template]).to(head)
    power = head.shape[1] * (_TANH_POWER if len(weights) > 1 else 1.0)
    head.normal_(std=init_std / math.sqrt(power)).mul_(scales.unsqueeze(1))
    biases[-1].copy_(torch.cat([p.flatten() for p in template]))


def _root_mean_square(parameter: Tensor) -> Tensor:
    """Compute the root mean square of a tensor's entries; 0.1 for a tensor of zeros."""
    size = parameter.square().mean().sqrt()
    return torch.where(size > 0, size, torch.full_like(size, 0.1))


def _layers(hnet: HyperNetInterface) -> tuple[list[Tensor], list[Tensor]]:
    """Return weights and biases of the layers, in order."""
    parameters = hnet.unconditional_params or []
    names = [hnet.param_shapes_meta[i]["name"] for i in hnet.unconditional_param_shapes_ref]
    pairs = list(zip(names, parameters, strict=True))
    return [p for n, p in pairs if n == "weight"], [p for n, p in pairs if n == "bias"]


__getattr__ = moved_names(
    __name__,
    {
        "init_generator": "builders.initialization.init_hypernetwork",
        "init_outer_generator": "builders.initialization.init_outer_hypernetwork",
    },
)
