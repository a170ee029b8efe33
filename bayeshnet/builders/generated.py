"""Families of conditional posteriors: implicit ones in both architectures, explicit ones with generated numbers."""

from __future__ import annotations

from typing import Any

from ..distributions import GeneratedPosterior, HypernetPosterior, WeightPosterior
from ..errors import check_choice, check_int, check_number, check_positive
from ..hnets import HMLP, ChunkedHMLP, HyperNetInterface
from ..weights import WeightSpec
from .base import PosteriorFamily
from .initialization import init_generator, init_outer_generator
from .networks import make_activation

__all__ = ["DiracGenerator", "HyperHypernetwork", "ImplicitGenerator", "MeanFieldGenerator", "RadialGenerator"]


class ImplicitGenerator(PosteriorFamily):
    r"""One hypernetwork of latent and task: :math:`u = h(z, e_t) + \sigma \epsilon` (architecture A).

    Args:
        latent_size: size ``n`` of the latent.
        embedding_size: size of a task's embedding.
        layers: hidden layers of the hypernetwork.
        activation: of the hypernetwork.
        sigma: standard deviation of the output noise in whitened units: a number, ``"learned"`` (per tensor, the same
            for all tasks) or ``"generated"`` (per weight and task, by a second hypernetwork of the task alone).
        spread: standard deviation over latents of a whitened weight at the start.
        chunk_size: weights per chunk of a chunked hypernetwork; None for a full linear head.
        chunk_embedding_size: size of a chunk's embedding.
        gain: see :class:`PosteriorFamily`.
        last_gain: see :class:`PosteriorFamily`.
        bias_scale: see :class:`PosteriorFamily`.
    """

    def __init__(
        self,
        *,
        latent_size: int = 8,
        embedding_size: int = 16,
        layers: tuple[int, ...] = (32,),
        activation: str = "tanh",
        sigma: float | str = 0.1,
        spread: float = 0.1,
        chunk_size: int | None = None,
        chunk_embedding_size: int = 16,
        gain: float | None = None,
        last_gain: float = 1.0,
        bias_scale: float = 0.1,
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.latent_size = check_int("latent_size", latent_size, 1)
        self.embedding_size = check_int("embedding_size", embedding_size, 1)
        self.layers = tuple(check_int("layers", size, 1) for size in layers)
        self.activation = activation
        if isinstance(sigma, str):
            check_choice("sigma", sigma, ("learned", "generated"), "Or give a number > 0.")
        self.sigma = sigma if isinstance(sigma, str) else check_positive("sigma", sigma)
        self.spread = check_number("spread", spread, minimum=0.0)
        self.chunk_size = None if chunk_size is None else check_int("chunk_size", chunk_size, 1)
        self.chunk_embedding_size = check_int("chunk_embedding_size", chunk_embedding_size, 1)

    def build(self, spec: WeightSpec) -> WeightPosterior:
        """Build the conditional generator."""
        settings: dict[str, Any] = {
            "uncond_in_size": self.latent_size,
            "cond_in_size": self.embedding_size,
            "layers": self.layers,
            "activation_fn": make_activation(self.activation),
            "verbose": False,
        }
        hnet: HyperNetInterface
        if self.chunk_size is None:
            hnet = HMLP(spec.shapes, **settings)
        else:
            hnet = ChunkedHMLP(spec.shapes, self.chunk_size, chunk_emb_size=self.chunk_embedding_size, **settings)
        init_generator(hnet, spec, self.spread)
        sigma = self._generated_sigma(spec) if self.sigma == "generated" else self.sigma
        return HypernetPosterior(hnet, sigma=sigma, scale=self.whitening(spec), weight_spec=spec)

    def _generated_sigma(self, spec: WeightSpec) -> HMLP:
        """A hypernetwork of the task alone, whose outputs are logarithms of sigma, zero but for the spread."""
        activation = make_activation(self.activation)
        hnet = HMLP(
            spec.shapes, cond_in_size=self.embedding_size, layers=self.layers, activation_fn=activation, verbose=False
        )
        init_generator(hnet, WeightSpec.of_shapes(spec.shapes, roles=["bias"] * len(spec.shapes)), self.spread)
        return hnet


class HyperHypernetwork(PosteriorFamily):
    r"""A hypernetwork of the task makes the parameters of another one: :math:`u = h(z; g(e_t)) + \sigma \epsilon`.

    Architecture B: nothing is shared between latent and task, so each task's generator can be of its own shape.

    Args:
        latent_size: size ``n`` of the latent.
        embedding_size: size of a task's embedding.
        layers: hidden layers of the inner hypernetwork, which maps latents to weights.
        outer_layers: hidden layers of the outer one, which maps embeddings to the inner one's parameters.
        activation: of both.
        sigma: standard deviation of the output noise in whitened units.
        spread: standard deviation over latents of a whitened weight at the start.
        gain: see :class:`PosteriorFamily`.
        last_gain: see :class:`PosteriorFamily`.
        bias_scale: see :class:`PosteriorFamily`.
    """

    def __init__(
        self,
        *,
        latent_size: int = 8,
        embedding_size: int = 16,
        layers: tuple[int, ...] = (8,),
        outer_layers: tuple[int, ...] = (8,),
        activation: str = "tanh",
        sigma: float = 0.1,
        spread: float = 0.1,
        gain: float | None = None,
        last_gain: float = 1.0,
        bias_scale: float = 0.1,
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.latent_size = check_int("latent_size", latent_size, 1)
        self.embedding_size = check_int("embedding_size", embedding_size, 1)
        self.layers = tuple(check_int("layers", size, 1) for size in layers)
        self.outer_layers = tuple(check_int("outer_layers", size, 1) for size in outer_layers)
        self.activation = activation
        self.sigma = check_positive("sigma", sigma)
        self.spread = check_number("spread", spread, minimum=0.0)

    def build(self, spec: WeightSpec) -> WeightPosterior:
        """Build both hypernetworks."""
        inner = self._inner(spec, no_uncond_weights=True)
        outer = HMLP(
            inner.param_shapes,
            cond_in_size=self.embedding_size,
            layers=self.outer_layers,
            activation_fn=make_activation(self.activation),
            verbose=False,
        )
        init_outer_generator(outer, self._inner(spec, no_uncond_weights=False), spec, self.spread)
        scale = self.whitening(spec)
        return HypernetPosterior(inner, sigma=self.sigma, scale=scale, weights=outer, weight_spec=spec)

    def _inner(self, spec: WeightSpec, no_uncond_weights: bool) -> HMLP:
        return HMLP(
            spec.shapes,
            uncond_in_size=self.latent_size,
            cond_in_size=0,
            num_cond_embs=0,
            layers=self.layers,
            activation_fn=make_activation(self.activation),
            no_uncond_weights=no_uncond_weights,
            verbose=False,
        )


class MeanFieldGenerator(PosteriorFamily):
    """Means and standard deviations of independent Gaussian weights, generated from the task (Bayes by backprop).

    Args:
        embedding_size: size of a task's embedding.
        layers: hidden layers of the hypernetwork.
        activation: of the hypernetwork.
        sigma: standard deviation of whitened weights at the start.
        spread: standard deviation over tasks of a generated number at the start.
        gain: see :class:`PosteriorFamily`.
        last_gain: see :class:`PosteriorFamily`.
        bias_scale: see :class:`PosteriorFamily`.
    """

    family = "mean_field"

    def __init__(
        self,
        *,
        embedding_size: int = 16,
        layers: tuple[int, ...] = (32,),
        activation: str = "tanh",
        sigma: float = 0.1,
        spread: float = 0.1,
        gain: float | None = None,
        last_gain: float = 1.0,
        bias_scale: float = 0.1,
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.embedding_size = check_int("embedding_size", embedding_size, 1)
        self.layers = tuple(check_int("layers", size, 1) for size in layers)
        self.activation = activation
        self.sigma = check_positive("sigma", sigma)
        self.spread = check_number("spread", spread, minimum=0.0)

    def build(self, spec: WeightSpec) -> WeightPosterior:
        """Build the generator of the explicit posterior's parameters."""
        shapes = GeneratedPosterior.target_shapes([list(s) for s in spec.shapes], self.family)
        hnet = HMLP(
            shapes,
            cond_in_size=self.embedding_size,
            layers=self.layers,
            activation_fn=make_activation(self.activation),
            verbose=False,
        )
        init_generator(hnet, _repeated(spec, len(shapes) // len(spec.shapes)), self.spread)
        scale = self.whitening(spec)
        return GeneratedPosterior(hnet, self.family, sigma=self.sigma, scale=scale, weight_spec=spec)


class RadialGenerator(MeanFieldGenerator):
    """Means and scales of radial weights, generated from the task: no soap bubble in high dimension.

    Arguments are those of :class:`MeanFieldGenerator`; a weight of a tensor of ``d`` has standard deviation
    ``sigma / sqrt(d)`` at the start.

    References:
        Farquhar, Osborne, Gal, "Radial Bayesian neural networks", 2020.
    """

    family = "radial"


class DiracGenerator(MeanFieldGenerator):
    """One weight vector per task, generated from the task: the deterministic reference point. It has no KL.

    Arguments are those of :class:`MeanFieldGenerator`; ``sigma`` has no effect.
    """

    family = "dirac"


def _repeated(spec: WeightSpec, times: int) -> WeightSpec:
    """The specification of means followed by what else is generated, which starts at zero like biases."""
    shapes = [list(s) for s in spec.shapes] * times
    roles = [e.role for e in spec.entries] + ["bias"] * (len(spec.entries) * (times - 1))
    return WeightSpec.of_shapes(shapes, roles=roles)
