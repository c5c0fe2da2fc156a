"""Which trackers are there?"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from pathlib import Path

from mlptrain.component import mistake, resolve

_NO_TRACKERS = frozenset({"base", "names"})


def tracker_names() -> tuple[str, ...]:
    """The names of the modules beside this one that hold a tracker."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return tuple(sorted(name for name in found if name not in _NO_TRACKERS))


def known_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """`names`, each of which must be a tracker."""
    known = {name: name for name in tracker_names()}
    found = tuple(resolve(name, known) for name in names)
    if len(set(found)) < len(found):
        raise mistake("names a tracker twice")
    return found
