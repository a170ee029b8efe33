"""Diagnostics that are computed at first access."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from bayeshnet.estimators.lazy_diagnostics import LazyDiagnostics


def make():
    calls = []
    x = torch.ones((), requires_grad=True)

    def later():
        calls.append(1)
        return 2 * x

    return LazyDiagnostics({"a": 1}, {"b": later, "c": lambda: 3}), calls


def test_values_are_computed_once_at_first_access():
    found, calls = make()
    assert (list(found), len(found), "b" in found, "d" in found) == (["a", "b", "c"], 3, True, False)
    assert found.get("a") == 1
    assert calls == []
    assert not found["b"].requires_grad
    assert float(found["b"]) == 2
    assert calls == [1]
    with pytest.raises(KeyError):
        found["d"]


def test_they_mix_with_dictionaries_and_can_be_copied():
    found, _ = make()
    assert found | {"c": 4} == {"a": 1, "b": torch.tensor(2.0), "c": 4}
    assert repr(found) == "{'a': 1, 'b': tensor(2.), 'c': 3}"
    for again in (copy.deepcopy(make()[0]), pickle.loads(pickle.dumps(LazyDiagnostics({"a": 1}, {"b": dict})))):
        assert list(again)[:2] == ["a", "b"]
