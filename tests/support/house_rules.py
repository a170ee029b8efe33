"""Checks of the house rules, each a function from source text to a list of violations."""

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator

# Floors from the lowest; a file imports only from floors below its own and from its own folder.
FLOORS = (
    "deprecation",
    "errors",
    "checks",
    "speed",
    "memo",
    "representation",
    "rng",
    "parallel",
    "optim",
    "files",
    "allowed",
    "whitening",
    "weights",
    "functional",
    "per_example",
    "layers",
    "geometry",
    "mnets",
    "hnets",
    "saving",
    "distributions",
    "builders",
    "features",
    "exact",
    "estimators",
    "guides",
    "inference",
    "continual",
    "data",
    "reports",
    "runs",
    "testing",
    "commands",
    "cli",
)
# Leaves stand beside the floors: any floor above what they import may import them.
LEAVES = ("tasks", "metrics")
# All that these may import.
EXACT = {
    "tasks": {"errors", "checks"},
    "metrics": {"errors", "deprecation"},
    "data": {"tasks", "errors", "checks"},
}
PYRO_FLOORS = set(FLOORS[FLOORS.index("guides") :]) - {"data"}
# Packages of the extras: imported where they are used, so that the library works without them.
EXTRAS = {
    "PIL",
    "arviz",
    "hypnettorch",
    "jsonargparse",
    "lightning_fabric",
    "matplotlib",
    "optuna",
    "rich",
    "sklearn",
    "tabulate",
    "tensorboard",
    "torchmetrics",
    "yaml",
}
MAX_FILE, MAX_FUNCTION, MAX_POSITIONAL = 300, 40, 6
# Openings of docstrings that do not say what a thing is or does.
VAGUE = {"What", "Who", "Whether", "How"}
# Documented signatures with more positional arguments: (folder, function).
LONG_SIGNATURES = {
    ("hnets", "__init__"),
    ("hnets", "forward"),
    ("hnets", "apply_hyperfan_init"),
    ("hnets", "apply_chunked_hyperfan_init"),
    ("layers", "__init__"),
    ("mnets", "__init__"),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.lru_cache(maxsize=2)
def parsed(source: str) -> ast.Module:
    """Syntax tree of a file, kept while its checks follow each other."""
    return ast.parse(source)


def floor_of(path: str) -> str:
    """First part of a path below the package: ``hnets/mlp_hnet.py`` is on floor ``hnets``."""
    return path.split("/")[0].removesuffix(".py")


def allowed(floor: str) -> set[str] | None:
    """Floors and leaves from which ``floor`` may import, or None if the floor is unknown."""
    if floor in EXACT:
        return EXACT[floor]
    if floor not in FLOORS:
        return None
    below = set(FLOORS[: FLOORS.index(floor)])
    return below | {leaf for leaf in LEAVES if EXACT[leaf] <= below}


def imports(source: str, path: str) -> Iterator[tuple[ast.AST, str]]:
    """Absolute dotted names of all that a file imports, wherever in it; names of ``from x import y`` as ``x.y``."""
    package = ["bayeshnet", *path.split("/")[:-1]]
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            parts = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node, ".".join([*parts, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and _call_name(node) in {"import_module", "__import__"} and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                level = len(target.value) - len(target.value.lstrip("."))
                base = package[: len(package) - level + 1] if level else []
                yield node, ".".join([*base, target.value.lstrip(".")])


def check_floors(source: str, path: str) -> list[str]:
    """Imports that run upward, or that fetch from the package's top what has a home below."""
    floor, found = floor_of(path), []
    below = allowed(floor)
    if below is None:
        return [f"{path}: floor {floor!r} is not in the list of floors"]
    for node, name in imports(source, path):
        parts = name.split(".")
        if parts[0] != "bayeshnet":
            continue
        target = "".join(parts[1:2])
        if target not in {floor, "__version__"} and target not in below:
            found.append(f"{path}:{node.lineno}: floor {floor!r} may not import {name!r}")
    return found


def check_third_party(source: str, path: str) -> list[str]:
    """Pyro below the guides, and packages of the extras imported when the module is loaded."""
    floor, found = floor_of(path), []
    names = [(node, name.split(".")[0]) for node, name in imports(source, path)]
    if floor not in PYRO_FLOORS:
        found += [f"{path}:{node.lineno}: Pyro enters at the guides" for node, top in names if top == "pyro"]
    deferred = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, Function) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            deferred |= {inner.lineno for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)}
    for node, top in names:
        if top in EXTRAS and node.lineno not in deferred:
            found.append(f"{path}:{node.lineno}: import {top!r} of an extra where it is used, not with the module")
    return found


def check_sizes(source: str, path: str) -> list[str]:
    """Files that are too long, and functions: docstrings, blank lines, comments and the signature do not count."""
    found = []
    lines = len(source.splitlines())
    if lines > MAX_FILE:
        found.append(f"{path}: {lines} lines, at most {MAX_FILE}")
    code = _code_lines(source)
    for name, node in _functions(parsed(source)):
        length = len(code & _lines(node.body[0].lineno, node))
        if length > MAX_FUNCTION:
            found.append(f"{path}:{node.lineno}: {name} has {length} lines of code, at most {MAX_FUNCTION}")
    return found


def check_signatures(source: str, path: str) -> list[str]:
    """Public functions with too many positional arguments, ``self`` and ``cls`` not counted."""
    found = []
    for name, node in _functions(parsed(source)):
        parts = name.split(".")
        if any(part.startswith("_") and not part.startswith("__") for part in parts):
            continue
        if (floor_of(path), parts[-1]) in LONG_SIGNATURES:
            continue
        arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        count = len(arguments) - (len(parts) > 1 and arguments[:1] in (["self"], ["cls"]))
        if count > MAX_POSITIONAL:
            found.append(f"{path}:{node.lineno}: {name} takes {count} positional arguments, at most {MAX_POSITIONAL}")
    return found


def check_silence(source: str, path: str) -> list[str]:
    """Calls of ``print`` and ``assert`` statements; tests for others, in ``testing``, are made of assertions."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append(f"{path}:{node.lineno}: print; use logging")
        elif isinstance(node, ast.Assert) and floor_of(path) != "testing":
            found.append(f"{path}:{node.lineno}: assert; raise ValueError or TypeError")
    return found


def check_finished(source: str, path: str) -> list[str]:
    """Promises left behind, and NotImplementedError raised outside abstract methods."""
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            found.append(f"{path}:{number}: a promise left behind")
    tree = parsed(source)
    abstract = set()
    for _, node in _functions(tree):
        if any(ast.unparse(decorator).endswith("abstractmethod") for decorator in node.decorator_list):
            abstract |= set(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node not in abstract and node.exc is not None:
            name = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if ast.unparse(name) == "NotImplementedError":
                found.append(f"{path}:{node.lineno}: NotImplementedError outside an abstract method")
    return found


def check_interface(source: str, path: str) -> list[str]:
    """Modules without a docstring, and public modules without ``__all__``."""
    tree, found = parsed(source), []
    if not ast.get_docstring(tree):
        found.append(f"{path}: no module docstring")
    name = path.split("/")[-1]
    private = any(part.startswith("_") and part != "__init__.py" for part in path.split("/"))
    lists = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in _targets(node)]
    if not lists and not private:
        found.append(f"{path}: no __all__ in {name}")
    return found


def check_private_modules(source: str, path: str) -> list[str]:
    """Imports of private modules from another folder."""
    here, found = ".".join(["bayeshnet", *path.split("/")[:-1]]), []
    for node, name in imports(source, path):
        parts = name.split(".")
        for depth, part in enumerate(parts[1:-1], 1):
            if parts[0] == "bayeshnet" and part.startswith("_") and ".".join(parts[:depth]) != here:
                found.append(f"{path}:{node.lineno}: {'.'.join(parts[: depth + 1])!r} is private to its folder")
    return found


def check_docstrings(source: str, path: str) -> list[str]:
    """Docstrings that begin with What, Who, Whether or How; a verb or a noun says more."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            text = ast.get_docstring(node)
            if text and text.split()[0] in VAGUE:
                line = node.body[0].lineno
                found.append(f"{path}:{line}: docstring begins with {text.split()[0]!r}; begin with a verb or a noun")
    return found


def check_formatting(source: str, path: str) -> list[str]:
    """Lines that are taken from the formatter."""
    comments = re.compile(r"#\s*fmt:\s*(skip|off)")
    return [
        f"{path}:{number}: the formatter's layout stays"
        for number, line in enumerate(source.splitlines(), 1)
        if comments.search(line)
    ]


def cycles(sources: dict[str, str]) -> list[list[str]]:
    """Groups of files that import one another, in a circle; all imports count, wherever they stand."""
    files = {_module(path): path for path in sources}
    arrows = {
        path: {
            files[target]
            for _, name in imports(source, path)
            for target in (name, name.rpartition(".")[0])[: 1 if name in files else 2]
            if target in files and target != "bayeshnet"
        }
        - {path}
        for path, source in sources.items()
    }
    reach = {path: _reachable(arrows, path) for path in arrows}
    groups = {tuple(sorted(q for q in reach[p] if p in reach[q])) for p in arrows if p in reach[p]}
    return [list(group) for group in sorted(groups)]


CHECKS = (
    check_floors,
    check_private_modules,
    check_docstrings,
    check_formatting,
    check_third_party,
    check_sizes,
    check_signatures,
    check_silence,
    check_finished,
    check_interface,
)


def _module(path: str) -> str:
    """Dotted name of the module of a file below the package."""
    parts = ["bayeshnet", *path.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _reachable(arrows: dict[str, set[str]], start: str) -> set[str]:
    """All that is reached from ``start`` by one arrow or more."""
    found: set[str] = set()
    ahead = list(arrows[start])
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead += arrows[path]
    return found


def _call_name(node: ast.Call) -> str:
    return ast.unparse(node.func).split(".")[-1]


def _targets(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Functions of a module and methods of its classes with their qualified names; not functions within functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        elif not isinstance(node, ast.expr):
            yield from _functions(node, prefix)


def _code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold code: not blank, not a comment alone, not in a docstring."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None:
            lines -= _lines(node.body[0].lineno, node.body[0])
    return lines


def _lines(first: int, node: ast.stmt) -> set[int]:
    return set(range(first, (node.end_lineno or first) + 1))
