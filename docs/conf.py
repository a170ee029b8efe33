"""Configuration of Sphinx; writes one reference page for each public module of the package before the build."""

import pkgutil
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from sphinx.pycode import ModuleAnalyzer  # noqa: E402
from sphinx.util import logging  # noqa: E402

import bayeshnet  # noqa: E402

LOGGER = logging.getLogger(__name__)

project = "bayeshnet"
author = "The bayeshnet developers"
copyright = "the bayeshnet developers"
release = version = bayeshnet.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # MathJax with the pages: formulas are read without a network
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "sg_execution_times.rst", "gallery/**/*.ipynb", "gallery/**/*.py", "gallery/**/*.md5"]

# Tutorials are run when the pages are built; the other examples are shown as they are, since the tests run them.
sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 5,
    "plot_gallery": True,
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib",),
    "capture_repr": ("_repr_html_",),  # what is printed is shown, and not what the last call of a plot returns
    "remove_config_comments": True,
    "write_computation_times": False,  # pages of their own that load scripts from the network
}
html_theme = "furo"
html_title = f"bayeshnet {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
# Pages with wide tables: the list of contents on the right makes room.
WIDE = ("results/", "which-estimator", "parity", "from-")

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# An override without a docstring says nothing new: the contract it fulfils is described with the base class.
autodoc_inherit_docstrings = False
# Names that two modules export, such as continual.Task and tasks.Task, are one object: either page will do.
# A second build into one folder copies the files of MathJax over their older copies.
suppress_warnings = ["misc.copy_overwrite", "ref.python"]

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Shape", "Errors", "Diagnostics"]

# The reference from the bottom of the house to its top; modules that are not named here come last.
ORDER = (
    "weights",
    "functional",
    "tasks",
    "layers",
    "mnets",
    "hnets",
    "saving",
    "distributions",
    "features",
    "exact",
    "estimators",
    "guides",
    "inference",
    "parallel",
    "continual",
    "data",
    "metrics",
    "reports",
    "runs",
    "errors",
)
HIDDEN = {"cli", "commands"}
# Names that another page describes.
ELSEWHERE = {"continual": "Split, Task, TaskStream"}


def write_reference(folder):
    """Write a page for each public module that exists, and the list of pages that ``api.rst`` includes."""
    found = {module.name for module in pkgutil.iter_modules(bayeshnet.__path__)} - HIDDEN
    names = sorted((name for name in found if not name.startswith("_")), key=lambda name: (*_rank(name), name))
    folder.mkdir(exist_ok=True)
    for old in set(folder.glob("*.rst")) - {folder / f"{name}.rst" for name in names}:
        old.unlink()
    for name in names:
        title = f"bayeshnet.{name}"
        others = f"   :exclude-members: {ELSEWHERE[name]}\n" if name in ELSEWHERE else ""
        page = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n{others}\n"
        write(folder / f"{name}.rst", page + constants(title))
    entries = "".join(f"   api/{name}\n" for name in names)
    write(folder / "toctree.inc", f".. toctree::\n   :maxdepth: 1\n\n{entries}")


def constants(package):
    """Return entries for the constants and types of a package that its modules define, which automodule leaves out."""
    module = import_module(package)
    inside = [name for name in sorted(sys.modules) if name.startswith(f"{package}.")]
    found = {}
    for home in inside:
        texts = ModuleAnalyzer.for_module(home).find_attr_docs()
        found |= {name: texts["", name] for name in module.__all__ if ("", name) in texts}
    own = ModuleAnalyzer.for_module(package).find_attr_docs()
    entries = [name for name in found if ("", name) not in own and not isinstance(getattr(module, name), type)]
    indented = {name: "".join(f"   {line}\n" for line in found[name]) for name in sorted(entries)}
    return "".join(f".. py:data:: {name}\n   :module: {package}\n\n{text}\n" for name, text in indented.items())


def check_reference(app, env):
    """Warn of each public name without an entry in the reference, which ends a build with ``-W``."""
    entries = set(env.domaindata["py"]["objects"])
    for page in (HERE / "api").glob("*.rst"):
        package = f"bayeshnet.{page.stem}"
        for name in import_module(package).__all__:
            known = f"{package}.{name}" in entries or name in ELSEWHERE.get(page.stem, "").split(", ")
            if not known and f"{package}.{name}" not in sys.modules:
                LOGGER.warning("%s.%s has no entry in the reference; give it a docstring", package, name)


def mend_ways_back(app, env):
    """Let source pages link to the pages that have entries under the names that the links give."""
    entries = env.domaindata["py"]["objects"]
    for known in getattr(env, "_viewcode_modules", {}).values():
        if known:
            _, _, used, module = known
            used |= {name: entries[f"{module}.{name}"].docname for name in used if f"{module}.{name}" in entries}


def write(path, text):
    """Write a file only if it changes, so that the next build does not read it again for nothing."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _rank(name):
    return (0, ORDER.index(name)) if name in ORDER else (1, 0)


write_reference(HERE / "api")


def make_room(app, pagename, templatename, context, doctree):
    """Leave the contents on the right of pages with wide tables out."""
    if pagename.startswith(WIDE):
        context["furo_hide_toc"] = True


def setup(app):
    """Register what is done for each page."""
    app.connect("html-page-context", make_room, priority=900)
    app.connect("env-check-consistency", check_reference)
    app.connect("env-check-consistency", mend_ways_back)
