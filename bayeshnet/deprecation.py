"""Old names and old module paths: they keep working, with a warning that gives the new one."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import wraps
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar, TypeVar

__all__ = [
    "MovedModules",
    "RenamedState",
    "install",
    "moved_names",
    "renamed_argument",
    "renamed_arguments",
    "warn",
]

Function = TypeVar("Function", bound=Callable[..., Any])

_MODULES = {
    "continual.criteria": "continual.task_inference.criteria",
    "continual.abstention": "continual.task_inference.abstention",
    "continual.coreset": "continual.losses.coreset",
    "continual.density": "continual.task_inference.density",
    "continual.discrepancies": "continual.losses.discrepancies",
    "continual.evidence": "continual.task_inference.prediction",
    "continual.families": "builders.base",
    "continual.fisher": "continual.ewc",
    "continual.generators": "builders.generated",
    "continual.image_features": "continual.task_inference.image_features",
    "continual.initialization": "builders.initialization",
    "continual.networks": "builders.networks",
    "continual.outliers": "continual.losses.outlier_exposure",
    "continual.plain": "builders.explicit",
    "continual.regularizers": "continual.losses.output_regularizer",
    "continual.rehearsal": "continual.experience_replay",
    "continual.saved.describing": "saving.describing",
    "continual.saved.modules": "saving.modules",
    "continual.saved.rebuilding": "saving.rebuilding",
    "continual.seeds": "rng",
    "continual.shared": "continual.shared_learner",
    "continual.sharing": "continual.task_posterior",
    "continual.terms": "continual.losses.outlier_exposure",
    "distributions.forms": "distributions.gaussian_forms",
    "distributions.generated": "distributions.posteriors.generated",
    "distributions.implicit": "distributions.posteriors.implicit",
    "distributions.posterior_base": "distributions.posteriors.base",
    "distributions.sigma": "distributions.posteriors.sigma",
    "distributions.whitening": "distributions.posteriors.whitening",
    "estimators.avb": "estimators.samples.avb",
    "estimators.importance": "estimators.latent.importance",
    "estimators.information": "estimators.base",
    "estimators.iwhvi": "estimators.latent.iwhvi",
    "estimators.kernel_ratio": "estimators.samples.kernel_ratio",
    "estimators.livi": "estimators.latent.livi",
    "estimators.livi_stochastic": "estimators.latent.livi_stochastic",
    "estimators.nearest_neighbour": "estimators.samples.nearest_neighbor",
    "estimators.nu_method": "estimators.samples.nu_method",
    "estimators.sivi": "estimators.latent.sivi",
    "estimators.ssge": "estimators.samples.ssge",
    "estimators.stein": "estimators.samples.stein",
    "guides.defaults": "guides.implicit_site",
    "guides.flat": "distributions.flat",
    "guides.local_noise": "inference.bound.local_noise",
    "guides.unfolded_livi": "estimators.latent.livi_unfolded",
    "hnets.geometry": "geometry.base",
    "hnets.head_geometry": "geometry.head",
    "hnets.jacobian_geometry": "geometry.jacobian",
    "hnets.selection_geometry": "geometry.selection",
    "inference.checkpoint": "saving.checkpoint",
    "inference.local_noise": "inference.bound.local_noise",
    "inference.quantiles": "inference.prediction",
    "inference.sampling.export": "distributions.posteriors.export",
    "inference.terms": "inference.bound.terms",
    "layers.initialisers": "layers.initializers",
    "reports.files": "files",
    "runs.arrays": "runs.results.figure_data",
    "runs.certificate": "runs.results.posterior_checks",
    "runs.conclusion": "runs.execution",
    "runs.drift": "runs.results.drift",
    "runs.evaluation": "runs.results.assessment",
    "runs.foreign": "runs.results.ood",
}
"""Modules that have moved, by their paths below the package."""


def warn(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that ``old`` is now called ``new``, at the caller's line: wrappers of this module are passed over."""
    frame = sys._getframe(stacklevel - 1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(f"{old} is deprecated: use {new}.", DeprecationWarning, stacklevel=stacklevel)


def moved_names(package: str, table: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a module whose names have moved.

    Args:
        package: name of the module.
        table: new place of each old name, below ``bayeshnet``: ``{"Geometry": "geometry.Geometry"}``.
    """

    def load(name: str) -> Any:
        if name not in table:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home, _, new = table[name].rpartition(".")
        warn(f"{package}.{name}", f"bayeshnet.{table[name]}")
        return getattr(import_module(f"bayeshnet.{home}"), new)

    return load


def renamed_argument(old: str, new: str, given: Any, value: Any, stacklevel: int = 4) -> Any:
    """Return ``value`` of the argument ``new``, or what was ``given`` under its ``old`` name, with a warning.

    Raises:
        TypeError: if both are given.
    """
    if given is None:
        return value
    if value is not None:
        raise TypeError(
            f"{new}: expected one value, got another as {old} as well. {old} is its old name: leave it out."
        )
    warn(f"the argument {old}", new, stacklevel)
    return given


def renamed_arguments(*, listed: bool = False, **names: str) -> Callable[[Function], Function]:
    """Let a function accept keyword arguments under old names, with a warning: ``@renamed_arguments(old="new")``.

    A value given under the old name replaces one given under the new name.

    Args:
        listed: list the old names in the signature, so that configuration files may use them.
        names: the new name of each old one.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        def renaming(*args: Any, **kwargs: Any) -> Any:
            for old, new in names.items():
                given = kwargs.pop(old, None)
                if given is not None:
                    warn(f"the argument {old}", new)
                    kwargs[new] = given
            return function(*args, **kwargs)

        if listed:
            signature = inspect.signature(function)
            known = list(signature.parameters.values())
            for old, new in names.items():
                of = signature.parameters[new]
                annotation = f"{of.annotation} | None"
                known.append(of.replace(name=old, kind=of.KEYWORD_ONLY, default=None, annotation=annotation))
                renaming.__annotations__ = {**renaming.__annotations__, old: annotation}
            renaming.__signature__ = signature.replace(parameters=known)  # type: ignore[attr-defined]
        return renaming  # type: ignore[return-value]

    return decorate


class RenamedState:
    """A mixin for modules, listed before ``nn.Module``: it lets them load states saved under old names.

    ``load_state_dict`` and :func:`bayeshnet.inference.load_checkpoint` both use it. A module with a method
    ``complete_state(state, prefix)`` may besides fill in, in place, what states of earlier versions lack.

    Attributes:
        renamed_state: old and new names of parameters, buffers and submodules of the module.
    """

    renamed_state: ClassVar[Mapping[str, str]] = {}

    def rename_state(self, state: MutableMapping[str, Any], prefix: str) -> None:
        """Rename the entries of a state dict in place.

        Args:
            state: state dict of this module or of one that contains it.
            prefix: beginning of the names of this module's entries in it.
        """
        for old, new in self.renamed_state.items():
            for name in [n for n in state if n == prefix + old or n.startswith(f"{prefix}{old}.")]:
                state[prefix + new + name.removeprefix(prefix + old)] = state.pop(name)
        if hasattr(self, "complete_state"):
            self.complete_state(state, prefix)

    def _load_from_state_dict(self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any) -> None:
        self.rename_state(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[misc]


class MovedModules(Loader):
    """An import finder for modules that have moved; asked last, so that it costs nothing else."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how to load an old module path, or None for a module that has not moved."""
        package, _, old = name.partition(".")
        return ModuleSpec(name, MovedModules()) if package == "bayeshnet" and old in _MODULES else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python make an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Hand the names of the new module on."""
        old = module.__name__
        new = import_module(f"bayeshnet.{_MODULES[old.partition('.')[2]]}")
        warn(old, new.__name__, stacklevel=6)
        module.__dict__.update({k: v for k, v in vars(new).items() if not k.startswith("__")}, __all__=new.__all__)
        if hasattr(new, "__getattr__"):  # names that have changed besides
            module.__dict__["__getattr__"] = new.__getattr__


def install() -> None:
    """Make old module paths importable."""
    if MovedModules not in sys.meta_path:
        sys.meta_path.append(MovedModules)
