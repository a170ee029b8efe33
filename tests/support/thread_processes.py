"""Processes that are threads of this one: what several compute together is tested without a launcher."""

from __future__ import annotations

import threading

import torch

from bayeshnet.parallel import Processes, ProcessLostError, using

__all__ = ["ThreadProcesses", "run_together"]


class _Table:
    """The place at which threads lay down what they have, and take up what all have.

    One thread works at a time, until it waits for the others, and finds torch's global generator as it left it: threads
    share that generator, and processes do not.
    """

    def __init__(self, size):
        self.values, self.barrier = [None] * size, threading.Barrier(size, timeout=60)
        self.turn, self.first = threading.Lock(), torch.get_rng_state()

    def exchange(self, rank, value):
        self.values[rank] = value
        state = torch.get_rng_state()
        self.turn.release()
        try:
            self.barrier.wait()
            found = list(self.values)
            self.barrier.wait()
        except threading.BrokenBarrierError:
            raise ProcessLostError("another process of this run has ended") from None
        finally:
            self.turn.acquire()
            torch.set_rng_state(state)
        return found


class ThreadProcesses(Processes):
    """The view of one thread."""

    def __init__(self, rank, size, share, table):
        self.rank, self.size, self.share, self.table = rank, size, share, table

    def average(self, tensors):
        every = self.collect([t.detach().clone() for t in tensors])
        for place, tensor in enumerate(tensors):
            tensor.detach().copy_(torch.stack([each[place] for each in every]).mean(0))

    def gather(self, x):
        return _Gather.apply(x, self)

    def copy_first(self, tensors):
        first = self.collect([t.detach().clone() for t in tensors])[0]
        for tensor, value in zip(tensors, first, strict=True):
            tensor.detach().copy_(value)

    def collect(self, value):
        return self.table.exchange(self.rank, value)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group, ctx.count = group, len(x)
        return torch.cat(group.collect(x.detach().clone()))

    @staticmethod
    def backward(ctx, grad):
        total = torch.stack(ctx.group.collect(grad.clone())).sum(0)
        start = ctx.group.rank * ctx.count
        return total[start : start + ctx.count], None


def run_together(size, share, program):
    """Return what ``program(group)`` returns in each of ``size`` threads; raise the first error that is not a loss."""
    table, found, errors = _Table(size), [None] * size, []

    def run(rank):
        with table.turn:
            torch.set_rng_state(table.first)
            try:
                with using(ThreadProcesses(rank, size, share, table)) as group:
                    found[rank] = program(group)
            except BaseException as error:
                errors.append(error)
                table.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors.sort(key=lambda error: isinstance(error, ProcessLostError))
    if errors:
        raise errors[0]
    return found
