"""Many processes as one: what they share out in training, and how they come together again.

Training is written for one process. Where several run the same program, each has its share of the work, and gradients
are averaged; :func:`launched` starts them on Lightning Fabric (extra ``dist``). Two things can be shared out:

- ``"data"``: each process has its part of every batch, and all draw the same weights. A training is that of one process
  with the whole batch, up to rounding.
- ``"samples"``: each process has the whole batch, and weights and latents of its own: with ``R`` processes the
  ``S / R``-th part of each number of samples. Estimates of the KL that are means over samples are averaged; score
  estimators, which compare all samples with one another, gather them, with their gradients.

Each process holds the whole state, equal on all of them. The first one alone assesses tasks and writes files.
"""

from .current import processes, using
from .fabric import launched
from .processes import Alone, Processes, ProcessLostError
from .shares import SHARES

__all__ = ["SHARES", "Alone", "ProcessLostError", "Processes", "launched", "processes", "using"]
