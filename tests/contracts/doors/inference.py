"""Doors of :mod:`bayeshnet.inference`."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayeshnet.distributions import FanInGaussian, MeanFieldPosterior
from bayeshnet.estimators import LIVI, ClosedForm
from bayeshnet.guides import BayesianModel, Categorical, MeanFieldGuide
from bayeshnet.inference import (
    Annealing,
    BatchedHMC,
    Callback,
    Cosine,
    FitResult,
    ImplicitELBO,
    LinearWarmup,
    Predictive,
    Run,
    SampledPosterior,
    fit,
)
from bayeshnet.weights import WeightSpec
from tests.support.doors import Door

_NET = nn.Linear(3, 2)
_SPEC = WeightSpec.of(_NET)
_X, _LABELS = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
_FOLDER = tempfile.TemporaryDirectory()


class _One(Callback):
    """Ends a run after one step, however many are planned."""

    def on_step(self, run: Run) -> None:
        run.stop("enough")


def _pair() -> dict[str, Any]:
    return {
        "model": BayesianModel(_NET, FanInGaussian(_SPEC), Categorical()),
        "guide": MeanFieldGuide(_NET),
    }


def _fit() -> dict[str, Any]:
    defaults = {name: parameter.default for name, parameter in inspect.signature(fit).parameters.items()}
    return {
        **defaults,
        **_pair(),
        "data": (_X, _LABELS),
        "num_steps": 2,
        "batch_size": 2,
        "scheduler": "cosine",
        "estimator": ClosedForm(),
        "callbacks": (_One(),),
    }


def _final_loss(result: FitResult) -> Tensor:
    return result.history["loss"]


def _program() -> Tensor:
    return pyro.sample("x", dist.Normal(0.0, 1.0))


def _predictive() -> Predictive:
    return Predictive(MeanFieldGuide(_NET), _NET, Categorical(), 5)


def _quadratic(q: Tensor) -> Tensor:
    return -q.square().sum(-1)


def _sampled() -> SampledPosterior:
    return SampledPosterior(torch.randn(8, 8), _SPEC, num_chains=2)


def _kept() -> str:
    path = Path(_FOLDER.name) / "draws"
    if not path.with_suffix(".json").exists():
        _sampled().save(path)
    return str(path)


_ELBO: dict[str, Any] = {
    "estimator": LIVI(),
    "num_particles": 2,
    "num_samples": None,
    "beta": 1.0,
    "generator": None,
    "local_noise": False,
    "vectorize_particles": True,
    "max_plate_nesting": 1,
    "num_latents": None,
}

DOORS: dict[str, Door] = {
    "AddedLoss": Door(closed="abstract"),
    "Annealing": Door({"num_steps": 10, "start": 3.0}),
    "Annealing.__call__": Door({"step": 5}, of=lambda: Annealing(10)),
    "BatchedHMC": Door({"target_acceptance": 0.8, "max_steps": 4, "trajectory": 1.0, "start_steps": 2}),
    "BatchedHMC.sample": Door(
        {
            "log_density": _quadratic,
            "start": torch.randn(4, 2),
            "num_samples": 2,
            "num_warmup": 1,
            "scale": torch.ones(2),
            "generator": None,
        },
        of=lambda: BatchedHMC(max_steps=2, start_steps=2),
        random=True,
        read=lambda chains: chains.draws,
    ),
    "BoundCheck": Door(closed="a record that fit makes"),
    "Callback": Door({}),
    "Chains": Door(closed="a record that BatchedHMC makes"),
    "Convergence": Door(closed="a record that SampledPosterior makes"),
    "Cosine": Door({"num_steps": 10, "final": 0.01}),
    "Cosine.__call__": Door({"step": 5}, of=lambda: Cosine(10)),
    "DrawnPosterior": Door({"samples": torch.randn(4, 8), "spec": _SPEC}),
    "ELBOTerms": Door(closed="a record that ImplicitELBO makes"),
    "EarlyStopping": Door({"patience": 5, "every": 10, "min_delta": 0.0, "monitor": None}),
    "FitResult": Door(closed="a record that fit makes"),
    "ImplicitELBO": Door(_ELBO),
    "ImplicitELBO.terms": Door(
        lambda: {**_pair(), "x": _X, "y": _LABELS}, of=ImplicitELBO, random=True, read=lambda terms: (), hot=True
    ),
    "LinearWarmup": Door({"num_steps": 10, "start": 0.0, "end": 1.0}),
    "LinearWarmup.__call__": Door({"step": 5}, of=lambda: LinearWarmup(10)),
    "LogProgress": Door({"interval": 5.0, "level": 20}),
    "Prediction": Door(closed="a record that Predictive makes"),
    "Predictive": Door(
        {
            "guide": MeanFieldPosterior(_SPEC),
            "net": _NET,
            "likelihood": Categorical(),
            "num_samples": 5,
            "sample_chunk": 2,
            "input_chunk": 2,
            "mc_dropout": False,
        }
    ),
    "Predictive.__call__": Door(
        {
            "x": _X,
            "cond_id": None,
            "cond_input": None,
            "keep_samples": True,
            "quantiles": (0.1, 0.9),
            "generator": None,
        },
        of=_predictive,
        random=True,
    ),
    "Predictive.batches": Door(
        {"batches": [_X, _X], "cond_id": None, "cond_input": None, "generator": None},
        of=_predictive,
        random=True,
        read=list,
    ),
    "Predictive.log_likelihood": Door(
        {"x": _X, "y": _LABELS, "cond_id": None, "cond_input": None, "generator": None}, of=_predictive, random=True
    ),
    "Progress": Door({"report": lambda run: None, "interval": 0.1}),
    "ReferencePosterior": Door(closed="a record that reference_posterior makes"),
    "Run": Door(closed="the state of a run of fit"),
    "SampledPosterior": Door(
        {
            "samples": torch.randn(4, 8),
            "spec": _SPEC,
            "num_chains": 2,
            "divergences": 0,
            "acceptance": 0.8,
            "gradients": 7,
            "seconds": 1.5,
        }
    ),
    "SampledPosterior.convergence": Door(
        {"net": _NET, "x": _X, "likelihood": Categorical(), "chunk": 3}, of=_sampled, random=True, read=lambda found: ()
    ),
    "SampledPosterior.fitted": Door({"family": "low_rank", "rank": 2}, of=_sampled),
    "SampledPosterior.load": Door(lambda: {"path": _kept()}, of=_sampled, also=(FileNotFoundError,)),
    "SampledPosterior.sample": Door({"num": 2, "generator": None}, of=_sampled, random=True),
    "SampledPosterior.save": Door({"path": "draws"}, of=_sampled),
    "SampledPosterior.state_dicts": Door(
        {"module": _NET, "num": 2, "generator": None, "cond_id": None, "cond_input": None}, of=_sampled, random=True
    ),
    "StepContext": Door(closed="a record that fit makes"),
    "fit": Door(_fit, random=True, read=_final_loss),
    "fit_density": Door(
        {"chains": torch.randn(2, 5, 3), "family": "full", "rank": 2, "weight_spec": None},
        read=lambda found: (found.mean, found.variance),
    ),
    "reference_posterior": Door(
        {
            "model": _program,
            "num_samples": 2,
            "num_warmup": 1,
            "num_chains": 1,
            "generator": None,
            "nuts": None,
            "sampler": "nuts",
        },
        random=True,
        read=lambda found: found.samples,
    ),
    "write_predictions": Door(
        lambda: {
            "predictive": _predictive(),
            "folder": "predictions",
            "x": _X,
            "cond_id": None,
            "cond_input": None,
            "dtype": torch.float32,
            "batch_size": 2,
            "generator": None,
        },
        random=True,
    ),
}
