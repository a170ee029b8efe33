"""A callback that counts what the host waits for in a step."""

from bayeshnet.inference import Callback

__all__ = ["Waits"]


class Waits(Callback):
    """Counts what the host has waited for after each step, on a device of ``tests/support/places.py``."""

    def __init__(self, there):
        self.there, self.counts = there, []

    def on_step(self, run):
        self.counts.append(self.there.waits)

    @property
    def of_a_step(self):
        """Waits after the first step, in which arguments are checked, up to the last, after which the loss is."""
        return self.counts[-2] - self.counts[0]
