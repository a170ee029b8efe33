"""Learners on a device: everything is there, the host waits for no step, and the numbers are those of the CPU."""

from dataclasses import replace

import pytest
import torch

from bayeshnet.continual import PosteriorReplay, load_state
from bayeshnet.continual.memory import ExampleMemory
from bayeshnet.rng import generator_on
from tests.contracts.test_learners_contract import LEARNERS, TASKS
from tests.support.places import PLACES, unexpected
from tests.support.pretended_device import PretendedDevice
from tests.support.tasks import same_state
from tests.support.waits import Waits

STORED = ("replay-coreset", "experience-replay", "experience-replay-fixed", "joint", "own-module-norm")
"""Learners that choose stored examples, of which other ones are chosen on another device."""
QUICK = ("replay", "prior-focused-low-rank", "ewc", "experience-replay")


def learned(learner, tasks, callbacks=()):
    """Learn tasks in double precision, where rounding differs least."""
    state = None
    for number, task in enumerate(tasks):
        state = learner.learn(state, task.to(dtype=torch.float64), seed=number, callbacks=callbacks)
    return state


def names():
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in LEARNERS]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", names())
def test_learners(place, name):
    """The state stays on the device; steps after the first wait for nothing; training gives the numbers of the CPU."""
    learner = LEARNERS[name]()
    learner.training = replace(learner.training, steps=4)
    with place() as there:
        tasks = [task.to(there.device) for task in TASKS[:2]]
        watch = [Waits(there), Waits(there)]
        state = learned(learner, tasks[:1], [watch[0]])
        state = learner.learn(state, tasks[1].to(dtype=torch.float64), seed=1, callbacks=[watch[1]])
        assert {t.device for t in (*state.parameters(), *state.buffers())} == {tasks[0].train.x.device}
        for counted in watch:
            assert len(counted.counts) == 4
            assert unexpected(counted.of_a_step) == {}
        prediction = learner.predict(state, tasks[1].test.x.double(), task_id=1)
        assert prediction.mean.device == tasks[0].train.x.device
        found, mean = state.to("cpu"), prediction.mean.cpu()
        assert torch.isfinite(mean).all()
    if name in STORED or place is not PLACES[0].values[0]:
        return
    expected = learned(learner, TASKS[:2])
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], value, rtol=1e-6, atol=1e-7, msg=key)
    torch.testing.assert_close(mean, learner.predict(expected, TASKS[1].test.x.double(), task_id=1).mean)


@pytest.mark.parametrize("place", PLACES)
def test_a_state_goes_on_on_another_device(place, tmp_path):
    """A state that was learned on a device is saved, loaded on the CPU, learns on there, and returns to the device."""
    learner = LEARNERS["replay"]()
    assert isinstance(learner, PosteriorReplay)
    learner.training = replace(learner.training, steps=3)
    tasks = [task.to(dtype=torch.float64) for task in TASKS]
    with place() as there:
        learned(learner, [tasks[0].to(there.device)]).save(tmp_path / "state")
    here = load_state(tmp_path / "state")
    assert {p.device.type for p in here.parameters()} == {"cpu"}
    more = learner.learn(here, tasks[1], seed=1)
    assert more.num_tasks == 2
    more.save(tmp_path / "more")
    with place() as there:
        back = load_state(tmp_path / "more").to(there.device)
        last = learner.learn(back, tasks[2].to(there.device), seed=2)
        assert last.num_tasks == 3
        assert all(p.device.type == there.device.type for p in last.parameters())
        back = back.to("cpu")
    assert same_state(back, more)


def test_which_stored_examples_are_drawn_is_known_without_a_wait():
    """All examples are drawn, those of each task in its own part, by a generator derived from that of the device."""
    memory = ExampleMemory()
    for number in range(3):
        x = torch.arange(4.0) + 10 * number
        memory.store(x, x.long())
    drawn = []
    with PretendedDevice() as there:
        memory.to(there.device)
        for _ in range(2):
            generator = generator_on("cpu", torch.Generator(there.device).manual_seed(5))
            assert generator.device.type == "cpu"
            before = there.waits
            parts = memory.draw_each(200, generator, [2, 0])
            assert there.waits == before
            assert {x.device for x, _ in parts} == {there.device}
            drawn.append([x.cpu() for x, _ in parts])
            assert all(torch.equal(x.long(), y) for x, y in parts)
    assert [sorted(set(x.tolist())) for x in drawn[0]] == [[20.0, 21.0, 22.0, 23.0], [0.0, 1.0, 2.0, 3.0]]
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    assert sum(map(len, drawn[0])) == 200
