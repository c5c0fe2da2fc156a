"""How are curves drawn as lines of text?

A cell of the plot is a braille letter, 2 by 4 dots. Curves are told apart by marks, so that colour is never needed:

    ● train_loss  ▲ validation_loss ★ epoch 61
    1.5 ┤⡆
    1.0 ┤⢣
    0.5 ┤⠈▲⢄⣀⣀●⣀⣀★⣀⡠⠤▲⠤⠒⠉
        └┬─────┬─────┬────
    epoch 0    50   100
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from mlptrain.report.text import shortened

MARKS = "●▲■◆○△□◇"
STAR = "★"
COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bits of a braille letter, by row and column
_LARGEST = 1e300  # beyond it the ends of an axis would overflow
_FEWEST_COLUMNS, _FEWEST_ROWS = 8, 2


class Curve(NamedTuple):
    """The values of one curve; None, NaN and infinity (from 1e300 on) are gaps."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    best: float | None = None
    """The x of the point with a star."""


class Span(NamedTuple):
    """Some text of a line, and the number of the curve that it belongs to."""

    text: str
    curve: int | None = None


Line = list[Span]
Cell = tuple[int, int]
"""Column and row."""


def draw(curves: Sequence[Curve], width: int, height: int, x_label: str = "epoch", log: bool = False) -> list[Line]:
    """A chart of `curves` that fills `width` by `height` letters (at least 24 by 6), legend and axes included.

    With `log`, the y-axis is logarithmic, and values that are not positive are gaps.
    """
    points = [list(drawable(curve, log)) for curve in curves]
    legend = legend_lines(curves, width, max(1, height // 3), x_label)
    known = [point for each in points for run in each for point in run]
    if not known:
        return [*legend, [Span("nothing to draw" if not log else "nothing positive to draw")]]
    rows = max(_FEWEST_ROWS, height - len(legend) - 2)
    y_axis = Axis.over([y for _, y in known], log)
    y_ticks = row_labels(y_axis, rows)
    gutter = max(map(len, (x_label, *y_ticks.values())))
    columns = max(_FEWEST_COLUMNS, width - gutter - 2)
    whole = all(float(x).is_integer() for x, _ in known)
    x_axis = Axis.over([x for x, _ in known], whole=whole)
    plot = Plot(columns, rows, x_axis, y_axis)
    for number, each in enumerate(points):
        plot.add(each, number)
    if len(curves) > 1:
        plot.mark(len(curves))
    plot.star(curves, points)
    edges = [f"{y_ticks.get(row, ''):>{gutter}} {'┤' if row in y_ticks else '│'}" for row in range(rows)]
    lines = [[Span(edge), *plot.line(row)] for row, edge in enumerate(edges)]
    return [*legend, *lines, *x_lines(x_axis, columns, gutter, x_label)]


def plain(lines: Sequence[Line]) -> list[str]:
    """The lines without the curves that their parts belong to."""
    return ["".join(span.text for span in line).rstrip() for line in lines]


def styled(lines: Sequence[Line]) -> Text:
    """The lines as text for Rich, each curve in a colour of its own."""
    text = Text("\n").join(map(styled_line, lines))
    text.no_wrap = True
    return text


def styled_line(line: Line) -> Text:
    """One line as text for Rich."""
    text = Text.assemble(*((span.text, "" if span.curve is None else colour(span.curve)) for span in line))
    text.rstrip()
    return text


def colour(number: int) -> str:
    """The colour of a curve."""
    return COLOURS[number % len(COLOURS)]


def drawable(curve: Curve, log: bool) -> Iterator[list[tuple[float, float]]]:
    """The points of a curve between its gaps."""
    run: list[tuple[float, float]] = []
    for x, y in zip(curve.x, curve.y, strict=True):
        if y is not None and abs(y) < _LARGEST and (y > 1 / _LARGEST or not log):
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


class Axis(NamedTuple):
    """The values from one end of an axis to the other."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    """Whether only whole numbers are marked."""

    @classmethod
    def over(cls, values: Sequence[float], log: bool = False, whole: bool = False) -> Axis:
        """An axis that holds all `values`, and more than one value."""
        low, high = min(values), max(values)
        if high - low <= max(1e-9 * max(abs(low), abs(high)), 1 / _LARGEST):
            low, high = (low / 2, low * 2) if log else (low, low + 1) if whole else around(low)
        return cls(low, high, log, whole)

    def place(self, value: float) -> float:
        """Where `value` lies, from 0 at the low end to 1 at the high one."""
        low, high = self.scaled(self.low), self.scaled(self.high)
        return (self.scaled(value) - low) / (high - low)

    def scaled(self, value: float) -> float:
        """`value` on the scale of the axis."""
        return math.log10(value) if self.log else float(value)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """At most about `most` round values on the axis, with their texts."""
        powers = self._powers(most) if self.log else []
        return powers if len(powers) >= 2 else self._steps(most)

    def _powers(self, most: int) -> list[tuple[float, str]]:
        """Powers of ten, or their multiples by 2 and 5 too, where these are few."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        powers = [10.0**power for power in range(last, first - 1, -1)]
        for values in (
            [factor * power for power in powers for factor in (1, 2, 5)],
            *(powers[::every] for every in range(1, 1 + len(powers))),
        ):
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) <= most:
                return [(value, tick_text(value, value)) for value in inside]
        return []

    def _steps(self, most: int) -> list[tuple[float, str]]:
        """Multiples of 1, 2 or 5 times a power of ten, at least two."""
        for parts in range(most, 3 * most):
            step = round_step((self.high - self.low) / parts)
            step = max(1.0, step) if self.whole else step
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last > first:
                break
        return [(k * step, tick_text(k * step, step)) for k in range(max(first, 1) if self.log else first, last + 1)]


def around(value: float) -> tuple[float, float]:
    """An interval around one value."""
    half = abs(value) / 2 or 1.0
    return value - half, value + half


def round_step(least: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def tick_text(value: float, step: float) -> str:
    """`value` with the digits that tell neighbours apart which differ by `step`."""
    if value == 0:
        return "0"
    if step < 1e-4 or abs(value) >= 1e7:
        digits = max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step)))
        mantissa, _, power = f"{value:.{digits}e}".partition("e")
        return f"{mantissa}e{int(power)}"
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def row_labels(axis: Axis, rows: int) -> dict[int, str]:
    """The texts of the y-axis by row."""
    ticks = axis.ticks(min(max(3, 2 * rows // 5), 10))
    return {rows - 1 - round(axis.place(value) * (rows - 1)): text for value, text in ticks}


class Plot:
    """The dots of all curves and the marks upon them."""

    def __init__(self, columns: int, rows: int, x_axis: Axis, y_axis: Axis) -> None:
        self._columns, self._rows, self._axes = columns, rows, (x_axis, y_axis)
        self._dots: dict[Cell, int] = {}
        self._letters: dict[Cell, str] = {}
        self._curves: dict[Cell, int | None] = {}
        self._passed: dict[tuple[int, int], int] = {}
        """The row of a curve by its number and column."""
        self._behind: dict[Cell, str] = {}

    def add(self, runs: Sequence[Sequence[tuple[float, float]]], number: int) -> None:
        """Draw curve `number`."""
        for run in runs:
            dots = list(dict.fromkeys(self._dot(*point) for point in run))
            for start, end in pairwise([dots[0], *dots]):
                for x, y in straight_line(*start, *end):
                    self._set(x, y, number)

    def mark(self, count: int) -> None:
        """Put the marks of `count` curves on them, those of different curves in different columns."""
        every = max(4 * count, self._columns // 4)
        for number in range(count):
            passed = sorted(column for curve, column in self._passed if curve == number)
            offset = every * (2 * number + 1) // (2 * count)
            columns = [column for column in passed if column % every == offset] or passed[-1:]
            for column in columns:
                self._put((column, self._passed[number, column]), MARKS[number % len(MARKS)], number)

    def star(self, curves: Sequence[Curve], points: Sequence[Sequence[Sequence[tuple[float, float]]]]) -> None:
        """Put a star on the best point of each curve."""
        for number, (curve, runs) in enumerate(zip(curves, points, strict=True)):
            for x, y in (dot for run in runs for dot in run if dot[0] == curve.best):
                self.put((x, y), STAR, number)

    def put(self, point: tuple[float, float], letter: str, number: int | None = None) -> None:
        """Put a letter of curve `number`, or of none, at a point."""
        column, row = self._dot(*point)
        self._put((column // 2, row // 4), letter, number)

    def put_behind(self, cell: Cell, letter: str) -> None:
        """Put a letter into a cell, to be seen where there is nothing else."""
        self._behind[cell] = letter

    def line(self, row: int) -> Line:
        """One line of the plot."""
        cells = [(column, row) for column in range(self._columns)]
        spans: Line = []
        for cell in cells:
            letter, curve = self._letter(cell), self._curves.get(cell)
            if spans and spans[-1].curve == curve:
                spans[-1] = Span(spans[-1].text + letter, curve)
            else:
                spans.append(Span(letter, curve))
        return spans

    def _dot(self, x: float, y: float) -> Cell:
        """The dot at a point, counted from the upper left."""
        right, up = (axis.place(value) for axis, value in zip(self._axes, (x, y), strict=True))
        return round(right * (2 * self._columns - 1)), round((1 - up) * (4 * self._rows - 1))

    def _set(self, x: int, y: int, number: int | None) -> None:
        cell = x // 2, y // 4
        if not (0 <= cell[0] < self._columns and 0 <= cell[1] < self._rows):
            return
        self._dots[cell] = self._dots.get(cell, 0) | _DOTS[y % 4][x % 2]
        self._curves[cell] = number
        if number is not None:
            self._passed.setdefault((number, cell[0]), cell[1])

    def _put(self, cell: Cell, letter: str, number: int | None) -> None:
        self._letters[cell], self._curves[cell] = letter, number

    def _letter(self, cell: Cell) -> str:
        dots = self._dots.get(cell)
        return self._letters.get(cell) or (self._behind.get(cell, " ") if dots is None else chr(0x2800 + dots))


def straight_line(x: int, y: int, end_x: int, end_y: int) -> Iterator[Cell]:
    """The dots from one to another."""
    steps = max(abs(end_x - x), abs(end_y - y), 1)
    for i in range(steps + 1):
        yield x + round((end_x - x) * i / steps), y + round((end_y - y) * i / steps)


def x_lines(axis: Axis, columns: int, gutter: int, label: str) -> list[Line]:
    """The x-axis and its numbers; as many as there is room for."""
    for most in range(max(2, columns // 6), 0, -1):
        ticks = [(round(axis.place(value) * (columns - 1)), text) for value, text in axis.ticks(most)]
        starts = [min(max(0, place - len(text) // 2), columns - len(text)) for place, text in ticks]
        ends = [start + len(text) for start, (_, text) in zip(starts, ticks, strict=True)]
        if all(end < start for end, start in zip(ends, starts[1:], strict=False)):
            break
    edge, numbers = ["─"] * columns, [" "] * columns
    for start, (place, text) in zip(starts, ticks, strict=True):
        edge[place] = "┬"
        numbers[start : start + len(text)] = text
    return [[Span(" " * gutter + " └" + "".join(edge))], [Span(f"{label:>{gutter}}  " + "".join(numbers))]]


def legend_lines(curves: Sequence[Curve], width: int, most: int, x_label: str) -> list[Line]:
    """The name of each curve with its mark and its best point, on at most `most` lines; names only, if need be."""
    marked, names = len(curves) > 1, [curve._replace(best=None) for curve in curves]
    entries = [legend_entry(curve, number, marked, x_label, width) for number, curve in enumerate(curves)]
    if len(wrapped(entries, width)) > most:
        entries = [legend_entry(curve, number, marked, x_label, width // 2 - 1) for number, curve in enumerate(names)]
    for shown in range(len(entries), 0, -1):
        left = len(entries) - shown
        lines = wrapped([*entries[:shown], *([Span(f"and {left} more")] if left else [])], width)
        if len(lines) <= most:
            return lines
    return lines


def legend_entry(curve: Curve, number: int, marked: bool, x_label: str, width: int) -> Span:
    """A curve in the legend, in at most `width` letters."""
    mark = f"{MARKS[number % len(MARKS)]} " if marked else ""
    best = "" if curve.best is None else f" {STAR} {x_label} {curve.best:g}"
    return Span(mark + shortened(curve.label, max(8, width - len(mark) - len(best))) + best, number)


def wrapped(entries: Sequence[Span], width: int) -> list[Line]:
    """The entries on as few lines of `width` as they need, with two spaces between them."""
    lines: list[Line] = []
    room = 0
    for entry in entries:
        needed = cell_len(entry.text) + 2
        if not lines or needed > room:
            lines.append([entry])
            room = width - cell_len(entry.text)
        else:
            lines[-1] += [Span("  "), entry]
            room -= needed
    return lines
