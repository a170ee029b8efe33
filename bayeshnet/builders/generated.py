"""Builders of posteriors that hypernetworks generate from a condition: implicit ones, and explicit ones."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn

from ..deprecation import renamed_arguments
from ..distributions import GeneratedPosterior, HypernetPosterior
from ..distributions.posteriors.sigma import GeneratedSigma, LearnedSigma
from ..errors import check_choice, check_number, check_positive, check_size, check_sizes
from ..hnets import HMLP, ChunkedHMLP, HyperNetInterface
from ..weights import WeightSpec
from .base import PosteriorBuilder, check_spec
from .initialization import init_hypernetwork, init_outer_hypernetwork
from .networks import ACTIVATIONS, make_activation

__all__ = ["DiracGenerator", "HyperHypernetwork", "ImplicitGenerator", "MeanFieldGenerator", "RadialGenerator"]


class ImplicitGenerator(PosteriorBuilder):
    r"""One hypernetwork of latent and condition: :math:`u = h(z, e_t) + \sigma \epsilon` (architecture A).

    Args:
        latent_size: size ``n`` of the latent.
        embedding_size: size of a condition's embedding.
        hidden_layers: sizes of the hypernetwork's hidden layers.
        activation: activation of the hypernetwork, a name in :data:`~bayeshnet.builders.ACTIVATIONS`.
        sigma: standard deviation of the output noise of whitened weights: a number, ``"learned"`` (one per tensor, for
            all conditions) or ``"generated"`` (one per weight and condition, by a second hypernetwork).
        sigma_init: initial value of a sigma that is learned or generated, in units of the prior's standard deviation.
        init_std: initial standard deviation of a whitened weight over latents.
        chunk_size: weights per chunk of a chunked hypernetwork; None for a full linear head.
        chunk_embedding_size: size of a chunk's embedding.
        block_size: see :class:`~bayeshnet.distributions.HypernetPosterior`.
        gain: see :class:`PosteriorBuilder`.
        last_gain: see :class:`PosteriorBuilder`.
        bias_scale: see :class:`PosteriorBuilder`.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        >>> builder, weight_spec = ImplicitGenerator(latent_size=8), WeightSpec.of(net)
        >>> posterior, prior = builder.build(weight_spec), builder.prior(weight_spec)
        >>> posterior.rsample((5,)).shape, prior.whitened_by(posterior().whitening)
        (torch.Size([5, 97]), True)
    """

    @renamed_arguments(listed=True, layers="hidden_layers", spread="init_std")
    def __init__(
        self,
        *,
        latent_size: int = 8,
        embedding_size: int = 16,
        hidden_layers: tuple[int, ...] = (32,),
        activation: str = "tanh",
        sigma: float | str = 0.1,
        sigma_init: float = 0.1,
        init_std: float = 0.1,
        chunk_size: int | None = None,
        chunk_embedding_size: int = 16,
        block_size: int | None = None,
        gain: float | None = None,
        last_gain: float = 1.0,
        bias_scale: float = 0.1,
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.latent_size = check_size("latent_size", latent_size)
        self.embedding_size = check_size("embedding_size", embedding_size)
        self.hidden_layers = tuple(check_sizes("hidden_layers", hidden_layers))
        self.activation = check_choice("activation", activation, ACTIVATIONS)
        self.sigma = _check_sigma(sigma)
        self.sigma_init = check_positive("sigma_init", sigma_init)
        self.init_std = check_number("init_std", init_std, minimum=0.0)
        self.chunk_size = None if chunk_size is None else check_size("chunk_size", chunk_size)
        self.chunk_embedding_size = check_size("chunk_embedding_size", chunk_embedding_size)
        self.block_size = None if block_size is None else check_size("block_size", block_size)

    @renamed_arguments(spec="weight_spec")
    def build(self, weight_spec: WeightSpec) -> HypernetPosterior:
        """Build the hypernetwork and its posterior, with condition 0 as the default."""
        check_spec(weight_spec)
        settings: dict[str, Any] = {
            "uncond_in_size": self.latent_size,
            "cond_in_size": self.embedding_size,
            "layers": self.hidden_layers,
            "activation_fn": make_activation(self.activation),
            "verbose": False,
        }
        hnet: HyperNetInterface
        if self.chunk_size is None:
            hnet = HMLP(weight_spec.shapes, **settings)
        else:
            settings["chunk_emb_size"] = self.chunk_embedding_size
            hnet = ChunkedHMLP(weight_spec.shapes, self.chunk_size, **settings)
        init_hypernetwork(hnet, weight_spec, self.init_std)
        sigma, scale = _make_sigma(self, self.hidden_layers, weight_spec), self.whitening(weight_spec)
        own: dict[str, Any] = {"sigma": sigma, "scale": scale, "block_size": self.block_size}
        return HypernetPosterior(hnet, cond_id=0, weight_spec=weight_spec, **own)


class HyperHypernetwork(PosteriorBuilder):
    r"""A hypernetwork that generates the parameters of another one: :math:`u = h(z; g(e_t)) + \sigma \epsilon`.

    Architecture B: each condition has an inner hypernetwork :math:`h` of the latent with parameters of its own, all
    generated by the outer hypernetwork :math:`g`.

    Args:
        latent_size: size ``n`` of the latent.
        embedding_size: size of a condition's embedding.
        hidden_layers: sizes of the hidden layers of the inner hypernetwork, which maps latents to weights.
        outer_hidden_layers: sizes of the hidden layers of the outer hypernetwork, which maps embeddings to the
            parameters of the inner one.
        activation: activation of both, a name in :data:`~bayeshnet.builders.ACTIVATIONS`.
        sigma: standard deviation of the output noise of whitened weights, as in :class:`ImplicitGenerator`.
        sigma_init: initial value of a sigma that is learned or generated, in units of the prior's standard deviation.
        init_std: initial standard deviation of a whitened weight over latents.
        gain: see :class:`PosteriorBuilder`.
        last_gain: see :class:`PosteriorBuilder`.
        bias_scale: see :class:`PosteriorBuilder`.
    """

    @renamed_arguments(listed=True, layers="hidden_layers", outer_layers="outer_hidden_layers", spread="init_std")
    def __init__(
        self,
        *,
        latent_size: int = 8,
        embedding_size: int = 16,
        hidden_layers: tuple[int, ...] = (8,),
        outer_hidden_layers: tuple[int, ...] = (8,),
        activation: str = "tanh",
        sigma: float | str = 0.1,
        sigma_init: float = 0.1,
        init_std: float = 0.1,
        gain: float | None = None,
        last_gain: float = 1.0,
        bias_scale: float = 0.1,
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.latent_size = check_size("latent_size", latent_size)
        self.embedding_size = check_size("embedding_size", embedding_size)
        self.hidden_layers = tuple(check_sizes("hidden_layers", hidden_layers))
        self.outer_hidden_layers = tuple(check_sizes("outer_hidden_layers", outer_hidden_layers))
        self.activation = check_choice("activation", activation, ACTIVATIONS)
        self.sigma = _check_sigma(sigma)
        self.sigma_init = check_positive("sigma_init", sigma_init)
        self.init_std = check_number("init_std", init_std, minimum=0.0)

    @renamed_arguments(spec="weight_spec")
    def build(self, weight_spec: WeightSpec) -> HypernetPosterior:
        """Build both hypernetworks and their posterior, with condition 0 as the default."""
        inner = self._inner(check_spec(weight_spec), no_uncond_weights=True)
        outer = _of_condition(inner.param_shapes, self.embedding_size, self.outer_hidden_layers, self.activation)
        template = self._inner(weight_spec, no_uncond_weights=False)
        init_outer_hypernetwork(outer, template, weight_spec, self.init_std)
        sigma, scale = _make_sigma(self, self.outer_hidden_layers, weight_spec), self.whitening(weight_spec)
        return HypernetPosterior(inner, sigma=sigma, cond_id=0, weights=outer, scale=scale, weight_spec=weight_spec)

    def _inner(self, weight_spec: WeightSpec, no_uncond_weights: bool) -> HMLP:
        """Build a hypernetwork of the latent, without parameters of its own if ``no_uncond_weights``."""
        return HMLP(
            weight_spec.shapes,
            uncond_in_size=self.latent_size,
            cond_in_size=0,
            num_cond_embs=0,
            layers=self.hidden_layers,
            activation_fn=make_activation(self.activation),
            no_uncond_weights=no_uncond_weights,
            verbose=False,
        )


class _ExplicitGenerator(PosteriorBuilder):
    """A hypernetwork of the condition that generates the parameters of an explicit posterior.

    Args:
        embedding_size: size of a condition's embedding.
        hidden_layers: sizes of the hypernetwork's hidden layers.
        activation: activation of the hypernetwork, a name in :data:`~bayeshnet.builders.ACTIVATIONS`.
        sigma: initial standard deviation of whitened weights.
        init_std: initial standard deviation of a generated number over conditions.
        gain: see :class:`PosteriorBuilder`.
        last_gain: see :class:`PosteriorBuilder`.
        bias_scale: see :class:`PosteriorBuilder`.
    """

    @renamed_arguments(listed=True, layers="hidden_layers", spread="init_std")
    def __init__(
        self,
        *,
        embedding_size: int = 16,
        hidden_layers: tuple[int, ...] = (32,),
        activation: str = "tanh",
        sigma: float = 0.1,
        init_std: float = 0.1,
        gain: float | None = None,
        last_gain: float = 1.0,
        bias_scale: float = 0.1,
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.embedding_size = check_size("embedding_size", embedding_size)
        self.hidden_layers = tuple(check_sizes("hidden_layers", hidden_layers))
        self.activation = check_choice("activation", activation, ACTIVATIONS)
        self.sigma = check_positive("sigma", sigma)
        self.init_std = check_number("init_std", init_std, minimum=0.0)

    @property
    @abstractmethod
    def family(self) -> str:
        """Kind of the explicit posterior, see :class:`~bayeshnet.distributions.GeneratedPosterior`."""

    @renamed_arguments(spec="weight_spec")
    def build(self, weight_spec: WeightSpec) -> GeneratedPosterior:
        """Build the hypernetwork and its posterior, with condition 0 as the default."""
        shapes = GeneratedPosterior.target_shapes([list(s) for s in check_spec(weight_spec).shapes], self.family)
        hnet = _of_condition(shapes, self.embedding_size, self.hidden_layers, self.activation)
        init_hypernetwork(hnet, _repeated(weight_spec, len(shapes) // len(weight_spec.shapes)), self.init_std)
        scale = self.whitening(weight_spec)
        return GeneratedPosterior(hnet, self.family, sigma=self.sigma, cond_id=0, scale=scale, weight_spec=weight_spec)


class MeanFieldGenerator(_ExplicitGenerator):
    """Independent Gaussian weights, with means and standard deviations generated from the condition.

    Args:
        embedding_size: size of a condition's embedding.
        hidden_layers: sizes of the hypernetwork's hidden layers.
        activation: activation of the hypernetwork, a name in :data:`~bayeshnet.builders.ACTIVATIONS`.
        sigma: initial standard deviation of whitened weights.
        init_std: initial standard deviation of a generated number over conditions.
        gain: see :class:`PosteriorBuilder`.
        last_gain: see :class:`PosteriorBuilder`.
        bias_scale: see :class:`PosteriorBuilder`.
    """

    family = "mean_field"


class RadialGenerator(_ExplicitGenerator):
    """Radial weights, with means and scales generated from the condition.

    Arguments are those of :class:`MeanFieldGenerator`; the initial standard deviation of a weight in a tensor of ``d``
    is ``sigma / sqrt(d)``.

    References:
        Farquhar, Osborne, Gal, "Radial Bayesian neural networks", 2020.
    """

    family = "radial"


class DiracGenerator(_ExplicitGenerator):
    """One weight vector per condition, generated from it: the deterministic baseline, which has no KL.

    Arguments are those of :class:`MeanFieldGenerator`; ``sigma`` has no effect.
    """

    family = "dirac"


def _check_sigma(sigma: float | str) -> float | str:
    """Return a sigma that is a number > 0, ``"learned"`` or ``"generated"``."""
    if isinstance(sigma, str):
        found: float | str = check_choice("sigma", sigma, ("learned", "generated"), "Or give a number > 0.")
        return found
    return check_positive("sigma", sigma)


def _make_sigma(
    builder: ImplicitGenerator | HyperHypernetwork, hidden_layers: tuple[int, ...], weight_spec: WeightSpec
) -> float | nn.Module:
    """Return the sigma of a builder's settings; one that is generated has a hypernetwork of the condition."""
    if not isinstance(builder.sigma, str):
        return builder.sigma
    if builder.sigma == "learned":
        return LearnedSigma(weight_spec, builder.sigma_init)
    shapes = weight_spec.shapes
    hnet = _of_condition(shapes, builder.embedding_size, hidden_layers, builder.activation)
    init_hypernetwork(hnet, WeightSpec.of_shapes(shapes, roles=["bias"] * len(shapes)), builder.init_std)
    return GeneratedSigma(hnet, builder.sigma_init)


def _of_condition(shapes: Any, embedding_size: int, hidden_layers: tuple[int, ...], activation: str) -> HMLP:
    """Build a hypernetwork of the condition alone, with one condition."""
    return HMLP(
        shapes,
        cond_in_size=embedding_size,
        layers=hidden_layers,
        activation_fn=make_activation(activation),
        verbose=False,
    )


def _repeated(weight_spec: WeightSpec, times: int) -> WeightSpec:
    """Repeat a specification for means and further parameters, which are initialized at zero like biases."""
    shapes = [list(s) for s in weight_spec.shapes] * times
    roles = [e.role for e in weight_spec.entries] + ["bias"] * (len(weight_spec.entries) * (times - 1))
    return WeightSpec.of_shapes(shapes, roles=roles)
