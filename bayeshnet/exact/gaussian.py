"""Gaussian classes with one covariance: a conjugate model whose shrinkage is chosen by its evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check_positive
from ..memo import Memo
from .base import ExactHead
from .search import maximize

__all__ = ["GaussianClassesHead"]

_DEGREES, _SCALE = (-4.0, 16.0), 18.0


@dataclass(frozen=True)
class Fit:
    """The posterior of means and covariance.

    Args:
        mean: of each class, ``(C, D)``.
        strength: number of examples that each mean is worth, ``(C,)``.
        vectors: eigenvectors of the scatter, ``(D, D)``.
        scatter: their eigenvalues plus that of the prior, ``(D,)``.
        degrees: degrees of freedom of the inverse Wishart distribution.
        log_evidence: in nats.
    """

    mean: Tensor
    strength: Tensor
    vectors: Tensor
    scatter: Tensor
    degrees: float
    log_evidence: float


class GaussianClassesHead(ExactHead):
    r"""Gaussian classes with means of their own and one covariance, integrated out exactly.

    .. math:: \Sigma \sim \mathcal{IW}(\psi I, \nu), \qquad \mu_c \,|\, \Sigma \sim \mathcal{N}(0, \Sigma / \kappa),
       \qquad \varphi \,|\, c \sim \mathcal{N}(\mu_c, \Sigma) .

    With the scatter :math:`S = \sum_i \varphi_i \varphi_i^\top - \sum_c b_c b_c^\top / (n_c + \kappa)`, where
    :math:`b_c` is the sum of the features of class :math:`c`, the posterior has the parameters :math:`\psi I + S` and
    :math:`\nu + N`, and a new example of a class follows a Student distribution. The shrinkage :math:`\psi, \nu`
    maximizes the evidence

    .. math:: -\tfrac{N D}{2} \log \pi + \log \frac{\Gamma_D(\frac{\nu + N}{2})}{\Gamma_D(\frac \nu 2)}
       + \tfrac{\nu}{2} \log \lvert \psi I \rvert - \tfrac{\nu + N}{2} \log \lvert \psi I + S \rvert
       + \tfrac D 2 \sum_c \log \frac{\kappa}{\kappa + n_c},

    which the eigenvalues of :math:`S` give for all :math:`\psi, \nu` at once. Since all classes share the covariance,
    what they have in common cancels in ratios of densities. A class of one example, and features that depend on one
    another, need no special treatment.

    Args:
        num_features: number :math:`D` of features.
        forgetting: factor of all sums for each later example; see :class:`~bayeshnet.exact.ExactHead`.
        prior_count: the number :math:`\kappa`: the prior of a mean is worth so many examples.

    References:
        Machine Learning: a Probabilistic Perspective (Murphy; 2012), section 4.6.

    Example:
        >>> from bayeshnet.exact import GaussianClassesHead
        >>> x = torch.tensor([[0.0, 1.0], [0.2, 0.8], [3.0, 1.0], [3.1, 1.3]])
        >>> head = GaussianClassesHead(2).update(x, torch.tensor([7, 7, 3, 3]))
        >>> head.labels[head.log_probs(torch.tensor([[2.8, 1.0]])).argmax(1)]
        tensor([3])
    """

    def __init__(self, num_features: int, *, forgetting: float = 1.0, prior_count: float = 0.01) -> None:
        super().__init__(num_features, None, forgetting)
        self.prior_count = check_positive("prior_count", prior_count)
        self._memo: Memo[Fit] = Memo()

    def log_evidence(self) -> float:
        """Return the log-density of all features given their classes, in nats, at its maximum."""
        return self.fit().log_evidence

    @torch.no_grad()
    def fit(self) -> Fit:
        """Return the posterior of means and covariance, kept until more is learned."""
        return self._memo.get((self.gram, self.cross), self._fit)

    @torch.no_grad()
    def linear_map(self) -> Tensor:
        r"""Return the discriminant functions for many examples, ``(D + 1, C)``.

        They are :math:`\varphi^\top \Lambda \mu_c - \frac12 \mu_c^\top \Lambda \mu_c + \log n_c / N` with the mean
        :math:`\Lambda = (\nu + N) (\psi I + S)^{-1}` of the precision.
        """
        fit = self.fit()
        root = fit.vectors * fit.scatter.rsqrt()
        weight = fit.degrees * root @ (fit.mean @ root).T
        offset = self._log_frequencies() - 0.5 * (fit.mean.T * weight).sum(0)
        return torch.cat([weight, offset.unsqueeze(0)])

    @torch.no_grad()
    def log_density(self, features: Tensor) -> Tensor:
        r"""Compute the log-density of features under each class, ``(N, C)``, in nats.

        It is that of the Student distribution with :math:`f = \nu + N - D + 1` degrees of freedom and the scale matrix
        :math:`(\psi I + S) (1 + 1 / (\kappa + n_c)) / f`.

        Args:
            features: ``(N, D)``.
        """
        fit = self._fitted(features)
        nothing = fit.strength.new_zeros(())
        return self._student(self.distances(features), fit.strength, fit.scatter.log().sum(), nothing)

    @torch.no_grad()
    def distances(self, features: Tensor) -> Tensor:
        r"""Compute :math:`(\varphi - \mu_c)^\top (\psi I + S)^{-1} (\varphi - \mu_c)`, ``(N, C)``."""
        own, means = self._whitened(features)
        squares = own.square().sum(1, keepdim=True) + means.square().sum(1) - 2 * own @ means.T
        return squares.clamp_min(0)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Compute log-density plus log-frequency of each class, ``(N, C)``."""
        return self.log_density(features) + self._log_frequencies()

    @torch.no_grad()
    def left_out_logits(self, features: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the logits of learned examples as if each had been left out, ``(N, C)``."""
        return self.left_out_scores(features, y, weight)[0] + self._log_frequencies()

    @torch.no_grad()
    def left_out_scores(self, features: Tensor, y: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Compute log-densities and distances of learned examples as if each had been left out, ``(N, C)`` each.

        Without an example of class :math:`c` the matrix :math:`A = \psi I + S` is :math:`A - w a r r^\top` with
        :math:`r = \varphi - \mu_c` and :math:`a = m / (m - w)`, where :math:`m = n_c + \kappa` and :math:`w` is the
        example's weight, 1 unless examples are forgotten. And :math:`r` itself becomes :math:`a r`. Shrinkage and
        frequencies of classes are those of all examples.

        Args:
            features: ``(N, D)``, of examples that the head has learned.
            y: their classes ``(N,)``.
            weight: their weights in the sums ``(N,)``; see :meth:`left_out_logits`.
        """
        chosen = self._learned(features, y)[1].argmax(1)
        fit, (own, means) = self.fit(), self._whitened(features)
        strength = fit.strength[chosen].unsqueeze(1)
        w = torch.minimum(self._weights(weight, features, self.labels[chosen]), self.counts[chosen].unsqueeze(1))
        a = strength / (strength - w)
        away = own - means[chosen]
        rest = (1 - w * a * away.square().sum(1, keepdim=True)).clamp_min(torch.finfo(own.dtype).tiny)
        products = (own * away).sum(1, keepdim=True) - away @ means.T
        first = nn.functional.one_hot(chosen, len(means)).bool()
        scale = torch.where(first, a, 1.0)
        distance = scale.square() * (self.distances(features) + w * a * products.square() / rest)
        strengths = torch.where(first, strength - w, fit.strength)
        log_det = fit.scatter.log().sum() + rest.log()
        return self._student(distance, strengths, log_det, w), distance

    def _student(self, distance: Tensor, strength: Tensor, log_det: Tensor, left_out: Tensor) -> Tensor:
        """Return the log-density of Student distributions with the distances ``(N, C)`` to their means."""
        size, widening = self.num_features, 1 + 1 / strength
        degrees = self.fit().degrees - left_out - size + 1
        constant = torch.lgamma((degrees + size) / 2) - torch.lgamma(degrees / 2) - size / 2 * math.log(math.pi)
        return constant - 0.5 * (log_det + size * widening.log()) - (degrees + size) / 2 * (distance / widening).log1p()

    def _log_frequencies(self) -> Tensor:
        """Return the log-frequencies of the classes; one of fewer than one example counts as if there were one."""
        counts = self.counts.clamp_min(1)
        return (counts / counts.sum()).log()

    def _whitened(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and means, in coordinates in which distances are those of Euclid."""
        fit = self._fitted(features)
        root = fit.vectors * fit.scatter.rsqrt()
        return features.to(root) @ root, fit.mean @ root

    def _fitted(self, features: Tensor) -> Fit:
        self._wide(features)
        return self.fit()

    def _settings(self) -> dict[str, Any]:
        return {"num_features": self.num_features, "forgetting": self.forgetting, "prior_count": self.prior_count}

    def _fit(self) -> Fit:
        kappa, size, number = self.prior_count, self.num_features, self.count
        strength = self.counts + kappa
        sums = self.cross[:-1]
        values, vectors = torch.linalg.eigh(self.gram[:-1, :-1] - (sums / strength) @ sums.T)
        values = values.clamp_min(0)
        level = float(values.mean().log()) if bool(values.sum() > 0) else 0.0
        eigenvalues, fixed = values.cpu(), float((kappa / strength).log().sum()) * size / 2

        def evidence(excess: Tensor, log_scale: Tensor) -> Tensor:
            nu = size - 1 + excess.exp()
            gammas = _log_gamma_ratio(nu, number, size)
            log_det = _log_det(log_scale, eigenvalues)
            return gammas + nu * size / 2 * log_scale - (nu + number) / 2 * log_det

        excess, log_scale = maximize(evidence, _DEGREES, (level - _SCALE, level + _SCALE))
        best = float(evidence(torch.tensor([[excess]]).double(), torch.tensor([[log_scale]]).double()))
        log_evidence = best + fixed - number * size / 2 * math.log(math.pi)
        degrees = size - 1 + math.exp(excess) + number
        return Fit((sums / strength).T, strength, vectors, values + math.exp(log_scale), degrees, log_evidence)


def _log_gamma_ratio(nu: Tensor, number: float, size: int) -> Tensor:
    r"""Return :math:`\log \Gamma_D((\nu + N) / 2) - \log \Gamma_D(\nu / 2)`; values repeat along the second axis."""
    halves = torch.arange(size, dtype=nu.dtype) / 2
    first = nu[:, :1, None] / 2 - halves
    return (torch.lgamma(first + number / 2) - torch.lgamma(first)).sum(-1).expand(nu.shape)


def _log_det(log_scale: Tensor, eigenvalues: Tensor) -> Tensor:
    r"""Return :math:`\log \lvert \psi I + S \rvert`; values repeat along the first axis."""
    return (log_scale[:1, :, None].exp() + eigenvalues).log().sum(-1).expand(log_scale.shape)
