"""In which formats can a model be written? A new one is a file, and a place in this list."""

from __future__ import annotations

from mlptrain.component import did_you_mean
from mlptrain.errors import UsageError
from mlptrain.export.c import CHeader
from mlptrain.export.card import Card
from mlptrain.export.exported import Format
from mlptrain.export.json import JsonFile
from mlptrain.export.onnx import OnnxFile
from mlptrain.export.python import PythonFile

FORMATS: tuple[Format, ...] = (OnnxFile(), PythonFile(), CHeader(), JsonFile(), Card())


def format_for(name: str | None, file: str | None) -> Format:
    """The format that is named, or that the suffix of the file names."""
    names = [one.name for one in FORMATS]
    listed = ", ".join(names)
    if name is None:
        found = [one for one in FORMATS if file is not None and file.lower().endswith(one.suffix)]
        if found:
            return found[0]
        raise UsageError(f"export needs a format: --to {listed}")
    chosen = [one for one in FORMATS if name.lower() == one.name]
    if not chosen:
        raise UsageError(f"--to {name}: {did_you_mean(name, names, f'the formats are: {listed}')}")
    return chosen[0]
