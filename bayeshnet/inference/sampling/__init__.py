"""Sampling of posteriors: Hamiltonian Monte Carlo of many chains, and posteriors given by draws."""

from .batched_hmc import BatchedHMC, Chains
from .convergence import Convergence, effective_size, split_r_hat
from .drawn import DrawnPosterior
from .fitted import fit_density
from .sampled import SampledPosterior
from .target import sample_posterior

__all__ = [
    "BatchedHMC",
    "Chains",
    "Convergence",
    "DrawnPosterior",
    "SampledPosterior",
    "effective_size",
    "fit_density",
    "sample_posterior",
    "split_r_hat",
]
