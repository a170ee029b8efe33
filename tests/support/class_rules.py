"""The rule that a class is a contract (abstract) or a thing (final), checked on the imported classes of the package."""

import importlib
import inspect
import pkgutil

import bayeshnet

# Classes that are subclassed though they can be instantiated, and why.
CONCRETE_PARENTS = {
    "Callback": "each of its hooks does nothing by default, so that a callback writes those it needs",
    "HypernetGuide": "guides for one law build their posterior from a network and add nothing else",
    "ModuleSettings": "a mixin: settings in the representation of a module",
    "RenamedState": "a mixin: former names in a state dict",
    "Settings": "a mixin: settings in the representation",
}
# Methods that replace a concrete one of a parent: hooks with a default, faster ways, and views.
MAX_OVERRIDES = 36


def classes():
    """Return all classes of the package."""
    found = []
    for info in pkgutil.walk_packages(bayeshnet.__path__, "bayeshnet."):
        if info.name != "bayeshnet.__main__":
            module = importlib.import_module(info.name)
            found += [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == info.name]
    return found


def concrete_parents(found):
    """Return the names of classes that can be instantiated and are subclassed as well, with their subclasses."""
    known, parents = set(found), {}
    for cls in found:
        for base in cls.__bases__:
            if base in known and not is_abstract(base):
                parents.setdefault(base.__name__, []).append(cls.__name__)
    return {name: sorted(subclasses) for name, subclasses in sorted(parents.items())}


def overrides(found):
    """Return ``Class.method`` for each method or property that replaces a concrete one of a parent in the package."""
    known, replaced = set(found), []
    for cls in found:
        for name, member in vars(cls).items():
            if name.startswith("__") or not is_method(member):
                continue
            owner = next((base for base in cls.__mro__[1:] if base in known and name in vars(base)), None)
            if owner is not None and not getattr(vars(owner)[name], "__isabstractmethod__", False):
                replaced.append(f"{cls.__name__}.{name}")
    return sorted(replaced)


def is_abstract(cls):
    """Return whether a class has abstract methods, also where it is no ABC, as torch's distributions are not."""
    return any(getattr(getattr(cls, name, None), "__isabstractmethod__", False) for name in dir(cls))


def is_method(member):
    """Return whether a member of a class is a method or a property."""
    return inspect.isfunction(member) or isinstance(member, (property, staticmethod, classmethod))
