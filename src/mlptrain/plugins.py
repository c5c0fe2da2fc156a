"""How are components in a user's own file loaded?

A plugin is a Python file that subclasses a family: an activation, a loss, an optimizer, a layer, an encoder, a metric.
Loading it is enough, since a family is the list of its subclasses. Only the command line can load it, never a spec or a
model file: a file received from others must not run code.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlptrain.reference  # noqa: F401  # defines the built-in components before those of a plugin
from mlptrain.component import Component, variants
from mlptrain.errors import UsageError


def load_plugins(paths: Sequence[Path]) -> None:
    """Run the Python files at `paths`, each once, which defines their components.

    Raises
    ------
    UsageError
        A file does not exist, fails when it is run, defines no component, or one whose name is taken.
    """
    for path in paths:
        name = f"mlptrain_plugin_{path.resolve()}"
        if name not in sys.modules:
            load_plugin(path, name)


def load_plugin(path: Path, name: str) -> None:
    """Run the file at `path` as the module `name`."""
    if not path.is_file():
        raise UsageError(f"--plugin {path}: no such file")
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise UsageError(f"--plugin {path}: is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    before = set(every_variant())
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"--plugin {path}: {where(error, path)}{type(error).__name__}: {error}") from error
    refuse_taken_names(path, before, [variant for variant in every_variant() if variant not in before])


def refuse_taken_names(path: Path, before: set[type[Component]], new: Sequence[type[Component]]) -> None:
    """Refuse a plugin that defines no component, or one whose name is taken in its family."""
    if not new:
        raise UsageError(f"--plugin {path}: defines no component: a subclass of a family with a 'kind'")
    for variant in new:
        family = family_of(variant)
        taken = {word for known in variants(family) if known in before for word in (known.name(), *known.aliases)}
        if clash := taken & {variant.name(), *variant.aliases}:
            raise UsageError(
                f"--plugin {path}: the kind '{min(clash)}' of {variant.__name__} is taken in the family "
                f"{family.__name__}; choose another"
            )


def every_variant() -> Iterator[type[Component]]:
    """Every variant of every family, including those that are not part of a spec, such as the diagnoses."""
    yield from variants(Component)


def family_of(variant: type[Component]) -> type[Component]:
    """The family that `variant` belongs to."""
    return next(base for base in variant.__mro__ if Component in base.__bases__)


def where(error: BaseException, path: Path) -> str:
    """The line of the file at `path` that raised `error`, for a message."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return f"line {lines[-1]}: " if lines else ""
