"""How does a stream of lines become a stream of answers, a line for each?

The first line decides: one that begins with `{` is JSON, and so are all answers; otherwise it is the header of a CSV,
and the answers are one too. Blank lines have no answer.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from abc import ABC, abstractmethod
from bisect import bisect
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlptrain.data.columns import short
from mlptrain.data.rows import Row
from mlptrain.data.tables import check_header, composed, fitting_delimiter, parse_header, with_names
from mlptrain.errors import DataError, UsageError
from mlptrain.serving.answers import Answerer, Columns
from mlptrain.serving.json_rows import as_row, parse_json

if TYPE_CHECKING:
    import polars as pl

LONGEST = 1 << 24
"""Bytes of the longest line that is read."""
TOO_LONG = f"longer than {LONGEST:,} bytes"
_BOM = b"\xef\xbb\xbf"
_NEEDS_CARE = re.compile('["\r\n\x00]')


class Lines:
    """Cuts bytes into lines; of a line that is too long, only the beginning is kept."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._begun = False

    def cut(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, without their ends."""
        if not self._begun and data:
            self._begun, data = True, data.removeprefix(_BOM)
        *ended, rest = data.split(b"\n")
        if ended:
            ended[0] = bytes(self._held) + ended[0]
            self._held.clear()
        self._held += rest
        del self._held[LONGEST + 2 :]
        return ended

    def rest(self) -> list[bytes]:
        """The last line, if it was not ended."""
        return [bytes(self._held)] if self._held else []


class Format(ABC):
    """How rows and answers are written."""

    def __init__(self, answerer: Answerer, keep: Sequence[str]) -> None:
        """`keep` are columns of the rows that are copied beside the answers."""
        self._answerer, self._keep = answerer, tuple(keep)
        self._outputs = answerer.outputs
        self._error = free_name("error", {*self._outputs, *self._keep})

    @abstractmethod
    def parsed(self, line: bytes) -> Row:
        """The row in `line`; a `DataError` if there is none."""

    def row(self, line: bytes) -> Row:
        """The row in `line`, which must have the columns to keep; a `DataError` if there is none."""
        if len(line) > LONGEST:
            raise DataError(TOO_LONG)
        found = self.parsed(line)
        if absent := [name for name in self._keep if name not in found]:
            raise DataError(f"no '{absent[0]}', which is to be kept")
        return found

    def head(self) -> str:
        """What is written before the first answer."""
        return ""

    @abstractmethod
    def answers(self, columns: Columns, rows: Sequence[Row]) -> str:
        """A line for each of `rows` with its answer."""

    @abstractmethod
    def refusal(self, line: int, reason: str) -> str:
        """The line for a row without an answer."""


class JsonLines(Format):
    """A JSON object a line."""

    def parsed(self, line: bytes) -> Row:
        return as_row(parse_json(line))

    def answers(self, columns: Columns, rows: Sequence[Row]) -> str:
        text = json_lines(columns)
        if not self._keep:
            return text
        kept = (compact({name: row[name] for name in self._keep}) for row in rows)
        pairs = zip(kept, text.split("\n")[:-1], strict=True)
        return "".join(f"{own[:-1]},{answer[1:]}\n" for own, answer in pairs)

    def refusal(self, line: int, reason: str) -> str:
        return compact({self._error: reason, "line": line}) + "\n"


class CsvLines(Format):
    """A CSV, with a last column that says why a row has no answer."""

    def __init__(self, answerer: Answerer, keep: Sequence[str], header: bytes) -> None:
        """`header` is the first line; a `DataError` if it lacks a column that the model needs."""
        super().__init__(answerer, keep)
        hints, first = answerer.hints, decoded(header)
        usual = answerer.model.plan.data.delimiter or ","
        self._delimiter = fitting_delimiter(first, usual, hints.wanted)
        names = [composed(name) for name in parse_header(first, answerer.name, self._delimiter)]
        check_header(names, answerer.name)
        self._names = with_names(names)
        for name in (*hints.wanted, *self._keep):
            if name not in self._names:
                raise DataError(f"{answerer.name}: the header has no column '{name}': {short(first)}")

    def parsed(self, line: bytes) -> Row:
        text = decoded(line)
        cells = careful_cells(text, self._delimiter) if _NEEDS_CARE.search(text) else text.split(self._delimiter)
        if len(cells) != len(self._names):
            raise DataError(f"{len(cells)} cells, the header has {len(self._names)}")
        return dict(zip(self._names, cells, strict=True))

    def head(self) -> str:
        return csv_line([*self._keep, *self._outputs, self._error])

    def answers(self, columns: Columns, rows: Sequence[Row]) -> str:
        kept = {name: [row[name] for row in rows] for name in self._keep}
        return csv_lines({**kept, **columns, self._error: [None] * len(rows)})

    def refusal(self, line: int, reason: str) -> str:
        return csv_line(["" for _ in (*self._keep, *self._outputs)] + [f"line {line}: {reason}"])


def free_name(name: str, taken: Collection[str]) -> str:
    """`name`, or the first of `name_`, `name__`, ... that is not taken."""
    while name in taken:
        name += "_"
    return name


def decoded(line: bytes) -> str:
    """A line as text."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte offset {error.start}") from error


