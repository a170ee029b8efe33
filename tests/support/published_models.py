"""Published models as Pyro programs, with their data: what automatic guides are held against the sampler on."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch

SCHOOLS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SCHOOLS_ERROR = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools_centered():
    """Effects of coaching in eight schools (Rubin, "Estimation in parallel randomized experiments", 1981)."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, SCHOOLS_ERROR), obs=SCHOOLS)


def schools_non_centered():
    """The same posterior, in units of the spread between schools: ``theta = mu + tau * eta``."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * eta, SCHOOLS_ERROR), obs=SCHOOLS)


DOSE = torch.tensor([0.0, 10.0, 33.0, 100.0, 333.0, 1000.0]).repeat_interleave(3)
COLONIES = torch.tensor([15, 21, 29, 16, 18, 21, 16, 26, 33, 27, 41, 60, 33, 38, 41, 20, 27, 42]).float()


def salmonella():
    """Revertant colonies by dose, a hierarchical Poisson regression (Breslow, "Extra-Poisson variation", 1984)."""
    level = pyro.sample("level", dist.Normal(3.0, 2.0))
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    toxicity = pyro.sample("toxicity", dist.Normal(0.0, 2.0))
    spread = pyro.sample("spread", dist.HalfNormal(1.0))
    trend = ((DOSE + 10).log() - 3.6) / 1.5
    with pyro.plate("plates", 18):
        extra = pyro.sample("extra", dist.Normal(0.0, 1.0))
        rate = level + slope * trend - toxicity * DOSE / 300 + spread * extra
        pyro.sample("y", dist.Poisson(rate.exp()), obs=COLONIES)


def logistic_data():
    """Diagnoses of 60 tumours from three measurements, standardized (Wolberg, Street, Mangasarian, 1995)."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    x = torch.as_tensor(x[:60, [1, 4, 8]], dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0), torch.as_tensor(y[:60], dtype=torch.float32)


def logistic(x, y):
    """Logistic regression on measurements ``x`` ``(N, 3)`` of diagnoses ``y`` ``(N,)``."""
    bias = pyro.sample("bias", dist.Normal(0.0, 2.0))
    w = pyro.sample("w", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
    with pyro.plate("data", len(x)):
        logits = bias + (w * x).sum(-1)
        pyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


WAITING = torch.tensor([-2.3, -1.7, -2.0, -1.4, -2.6, -1.9, 1.2, 2.1, 1.6, 2.5, 1.9, 1.4, 2.2, 1.8])


def mixture():
    """Two clusters with unknown centers that bear no names: each assignment of names is a mode."""
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    center = pyro.sample("center", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    weights = torch.stack([share, 1 - share], -1)
    with pyro.plate("data", len(WAITING)):
        parts = dist.Normal(center, 0.7)
        pyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), parts), obs=WAITING)


def banana():
    """A crescent: ``y`` is near the square of ``x`` (Haario, Saksman, Tamminen, 1999)."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(0.5 * x**2, 0.3))
