"""Parts of predictions: the mode of the network, chunks of bounded memory, files for inputs of any number."""

from .chunks import draws_at_a_time, inputs_at_a_time
from .modes import predicting
from .writing import write_predictions

__all__ = ["draws_at_a_time", "inputs_at_a_time", "predicting", "write_predictions"]
