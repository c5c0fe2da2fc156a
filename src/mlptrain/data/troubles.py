"""Which errors does a table have? They are collected and reported together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlptrain.errors import DataError
from mlptrain.remedies import setting

Change = Mapping[str, Any]
"""Settings below `data` that fix a problem."""


class Trouble(DataError):
    """One error in one column of a table."""

    def __init__(self, path: str, text: str, change: Change | None = None, rows: Iterable[int] = ()) -> None:
        """`text` is the message without the path; `change` are the settings that fix it, if there are any.

        `rows` are the rows of the table that are wrong, from 0, where that is known.
        """
        super().__init__(f"{path}: {text}", rows)
        self.path, self.text, self.change = path, text, change or {}

    def with_remedy(self, change: Change) -> Trouble:
        """The same trouble with `change` as its remedy, unless it has one already."""
        text = f"{self.text}; or write {setting(data=change)}"
        return self if self.change else Trouble(self.path, text, change, self.rows)


class Troubles:
    """Collects the troubles of one table."""

    SHOWN = 20

    def __init__(self) -> None:
        self.found: list[Trouble] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect a `Trouble` raised inside, and go on after it."""
        try:
            yield
        except Trouble as trouble:
            self.found.append(trouble)

    def refuse(self) -> None:
        """Raise the collected troubles as one error, if there are any."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            lines = [f"{self.found[0].path}: {len(self.found)} problems"]
            lines += [f"  - {trouble.text}" for trouble in self.found[: self.SHOWN]]
            if len(self.found) > self.SHOWN:
                lines.append(f"  ... and {len(self.found) - self.SHOWN} more")
            change = merged(trouble.change for trouble in self.found)
            if sum(bool(trouble.change) for trouble in self.found) > 1:
                lines.append(f"One line for all of these columns: {setting(data=change)}")
            raise DataError("\n".join(lines), frozenset[int]().union(*(trouble.rows for trouble in self.found)))


def merged(changes: Iterator[Change]) -> dict[str, Any]:
    """Several changes as one: the union of lists such as `exclude`, the intersection of `features`."""
    together: dict[str, Any] = {}
    for change in changes:
        for key, value in change.items():
            if key == "features" and key in together:
                together[key] = [name for name in together[key] if name in value]
            elif isinstance(value, list) and key in together:
                together[key] += [item for item in value if item not in together[key]]
            else:
                together[key] = list(value) if isinstance(value, list) else value
    return together
