"""The folder of a run: nothing is overwritten, nothing half-written counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bayeshnet.runs import RunFolder


def test_an_existing_folder_is_left_alone(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create("data: x\n")
    assert folder.open() == "data: x\n"
    with pytest.raises(ValueError, match="bayeshnet run --resume"):
        RunFolder(tmp_path / "run").create("data: y\n")
    assert folder.open() == "data: x\n"


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").create("data: x\n")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ValueError, match="output"):
        RunFolder(tmp_path / "run").create("")
    assert (tmp_path / "run").read_text() == "mine"


def test_tasks_count_when_their_record_is_there(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.last_task() == 0
    state = nn.Linear(2, 2)
    folder.save_task(1, state, {"records": [1]})
    folder.save_task(2, state, {"records": [1, 2]})
    (tmp_path / "checkpoints" / "task-03.safetensors").write_bytes(b"half")  # died before its record was written
    assert folder.last_task() == 2
    other = nn.Linear(2, 2)
    assert folder.load_task(2, other) == {"records": [1, 2]}
    assert torch.equal(other.weight, state.weight)


def test_a_damaged_checkpoint_is_named_and_left_alone(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save_task(1, nn.Linear(2, 2), {})
    file = tmp_path / "checkpoints" / "task-01.safetensors"
    content = file.read_bytes()[:-4]
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"task-01\.safetensors"):
        folder.load_task(1, nn.Linear(2, 2))
    assert file.read_bytes() == content


def test_a_folder_without_configuration_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="resume: expected the folder of a run"):
        RunFolder(tmp_path).open()


def test_a_run_is_not_resumed_under_another_configuration(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create("lr: 1\n")
    folder.save_task(1, nn.Linear(2, 2), {"records": []})
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    assert folder.load_task(1, nn.Linear(2, 2)) == {"records": []}
    folder.config.write_text("lr: 2\n")
    other = nn.Linear(2, 2)
    weight = other.weight.detach().clone()
    with pytest.raises(
        ValueError, match=r"resume: expected the configuration under which task 1 was learnt.*config\.yaml"
    ):
        folder.load_task(1, other)
    assert torch.equal(other.weight, weight)
    folder.config.write_text("lr: 1\n")
    assert before == {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
