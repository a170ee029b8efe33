"""The eight configurations whose training steps are timed, and networks for them from either package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CONFIGURATIONS", "NUM_DATA", "Configuration", "Net", "build_networks", "make_data"]

NUM_DATA = 1000


@dataclass(frozen=True)
class Net:
    """A hypernetwork: hidden layers, activation and sizes of its inputs; chunked if ``chunk`` is positive."""

    layers: tuple[int, ...] = ()
    activation: str = "ReLU"
    embedding: int = 0
    latent: int = 0
    chunk: int = 0
    chunk_embedding: int = 0
    own_chunks: bool = False

    def build(self, hnets: Any, shapes: list[list[int]], num_tasks: int, **options: Any) -> Any:
        """The hypernetwork of a package for outputs ``shapes``."""
        settings: dict[str, Any] = {
            "uncond_in_size": self.latent,
            "cond_in_size": self.embedding,
            "layers": self.layers,
            "activation_fn": getattr(nn, self.activation)(),
            "num_cond_embs": num_tasks if self.embedding else 0,
            "verbose": False,
            **options,
        }
        if not self.chunk:
            return hnets.HMLP(shapes, **settings)
        chunked = {"chunk_emb_size": self.chunk_embedding, "cond_chunk_embs": self.own_chunks}
        return hnets.ChunkedHMLP(shapes, self.chunk, **chunked, **settings)


@dataclass(frozen=True)
class Configuration:
    """One published configuration.

    Attributes:
        method: ``"bbb"``, ``"ssge"`` or ``"avb"``.
        sizes: of the main network, a ReLU perceptron.
        per_task: outputs of a task's head; 0 for values.
        num_tasks: of the stream.
        hnet: makes the weights, or means and scales of them.
        outer: makes the parameters of ``hnet`` for implicit posteriors.
        strength: of the forgetting regularizer.
        distance: that it uses for Gaussians.
        local: whether the published step samples pre-activations instead of weights.
        noise: standard deviation of the implicit posterior's noise.
        score_samples: of the spectral estimator, ``M``; ``threshold`` and ``width`` are its other settings.
        discriminator: hidden layers; ``batch_mean`` joins the batch's mean to its inputs.
        contrast: samples for the moments of the adaptive contrast.
        clip: largest norm of the gradient.
    """

    name: str
    method: str
    sizes: tuple[int, ...]
    num_tasks: int
    hnet: Net
    outer: Net | None = None
    per_task: int = 0
    batch: int = 32
    lr: float = 5e-4
    samples: int = 10
    kl_samples: int = 10
    kl_scale: float = 1.0
    strength: float = 1.0
    distance: str = "wasserstein"
    local: bool = False
    noise: float = 0.02
    score_samples: int = 10
    threshold: float = 1.0
    width: float = 1.0
    discriminator: tuple[int, ...] = (10, 10)
    batch_mean: bool = False
    contrast: int = 100
    contrast_batch: int = 10
    clip: float | None = None


REGRESSION = Configuration("", "", (1, 10, 10, 1), 3, Net())
MODES = replace(REGRESSION, sizes=(2, 10, 10, 6), per_task=2, clip=1.0, strength=0.1)
SPLIT = replace(REGRESSION, sizes=(784, 100, 100, 10), num_tasks=5, per_task=2, batch=128, kl_scale=1e-4, strength=100)
SMALL, LARGE = (10, 10), (100, 100)

CONFIGURATIONS: dict[str, Configuration] = {
    c.name: c
    for c in (
        replace(
            REGRESSION,
            name="reg_bbb",
            method="bbb",
            hnet=Net(SMALL, embedding=8),
            strength=10.0,
            distance="forward_kl",
            local=True,
        ),
        replace(
            REGRESSION,
            name="reg_ssge",
            method="ssge",
            hnet=Net(SMALL, latent=32),
            outer=Net(LARGE, "Sigmoid", embedding=2),
            lr=1e-3,
            noise=2e-4,
        ),
        replace(
            REGRESSION,
            name="reg_avb",
            method="avb",
            hnet=Net(SMALL, latent=2),
            outer=Net(LARGE, embedding=2),
            kl_samples=1,
            strength=0.5,
            batch_mean=True,
            contrast_batch=32,
            clip=1.0,
        ),
        replace(MODES, name="gmm_bbb", method="bbb", hnet=Net((50, 50), "Sigmoid", embedding=32), local=True),
        replace(
            MODES,
            name="gmm_ssge",
            method="ssge",
            hnet=Net(SMALL, latent=32),
            outer=Net(LARGE, embedding=32),
            lr=1e-3,
            kl_samples=1,
            score_samples=100,
            threshold=0.9,
        ),
        replace(
            MODES,
            name="gmm_avb",
            method="avb",
            hnet=Net(LARGE, latent=8),
            outer=Net(LARGE, embedding=2),
            lr=1e-3,
            clip=None,
        ),
        replace(
            SPLIT,
            name="split_bbb",
            method="bbb",
            lr=1e-4,
            hnet=Net(embedding=32, chunk=2500, chunk_embedding=32, own_chunks=True),
        ),
        replace(
            SPLIT,
            name="split_ssge",
            method="ssge",
            hnet=Net(latent=32, chunk=1300, chunk_embedding=32),
            outer=Net(LARGE, "Sigmoid", embedding=32, chunk=650, chunk_embedding=32),
            lr=1e-3,
            kl_samples=1,
            noise=2e-4,
            width=0.01,
            clip=100.0,
        ),
    )
}


def build_networks(hnets: Any, mlp: Any, c: Configuration) -> tuple[Any, Any, Any]:
    """Main network, hypernetwork, and the one that makes its parameters (or None), of one package."""
    net = mlp(n_in=c.sizes[0], n_out=c.sizes[-1], hidden_layers=c.sizes[1:-1], no_weights=True, verbose=False)
    shapes = [list(shape) for shape in net.hyper_shapes_learned]
    if c.outer is None:
        return net, c.hnet.build(hnets, shapes * 2, c.num_tasks), None
    inner = c.hnet.build(hnets, shapes, 0, no_uncond_weights=True, no_cond_weights=True)
    return net, inner, c.outer.build(hnets, [list(shape) for shape in inner.param_shapes], c.num_tasks)


def make_data(c: Configuration, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs ``(N, n_in)`` and targets of a task: classes ``(N,)`` or values ``(N, n_out)``."""
    x = torch.rand(NUM_DATA, c.sizes[0], generator=generator)
    if c.per_task:
        return x, torch.randint(c.per_task, (NUM_DATA,), generator=generator)
    return x, torch.sin(3 * x[:, : c.sizes[-1]])
