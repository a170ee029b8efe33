"""The house rules hold in the whole package, and each check sees what it is there to see."""

import pkgutil
import re
import subprocess
import sys
import tomllib
from abc import ABC, abstractmethod
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import bayeshnet
from tests.support import class_rules, public_api
from tests.support import house_rules as rules

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bayeshnet"
TOP = {"__init__.py", "__main__.py"}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def violations():
    """Violations of each rule in the files of the package, each of which is parsed once."""
    found = {check: [] for check in rules.CHECKS}
    for file in FILES:
        source = (PACKAGE / file).read_text(encoding="utf-8")
        for check, others in found.items():
            if file not in TOP or check is not rules.check_floors:
                others += check(source, file)
    return found


@pytest.mark.parametrize("check", rules.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_package(check, violations):
    """All files of the package keep the rule; the package's own top files stand above all floors."""
    assert not violations[check], "\n" + "\n".join(violations[check])


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
@pytest.mark.parametrize("check", [rules.check_docstrings, rules.check_formatting], ids=lambda check: check.__name__)
def test_rules_of_all_code(folder, check):
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path != Path(__file__):  # the examples of violations
            found += check(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    assert not found, "\n" + "\n".join(found)


def test_no_import_circle():
    sources = {file: (PACKAGE / file).read_text(encoding="utf-8") for file in FILES if file not in TOP}
    assert rules.cycles(sources) == []


def test_folders_fit_on_a_screen():
    """No folder has more than 16 Python files at one level."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {str(f.relative_to(ROOT)): n for f in folders if (n := len(list(f.glob("*.py")))) > 16} == {}


def test_half_of_the_files_are_short():
    lengths = sorted(len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) for file in FILES)
    assert lengths[len(lengths) // 2] <= 120


def test_classes_are_abstract_or_final():
    """A class is a contract or a thing; the exceptions are listed, and overrides of concrete methods are few."""
    found = class_rules.classes()
    assert set(class_rules.concrete_parents(found)) == set(class_rules.CONCRETE_PARENTS)
    assert len(class_rules.overrides(found)) <= class_rules.MAX_OVERRIDES, class_rules.overrides(found)


def test_class_rules_see_what_they_should():
    class Contract(ABC):
        @abstractmethod
        def f(self): ...

        def g(self):
            return 0

    class Thing(Contract):
        def f(self): ...

        def g(self): ...

    class Other(Thing):
        def f(self): ...

    found = [Contract, Thing, Other]
    assert class_rules.concrete_parents(found) == {"Thing": ["Other"]}
    assert class_rules.overrides(found) == ["Other.f", "Thing.g"]


def test_public_interface_is_the_snapshot():
    """A change of names or signatures is a decision: ``python -m tests.support.public_api`` writes the new snapshot."""
    assert public_api.SNAPSHOT.read_text(encoding="utf-8").splitlines() == public_api.snapshot().splitlines()


def test_public_names_resolve():
    """Names that the package loads at first use exist, and no public module is missing among them."""
    for name in dir(bayeshnet):
        getattr(bayeshnet, name)
    modules = {module.name for module in pkgutil.iter_modules(bayeshnet.__path__)} - {"cli", "commands"}
    assert {name for name in modules if not name.startswith("_")} == bayeshnet._MODULES


def test_import_of_the_package_loads_no_framework():
    """The version and ``--help`` do not wait for torch."""
    code = "import sys, bayeshnet; sys.exit(bool({'torch', 'pyro'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, flags=re.M) == [bayeshnet.__version__]
    assert re.findall(r"^## \[(\d.*?)\]", changelog, flags=re.M)[0] == bayeshnet.__version__


def test_constraints_pin_what_is_tested():
    """Each direct dependency of the library and of what ``[test]`` brings has exactly one tested version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(need for name in ("app", "arviz", "dist", "docs", "parity", "test") for need in extras[name]),
    ]
    names = {re.split(r"[\[<>=!~ ]", need)[0] for need in needed} - {"bayeshnet"}
    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert sorted(pin.split("==")[0] for pin in pins) == sorted(names)


def test_minimum_constraints_are_what_is_declared():
    """The versions that the checks install as the lowest are those of pyproject.toml, of each dependency and extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [
        *project["dependencies"],
        *(need for extra in project["optional-dependencies"].values() for need in extra),
    ]
    declared = {}
    for need in map(Requirement, needed):
        if need.name != "bayeshnet":
            (bound,) = (known for known in need.specifier if known.operator != "!=")
            assert bound.operator in {">=", "=="}, need
            declared[need.name] = Version(bound.version)
    text, _, indirect = (ROOT / "constraints-minimum.txt").read_text(encoding="utf-8").partition("# not declared")
    pins = [Requirement(line) for line in text.splitlines() if line[0] != "#"]
    assert {pin.name: Version(str(pin.specifier).removeprefix("==")) for pin in pins} == declared
    assert len(pins) == len(declared)
    assert re.findall(r"^(\S+)==", indirect, flags=re.M) == ["pyparsing"]
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#")
    assert all(declared[name] <= Version(version) for name, version in tested.items())


def test_all_data_files_are_installed():
    """Each file of the package that is not Python matches a pattern of package-data."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    installed = {path for pattern in setuptools["package-data"]["bayeshnet"] for path in PACKAGE.glob(pattern)}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert files - installed == set()


def test_every_folder_is_a_package():
    """A folder without ``__init__.py`` would be missing from the installed package."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder.name for folder in folders if not (folder / "__init__.py").exists()] == []


UPWARD = [
    ("weights.py", "from bayeshnet.functional import batched_forward"),
    ("weights.py", "from .functional import batched_forward"),
    ("hnets/mlp_hnet.py", "from ..distributions import HypernetPosterior"),
    ("hnets/mlp_hnet.py", "from .. import distributions"),
    ("hnets/mlp_hnet.py", "import bayeshnet.estimators.latent.livi"),
    ("hnets/mlp_hnet.py", "def f():\n    from bayeshnet import guides"),
    ("hnets/mlp_hnet.py", "if TYPE_CHECKING:\n    from ..guides import HypernetGuide"),
    ("hnets/mlp_hnet.py", "importlib.import_module('bayeshnet.guides')"),
    ("hnets/mlp_hnet.py", "import_module('..guides', __name__)"),
    ("hnets/mlp_hnet.py", "from bayeshnet import WeightSpec"),
    ("metrics/accuracy.py", "from ..weights import WeightSpec"),
    ("tasks.py", "from .metrics import accuracy"),
    ("data/toy.py", "from ..weights import WeightSpec"),
    ("inference/fit.py", "from ..data import regression1d"),
    ("errors.py", "from .tasks import Task"),
    ("continual/learner.py", "from ..runs import Experiment"),
    ("newcomer.py", ""),
]


@pytest.mark.parametrize(("path", "source"), UPWARD)
def test_floors_refuse(path, source):
    assert len(rules.check_floors(source, path)) == 1


DOWNWARD = [
    ("weights.py", "from .errors import value_error"),
    (
        "hnets/mlp_hnet.py",
        "from ..mnets.mlp import MLP\nfrom . import hnet_helpers\nfrom .. import weights\nimport torch",
    ),
    ("hnets/private/deep.py", "from ..geometry import gram\nfrom ...weights import WeightSpec"),
    ("guides/auto.py", "from ..metrics import ece\nfrom ..estimators import Auto\nfrom ..tasks import Task"),
    ("data/toy.py", "from ..tasks import Task\nfrom ..errors import value_error\nfrom .gaussians import modes2d"),
    ("cli.py", "from . import __version__\nfrom .data import regression1d\nfrom .commands import run"),
    ("commands/run.py", "from ..runs import Experiment\nfrom ..reports import table"),
]


@pytest.mark.parametrize(("path", "source"), DOWNWARD)
def test_floors_accept(path, source):
    assert rules.check_floors(source, path) == []


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("estimators/livi.py", "import pyro", 1),
        ("estimators/livi.py", "def f():\n    from pyro import sample", 1),
        ("data/toy.py", "import pyro.distributions as dist", 1),
        ("guides/auto.py", "import pyro", 0),
        ("cli.py", "from pyro import sample", 0),
        ("reports/plots.py", "import matplotlib.pyplot as plt", 1),
        ("reports/plots.py", "try:\n    import rich\nexcept ImportError:\n    pass", 1),
        ("reports/plots.py", "def f():\n    import matplotlib.pyplot as plt", 0),
        ("reports/plots.py", "if TYPE_CHECKING:\n    from matplotlib.figure import Figure", 0),
        ("reports/plots.py", "import numpy, scipy, torch", 0),
    ],
)
def test_third_party(path, source, count):
    assert len(rules.check_third_party(source, path)) == count


def test_sizes_refuse_a_long_file():
    assert rules.check_sizes("x = 1\n" * 300, "weights.py") == []
    assert len(rules.check_sizes("x = 1\n" * 301, "weights.py")) == 1


@pytest.mark.parametrize(("lines", "count"), [(40, 0), (41, 1)])
def test_sizes_count_code_alone(lines, count):
    """Docstring, blank lines, comments and signature do not count; a bracket over several lines does."""
    padding = '    """One.\n\n    Two.\n    """\n\n    # why\n    def inner():\n      """One.\n\n      Two."""\n'
    source = (
        "class A:\n  def f(\n    self,\n  ):\n" + padding + "    x = 1\n" * (lines - 4) + "    y = (\n      1\n    )\n"
    )
    assert len(rules.check_sizes(source, "weights.py")) == count


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("weights.py", "def f(a, b, c, d, e, f, g): ...", 1),
        ("weights.py", "def f(a, b, c, d, e, f, *, g, h): ...", 0),
        ("weights.py", "def _f(a, b, c, d, e, f, g): ...", 0),
        ("weights.py", "class A:\n    def __init__(self, a, b, c, d, e, f): ...", 0),
        ("weights.py", "class A:\n    def __init__(self, a, b, c, d, e, f, g): ...", 1),
        ("weights.py", "class _A:\n    def __init__(self, a, b, c, d, e, f, g): ...", 0),
        ("hnets/mlp_hnet.py", "class A:\n    def __init__(self, a, b, c, d, e, f, g): ...", 0),
        ("hnets/mlp_hnet.py", "class A:\n    def other(self, a, b, c, d, e, f, g): ...", 1),
    ],
)
def test_signatures(path, source, count):
    assert len(rules.check_signatures(source, path)) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [("print('x')", 1), ("def f():\n    assert True", 1), ("console.print('x')", 0), ("'print(x)'  # assert x", 0)],
)
def test_silence(source, count):
    assert len(rules.check_silence(source, "weights.py")) == count


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("estimators/latent/livi.py", "from .._split import pair", 1),
        ("estimators/latent/livi.py", "from ...geometry._linalg import solve", 1),
        ("hnets/mlp_hnet.py", "from bayeshnet.hnets.parts import _mlp\nfrom .parts._mlp import MLP", 1),
        (
            "estimators/livi.py",
            "from ._split import pair\nfrom . import _split\nfrom ..weights import _name",
            0,
        ),
        ("hnets/__init__.py", "from ._members import Members", 0),
    ],
)
def test_private_modules(path, source, count):
    assert len(rules.check_private_modules(source, path)) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('"""What it is."""', 1),
        ('def f():\n    r"""Whether it is."""', 1),
        ('class A:\n    """How so."""\n\n    def f(self):\n        """Who knows."""', 2),
        ('"""Whatever it is."""\n\ndef f():\n    """Return what it is."""', 0),
    ],
)
def test_docstrings_begin_with_a_verb_or_a_noun(source, count):
    assert len(rules.check_docstrings(source, "weights.py")) == count


def test_the_formatter_has_the_last_word():
    assert len(rules.check_formatting("x = [1,\n 2]  # fmt: skip\n# fmt: off\n", "weights.py")) == 2
    assert rules.check_formatting("# the format: skip it\n", "weights.py") == []


def test_cycles_are_found():
    ring = {"a/__init__.py": "", "a/b.py": "from .c import x", "a/c.py": "def f():\n    from ..d import y"}
    assert rules.cycles({**ring, "d.py": "from .a.c import f"}) == [["a/c.py", "d.py"]]
    assert rules.cycles({**ring, "d.py": "from .a import b"}) == [["a/b.py", "a/c.py", "d.py"]]
    assert rules.cycles({**ring, "d.py": "from .a import f\nimport torch"}) == []


ABSTRACT = "class A(ABC):\n    @abc.abstractmethod\n    def f(self):\n        raise NotImplementedError\n"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("# TODO later", 1),
        ('"""FIXME"""', 1),
        ("raise NotImplementedError", 1),
        ("def f():\n    raise NotImplementedError('no')", 1),
        (ABSTRACT, 0),
        ("try:\n    f()\nexcept NotImplementedError:\n    raise", 0),
    ],
)
def test_finished(source, count):
    assert len(rules.check_finished(source, "weights.py")) == count


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("weights.py", '"""Doc."""\n__all__ = ["f"]', 0),
        ("weights.py", '"""Doc."""\n__all__: list[str] = []', 0),
        ("weights.py", '"""Doc."""', 1),
        ("weights.py", '__all__ = ["f"]', 1),
        ("hnets/__init__.py", '"""Doc."""', 1),
        ("hnets/_formats.py", '"""Doc."""', 0),
        ("hnets/_formats.py", "x = 1", 1),
    ],
)
def test_interface(path, source, count):
    assert len(rules.check_interface(source, path)) == count


def test_exempt_names_are_few():
    """The list of long signatures names documented functions, not whole folders."""
    assert {folder for folder, _ in rules.LONG_SIGNATURES} == {"hnets", "layers", "mnets"}
