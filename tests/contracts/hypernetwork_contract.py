"""The contract of hypernetworks, which the library's own can be pickled besides."""

import copy
import pickle

from bayeshnet.testing import HypernetworkContract as Contract

__all__ = ["HypernetworkContract"]


class HypernetworkContract(Contract):
    """Subclasses set ``variants``: names and functions that build a hypernetwork whose tensors are all parameters."""

    def twins(self, net):
        return [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
