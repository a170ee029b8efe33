"""States in folders: a new process goes on exactly where the old one stopped; damaged and foreign files are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import bayeshnet
from bayeshnet.builders import MeanFieldWeights, MLPNetwork, PointWeights
from bayeshnet.continual import (
    EWC,
    ExperienceReplay,
    FineTuning,
    GrowingSoftmax,
    PriorFocused,
    Separate,
    SharedHead,
    Split,
    Task,
    Training,
    load_state,
)
from bayeshnet.guides import Gaussian
from bayeshnet.inference import load_checkpoint, save_checkpoint
from bayeshnet.mnets import MLP, FiLMAdapter, LeNet, ModuleMainNet, ResNet, adapt
from tests.support.tasks import learn, make_task, same_state

ROOT = Path(bayeshnet.__file__).parent.parent
TASKS = [make_task(t) for t in range(3)]
QUICK = {"training": Training(steps=3, batch_size=16), "num_samples": 5}
INPUTS = torch.cat([task.test.x for task in TASKS])


def memory_learner():
    return ExperienceReplay(MLPNetwork((6,)), PointWeights(), heads=GrowingSoftmax(), memory_size=5, **QUICK)


@pytest.fixture
def saved(tmp_path):
    """A learner, its state after two tasks, and the folder that it was saved in."""
    learner = memory_learner()
    state = learn(learner, TASKS[:2])
    return learner, state, state.save(tmp_path / "state")


class Raw(nn.Module):
    """A module with given tensors."""

    def __init__(self, tensors):
        super().__init__()
        self.tensors = tensors

    def state_dict(self, *args, **kwargs):
        return self.tensors


def edit(folder, change):
    """Change the record of a saved state, and write it as if it had been saved so."""
    record = load_checkpoint(folder / "state-1")
    change(record)
    save_checkpoint(folder / "state-1", Raw(load_file(folder / "state-1.safetensors")), record)


def test_a_new_process_predicts_and_learns_on(saved, tmp_path):
    learner, state, folder = saved
    code = f"""
import torch
from bayeshnet.continual import load_state
from tests.support.tasks import make_task
state = load_state({str(folder)!r})
x = torch.cat([make_task(t).test.x for t in range(3)])
predicted = state.learner.predict(state, x, seed=4)
more = state.learner.learn(state, make_task(2), seed=2)
torch.save([predicted.means, predicted.label(), state.labels], {str(tmp_path / "predicted.pt")!r})
more.save({str(tmp_path / "more")!r})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment)
    means, labels, names = torch.load(tmp_path / "predicted.pt")
    here = learner.predict(state, INPUTS, seed=4)
    assert torch.equal(means, here.means)
    assert torch.equal(labels, here.label())
    assert names == [(0, 1), (2, 3)]
    uninterrupted = learner.learn(state, TASKS[2], seed=2)
    more = load_state(tmp_path / "more")
    assert same_state(more, uninterrupted)
    assert more.labels == [(0, 1), (2, 3), (4, 5)]
    assert more.memory.num_examples == 15


