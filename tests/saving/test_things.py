"""Saved things: posteriors, networks and settings come back in another process, and what cannot is named."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import bayeshnet
from bayeshnet import builders, load, save
from bayeshnet.builders import ImplicitGenerator, PosteriorBuilder
from bayeshnet.continual.task_posterior import GeneratedTasks
from bayeshnet.distributions import HypernetPosterior, MeanFieldPosterior
from bayeshnet.estimators import AVB, LIVI, ImportanceSandwich
from bayeshnet.guides import Gaussian
from bayeshnet.hnets import HMLP, HContainer, HPerturbWrapper
from bayeshnet.inference import DrawnPosterior, SampledPosterior
from bayeshnet.mnets import MLP, ModuleMainNet
from bayeshnet.saving import describe, load_checkpoint, save_checkpoint
from bayeshnet.weights import WeightSpec
from tests.support.tasks import same_state

ROOT = Path(bayeshnet.__file__).parent.parent
NET = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
SPEC = WeightSpec.of(NET)
BUILDERS = {
    name: getattr(builders, name)
    for name in builders.__all__
    if isinstance(getattr(builders, name), type)
    and issubclass(getattr(builders, name), PosteriorBuilder)
    and getattr(builders, name) is not PosteriorBuilder
}


def hnet(spec=SPEC, **settings):
    return HMLP(spec.shapes, 2, 0, [3], verbose=False, **settings)


def draws(posterior, **condition):
    return posterior.rsample((3,), torch.Generator().manual_seed(0), **condition)


class Plain(nn.Module):
    """A network of one's own, whose constructor keeps its arguments."""

    def __init__(self, width, names=("a", "b")):
        super().__init__()
        self.width, self._names = width, names
        self.layer = nn.Linear(3, width)

    def forward(self, x):
        return self.layer(x)


class Recorded(nn.Module):
    """A network of one's own that says its arguments."""

    def __init__(self, layer, size):
        super().__init__()
        self.inner = layer
        self.register_buffer("size", torch.tensor(float(size)))

    def constructor_arguments(self):
        return {"layer": self.inner, "size": 0}

    def forward(self, x):
        return self.size * self.inner(x)


class Secret(nn.Module):
    """A network of one's own of which one cannot know the arguments."""

    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(3, width)
        self.tied = self.layer

    def forward(self, x):
        return self.tied(x)


@pytest.mark.parametrize("name", BUILDERS)
def test_posteriors_of_all_builders_come_back(tmp_path, name):
    """Conditions that were added, whitening and values included; draws are equal to the last bit."""
    posterior = BUILDERS[name]().build(SPEC).double()
    condition = {}
    if hasattr(posterior, "add_conditions"):
        posterior.add_conditions(2)
        condition = {"cond_id": 2}
    before = torch.random.get_rng_state()
    posterior.save(tmp_path)
    again = load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same_state(again, posterior)
    assert again.weight_spec == SPEC
    assert draws(again, **condition).dtype == torch.float64
    assert torch.equal(draws(again, **condition), draws(posterior, **condition))


VARIANTS = {
    "noise of each weight": lambda: HypernetPosterior(hnet(), sigma=torch.linspace(0.1, 0.2, SPEC.numel)),
    "parameter": lambda: HypernetPosterior(hnet(), sigma=nn.Parameter(torch.full((len(SPEC.entries),), 0.3))),
    "generated noise": lambda: HypernetPosterior(
        HMLP(SPEC.shapes, 2, 2, [3], num_cond_embs=1, verbose=False),
        sigma=HMLP(SPEC.shapes, cond_in_size=2, num_cond_embs=1, layers=[2], verbose=False),
        cond_id=0,
    ),
    "shared noise": lambda: HypernetPosterior(HPerturbWrapper(hnet(), 2, 0.3, verbose=False), scale="fan_in"),
    "spec": lambda: HypernetPosterior(hnet(), weight_spec=SPEC, scale=torch.linspace(1, 2, SPEC.numel)),
    "number": lambda: HypernetPosterior(hnet(activation_fn=nn.Tanh()), scale=0.5, sigma_floor=1e-3, sigma="learned"),
    "plain": lambda: MeanFieldPosterior(SPEC, sigma=0.2),
    "draws": lambda: DrawnPosterior(torch.randn(5, SPEC.numel), SPEC),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_posteriors_come_back(tmp_path, name):
    posterior = VARIANTS[name]()
    save(posterior, tmp_path)
    again = load(tmp_path)
    assert same_state(again, posterior)
    assert torch.equal(draws(again), draws(posterior))
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in posterior.parameters()]
    assert {type(m) for m in again.modules()} == {type(m) for m in posterior.modules()}


