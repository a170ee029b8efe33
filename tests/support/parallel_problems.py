"""Small trainings that several processes do together, and what one process finds; also a program for a launcher.

``python -m tests.support.parallel_problems OUT SIZE SHARE DTYPE`` starts so many processes on Lightning Fabric and
saves the parameters of the first one after each problem.
"""

from __future__ import annotations

import sys

import torch

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldPosterior, WeightDraw
from bayeshnet.estimators import LIVI, SSGE, ClosedForm
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import fit
from bayeshnet.mnets import MLP
from bayeshnet.parallel import launched
from bayeshnet.rng import derive_seed

__all__ = ["PROBLEMS", "build", "by_hand", "parameters", "train"]

PROBLEMS = ("closed", "livi", "ssge")
NUM, BATCH, PARTICLES, SAMPLES, LR = 24, 12, 12, 12, 0.1


def build(name, dtype):
    """Return model, guide and data of a problem; the data do not depend on the precision."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(NUM, 2, generator=generator, dtype=torch.float64)
    y = torch.randn(NUM, 1, generator=generator, dtype=torch.float64)
    net = MLP(2, 1, hidden_layers=(3,), no_weights=True, verbose=False)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        if name == "closed":
            posterior, estimator = MeanFieldPosterior(net.weight_spec), ClosedForm()
        else:
            hnet = HMLP(
                net.hyper_shapes_learned, uncond_in_size=2, cond_in_size=0, num_cond_embs=0, layers=[4], verbose=False
            )
            posterior = HypernetPosterior(hnet, scale="fan_in", weight_spec=net.weight_spec)
            estimator = LIVI(orthogonal=False) if name == "livi" else SSGE(threshold=1.0, ridge=0.1)
    posterior = posterior.to(dtype)
    prior = FanInGaussian(net.weight_spec, dtype=dtype)
    model = BayesianModel(net, prior, Gaussian(0.3), num_data=NUM).to(dtype)
    return model, HypernetGuide(posterior, estimator), (x.to(dtype), y.to(dtype))


def train(name, dtype, steps=1, **options):
    """Train by plain gradient steps, and return the parameters and the history."""
    model, guide, data = build(name, dtype)
    chosen = {"batch_size": BATCH, "num_particles": PARTICLES, "num_samples": SAMPLES, **options}
    result = fit(
        model,
        guide,
        data,
        num_steps=steps,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=LR),
        generator=torch.Generator().manual_seed(11),
        alarms=False,
        **chosen,
    )
    return parameters(guide), result.history


def parameters(guide):
    """Return all parameters as one vector."""
    return torch.cat([p.detach().flatten() for p in guide.parameters()])


def by_hand(name, dtype, size):
    """Return parameters and negative log-likelihood after one step of one process with all samples of ``size`` ones.

    Each has a generator of its own, with a seed that follows from a number of the common one.
    """
    model, guide, (x, y) = build(name, dtype)
    generator = torch.Generator().manual_seed(11)
    seed = int(torch.randint(2**62, (), generator=generator))
    torch.randint(2**62, (), generator=generator)  # the seed of torch's global generator
    order = torch.randperm(NUM, generator=generator)[:BATCH]
    each = [torch.Generator().manual_seed(derive_seed(seed, rank)) for rank in range(size)]
    q = guide.posterior()
    draws = [q.draw(PARTICLES // size, g) for g in each]
    whole = WeightDraw(*(_joined([getattr(draw, part) for draw in draws]) for part in ("w", "z", "eps", "u")))
    if name == "closed":
        kl = guide.estimator.estimate(q, model.prior).surrogate
    elif name == "ssge":
        kl = guide.estimator.estimate_at(q, model.prior, whole, SAMPLES).surrogate
    else:
        kl = linearized_kl(q, torch.cat([torch.randn(SAMPLES // size, 2, generator=g, dtype=dtype) for g in each]))
    nll = model.negative_log_likelihood(model.outputs(whole.w, x[order]), y[order])
    trained = list(guide.parameters())
    gradients = torch.autograd.grad((nll + kl) / NUM, trained, allow_unused=True)
    moved = [p if g is None else p - LR * g for p, g in zip(trained, gradients, strict=True)]
    return torch.cat([p.detach().flatten() for p in moved]), float(nll.detach() / NUM)


def linearized_kl(q, z):
    """Return LIVI's divergence to a standard normal in whitened coordinates at given latents, by Jacobians."""
    means = q.geometry(z)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: q.geometry(one.unsqueeze(0)).squeeze(0)))(z)
    sigma = q.sigma.expand(means.shape[1])
    gram = jacobian.mT @ (jacobian / sigma.unsqueeze(-1) ** 2)
    information = 0.5 * torch.logdet(torch.eye(z.shape[1], dtype=z.dtype) + gram)
    analytic = 0.5 * (means**2 + sigma**2 - 1 - 2 * sigma.log()).sum(1)
    return (analytic - information).mean()


def _joined(parts):
    return None if parts[0] is None else torch.cat(parts)


def main(out, size, share, dtype):
    """Train all problems on Fabric."""
    with launched(int(size), share=share) as group:
        found = {name: train(name, getattr(torch, dtype), steps=1 if share == "samples" else 3) for name in PROBLEMS}
        ends = group.collect({name: float(values.sum()) for name, (values, _) in found.items()})
    if group.rank == 0:
        torch.save({"found": {name: values for name, (values, _) in found.items()}, "ends": ends}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