@pytest.mark.slow
def test_accuracy_survives_in_a_new_process(tmp_path):
    """The class is the sign of an input, which a trained network knows: as well after loading as before."""
    learner = Separate(MLPNetwork((8,)), MeanFieldWeights(), training=Training(steps=300, lr=3e-2, beta=0.01))
    state = learn(learner, TASKS[:2])
    state.save(tmp_path)
    code = f"""
from bayeshnet.continual import load_state
from tests.support.tasks import make_task
state = load_state({str(tmp_path)!r})
for number in range(2):
    test = make_task(number).test
    print(float((state.learner.predict(state, test.x, task_id=number).label == test.y).float().mean()))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment, capture_output=True)
    for number, text in enumerate(done.stdout.split()):
        test = TASKS[number].test
        accuracy = (learner.predict(state, test.x, task_id=number).label == test.y).float().mean()
        assert float(text) == accuracy >= 0.9


def test_saving_again_replaces_the_state_and_nothing_else(saved):
    learner, state, folder = saved
    (folder / "notes.txt").write_text("mine")
    more = learner.learn(state, TASKS[2])
    more.save(folder)
    assert {p.name for p in folder.iterdir()} == {"notes.txt", "state-2.json", "state-2.safetensors"}
    assert load_state(folder).num_tasks == 3


def test_a_save_that_is_interrupted_leaves_the_state_before_it(saved, monkeypatch):
    learner, state, folder = saved
    more = learner.learn(state, TASKS[2])
    monkeypatch.setattr("bayeshnet.saving.checkpoint.write_text", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        more.save(folder)
    assert same_state(load_state(folder), state)
    monkeypatch.undo()
    more.save(folder)
    assert same_state(load_state(folder), more)


def test_random_numbers_are_left_alone(saved):
    _, state, folder = saved
    before = torch.random.get_rng_state()
    state.save(folder)
    load_state(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_double_precision_and_known_noise(tmp_path):
    """Noise of tasks and dtype belong to the structure of a state."""
    task = make_task(0, kind="regression").to(dtype=torch.float64)
    known = Task("known", task.train, task.test, 1, "regression", info={"noise_std": 0.25})
    learner = PriorFocused(MLPNetwork((4,)), MeanFieldWeights(), **QUICK)
    state = learner.learn(None, known)
    state.save(tmp_path)
    again = load_state(tmp_path)
    assert same_state(again, state)
    assert {p.dtype for p in again.parameters()} == {torch.float64}
    torch.testing.assert_close(again.likelihood.scale, torch.tensor(0.25, dtype=torch.float64))
    assert not again.likelihood.learn
    assert again.labels == [()]
    assert same_state(again.learner.learn(again, known, seed=1), learner.learn(state, known, seed=1))


@pytest.mark.parametrize("learn_noise", [True, False])
def test_a_likelihood_comes_with_its_numbers(tmp_path, learn_noise):
    task = make_task(0, kind="regression")
    likelihood = Gaussian(torch.tensor([0.3]), learn=learn_noise)
    learner = PriorFocused(MLPNetwork((4,)), MeanFieldWeights(), likelihood=likelihood, **QUICK)
    state = learner.learn(None, task)
    state.save(tmp_path)
    again = load_state(tmp_path)
    assert torch.equal(again.learner.likelihood.log_scale, likelihood.log_scale)
    assert same_state(again, state)
    assert same_state(again.learner.learn(None, task), state)


def image_task(size):
    x = torch.randn(24, size, size, 1, generator=torch.Generator().manual_seed(0))
    return Task("images", Split(x, (x.sum((1, 2, 3)) > 0).long()), Split(x, x[:, 0, 0, 0].gt(0).long()), 2)


NETWORKS = {
    "library": lambda: ResNet((4, 4, 1), 2, num_feature_maps=(2, 2, 2, 2), n=1, use_batch_norm=False, verbose=False),
    "modulated": lambda: MLP(16, 2, [3], nn.ELU(alpha=0.5), use_context_mod=True, flatten_inputs=True, verbose=False),
    "lenet": lambda: LeNet((28, 28, 1), 2, arch="mnist_small", no_weights=True, verbose=False),
    "torch": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(16, 6, bias=False), nn.LayerNorm(6), nn.Softplus(beta=2.0), nn.Linear(6, 2)
    ),
    "last layer": lambda: ModuleMainNet(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 2)), select="3.*"
    ),
    "chosen": lambda: ModuleMainNet(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), select=lambda name, _: name.endswith("weight")
    ),
    "adapted": lambda: adapt(nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 2)), "lora", rank=2),
    "scaled": lambda: ModuleMainNet(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)),
        select=lambda name, _: name.startswith("4."),
        adapter=FiLMAdapter("2"),
    ),
    "frozen": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)
    ).eval(),
    "double": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double(),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_come_with_their_values(name, tmp_path):
    """A new stream begins with the network that the learner was given, a stream goes on with its own."""
    task, net = image_task(28 if name == "lenet" else 4), NETWORKS[name]()
    if name == "double":
        task = task.to(dtype=torch.float64)
    learner = FineTuning(net, MeanFieldWeights(), **QUICK)
    state = learner.learn(None, task)
    state.save(tmp_path)
    again = load_state(tmp_path)
    assert same_state(again, state)
    loaded = again.learner.network
    assert same_state(loaded, net)
    assert repr(loaded) == repr(net) or name in ("chosen", "scaled")
    assert [m.training for m in loaded.modules()] == [m.training for m in net.modules()]
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in net.parameters()]
    assert torch.equal(again.learner.predict(again, task.test.x, 0).mean, learner.predict(state, task.test.x, 0).mean)
    assert same_state(again.learner.learn(None, task, seed=3), learner.learn(None, task, seed=3))


def test_tokens_stay_integers(tmp_path):
    x = torch.randint(7, (30, 5), generator=torch.Generator().manual_seed(0))
    task = Task("tokens", Split(x, (x[:, 0] > 3).long()), Split(x, (x[:, 0] > 3).long()), 2, labels=(4, 1))
    net = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(15, 2))
    learner = ExperienceReplay(net, MeanFieldWeights(), heads=SharedHead(), memory_size=4, **QUICK)
    state = learn(learner, [task, task])
    loaded = load_state(state.save(tmp_path))
    assert same_state(loaded, state)
    assert loaded.memory.of(1)[0].dtype == torch.int64
    first, second = (s.learner.predict(s, x).label("entropy") for s in (loaded, state))
    assert torch.equal(first, second)
    assert set(first.tolist()) <= {4, 1}
    assert same_state(loaded.learner.learn(loaded, task, seed=1), learner.learn(state, task, seed=1))


def test_a_given_learner_takes_the_values_that_were_saved(tmp_path):
    """Its network was drawn anew; a stream that it begins afterwards is that of the learner that was saved."""

    def make():
        return FineTuning(nn.Sequential(nn.Linear(4, 2)), MeanFieldWeights(), **QUICK)

    learner, other = make(), make()
    state = learner.learn(None, TASKS[0])
    assert not same_state(other.network, learner.network)
    loaded = load_state(state.save(tmp_path), learner=other)
    assert same_state(loaded, state)
    assert same_state(other.network, learner.network)


@pytest.mark.parametrize("use", ["task", "track", "batch", "eval"])
@pytest.mark.parametrize("kind", ["torch", "library"])
def test_statistics_and_layout_of_images_are_saved(kind, use, tmp_path):
    """Three tasks of images (C, H, W) with batch norm: each is predicted by its own statistics after loading too."""

    def images(number):
        x = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(number)) + 3 * number
        y = (x.mean((1, 2, 3)) > 3 * number).long()
        return Task(f"images {number}", Split(x, y), Split(x, y), 2, info={"layout": "CHW"})

    if kind == "torch":
        layers = [nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)]
        net = nn.Sequential(*layers)
    else:
        net = ResNet((4, 4, 1), 2, num_feature_maps=(2, 2, 2, 2), n=1, verbose=False)
    tasks = [images(number) for number in range(3)]
    learner = Separate(net, MeanFieldWeights(), batch_norm=use, **QUICK)
    state = learn(learner, tasks)
    loaded = load_state(state.save(tmp_path))
    assert same_state(loaded, state)
    assert loaded.layout == "CHW"
    assert loaded.learner.batch_norm == use
    assert (loaded.statistics is None) == (use != "task")
    for number, task in enumerate(tasks):
        before, after = (s.learner.predict(s, task.test.x, number).mean for s in (state, loaded))
        assert torch.equal(before, after)
    assert same_state(loaded.learner.learn(loaded, tasks[0], seed=7), learner.learn(state, tasks[0], seed=7))


class OwnNet(nn.Module):
    """A network of a class that the library does not know."""

    def __init__(self, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("inside", [False, True])
def test_what_cannot_be_described_is_named_and_asked_for(inside, tmp_path, caplog):
    net = nn.Sequential(OwnNet(), nn.Identity()) if inside else OwnNet()
    learner = Separate(net, MeanFieldWeights(), **QUICK)
    state = learn(learner, TASKS[:2])
    state.save(tmp_path)
    name = r"OwnNet in Sequential" if inside else "OwnNet"
    needs = "loading will take load_state(folder, learner=...), since files cannot describe"
    assert caplog.messages == [f"{tmp_path}: {needs} learner.network ({name})"]
    expected = rf"learner: .* cannot describe learner.network \({name}\); pass load_state\(folder, learner=\.\.\.\)"
    with pytest.raises(ValueError, match=expected):
        load_state(tmp_path)
    again = load_state(tmp_path, learner=learner)
    assert same_state(again, state)
    assert again.learner is learner


def test_another_learner_is_refused_with_the_setting_that_differs(saved):
    _, state, folder = saved
    other = memory_learner()
    assert same_state(load_state(folder, learner=other), state)
    other.memory_size = 6
    with pytest.raises(ValueError, match=r"learner: expected .* got another learner.memory_size\."):
        load_state(folder, learner=other)
    with pytest.raises(ValueError, match="another learner"):
        load_state(folder, learner=EWC(MLPNetwork((6,)), **QUICK))
    with pytest.raises(TypeError, match="learner: expected a Learner, or None"):
        load_state(folder, learner="ExperienceReplay")


def test_tied_and_hooked_layers_are_asked_for(tmp_path):
    """Their structure is more than the arguments of the layers."""
    tied = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))
    tied[2].weight = tied[0].weight
    hooked = nn.Sequential(nn.Linear(4, 2))
    hooked[0].register_forward_hook(lambda module, args, output: 2 * output)
    for number, net in enumerate((tied, hooked)):
        folder = tmp_path / str(number)
        Separate(net, MeanFieldWeights(), **QUICK).learn(None, TASKS[0]).save(folder)
        with pytest.raises(ValueError, match=r"cannot describe learner.network"):
            load_state(folder)


OWN = '''
"""A package of a user."""
import pathlib
from bayeshnet.builders import MLPNetwork, NetworkBuilder
from bayeshnet.continual import SharedLearner

pathlib.Path(__file__).with_name("imported").touch()


class Wide(NetworkBuilder):
    def __init__(self, width):
        self.width = width

    def build(self, input_shape, num_outputs):
        return MLPNetwork((self.width,)).build(input_shape, num_outputs)


class Doubled(Wide):
    def __init__(self, width):
        super().__init__(2 * width)


class Own(SharedLearner):
    def prior(self, state, previous, task):
        return state.posterior.prior(task.train.x)
'''


@pytest.mark.slow
def test_classes_of_ones_own_are_imported_only_if_allowed(tmp_path):
    (tmp_path / "own_parts.py").write_text(OWN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    code = f"""
