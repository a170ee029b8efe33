"""A folder that an earlier version wrote is read as it was, and descriptions of learners are what they were."""

import copy
import json
from pathlib import Path

import pytest
import torch

from bayeshnet.continual import EvidenceSettings, load_state
from bayeshnet.saving import describe
from tests.support.tasks import make_task

FOLDER = Path(__file__).parent / "earlier"
# What the earlier version predicted, for task 1 with seed 4.
PREDICTED = [
    [0.39837801456451416, 0.6016219854354858],
    [0.3879685401916504, 0.6120314598083496],
    [0.37119245529174805, 0.6288076043128967],
    [0.3829815089702606, 0.617018461227417],
]


def test_it_is_loaded_and_predicts_as_before():
    state = load_state(FOLDER)
    assert state.labels == [(0, 1), (2, 3)]
    found = state.learner.predict(state, make_task(0).test.x, task_id=1, seed=4).mean[:4].double()
    torch.testing.assert_close(found, torch.tensor(PREDICTED, dtype=torch.float64), rtol=1e-5, atol=1e-6)


def test_its_learner_is_described_in_the_same_words():
    written = json.loads((FOLDER / "state-1.json").read_text())["record"]["learner"]
    described = describe(load_state(FOLDER).learner).value
    added = described["arguments"].pop("evidence")  # arguments that came later, at their defaults
    assert added == describe(EvidenceSettings()).value
    training = described["arguments"]["training"]["arguments"]
    assert {name: training.pop(name) for name in ("amp", "capture", "compile")} == {
        "amp": None,
        "capture": False,
        "compile": False,
    }
    assert described["arguments"]["posterior"]["arguments"].pop("block_size") is None
    assert described == written


def test_a_learner_with_settings_that_came_later_is_taken_at_their_defaults():
    learner = load_state(FOLDER).learner
    assert load_state(FOLDER, learner=learner).learner is learner
    other = copy.copy(learner)
    other.evidence = EvidenceSettings(set_aside=7)
    with pytest.raises(ValueError, match="learner: expected the learner that the state was saved with, got another"):
        load_state(FOLDER, learner=other)
