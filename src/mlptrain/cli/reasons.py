"""How are the reasons of one prediction shown in the terminal and as JSON?

Row 17 of penguins.csv: species Adelie, probability of Adelie 0.9981
mean over 240 training rows                0.4375
  bill_length_mm  38.7         ██████████ +0.3121
  body_mass_g     3450       ▒▒│          -0.0412
prediction                                 0.9981
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from mlptrain.report.reasons import Reasons, change_text, heading, method
from mlptrain.report.text import shortened, visible

MOST = 15
"""Columns that are shown; the others are added up."""
_WIDEST, _LONGEST_BAR = 100, 24
_POSITIVE, _NEGATIVE, _AXIS = "█", "▒", "│"


def shown(why: Reasons, width: int) -> list[RenderableType]:
    """The prediction, and a bar for each column."""
    parts: list[RenderableType] = [Text(heading(why), "bold")]
    for output in range(len(why.outputs)):
        parts += ["", *output_lines(why, output, width)]
    said = [*([change_text(why)] if why.change else []), method(why)]
    return [*parts, *(part for text in said for part in ("", Text(text)))]


def output_lines(why: Reasons, output: int, width: int) -> Iterator[Text]:
    """From the mean to the prediction, column by column."""
    found, places, width = why.found, why.ranked(output)[:MOST], min(width, _WIDEST)
    changes = [float(found.values[place, output]) for place in places]
    names, cells = [why.columns[place] for place in places], [why.cells[place] for place in places]
    if left := len(why.columns) - len(places):
        names.append(f"{left:,} more")
        cells.append("")
        changes.append(float(found.values[:, output].sum() - sum(changes)))
    mean, prediction = float(found.mean[output]), float(found.prediction[output])
    digits = digits_for([mean, prediction, *changes])
    yield Text(visible(why.outputs[output]), "cyan")
    yield Text(spread(f"mean of {why.background:,} training rows", f"{mean:,.{digits}f}", width))
    yield from bars(names, cells, changes, digits, width)
    yield Text(spread("prediction", f"{prediction:,.{digits}f}", width))


def digits_for(values: Sequence[float]) -> int:
    """The digits after the point with which the largest of `values` has four in all."""
    largest = max(map(abs, values)) or 1.0
    return min(12, max(0, 3 - math.floor(math.log10(largest * (1 - 1e-6)))))


def spread(name: str, figure: str, width: int) -> str:
    """A line with a name at its left and a figure at its right end."""
    return name + " " * max(1, width - len(name) - len(figure)) + figure


def bars(
    names: Sequence[str], cells: Sequence[str], changes: Sequence[float], digits: int, width: int
) -> Iterator[Text]:
    """A line for each column: name, value, a bar to the left or to the right of an axis, and the figure."""
    names = aligned([shortened(name, max(10, width // 4)) for name in names])
    cells = aligned([shortened(value, max(6, width // 6)) for value in cells])
    figures = [f"{round(change, digits) + 0.0:+,.{digits}f}" for change in changes]
    longest, largest = max(map(len, figures)), max(map(abs, changes)) or 1.0
    room = width - cell_len(names[0]) - cell_len(cells[0]) - longest - 5
    half = max(1, min(_LONGEST_BAR, (room - 1) // 2))
    for name, value, figure, change in zip(names, cells, figures, changes, strict=True):
        gap = " " * max(1, room - 2 * half)
        drawn = bar(change / largest, half)
        yield Text.assemble("  ", name, " ", value, gap, drawn, f" {figure:>{longest}}", no_wrap=True)


def aligned(texts: Sequence[str]) -> list[str]:
    """The texts with spaces up to the width of the widest."""
    widest = max(map(cell_len, texts))
    return [text + " " * (widest - cell_len(text)) for text in texts]


def bar(share: float, half: int) -> Text:
    """A bar of `share` between -1 and 1: full to the right of the axis, half-toned to the left of it."""
    length = round(abs(share) * half)
    left, right = (_NEGATIVE * length, "") if share < 0 else ("", _POSITIVE * length)
    return Text.assemble((f"{left:>{half}}", "yellow"), _AXIS, (f"{right:<{half}}", "cyan"))


def document(why: Reasons) -> dict[str, Any]:
    """The reasons as JSON."""
    found = why.found
    outputs = [
        {
            "name": name,
            "prediction": float(found.prediction[k]),
            "mean": float(found.mean[k]),
            "columns": [
                {
                    "column": why.columns[i],
                    "value": why.cells[i],
                    "contribution": float(found.values[i, k]),
                    "standard_error": error(float(found.errors[i, k])),
                }
                for i in why.ranked(k)
            ],
        }
        for k, name in enumerate(why.outputs)
    ]
    return {
        "table": why.table,
        "row": why.row,
        "line": why.line,
        "prediction": {name: plain(value) for name, value in why.prediction.items()},
        "truth": why.truth,
        "outputs": outputs,
        "nearest_change": None if why.change is None else why.change._asdict(),
        "background_rows": why.background,
        "orders": found.orders or None,
    }


def error(value: float) -> float | None:
    """A standard error; None where there is only one row in the background."""
    return value if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """A number or a word for JSON."""
    return value.item() if hasattr(value, "item") else value
