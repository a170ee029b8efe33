"""Words of the command line for runs whose posteriors have so few latents that their audits take no time."""

from __future__ import annotations

__all__ = ["SMALL"]

SMALL = [
    *("--learner.posterior.latent_size", "2", "--learner.posterior.embedding_size", "4"),
    *("--learner.posterior.hidden_layers", "[8]", "--learner.network.hidden_layers", "[4]"),
]
