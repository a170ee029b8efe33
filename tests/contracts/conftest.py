"""Marks of slow tests of the contracts: composed and deconvolutional hypernetworks are compiled beside plain ones."""

import pytest

COMPILED = ("test_composed_hypernetworks.py", "test_deconv_hypernetworks.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name in COMPILED and getattr(item, "originalname", "") == "test_compiles_as_one_graph":
            item.add_marker(pytest.mark.slow)
