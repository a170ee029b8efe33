"""A class path is judged by its name, before anything is imported."""

from __future__ import annotations

import sys

import pytest
from torch import nn

import bayeshnet.runs  # noqa: F401  the library itself is imported before anything is judged
from bayeshnet.allowed import check_allowed_modules, check_class_path, find_class
from bayeshnet.builders import MLPNetwork, NetworkBuilder
from bayeshnet.builders.networks import MLPNetwork as Same

REFUSED = [
    "subprocess.Popen",
    "os.system",
    "builtins.eval",
    "torch.jit._script.sys.modules",
    "torch.load",
    "torch.hub.load",
    "torch.nn.modules.module.sys",
    "torch.nn.Module.load_state_dict",
    "torch.nn.functional.relu",
    "torch.nn.utils.prune.Identity",
    "torch.nn.init.eye_",
    "torch.nn.Parameter",
    "torch.nn.modules.LinearCrossEntropyOptions",
    "torch.nn.modules.linear.ReLU",
    "torch.nn.parallel.DistributedDataParallel",
    "torch.nn.Embedding.from_pretrained",
    "torch.optim.Adam",
    "torch.distributed.launcher.api.elastic_launch",
    "pyro.nn.PyroModule",
    "numpy.load",
    "matplotlib.animation.FFMpegWriter",
    "jsonargparse.ArgumentParser",
    "bayeshnet.runs.os",
    "bayeshnet.runs.folder.Path",
    "bayeshnet.allowed.sys",
    "bayeshnet.allowed.find_class",
    "bayeshnet.allowed.nn.ReLU",
    "bayeshnet.allowed._LIBRARY",
    "bayeshnet.guides._auto_posterior.AutoPosterior",
    "bayeshnet.__loader__.x",
    "bayeshnet.nowhere.X",
    "bayeshnetx.builders.MLPNetwork",
    "bayeshnet",
    "MLPNetwork",
    "",
    ".",
    "bayeshnet..MLPNetwork",
    "bayeshnet.builders.MLPNetwork ",
    "bayeshnet.builders.MLPNetwork\n",
    "bayeshnet.builders.ＭLPNetwork",
    "../x.Y",
    "a." * 500 + "b",
    3,
    None,
]


@pytest.mark.parametrize("path", REFUSED)
def test_what_is_refused_is_not_imported(path):
    before = set(sys.modules)
    with pytest.raises(ValueError, match="class_path: expected"):
        find_class(path)
    new = {name for name in set(sys.modules) - before if not name.startswith("bayeshnet.")}
    assert not new


def test_the_message_says_how_to_allow_the_module():
    with pytest.raises(ValueError, match=r"'subprocess\.Popen'.*--allow subprocess"):
        check_class_path("subprocess.Popen")


def test_what_may_be_named():
    assert find_class("bayeshnet.builders.MLPNetwork") is MLPNetwork is Same
    assert find_class("bayeshnet.builders.networks.MLPNetwork", base=NetworkBuilder) is MLPNetwork
    for path in ("torch.nn.ReLU", "torch.nn.modules.ReLU", "torch.nn.modules.activation.ReLU"):
        assert find_class(path) is nn.ReLU
        check_class_path(path)
    with pytest.raises(ValueError, match="a subclass of NetworkBuilder"):
        find_class("torch.nn.ReLU", base=NetworkBuilder)


def test_a_module_is_allowed_with_what_it_defines(tmp_path, monkeypatch):
    (tmp_path / "trusted_by_me").mkdir()
    (tmp_path / "trusted_by_me" / "__init__.py").write_text(
        "from subprocess import Popen\nclass Mine: pass\ndef f(): pass"
    )
    (tmp_path / "trusted_by_me_not.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    allow = ["trusted_by_me"]
    assert find_class("trusted_by_me.Mine", allow).__name__ == "Mine"
    for path in ("trusted_by_me.Popen", "trusted_by_me.f", "trusted_by_me.missing", "trusted_by_me.missing.X"):
        with pytest.raises(ValueError, match="class_path"):
            find_class(path, allow)
    with pytest.raises(ValueError, match="--allow trusted_by_me_not"):
        find_class("trusted_by_me_not.Mine", allow)
    assert "trusted_by_me_not" not in sys.modules


@pytest.mark.parametrize("allow", ["torch", [""], ["a b"], ["../x"], [3], None])
def test_what_is_no_list_of_modules_is_refused(allow):
    with pytest.raises((TypeError, ValueError), match="allow: expected"):
        check_allowed_modules(allow)
