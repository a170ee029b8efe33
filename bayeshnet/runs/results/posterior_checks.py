"""The certificate of a posterior at the end of a run: the audit of its KL from the prior."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from ...deprecation import moved_names
from ...estimators import Diagnosis, diagnose
from ...reports import InformationRecord, KLRecord

__all__ = ["audit_posterior", "check_posterior", "kl_record"]

__getattr__ = moved_names(
    __name__,
    {
        "posterior_drift": "runs.results.drift.posterior_drift",
    },
)


def check_posterior(q: Distribution, p: Distribution, num_samples: int = 1024, seed: int = 0) -> KLRecord:
    """Audit the KL of ``q`` from ``p`` by :func:`~bayeshnet.estimators.diagnose`, in nats.

    Where the KL has a closed form, value and both ends of the interval coincide; where there is no KL (a point), all
    are None.
    """
    return kl_record(audit_posterior(q, p, num_samples, seed))


def audit_posterior(q: Distribution, p: Distribution, num_samples: int = 1024, seed: int = 0) -> Diagnosis:
    """Audit the KL of ``q`` from ``p`` by :func:`~bayeshnet.estimators.diagnose`, with noise of a seed."""
    generator = torch.Generator(device=q.sample().device).manual_seed(seed)
    return diagnose(q, p, num_samples, generator, quick=True)


def kl_record(report: Diagnosis) -> KLRecord:
    """Return the record of an audit's KL."""
    if not report.information:
        return KLRecord(report.value, report.lower, report.upper, report.value, verdict=report.verdict)
    info, analytic = report.information, report.measurements["analytic"]
    record = InformationRecord(info["livi"], info["sandwich_lower"], info["sandwich_upper"], report.measurements["ess"])
    return KLRecord(report.value, report.lower, report.upper, analytic, record, report.verdict)