def careful_cells(text: str, delimiter: str) -> list[str]:
    """The cells of a line with quotes."""
    if "\0" in text:
        raise DataError("a NUL byte: not a line of text")
    try:
        (cells,) = csv.reader([text], delimiter=delimiter, strict=True)
    except csv.Error as error:
        raise DataError(f"a quoted cell is not closed properly on its line ({error})") from error
    return cells


def csv_line(cells: Sequence[str]) -> str:
    """One record."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def csv_lines(columns: Mapping[str, Any]) -> str:
    """The records of `columns`, without a header, as `mlptrain predict` writes them."""
    return frame_of(columns).write_csv(include_header=False)


def json_lines(columns: Mapping[str, Any]) -> str:
    """A JSON object for each row of `columns`; the numbers are those of the CSV."""
    return frame_of(columns).write_ndjson()


def compact(value: Any) -> str:
    """`value` as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def frame_of(columns: Mapping[str, Any]) -> pl.DataFrame:
    """Columns as polars writes them; arrays of objects hold text."""
    import polars as pl

    objects = {name for name, values in columns.items() if getattr(values, "dtype", None) == np.dtype(object)}
    return pl.DataFrame({name: list(values) if name in objects else values for name, values in columns.items()})


class Counts(NamedTuple):
    """What became of the lines so far."""

    answered: int
    refused: int
    first: str
    """The first refusal."""


class Stream:
    """Answers lines as they come."""

    def __init__(self, answerer: Answerer, keep: Sequence[str] = ()) -> None:
        """`keep` are columns of the rows that are copied beside the answers."""
        self._answerer, self._keep = answerer, tuple(dict.fromkeys(keep))
        self._lines, self._number = Lines(), 0
        self._format: Format | None = None
        self.counts = Counts(0, 0, "")
        for name in self._keep:
            if name in answerer.outputs:
                raise UsageError(f"--keep {name}: predict writes a column '{name}' itself; rename the one of the rows")

    def feed(self, data: bytes) -> str:
        """The answers to all lines that end in `data`."""
        return self._text(self._lines.cut(data))

    def end(self) -> str:
        """The answer to a last line without an end."""
        text = self._text(self._lines.rest())
        if self._format is None:
            raise DataError(f"{self._answerer.name}: 0 data rows")
        return text

    def _text(self, lines: Sequence[bytes]) -> str:
        return "".join(self._answered(lines))

    def _answered(self, lines: Sequence[bytes]) -> Iterator[str]:
        """The lines of answers, in order."""
        found: list[Row] = []
        numbers: list[int] = []
        refusals: dict[int, str] = {}
        for line in lines:
            self._number += 1
            if len(line) <= LONGEST and not line.strip():
                continue
            if self._format is None:
                self._format = format_for(line, self._answerer, self._keep)
                yield self._format.head()
                if isinstance(self._format, CsvLines):
                    continue
            try:
                found.append(self._format.row(line.removesuffix(b"\r")))
                numbers.append(self._number)
            except DataError as error:
                refusals[self._number] = str(error)
        if self._format is not None:
            yield from self._in_order(self._format, found, numbers, refusals)

    def _in_order(
        self, written: Format, rows: Sequence[Row], numbers: Sequence[int], refusals: dict[int, str]
    ) -> Iterator[str]:
        """The answers to `rows`, which are the lines of these `numbers`, with refusals of lines between them."""
        places, columns, refused = self._answerer.answers(rows)
        refusals |= {numbers[place]: reason for place, reason in refused.items()}
        for part in runs([numbers[place] for place in places], refusals):
            chosen = [rows[place] for place in places[part]]
            yield from self._refused(written, refusals, numbers[places[part.start]])
            self.counts = self.counts._replace(answered=self.counts.answered + len(chosen))
            yield written.answers({name: values[part] for name, values in columns.items()}, chosen)
        yield from self._refused(written, refusals)

    def _refused(self, written: Format, refusals: dict[int, str], before: float = math.inf) -> Iterator[str]:
        """The refusals of the lines before line `before`, which are taken out of `refusals`."""
        for line in sorted(line for line in refusals if line < before):
            reason = refusals.pop(line)
            first = self.counts.first or f"line {line}: {reason}"
            self.counts = self.counts._replace(refused=self.counts.refused + 1, first=first)
            yield written.refusal(line, reason)


def format_for(line: bytes, answerer: Answerer, keep: Sequence[str]) -> Format:
    """The format of a stream that begins with `line`."""
    if line.lstrip().startswith(b"{"):
        return JsonLines(answerer, keep)
    if len(line) > LONGEST:
        raise DataError(f"{answerer.name}: the first line is {TOO_LONG}")
    if line.lstrip().startswith(b"["):
        raise DataError(f"{answerer.name}: begins like a list; write one JSON object a line, or a CSV")
    return CsvLines(answerer, keep, line.rstrip(b"\r"))


def runs(numbers: Sequence[int], refusals: Collection[int]) -> Iterator[slice]:
    """The rows of these lines, cut where a refused line comes between two."""
    if not numbers:
        return
    inner = sorted(line for line in refusals if numbers[0] < line < numbers[-1])
    cuts = sorted({bisect(numbers, line) for line in inner})
    for start, end in zip([0, *cuts], [*cuts, len(numbers)], strict=True):
        yield slice(start, end)
