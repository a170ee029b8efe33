"""Common settings of all tests: one seed, a figure backend without a screen, and the conditions of marked tests."""

import os
import signal
import sys
import threading

import pytest
import torch
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"
torch.set_num_threads(1)  # the networks of the tests are small, and threads in each other's way are slow
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
# The same examples in each run, and no time limit for each: the first call of much in torch is slow.
settings.register_profile("bayeshnet", deadline=None, derandomize=True)
settings.load_profile("bayeshnet")


def pytest_addoption(parser):
    parser.addoption("--network", action="store_true", help="run the tests that need the internet")


def pytest_collection_modifyitems(config, items):
    """Skip marked tests, and say why, where what they need is missing."""
    missing = {}
    if not torch.cuda.is_available():
        missing["gpu"] = "needs a CUDA device"
    if not config.getoption("--network"):
        missing["network"] = "needs the internet: run with --network"
    for item in items:
        for mark, reason in missing.items():
            if mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def fresh_state():
    """Start each test with the same random numbers and leave no global state, in whatever order the tests run."""
    dtype = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.distributions.Distribution.set_default_validate_args(True)  # Pyro changes it while it samples
    yield
    torch.set_default_dtype(dtype)
    if "pyro" in sys.modules:
        sys.modules["pyro"].clear_param_store()
