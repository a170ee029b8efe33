"""The examples run, and show what they say."""

import importlib.util
from pathlib import Path

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