@pytest.mark.slow
def test_several_things_come_back_in_a_new_process(tmp_path):
    """Statistics of batch norm, the rest of the network and numbers of the likelihood as well."""
    net = ModuleMainNet(NET, select="3.*", batch_norm="track", train_rest=True)
    net.train()
    net(torch.randn(50, 3), weights=[torch.zeros(1, 4), torch.zeros(1)])
    things = {
        "posterior": ImplicitGenerator().build(net.weight_spec),
        "net": net.eval(),
        "likelihood": Gaussian(0.3, learn=True),
        "estimators": [LIVI(), AVB(), ImportanceSandwich(num_samples=7)],
    }
    save(things, tmp_path / "things")
    code = f"""
import torch, bayeshnet
things = bayeshnet.load({str(tmp_path / "things")!r})
weights = things["posterior"].rsample((3,), torch.Generator().manual_seed(0))
x = torch.linspace(-1, 1, 12).reshape(4, 3)
outputs = bayeshnet.batched_forward(things["net"], weights, x)
bayeshnet.save_list = [outputs.tolist(), things["likelihood"].scale.item(), repr(things["estimators"])]
import json
print(json.dumps(bayeshnet.save_list))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    outputs, scale, shown = json.loads(done.stdout)
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    expected = bayeshnet.batched_forward(net, draws(things["posterior"]), x)
    torch.testing.assert_close(torch.tensor(outputs), expected, rtol=1e-6, atol=1e-7)
    assert scale == things["likelihood"].scale.item()
    assert shown == repr(things["estimators"])
    assert {p.name for p in (tmp_path / "things").iterdir()} == {"object-1.json", "object-1.safetensors"}


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4), ()])
def test_small_tensors_keep_shape_and_type(tmp_path, shape):
    value = torch.full(shape, 1.5, dtype=torch.float64)
    save({"value": value}, tmp_path / "thing")
    again = load(tmp_path / "thing")["value"]
    assert (again.shape, again.dtype) == (value.shape, torch.float64)
    assert torch.equal(again, value)


def test_networks_of_ones_own_are_imported_only_if_allowed(tmp_path):
    net = ModuleMainNet(nn.Sequential(Plain(4), nn.Tanh(), nn.Linear(4, 1)), select="2.*")
    package = Plain.__module__.partition(".")[0]
    save(net, tmp_path)
    with pytest.raises(ValueError, match=r"^allow: expected .*Plain.*allow="):
        load(tmp_path)
    for again in (load(tmp_path, allow=[package]), load(tmp_path, module=Plain(4))):
        assert same_state(again, net)
        assert again.module[0]._names == ("a", "b")
    given = Plain(4)
    assert (
        load(tmp_path, module={"ModuleMainNet.module.0": given})
        .module[0]
        .layer.weight.equal(net.module[0].layer.weight)
    )
    with pytest.raises(ValueError, match=r"^module: expected .*others: \['nowhere'\]"):
        load(tmp_path, module={"nowhere": given})
    with pytest.raises(TypeError, match=r"^module: expected a module"):
        load(tmp_path, module=3)
    with pytest.raises(ValueError, match=r"^module: expected the structure"):
        load(tmp_path, module=Plain(5))


def test_a_module_may_say_its_arguments(tmp_path, caplog):
    net = Recorded(nn.Linear(3, 2), 4)
    save(net, tmp_path)
    assert caplog.messages == []  # nothing has to be given again
    again = load(tmp_path, allow=[Recorded.__module__.partition(".")[0]])
    assert same_state(again, net)
    assert again.size == 4


def test_parts_that_are_not_described_are_given_again(tmp_path, caplog):
    """Tied tensors stay tied, since the part is built by its own class."""
    things = {"first": Secret(2), "rest": nn.Sequential(nn.ReLU(), Plain(2), nn.Linear(2, 2)), "last": Secret(3).eval()}
    save(things, tmp_path)
    (said,) = caplog.messages
    needs = "loading will take load(folder, module=...), since files cannot describe"
    assert said == f"{tmp_path}: {needs} thing.first (Secret), thing.last (Secret)"
    with pytest.raises(ValueError, match=r"'thing.first' \(Secret\), 'thing.last' \(Secret\)"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"^module: expected a dict"):
        load(tmp_path, module=Secret(2))
    with pytest.raises(ValueError, match=r"none for \['thing.last'\]"):
        load(tmp_path, module={"thing.first": Secret(2)})
    parts = {"thing.first": Secret(2), "thing.last": Secret(3)}
    again = load(tmp_path, module=parts, allow=[Plain.__module__.partition(".")[0]])
    assert again["first"] is parts["thing.first"]
    assert again["first"].tied is again["first"].layer
    assert all(same_state(again[name], things[name]) for name in things)


def test_the_posterior_of_a_learners_state_is_given_again(tmp_path):
    """Its constructor takes what it does not keep, so that the values alone are saved."""
    posterior = GeneratedTasks(ImplicitGenerator(latent_size=2, hidden_layers=(4,)), SPEC)
    posterior.grow()
    save({"posterior": posterior}, tmp_path)
    with pytest.raises(ValueError, match=r"module: expected the parts that files cannot describe: .*GeneratedTasks"):
        load(tmp_path)
    again = GeneratedTasks(ImplicitGenerator(latent_size=2, hidden_layers=(4,)), SPEC)
    again.grow()
    assert load(tmp_path, module=again)["posterior"] is again
    assert same_state(again, posterior)


def test_a_hypernetwork_with_a_function_of_ones_own_is_a_part(tmp_path):
    def assemble(generated, own, cond):
        return generated[0]

    container = HContainer(SPEC.shapes, assemble, hnets=[hnet()], verbose=False)
    posterior = HypernetPosterior(container, scale="fan_in", weight_spec=SPEC)
    posterior.save(tmp_path)
    assert describe(posterior, "p", parts=True).parts == {"p.hnet": "HContainer"}
    with pytest.raises(ValueError, match=r"HypernetPosterior.hnet"):
        load(tmp_path)
    again = load(tmp_path, module=HContainer(SPEC.shapes, assemble, hnets=[hnet()], verbose=False))
    assert torch.equal(draws(again), draws(posterior))


def test_what_is_neither_a_module_nor_described_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^thing: expected modules.*thing.f \(tanh\)"):
        save({"net": NET, "f": torch.tanh}, tmp_path)
    with pytest.raises(ValueError, match=r"^thing: expected modules that share no tensors"):
        save([NET, NET[0]], tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"^folder: expected a folder"):
        save(NET, ROOT / "pyproject.toml")


def test_folders_of_something_else_and_damaged_files_are_named_and_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^folder: expected"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"^folder: expected one with object-1.json"):
        load(tmp_path)
    save_checkpoint(tmp_path / "object-1", nn.ModuleList([]), {"holds": "another"})
    with pytest.raises(ValueError, match=r"^folder: expected a described object in format 1"):
        load(tmp_path)
    save(NET, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"object-2.json", "object-2.safetensors"}
    for suffix in (".json", ".safetensors"):
        path = tmp_path / f"object-2{suffix}"
        whole = path.read_bytes()
        damaged = whole[:-9] + b"?" + whole[-8:]
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(path.name)):
            load(tmp_path)
        assert path.read_bytes() == damaged
        path.write_bytes(whole)
    assert same_state(load(tmp_path), NET)


def test_hostile_descriptions_build_nothing(tmp_path):
    save(MLP(3, 1, [2], verbose=False), tmp_path)
    record = load_checkpoint(tmp_path / "object-1")
    blanks = ([-1], [2**70], ["a"], None, {"a": 1})
    values = [{"blank": size, "dtype": "float32", "parameter": False} for size in blanks]
    for value in [*values, {"class": "os.system", "arguments": {}}, {"at": "x"}, {"own": "A"}, 3j.imag, None]:
        record["description"] = value
        save_checkpoint(tmp_path / "object-1", nn.ModuleList([]), record)
        if value is None or isinstance(value, float):
            assert load(tmp_path) == value
        else:
            with pytest.raises(ValueError, match=r"^(folder|allow|module): expected"):
                load(tmp_path)


def test_an_interrupted_save_leaves_what_was_there(tmp_path, monkeypatch):
    save(NET, tmp_path)
    monkeypatch.setattr("bayeshnet.saving.checkpoint.write_text", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save(nn.Linear(1, 1), tmp_path)
    assert same_state(load(tmp_path), NET)


def test_nothing_is_pickled(tmp_path, monkeypatch):
    """Neither when things are saved and loaded, nor elsewhere in the package."""

    def refuse(*args, **kwargs):
        raise RuntimeError("a pickle")

    for place in ("torch.save", "torch.load", "pickle.dump", "pickle.dumps", "pickle.load", "pickle.loads"):
        monkeypatch.setattr(place, refuse)
    with pytest.raises(RuntimeError, match="a pickle"):
        pickle.dumps(1)
    posterior = ImplicitGenerator().build(SPEC)
    posterior.save(tmp_path)
    assert torch.equal(draws(load(tmp_path)), draws(posterior))
    SampledPosterior(torch.randn(4, SPEC.numel), SPEC).save(tmp_path / "draws")
    assert SampledPosterior.load(tmp_path / "draws").samples.shape == (4, SPEC.numel)
    words = re.compile(
        r"^\s*(import|from)\s+(dill|cloudpickle|shelve|joblib)\b|torch\.(save|load)\(|allow_pickle=True"
        r"|pickle\.(dump|load|Pickler)"
    )
    found = [
        f"{path}: {line}"
        for path in sorted((ROOT / "bayeshnet").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if words.search(line)
    ]
    assert found == []
