"""States of learners: old checkpoints, former names, and what is printed."""

from __future__ import annotations

import pytest
from torch import nn

from bayeshnet.builders import HyperHypernetwork, ImplicitGenerator, MeanFieldWeights, MLPNetwork
from bayeshnet.continual import Coreset, FineTuning, PosteriorReplay, Training
from bayeshnet.inference import load_checkpoint, save_checkpoint
from tests.support.tasks import learn, make_task, same_state

TASKS = [make_task(t) for t in range(2)]
NET = MLPNetwork((5,), "tanh")
QUICK = Training(steps=1, batch_size=8)
LEARNERS = {
    "implicit": PosteriorReplay(NET, ImplicitGenerator(latent_size=2), coreset=Coreset(3), training=QUICK),
    "hyper": PosteriorReplay(NET, HyperHypernetwork(latent_size=2), training=QUICK),
    "shared": FineTuning(NET, MeanFieldWeights(), training=QUICK),
}


def old_names(state):
    """The state dict as it was before ``conditional`` and ``log_density_std`` had their names."""
    names = {name: name.replace("posterior.conditional.", "posterior.generator.") for name in state.state_dict()}
    names = {name: old.replace(".log_density_std", ".spread") for name, old in names.items()}
    return {names[name]: value for name, value in state.state_dict().items()}


class Saved(nn.Module):
    """A module with a given state dict."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def state_dict(self, *args, **kwargs):
        return self.state


@pytest.mark.parametrize("name", LEARNERS)
def test_checkpoints_with_former_names_are_loaded(name, tmp_path):
    learner = LEARNERS[name]
    state = learn(learner, TASKS)
    old = old_names(state)
    assert "_densities.0.spread" in old
    assert any(".generator." in key for key in old) == (name != "shared")
    save_checkpoint(tmp_path / "state", Saved(old))
    loaded = learner.restore(TASKS[0], 2)
    load_checkpoint(tmp_path / "state", loaded)
    assert same_state(loaded, state)
    assert not any(".generator." in key or ".spread" in key for key in loaded.state_dict())


def test_state_dicts_with_former_names_are_loaded_by_torch():
    learner = LEARNERS["hyper"]
    state, other = learn(learner, TASKS), learn(learner, TASKS, seed=5)
    assert not same_state(other, state)
    old = old_names(state)
    assert other.load_state_dict(old) == ([], [])
    assert same_state(other, state)
    assert "_densities.0.spread" in old, "the dict that is given is not changed"
    old["_densities.0.sprawl"] = old.pop("_densities.0.spread")
    with pytest.raises(RuntimeError, match=r"log_density_std.*\n.*sprawl"):
        other.load_state_dict(old)


def test_former_names_of_attributes_warn():
    state = learn(LEARNERS["hyper"], TASKS[:1])
    with pytest.warns(DeprecationWarning, match="use GeneratedTasks.conditional"):
        assert state.posterior.generator is state.posterior.conditional
    with pytest.warns(DeprecationWarning, match="use TaskDensity.log_density_std"):
        assert state.densities[0].spread is state.densities[0].log_density_std


def test_a_state_shows_what_it_holds():
    text = repr(learn(LEARNERS["implicit"], TASKS))
    assert "num_tasks=2, classification, (4,) -> 2" in text
    assert "ExampleMemory(num_tasks=2, num_examples=6)" in text
    assert "TaskDensity(" in text
