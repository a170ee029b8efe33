"""Signals that stop a run at a step, as Ctrl-C in a terminal does."""

from __future__ import annotations

import os
import signal

from bayeshnet.inference import Callback

__all__ = ["Stop", "StoppedAt"]


class Stop(Callback):
    """Sends a signal after a step."""

    def __init__(self, step, number=signal.SIGINT):
        self.step, self.number = step, number

    def on_step(self, run):
        if run.step == self.step:
            os.kill(os.getpid(), self.number)


class StoppedAt:
    """Listener that stops the training of a task at a step."""

    def __init__(self, task, step):
        self.task, self.step = task, step

    def callbacks(self, number, stream):
        return [Stop(self.step)] if number == self.task else []

    def task_done(self, number, stream, record):
        pass

    def stream_done(self, stream):
        pass
