"""The public names of the package with their signatures, as text; run as a module it writes the snapshot anew.

``python -m tests.support.public_api`` after a change of the public interface that is meant.
"""

import importlib
import inspect
import pkgutil
import re
import typing
from pathlib import Path

import bayeshnet

SNAPSHOT = Path(__file__).parent.parent / "public_api.txt"
HIDDEN = {"cli", "commands"}


def public_names():
    """Yield each public name of the package and of its top-level modules, with its signature."""
    seen = set()
    modules = sorted(m.name for m in pkgutil.iter_modules(bayeshnet.__path__))
    for module in (None, *(m for m in modules if not m.startswith("_") and m not in HIDDEN)):
        home = bayeshnet if module is None else importlib.import_module(f"bayeshnet.{module}")
        prefix = "" if module is None else f"{module}."
        for name in sorted(home.__all__):
            thing = getattr(home, name)
            yield prefix + name + signature(thing)
            if inspect.isclass(thing) and thing not in seen:
                seen.add(thing)
                yield from (f"    {line}" for line in public_methods(thing))


def public_methods(cls):
    """Yield the public methods and properties that a class of the package defines or inherits within the package."""
    for name in sorted(dir(cls)):
        if name.startswith("_"):
            continue
        owner = next((base for base in cls.__mro__ if name in vars(base)), object)
        if not owner.__module__.startswith("bayeshnet"):
            continue
        member = inspect.getattr_static(cls, name)
        if isinstance(member, property):
            yield f".{name}"
        elif isinstance(member, (staticmethod, classmethod)) or inspect.isfunction(member):
            yield f".{name}{signature(getattr(cls, name))}"


def signature(thing):
    """Return the signature without types and addresses; the empty string for things that cannot be called."""
    if not callable(thing):
        return ""
    if typing.get_origin(thing) is not None:  # an alias of a type; Python 3.13 gives it a signature
        return "(...)"
    try:
        given = inspect.signature(thing)
    except (ValueError, TypeError):
        return "(...)"
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in given.parameters.values()]
    text = str(inspect.Signature(bare))
    return re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"<function (\S+)>", r"\1", text)).replace("\n", "")


def snapshot():
    """Return the whole interface as text."""
    return "\n".join(public_names()) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
