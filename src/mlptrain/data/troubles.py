"""What is wrong with a table, said all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlptrain.errors import DataError
from mlptrain.remedies import setting

Change = Mapping[str, Any]
"""Settings below `data` that mend something."""


class Trouble(DataError):
    """One thing that is wrong with one column of a table."""

    def __init__(self, path: str, text: str, change: Change | None = None) -> None:
        """`text` is the message without the path; `change` mends it in the spec, if something does."""
        super().__init__(f"{path}: {text}")
        self.path, self.text, self.change = path, text, change or {}

    def mended_by(self, change: Change) -> Trouble:
        """The same trouble with a change that mends it, where it has none of its own."""
        return self if self.change else Trouble(self.path, f"{self.text}; or write {setting(data=change)}", change)


class Troubles:
    """Collects the troubles of one table."""

    def __init__(self) -> None:
        self.found: list[Trouble] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Note the trouble that what is inside ends with, and go on."""
        try:
            yield
        except Trouble as trouble:
            self.found.append(trouble)

    def refuse(self) -> None:
        """Raise what was collected as one error, if there is anything."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            lines = [f"{self.found[0].path}: {len(self.found)} things are in the way"]
            lines += [f"  - {trouble.text}" for trouble in self.found]
            change = merged(trouble.change for trouble in self.found)
            if sum(bool(trouble.change) for trouble in self.found) > 1:
                lines.append(f"One line for all of these columns: {setting(data=change)}")
            raise DataError("\n".join(lines))


def merged(changes: Iterator[Change]) -> dict[str, Any]:
    """Several changes as one: of the columns to leave out all, of the columns to keep those that each one keeps."""
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
