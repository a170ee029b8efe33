"""Weight distributions in the manner of ``torch.distributions``, and posteriors: modules that return them.

A **distribution** over flat weight vectors ``(P,)`` is stateless. A **posterior** is a module with learned parameters;
called with a condition, such as a task, it returns a distribution. A **builder** of :mod:`bayeshnet.builders` creates
a posterior for a network, whitened and initialized; a **guide** of :mod:`bayeshnet.guides` uses it in Pyro.

.. list-table::
   :header-rows: 1

   * - distribution
     - posterior
     - builder
     - guide
   * - :class:`MeanFieldGaussian`: independent Gaussian weights
     - :class:`MeanFieldPosterior`
     - ``MeanFieldWeights``
     - ``MeanFieldGuide``
   * - :class:`LowRankGaussian`: covariance of low rank plus diagonal
     - :class:`LowRankPosterior`
     - ``LowRankWeights``
     - ``LowRankGuide``
   * - :class:`Radial`: a direction and a radius per tensor
     - :class:`RadialPosterior`
     - ``RadialWeights``
     - ``RadialGuide``
   * - :class:`Dirac`: one weight vector
     - :class:`DiracPosterior`
     - ``PointWeights``
     - ``HypernetGuide``
   * - :class:`MeanFieldGaussian`, :class:`Radial` or :class:`Dirac`, generated from the condition
     - :class:`GeneratedPosterior`
     - ``MeanFieldGenerator``, ``RadialGenerator``, ``DiracGenerator``
     - ``HypernetGuide``
   * - :class:`SemiImplicit`: generated from latent and condition, plus independent noise
     - :class:`HypernetPosterior`
     - ``ImplicitGenerator`` (one hypernetwork), ``HyperHypernetwork`` (two)
     - ``HypernetGuide``
   * - :class:`SharedNoise`: the same with one noise for latent and output
     - :class:`HypernetPosterior` with ``noise="shared"``
     -
     - ``HypernetGuide``

Common arguments are ``weight_spec``, the names and shapes of the weights; ``scale``, the whitening; ``sigma``, the
standard deviation of noise in units of ``scale``; ``cond_id``, the condition; and ``init_std``, the initial standard
deviation of weights over latents or conditions, or due to a low-rank factor.
"""

from __future__ import annotations

from . import kl  # registers the closed forms
from .base import WeightDistribution, WeightDraw
from .dirac import Dirac
from .embedded import embed
from .gaussian import LowRankGaussian, MeanFieldGaussian
from .gaussian_forms import as_gaussian, as_low_rank
from .mixture import Mixture
from .posteriors import (
    ConditionalPosterior,
    DiracPosterior,
    FixedSigma,
    GeneratedPosterior,
    GeneratedSigma,
    HypernetPosterior,
    LearnedSigma,
    LowRankPosterior,
    MeanFieldPosterior,
    ModuleSigma,
    ParameterSigma,
    RadialPosterior,
    SampledNetwork,
    WeightPosterior,
)
from .priors import FanInGaussian, ScaleMixturePrior
from .radial import Radial
from .semi_implicit import SemiImplicit, SharedNoise

__all__ = [
    "ConditionalPosterior",
    "Dirac",
    "DiracPosterior",
    "FanInGaussian",
    "FixedSigma",
    "GeneratedPosterior",
    "GeneratedSigma",
    "HypernetPosterior",
    "LearnedSigma",
    "LowRankGaussian",
    "LowRankPosterior",
    "MeanFieldGaussian",
    "MeanFieldPosterior",
    "Mixture",
    "ModuleSigma",
    "ParameterSigma",
    "Radial",
    "RadialPosterior",
    "SampledNetwork",
    "ScaleMixturePrior",
    "SemiImplicit",
    "SharedNoise",
    "WeightDistribution",
    "WeightDraw",
    "WeightPosterior",
    "as_gaussian",
    "as_low_rank",
    "embed",
    "kl",
]
