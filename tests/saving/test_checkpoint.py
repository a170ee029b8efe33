"""Checkpoints: what is saved comes back, what is damaged is named, nothing is half written."""

import json
import os

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from bayeshnet.distributions import HypernetPosterior
from bayeshnet.guides import AutoHypernet, HypernetGuide
from bayeshnet.hnets import HMLP
from bayeshnet.saving import load_checkpoint, save_checkpoint


def module(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).double())


def same(a, b):
    return all(torch.equal(a.state_dict()[name], b.state_dict()[name]) for name in a.state_dict())


@pytest.mark.parametrize("name", ["run", "run.safetensors", "run.json", "task.01"])
def test_what_is_saved_comes_back(tmp_path, name):
    saved, fresh = module(0), module(1)
    save_checkpoint(tmp_path / "deep" / name, saved, {"step": 3, "names": ["a", "b"]})
    assert load_checkpoint(tmp_path / "deep" / name, fresh) == {"step": 3, "names": ["a", "b"]}
    assert same(saved, fresh)
    assert sorted(p.suffix for p in (tmp_path / "deep").iterdir()) == [".json", ".safetensors"]
    assert load_checkpoint(tmp_path / "deep" / name) == {"step": 3, "names": ["a", "b"]}


def test_tied_and_strided_tensors_are_saved(tmp_path):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    tied.register_buffer("strided", torch.arange(6.0).reshape(2, 3).T)
    tied.register_buffer("empty", torch.zeros(0))
    save_checkpoint(tmp_path / "m", tied)
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    other.register_buffer("strided", torch.zeros(3, 2))
    other.register_buffer("empty", torch.zeros(0))
    load_checkpoint(tmp_path / "m", other)
    assert same(tied, other)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_damaged_file_is_named_and_left_alone(tmp_path, suffix, damage):
    save_checkpoint(tmp_path / "run", module(), {"step": 1})
    path = tmp_path / f"run{suffix}"
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": b"\x00\xff" * 50}[damage])
    before, target = path.read_bytes(), module(1)
    untouched = {name: t.clone() for name, t in target.state_dict().items()}
    with pytest.raises(ValueError, match=f"run{suffix}.*cannot be read"):
        load_checkpoint(tmp_path / "run", target)
    assert path.read_bytes() == before
    assert all(torch.equal(t, untouched[name]) for name, t in target.state_dict().items())


def test_a_changed_value_is_found_out(tmp_path):
    save_checkpoint(tmp_path / "run", module())
    path = tmp_path / "run.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="tensors that belong to"):
        load_checkpoint(tmp_path / "run", module())


def test_files_of_two_checkpoints_are_found_out(tmp_path):
    save_checkpoint(tmp_path / "one", module(0))
    save_checkpoint(tmp_path / "two", module(1))
    (tmp_path / "one.safetensors").replace(tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="tensors that belong to"):
        load_checkpoint(tmp_path / "two", module())


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_missing_file_is_named(tmp_path, suffix):
    save_checkpoint(tmp_path / "run", module())
    (tmp_path / f"run{suffix}").unlink()
    with pytest.raises(FileNotFoundError, match=f"run{suffix}"):
        load_checkpoint(tmp_path / "run", module())


def test_a_module_of_another_structure_is_refused(tmp_path):
    save_checkpoint(tmp_path / "run", module())
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False), nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"missing: 3.bias, 3.weight; unknown: 2.bias.*another structure"):
        load_checkpoint(tmp_path / "run", other)
    with pytest.raises(ValueError, match=r"of another shape: 0.weight"):
        load_checkpoint(tmp_path / "run", nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))


def regression():
    """A Pyro model whose guide is built when it first runs."""
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(slope * torch.ones(3), 1.0), obs=torch.tensor([1.0, 2.0, 3.0]))


def test_a_guide_that_has_not_run_is_loaded(tmp_path):
    guide = AutoHypernet(regression, layers=(4,))
    guide()
    save_checkpoint(tmp_path / "guide", guide)
    fresh = AutoHypernet(regression, layers=(4,))
    load_checkpoint(tmp_path / "guide", fresh)
    assert same(guide, fresh)
    drawn = [g.distribution().draw(5, torch.Generator().manual_seed(1)).w for g in (guide, fresh)]
    assert torch.equal(*drawn)
    other = AutoHypernet(regression, layers=(5,))
    with pytest.raises(ValueError, match="module: expected the structure of the module that was saved, got unknown"):
        load_checkpoint(tmp_path / "guide", other)
    assert other.state_dict() == {}, "a module that is refused is left unchanged"


