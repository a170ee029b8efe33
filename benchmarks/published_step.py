"""Training steps of posterior meta-replay in the manner of the published system, on networks of hypnettorch.

Weight samples go through the main network one by one; the spectral estimator builds all gradients of its kernel, an
array (M, N, P); what it finds goes back to the parameters tensor by tensor; moments of the adaptive contrast are drawn
one by one with their graphs; outputs for old tasks are held where they were task by task. These are the algorithms of
Henning, Cervera et al., "Posterior meta-replay for continual learning" (2021), written anew and plainly, to time them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_configurations import NUM_DATA, Configuration, build_networks

__all__ = ["PublishedStep", "published_step"]

NOISE_STD = 0.05
"""Standard deviation of the values' noise."""


def published_step(hnets: Any, mlp: Any, wrapper: Any, c: Configuration, task: int) -> PublishedStep:
    """The step of one configuration at ``task`` (from 0), from the classes of hypnettorch."""
    return {"bbb": MeanFieldStep, "ssge": SpectralStep, "avb": AdversarialStep}[c.method](hnets, mlp, wrapper, c, task)


class PublishedStep:
    """Common parts of the methods: networks, targets of the regularizer, the optimizer and the likelihood."""

    def __init__(self, hnets: Any, mlp: Any, wrapper: Any, c: Configuration, task: int) -> None:
        """Build the networks and keep the outputs of the hypernetwork for old tasks."""
        self.c, self.task = c, task
        self.net, inner, outer = build_networks(hnets, mlp, c)
        self.generator = inner if outer is None else outer
        if outer is not None:
            self.hnet = wrapper(inner, hnet_uncond_in_size=c.hnet.latent, sigma_noise=c.noise, verbose=False)
        with torch.no_grad():
            self.targets = [[t.clone() for t in self.generator(cond_id=old)] for old in range(task)]
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=c.lr)

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """Make one step on a batch; returns the loss."""
        raise NotImplementedError

    def batch_nll(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean negative log-likelihood of a batch, without constants."""
        if self.c.per_task:
            first = self.task * self.c.per_task
            return F.cross_entropy(outputs[:, first : first + self.c.per_task], y)
        return 0.5 / NOISE_STD**2 * F.mse_loss(outputs, y)

    def regularizer(self) -> Tensor | float:
        """Mean over old tasks of the squared distance of what is emitted, tensor by tensor."""
        total: Tensor | float = 0.0
        for old, target in enumerate(self.targets):
            for before, now in zip(target, self.generator(cond_id=old), strict=True):
                total = total + (now - before).pow(2).sum()
        return total / len(self.targets)

    def finish(self, loss: Tensor) -> None:
        """Differentiate, clip."""
        self.optimizer.zero_grad()
        loss.backward()
        if self.c.clip is not None:
            nn.utils.clip_grad_norm_(self.generator.parameters(), self.c.clip)


class MeanFieldStep(PublishedStep):
    """Bayes by backprop: means and standard deviations from the hypernetwork, an analytic KL."""

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """Make one step on a batch; returns the loss."""
        means, stds = self.gaussian(self.generator(cond_id=self.task))
        nll: Any = 0.0
        for _ in range(self.c.samples):
            if self.c.local:
                outputs = self.local_forward(x, means, stds)
            else:
                outputs = self.net(x, weights=[m + s * torch.randn_like(s) for m, s in zip(means, stds, strict=True)])
            nll = nll + self.batch_nll(outputs, y)
        kl: Any = 0.0
        for m, s in zip(means, stds, strict=True):
            kl = kl + 0.5 * (s.pow(2) + m.pow(2) - 1 - 2 * s.log()).sum()
        loss = self.c.kl_scale * kl + NUM_DATA * nll / self.c.samples + self.c.strength * self.regularizer()
        self.finish(loss)
        self.optimizer.step()
        return loss.item()

    @staticmethod
    def gaussian(emitted: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Means and standard deviations."""
        half = len(emitted) // 2
        return emitted[:half], [F.softplus(rho) for rho in emitted[half:]]

    @staticmethod
    def local_forward(x: Tensor, means: list[Tensor], stds: list[Tensor]) -> Tensor:
        """Outputs with the noise drawn in the pre-activations."""
        h = x
        for i in range(0, len(means), 2):
            mean = F.linear(h, means[i], means[i + 1])
            variance = F.linear(h.pow(2), stds[i].pow(2), stds[i + 1].pow(2))
            h = mean + (variance + 1e-12).sqrt() * torch.randn_like(mean)
            h = h if i == len(means) - 2 else h.relu()
        return h

    def regularizer(self) -> Tensor | float:
        """Mean over old tasks of the KL of old from new Gaussians, or of the squared 2-Wasserstein distance."""
        total: Any = 0.0
        for old, target in enumerate(self.targets):
            before, now = self.gaussian(target), self.gaussian(self.generator(cond_id=old))
            for m0, s0, m1, s1 in zip(*before, *now, strict=True):
                if self.c.distance == "forward_kl":
                    ratio = (s0 / s1).pow(2)
                    total = total + 0.5 * (ratio - 1 - ratio.log() + ((m0 - m1) / s1).pow(2)).sum()
                else:
                    total = total + (m0 - m1).pow(2).sum() + (s0 - s1).pow(2).sum()
        return total / len(self.targets)


class ImplicitStep(PublishedStep):
    """Common part of steps with a hyper-hypernetwork."""

    def sample(self, num: int, theta: list[Tensor]) -> list[list[Tensor]]:
        """Weights of ``num`` samples, tensor by tensor."""
        z = torch.randn(num, self.hnet.num_outputs)
        return self.hnet(uncond_input=z, weights=theta, ret_format="sequential")

    def flat_sample(self, num: int, theta: list[Tensor]) -> Tensor:
        """Weights ``(num, P)``."""
        z = torch.randn(num, self.hnet.num_outputs)
        return self.hnet(uncond_input=z, weights=theta, ret_format="flattened")

    def nll(self, x: Tensor, y: Tensor, samples: list[list[Tensor]]) -> Tensor:
        """Negative log-likelihood of all data, sample by sample."""
        total: Any = 0.0
        for weights in samples:
            total = total + self.batch_nll(self.net(x, weights=weights), y)
        return NUM_DATA * total / len(samples)


def log_normal(w: Tensor, mean: Tensor | float = 0.0, std: Tensor | float = 1.0) -> Tensor:
    """Log-densities of rows under a Gaussian with independent entries."""
    return torch.distributions.Normal(mean, std, validate_args=False).log_prob(w).sum(-1)


class SpectralStep(ImplicitStep):
    """The prior by its density, the entropy by the spectral Stein gradient estimator."""

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """Make one step on a batch; returns the loss, which lacks the entropy."""
        c, parameters = self.c, [p for p in self.generator.parameters() if p.requires_grad]
        theta = self.generator(cond_id=self.task)
        entropy = self.entropy_gradient(theta)
        cross = -log_normal(self.flat_sample(c.kl_samples, theta)).mean()
        nll = self.nll(x, y, self.sample(c.samples, theta))
        loss = c.kl_scale * cross + nll + c.strength * self.regularizer()
        self.optimizer.zero_grad()
        loss.backward(retain_graph=True)
        if c.clip is not None:
            nn.utils.clip_grad_norm_(parameters, c.clip)
        flat = torch.cat([t.flatten() for t in theta])
        towards = c.kl_scale * torch.cat([g.flatten() for g in entropy])
        for parameter in parameters:
            (found,) = torch.autograd.grad(flat, parameter, towards, retain_graph=True, allow_unused=True)
            if found is not None:
                parameter.grad = found if parameter.grad is None else parameter.grad + found
        self.optimizer.step()
        return loss.item()

    def entropy_gradient(self, theta: list[Tensor]) -> list[Tensor]:
        """The gradient of the negative entropy with respect to each tensor of ``theta``."""
        own = [t.detach().clone().requires_grad_() for t in theta]
        w = self.flat_sample(self.c.samples, own)
        with torch.no_grad():
            points = w[: self.c.score_samples]
            if self.c.score_samples > len(w):
                points = torch.cat([w, self.flat_sample(self.c.score_samples - len(w), own)])
            score = spectral_score(points, w, self.c.width, self.c.threshold)
        return [torch.autograd.grad(w, t, score, retain_graph=True)[0] / len(w) for t in own]


def spectral_score(points: Tensor, x: Tensor, width: float, threshold: float) -> Tensor:
    """Scores ``(N, P)`` at ``x`` from ``points`` ``(M, P)``, by gradients ``(M, M, P)`` of the kernel."""
    num = len(points)
    kernel, gradients = rbf(points, points, width)
    values, vectors = torch.linalg.eigh(kernel)
    values, vectors = values.flip(0), vectors.flip(1)
    if threshold < 1:
        kept = values.clamp_min(0)
        count = max(1, int((kept.cumsum(0) / kept.sum() < threshold).sum()))
        values, vectors = values[:count], vectors[:, :count]
    cross, _ = rbf(x, points, width)
    psi = math.sqrt(num) * cross @ (vectors / values)
    beta = -torch.einsum("mj,nmp->jp", vectors / values, gradients) / math.sqrt(num)
    return psi @ beta


def rbf(x: Tensor, y: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """The kernel ``(N, M)`` and its gradients ``(N, M, P)`` with respect to ``x``."""
    apart = x.unsqueeze(1) - y.unsqueeze(0)
    kernel = (-0.5 * apart.pow(2).sum(-1) / width**2).exp()
    return kernel, -kernel.unsqueeze(-1) * apart / width**2


class AdversarialStep(ImplicitStep):
    """A discriminator tells the posterior from the Gaussian with its moments (adaptive contrast)."""

    def __init__(self, *args: Any) -> None:
        """Build the discriminator too."""
        super().__init__(*args)
        mlp, c = args[1], self.c
        inputs = self.hnet.num_outputs * (2 if c.batch_mean else 1)
        act = nn.ReLU() if c.batch_mean else nn.Sigmoid()
        self.discriminator = mlp(n_in=inputs, n_out=1, hidden_layers=c.discriminator, activation_fn=act, verbose=False)
        self.dis_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=c.lr)

    def logits(self, w: Tensor) -> Tensor:
        """Logits of the discriminator for weights ``(S, P)``."""
        if self.c.batch_mean:
            w = torch.cat([w, w.mean(0, keepdim=True).expand_as(w)], dim=1)
        return self.discriminator(w, weights=list(self.discriminator.internal_params))

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """Train the discriminator, then make one step on a batch; returns the loss."""
        c = self.c
        theta = self.generator(cond_id=self.task)
        drawn = torch.cat([self.flat_sample(1, theta) for _ in range(c.contrast)])
        mean, std = drawn.mean(0).detach(), drawn.std(0).detach()
        self.train_discriminator(theta, mean, std)
        samples = self.sample(c.kl_samples, theta)
        w = torch.stack([torch.cat([t.flatten() for t in weights]) for weights in samples])
        scaled = (w - mean) / std
        kl = (self.logits(scaled) + (log_normal(w, mean, std) - log_normal(w)).unsqueeze(1)).mean()
        nll = self.nll(x, y, samples if c.kl_samples == c.samples else self.sample(c.samples, theta))
        loss = c.kl_scale * kl + nll + c.strength * self.regularizer()
        self.finish(loss)
        self.optimizer.step()
        return loss.item()

    def train_discriminator(self, theta: list[Tensor], mean: Tensor, std: Tensor) -> None:
        """One step of binary cross-entropy on samples of both sides."""
        with torch.no_grad():
            ours = (self.flat_sample(self.c.contrast_batch, theta) - mean) / std
        other = torch.randn(self.c.contrast_batch, len(mean))
        logits = torch.cat([self.logits(ours), self.logits(other)])
        target = torch.cat([torch.ones(len(ours), 1), torch.zeros(len(other), 1)])
        self.dis_optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits, target).backward()
        self.dis_optimizer.step()