import pathlib, sys
sys.path.insert(0, {str(tmp_path)!r})
import own_parts
from bayeshnet.builders import MeanFieldWeights
from bayeshnet.continual import Training
from tests.support.tasks import make_task
for name in ("Wide", "Doubled"):
    network = getattr(own_parts, name)(3)
    learner = own_parts.Own(network, MeanFieldWeights(), training=Training(steps=2), num_samples=3)
    learner.learn(None, make_task(0)).save({str(tmp_path)!r} + "/" + name)
pathlib.Path({str(tmp_path / "imported")!r}).unlink()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment)
    sys.path.insert(0, str(tmp_path))
    try:
        refusal = r"allow: expected .* got the class 'own_parts.Own'.*allow=\['own_parts'\]"
        with pytest.raises(ValueError, match=refusal):
            load_state(tmp_path / "Wide")
        assert not (tmp_path / "imported").exists()
        assert "own_parts" not in sys.modules
        state = load_state(tmp_path / "Wide", allow=["own_parts"])
        assert type(state.learner).__name__ == "Own"
        assert state.learner.network.width == 3
        # Its attribute is not the argument that made it: building it again would double the width once more.
        with pytest.raises(ValueError, match=r"cannot describe learner.network \(Doubled\)"):
            load_state(tmp_path / "Doubled", allow=["own_parts"])
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("own_parts", None)


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.Popen", "builtins.eval", "bayeshnet.files.write_text", "torch"]
)
def test_foreign_classes_in_a_file_are_refused(saved, name):
    folder = saved[2]
    before = (folder / "state-1.safetensors").read_bytes()
    edit(folder, lambda record: record["learner"].update({"class": name, "arguments": {"args": "true"}}))
    with pytest.raises(ValueError, match=rf"allow: .*the class '{name}'"):
        load_state(folder)
    assert (folder / "state-1.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(holds="a run"), "folder: expected the state of a learner"),
        (lambda r: r.update(state_format=99), "folder: expected a state in format 1, got number 99"),
        (lambda r: r.pop("shape"), "folder: expected an undamaged state"),
        (lambda r: r["shape"].update(dtype="load"), "folder: expected an undamaged state"),
        (lambda r: r.update(num_tasks=-1), "folder: expected an undamaged state"),
        (lambda r: r.update(num_tasks=1), "module: expected the structure"),
        (lambda r: r.update(learner={}), "folder: expected a description with entries of a known kind"),
        (lambda r: r.update(learner=3), "folder: expected the state of a learner, got that of a int"),
        (lambda r: r["learner"]["arguments"].update(memory_size="many"), "folder: expected a description with a valid"),
        (lambda r: r["learner"]["arguments"].update(colour=1), "folder: expected a description with a valid"),
        (lambda r: r["learner"].pop("arguments"), "folder: expected a description with a valid"),
        (
            lambda r: r["learner"]["arguments"]["network"]["arguments"].update(hidden_layers={"tuple": [7]}),
            "module: expected the structure",
        ),
    ],
)
def test_damaged_records_are_named_and_left_alone(saved, change, message):
    folder = saved[2]
    edit(folder, change)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ValueError, match=message):
        load_state(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_other_folders_are_refused(tmp_path, saved):
    learner, state, folder = saved
    with pytest.raises(FileNotFoundError, match="folder: expected a folder that a state was saved in"):
        load_state(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"folder: expected one that a state was saved in, with state-1\.json"):
        load_state(tmp_path)
    with pytest.raises(ValueError, match="device: expected a device that is present"):
        load_state(folder, device="nonsense")
    (tmp_path / "file").write_text("text")
    with pytest.raises(ValueError, match="folder: expected a folder, or a path where there is nothing yet"):
        state.save(tmp_path / "file")
    (folder / "state-1.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"state-1.safetensors', which cannot be read"):
        load_state(folder)
    state.learner = None
    with pytest.raises(ValueError, match=r"learner: expected the learner of the state.*save\(folder, learner"):
        state.save(tmp_path / "new")
    state.save(tmp_path / "new", learner=learner)
    assert same_state(load_state(tmp_path / "new"), state)


def test_restored_states_have_the_labels_that_were_saved(tmp_path):
    """Labels are part of a state's tensors, so that checkpoints and state dicts have them as well."""
    learner = memory_learner()
    state = learn(learner, TASKS[:2])
    save_checkpoint(tmp_path / "state", state)
    loaded = learner.restore(TASKS[0], 2)
    load_checkpoint(tmp_path / "state", loaded)
    assert loaded.labels == [(0, 1), (2, 3)]
    other = learner.restore(TASKS[0], 2)
    other.memory.resize_like({k.removeprefix("memory."): v for k, v in state.state_dict().items()})
    other.load_state_dict(state.state_dict())
    assert other.labels == [(0, 1), (2, 3)]
    assert torch.equal(learner.predict(loaded, INPUTS).label(), learner.predict(state, INPUTS).label())


def test_states_of_earlier_versions_load_without_labels(tmp_path):
    learner = FineTuning(MLPNetwork((6,)), MeanFieldWeights(), **QUICK)
    state, other = learn(learner, TASKS[:2]), learn(learner, TASKS[:2], seed=5)
    old = state.state_dict()
    del old["_extra_state"]
    other.labels = [(7, 8), (9, 10)]
    assert other.load_state_dict(old) == ([], [])
    assert same_state(other, state) is False
    assert other.labels == [(7, 8), (9, 10)]
    assert torch.equal(other.posterior(0).mean, state.posterior(0).mean)
    save_checkpoint(tmp_path / "old", Raw(old))
    restored = learner.restore(TASKS[1], 2)
    load_checkpoint(tmp_path / "old", restored)
    assert torch.equal(restored.posterior(0).mean, state.posterior(0).mean)