def posterior(conditions, **options):
    hnet = HMLP([[2, 3], [2]], 2, 4, layers=[5], num_cond_embs=conditions, verbose=False, **options)
    return HypernetGuide(HypernetPosterior(hnet))


def test_conditions_that_were_added_are_loaded(tmp_path):
    guide = posterior(2)
    guide.posterior.add_conditions(3)
    save_checkpoint(tmp_path / "guide", guide)
    fresh = posterior(2)
    load_checkpoint(tmp_path / "guide", fresh)
    assert same(guide, fresh)
    for task in range(5):
        drawn = [g.distribution(task).draw(4, torch.Generator().manual_seed(1)).w for g in (guide, fresh)]
        assert torch.equal(*drawn)
    more = posterior(7)
    with pytest.raises(ValueError, match=r"module: expected the structure .* got missing"):
        load_checkpoint(tmp_path / "guide", more)
    narrow = posterior(2, use_bias=False)
    before = list(narrow.state_dict())
    with pytest.raises(ValueError, match=r"module: expected the structure .* unknown"):
        load_checkpoint(tmp_path / "guide", narrow)
    assert list(narrow.state_dict()) == before


def test_lazy_layers_are_loaded(tmp_path):
    net = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2))
    net(torch.zeros(1, 4))
    save_checkpoint(tmp_path / "net", net)
    fresh = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2))
    load_checkpoint(tmp_path / "net", fresh)
    assert same(net, fresh)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def get_extra_state(self):
        return {"not": "a tensor"}

    def set_extra_state(self, state):
        pass


def test_state_that_is_no_tensor_is_refused(tmp_path):
    with pytest.raises(TypeError, match="_extra_state"):
        save_checkpoint(tmp_path / "run", Odd())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", [{"x": torch.zeros(2)}, {"x": float("nan")}, {"x": {1, 2}}])
def test_a_record_that_json_cannot_hold_is_refused(tmp_path, record):
    with pytest.raises(TypeError, match="record: expected"):
        save_checkpoint(tmp_path / "run", module(), record)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    old = module(0)
    save_checkpoint(tmp_path / "run", old, {"step": 1})

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "run", module(1), {"step": 2})
    monkeypatch.undo()
    fresh = module(2)
    assert load_checkpoint(tmp_path / "run", fresh) == {"step": 1}
    assert same(old, fresh)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_record_is_readable_by_others(tmp_path):
    save_checkpoint(tmp_path / "run", module(), {"step": 1})
    body = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert body["record"] == {"step": 1}
    assert body["format"] == 2


def test_keys_that_json_turns_into_text_are_read_as_text(tmp_path):
    save_checkpoint(tmp_path / "run", module(), {"by number": {1: "a", 10: "b", 2: ("c", 0.1)}})
    assert load_checkpoint(tmp_path / "run") == {"by number": {"1": "a", "10": "b", "2": ["c", 0.1]}}


@pytest.mark.slow
def test_every_flipped_bit_of_a_record_is_found_or_changes_nothing(tmp_path):
    save_checkpoint(tmp_path / "run", module(), {"accuracy": [99.5, 0.25], "name": "a"})
    path = tmp_path / "run.json"
    content = path.read_bytes()
    for place in range(8 * len(content)):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            assert load_checkpoint(tmp_path / "run") == {"accuracy": [99.5, 0.25], "name": "a"}
        except ValueError as error:
            assert "run.json" in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017


def test_records_of_format_1_are_read_and_newer_ones_refused(tmp_path):
    save_checkpoint(tmp_path / "run", module(), {"step": 1})
    path = tmp_path / "run.json"
    body = json.loads(path.read_text())
    del body["checksum"]
    for number in (2, 3, None, "1", True, 0, 1.0):
        path.write_text(json.dumps({**body, "format": number}))
        with pytest.raises(ValueError, match=r"run\.json.*(checksum differs|format 2 or older|a format number)"):
            load_checkpoint(tmp_path / "run")
    path.write_text(json.dumps({**body, "format": 1}))
    assert load_checkpoint(tmp_path / "run", module()) == {"step": 1}
