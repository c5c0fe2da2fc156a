"""How does a file become named columns?

CSV and TSV (plain or gzip) and Parquet are read by polars, NPZ by NumPy, IDX (plain or gzip) here. The cells of a CSV
stay text until `columns` interprets them; nothing is renamed, dropped or guessed. Where every cell of a column is a
number or missing, the column is parsed as numbers at once: the same values, faster and in less memory. The bytes that
are hashed are the bytes that are parsed.
"""

from __future__ import annotations

import codecs
import csv
import errno
import gzip
import hashlib
import io
import json
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.component import nearest
from mlptrain.errors import DataError, EnvironmentFault
from mlptrain.remedies import setting
from mlptrain.system import memory_size

if TYPE_CHECKING:
    import polars as pl

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_INDEX = re.compile(r"Unnamed: \d+(_level_\d+)?|__index_level_\d+__")
_DELIMITERS = (",", ";", "\t", "|")
_CHUNK = 1 << 16  # bytes scanned at a time; arrays for larger chunks would be allocated anew each time
_STRONGEST = 1032  # times, at most, that deflate makes its input shorter
_PIECE = 1 << 24  # bytes that a thread reads at a time
_OTHER_FORMATS = (
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel workbook; save it as CSV"),
    (rb"\x93NUMPY", "is a single NumPy array; save arrays by name with np.savez"),
    (rb"\x89HDF", "is an HDF5 file; save its table as Parquet or CSV"),
    (rb"\x80[\x02-\x05]", "is a pickle, which can execute code; save its table as Parquet or CSV"),
    (rb"SQLite format 3\0", "is an SQLite database; save its table as CSV"),
    (rb"ARROW1\0\0", "is an Arrow file; save it as Parquet"),
    (rb"BZh[1-9]1AY&SY", "is compressed with bzip2; unpack it, or use gzip"),
    (rb"\xfd7zXZ\0", "is compressed with xz; unpack it, or use gzip"),
    (rb"\x28\xb5\x2f\xfd", "is compressed with Zstandard; unpack it, or use gzip"),
    (rb"\x1f\x8b", "is compressed with gzip twice; unpack it once"),
    (rb"7z\xbc\xaf", "is a 7z archive; unpack it"),
    (rb"%PDF-\d", "is a PDF document; save its table as CSV"),
    (rb"\x89PNG", "is a picture (PNG), not a table"),
    (rb"(?i)\s*<(!doctype html|html)\b", "is a web page; download the table itself"),
)
"""How files begin that are not read, and what to do with them."""
_SAMPLE_ROWS = 1000  # rows that decide which columns are parsed as numbers


class Hints(NamedTuple):
    """What is known about a CSV before it is read."""

    text: Collection[str]
    """Columns whose cells must stay text."""
    missing: Collection[str]
    """Words that mean a missing value."""
    wanted: Collection[str] = ()
    """Columns that a model needs; if given, the delimiter with which most of them are found is used."""


@dataclass(frozen=True)
class Table:
    """Columns by name, in the order of the file."""

    path: str
    sha256: str
    rows: int
    columns: dict[str, Any]
    """A polars series of text or numbers, or an array (rows,) or (rows, width)."""
    numbers: NDArray[np.intp] | None = None
    """(rows,): the number of each row in the file, from 0; None if no row was left out."""
    index: tuple[str, ...] = ()
    """Columns that the file marks as an index, or that have no name."""

    def column(self, name: str) -> Any:
        """The column called `name`, exactly."""
        if name not in self.columns:
            raise DataError(f"{self.path}: no column '{name}'{self.suggestion(name)}")
        return self.columns[name]

    def select(self, rows: NDArray[np.intp]) -> Table:
        """The table of these rows only; messages still give the row numbers of the file."""
        if len(rows) == self.rows:
            return self
        numbers = rows if self.numbers is None else self.numbers[rows]
        columns = {name: self.columns.pop(name)[rows] for name in list(self.columns)}  # one at a time, to save memory
        return replace(self, rows=len(rows), columns=columns, numbers=numbers)

    def sample(self, name: str, rows: int) -> Table:
        """One column, of some of the rows, evenly."""
        column = self.column(name)[:: max(1, self.rows // rows)]
        return replace(self, rows=len(column), columns={name: column})

    def row_list(self, rows: NDArray[Any], shown: int = 5) -> str:
        """Row numbers of the file for a message."""
        return row_list(rows if self.numbers is None else self.numbers[rows], shown)

    def suggestion(self, name: str) -> str:
        """A hint for messages about a column name that does not exist."""
        guess = nearest(name, self.columns)
        if guess:
            return f"; did you mean '{guess}'?"
        names = ", ".join(list(self.columns)[:12]) + (", ..." if len(self.columns) > 12 else "")
        return (
            f"; its only column is {names}"
            if len(self.columns) == 1
            else f"; its {len(self.columns)} columns are: {names}"
        )


def row_list(rows: NDArray[Any], shown: int = 5) -> str:
    """Row numbers for a message, counted from 1 after the header: 'rows 3, 8 and 120 more'."""
    numbers = [str(row + 1) for row in rows[:shown]]
    more = f" and {len(rows) - shown} more" if len(rows) > shown else ""
    return f"row{'s' * (len(rows) > 1)} {', '.join(numbers)}{more}"


def read_table(path: str | Path, delimiter: str | None = None, hints: Hints | None = None) -> Table:
    """Read the table in the file at `path`; its suffix or its first bytes determine the format.

    Without `hints`, every cell of a CSV stays text.
    """
    return parse_table(read_bytes(Path(path)), str(path), delimiter, hints)


def read_bytes(path: Path) -> bytes:
    """The whole content of a regular file; an error that says why it cannot be read otherwise."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            check_room(found.st_size, str(path))
            in_pieces = found.st_size > _PIECE and hasattr(os, "preadv")
            raw = read_pieces(file, found.st_size) if in_pieces else file.read()
            if version(os.fstat(file.fileno())) != version(found):
                raise DataError(f"{path}: changed while it was read; try again when it is complete")
        return raw
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such data file") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR):
            raise DataError(f"{path}: no such data file: {error.strerror}") from error
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}") from error


def check_room(size: int, path: str) -> None:
    """Refuse a table that is larger than half of the memory: it is needed as bytes, and as numbers beside them."""
    available = memory_size()
    if available is not None and 2 * size > available:
        raise DataError(
            f"{path}: {size:,} bytes need at least {2 * size:,} bytes of memory as a table, and {available:,} are "
            "there; use fewer rows or columns"
        )


def digest_of(path: Path) -> str:
    """The sha256 of a regular file, read in pieces, so that a huge one takes no memory."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, ValueError) as error:  # ValueError: a name with a NUL
        raise DataError(f"{path}: no such data file") from error
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}") from error


def read_pieces(file: BinaryIO, size: int) -> bytes:
    """The first `size` bytes of `file`, read by several threads: most of the time goes into allocating memory."""
    buffer = io.BytesIO(bytes(size))

    def fill(start: int) -> None:
        stop = min(start + _PIECE, size)
        while start < stop and (got := os.preadv(file.fileno(), [view[start:stop]], start)):
            start += got

    with buffer.getbuffer() as view, ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(0, size, _PIECE)))
    return buffer.getvalue()  # the buffer itself, not a copy


def version(found: os.stat_result) -> tuple[int, int, int]:
    """A key that changes when the file is written to or replaced."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def parse_table(raw: bytes, path: str, delimiter: str | None = None, hints: Hints | None = None) -> Table:
    """The table in `raw`; `path` names it in messages, and its suffix determines the format."""
    if not raw:
        raise DataError(f"{path}: the file is empty: 0 data rows")
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(hashlib.sha256, raw)  # hashing leaves Python's lock to others
        content = gunzip(raw, path)
        columns = parse_columns(content, path, delimiter, hints)
    rows = {name: len(column) for name, column in columns.items()}
    if len(set(rows.values())) > 1:
        raise DataError(f"{path}: its arrays differ in length: {', '.join(f'{k} has {n}' for k, n in rows.items())}")
    if not rows or not max(rows.values()):
        raise DataError(f"{path}: 0 data rows")
    if len(columns) > len(set(map(composed, columns))):
        raise DataError(f"{path}: column names must differ by more than how their letters are composed")
    columns = dict(zip(with_names([composed(name) for name in columns]), columns.values(), strict=True))
    index = pandas_index(content) if content[:4] == b"PAR1" else ()
    index += tuple(name for name in columns if _INDEX.fullmatch(name))
    return Table(path, digest.result().hexdigest(), next(iter(rows.values())), columns, index=index)


def composed(name: str) -> str:
    """A name with composed letters (NFC), as every name is looked up."""
    return unicodedata.normalize("NFC", name)


def parse_columns(content: bytes, path: str, delimiter: str | None, hints: Hints | None) -> dict[str, Any]:
    """The columns of a file by name; its first bytes determine the format."""
    if content[:4] == b"PAR1":
        return parse_parquet(content, path)
    if content[:4] in (b"PK\x03\x04", b"PK\x05\x06"):  # the second is an empty archive
        return parse_npz(content, path)
    refuse_other_formats(content, path)
    if content[:2] == b"\0\0" and len(content) > 3 and content[2] in _IDX_TYPES:
        return parse_idx(content, path)
    if is_json(content):
        raise DataError(f"{path}: is JSON, which is not read; save it as CSV: one row a line, the names in the first")
    return parse_csv(content, path, delimiter or usual_delimiter(path), hints)


def refuse_other_formats(content: bytes, path: str) -> None:
    """Refuse a file that begins like one of another program, saying what it is."""
    for beginning, what in _OTHER_FORMATS:
        if re.match(beginning, content):
            raise DataError(f"{path}: {what}")


def is_json(content: bytes) -> bool:
    """Whether a text file begins like JSON and unlike a CSV."""
    first = content.removeprefix(codecs.BOM_UTF8)[:1000].split(b"\n")[0].strip()
    if first in (b"{", b"["):
        return True
    try:
        return first[:1] in (b"{", b"[") and isinstance(json.loads(first), dict | list)
    except ValueError:
        return first.startswith((b'{"', b'[{"'))


def gunzip(raw: bytes, path: str) -> bytes:
    """`raw`, decompressed if it is gzip."""
    if raw[:2] != b"\x1f\x8b":
        return raw
    available = memory_size()
    try:
        if available is None or 2 * _STRONGEST * len(raw) < available:
            return gzip.decompress(raw)
        with gzip.open(io.BytesIO(raw)) as file:
            content = file.read(available // 2 + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or truncated gzip: {error}") from error
    check_room(len(content), path)
    return content


def parse_parquet(raw: bytes, path: str) -> dict[str, Any]:
    """The columns of a Parquet file."""
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(raw))
    except Exception as error:  # polars raises many kinds for a damaged file
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    return {series.name: series for series in frame}


def pandas_index(raw: bytes) -> tuple[str, ...]:
    """The columns of a Parquet file that hold the index of pandas."""
    import polars as pl

    try:
        described = json.loads(pl.read_parquet_metadata(io.BytesIO(raw)).get("pandas", "{}"))
        return tuple(name for name in described.get("index_columns", ()) if isinstance(name, str))
    except (ValueError, AttributeError, pl.exceptions.PolarsError):
        return ()  # metadata of another program


def refuse_other_archives(raw: bytes, path: str) -> None:
    """Refuse a zip archive that holds no arrays, saying what it is, or more of them than there is memory for."""
    try:
        entries = zipfile.ZipFile(io.BytesIO(raw)).infolist()
    except (zipfile.BadZipFile, ValueError):
        return  # NumPy says what is wrong
    names = [entry.filename for entry in entries]
    if any(name.startswith("xl/") for name in names):
        raise DataError(f"{path}: is an Excel workbook; save it as CSV")
    if "content.xml" in names:
        raise DataError(f"{path}: is an OpenDocument spreadsheet; save it as CSV")
    if names and not any(name.endswith(".npy") for name in names):
        raise DataError(f"{path}: is a zip archive (of {', '.join(names[:3])}); unpack it")
    check_room(sum(entry.file_size for entry in entries), path)


def parse_npz(raw: bytes, path: str) -> dict[str, Any]:
    """The arrays of an NPZ file: a vector is a column, an array of more dimensions a block of columns."""
    refuse_other_archives(raw, path)
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("bytes that are no array")
    except Exception as error:  # numpy raises ValueError, zipfile and zlib errors for damaged or pickled arrays
        what = "it is damaged, or an array holds objects, which are neither numbers nor text"
        raise DataError(f"{path}: cannot be read as NPZ: {what}") from error
    empty = next((name for name, array in arrays.items() if array.ndim > 1 and not array[:1].size), None)
    if empty is not None:
        raise DataError(f"{path}: array '{empty}' of shape {arrays[empty].shape} holds no numbers")
    return {name: as_columns(name, array, path) for name, array in arrays.items() if array.ndim}


def as_columns(name: str, array: NDArray[Any], path: str) -> Any:
    """An array as a vector (rows,) or a series of text or, with several values per row, a block (rows, width)."""
    import polars as pl

    block = array.reshape(len(array), -1)
    column = block[:, 0] if block.shape[1] == 1 else block
    if column.dtype.kind != "U" or column.ndim > 1:
        return column
    try:
        return pl.Series(name, column)
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: array '{name}' holds text that is not Unicode") from error


def parse_idx(raw: bytes, path: str) -> dict[str, Any]:
    """The array of an IDX file, the format of MNIST: `label` if it is a vector, `pixels` otherwise."""
    dtype, dimensions = np.dtype(_IDX_TYPES[raw[2]]), raw[3]
    header = 4 + 4 * dimensions
    if dimensions == 0 or len(raw) < header:
        raise DataError(f"{path}: truncated IDX header")
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    expected = header + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(raw) != expected:
        raise DataError(f"{path}: an IDX array of shape {shape} needs {expected} bytes, the file has {len(raw)}")
    array = np.frombuffer(raw, dtype, offset=header)
    if dimensions == 1:
        return {"label": array}
    return {"pixels": array.reshape(shape[0], -1)}


def parse_csv(raw: bytes, path: str, delimiter: str, hints: Hints | None = None) -> dict[str, Any]:
    """The columns of a CSV file: text, or numbers where every cell is one; None for an empty cell."""
    import polars as pl

    raw = without_blank_end(raw.removeprefix(codecs.BOM_UTF8))
    if not raw:
        raise DataError(f"{path}: no header and 0 data rows")
    check_encoding(raw, path)
    check_lines(raw, path)
    first = raw[: header_end(raw)].decode()
    if hints and hints.wanted:
        delimiter = fitting_delimiter(first, delimiter, hints.wanted)
    header = parse_header(first, path, delimiter)
    header = list(map(composed, header))
    check_header(header, path)
    if not (hints and hints.wanted):
        check_delimiter(header, path, delimiter)
    header = with_names(header)
    records, rectangular = shape(raw, delimiter, len(header))
    if records == 1:
        raise DataError(f"{path}: a header and 0 data rows")
    if not rectangular:
        raise DataError(f"{path}: {first_irregularity(raw, delimiter, len(header))}")
    try:
        frame = parse_typed(raw, header, delimiter, hints) if hints else parse_text(raw, delimiter)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: {first_irregularity(raw, delimiter, len(header))}") from error
    return dict(zip(header, frame, strict=True))


def parse_header(first: str, path: str, delimiter: str) -> list[str]:
    """The cells of the first record."""
    try:
        return next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter), [])
    except csv.Error as error:
        raise DataError(f"{path}:1: the header cannot be read: {error}") from error


def fitting_delimiter(first: str, expected: str, wanted: Collection[str]) -> str:
    """The delimiter with which the header holds most of the `wanted` names; `expected` if none is better."""

    def found(delimiter: str) -> int:
        try:
            header = next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter), [])
            return len(set(wanted) & set(map(composed, header)))
        except csv.Error:
            return 0

    return max((expected, *_DELIMITERS), key=found)


def likely_delimiter(raw: bytes, path: str) -> str | None:
    """The delimiter that divides the header of a CSV into most columns; None if it is the usual one, or no CSV."""
    content = gunzip(raw, path).removeprefix(codecs.BOM_UTF8)
    if b"\0" in content[:_CHUNK] or content[:4] in (b"PAR1", b"PK\x03\x04") or undecodable(content) is not None:
        return None
    first, usual = content[: header_end(content)].decode(), usual_delimiter(path)

    def cells(delimiter: str) -> int:
        try:
            return len(next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter), []))
        except csv.Error:
            return 0

    best = max((usual, *_DELIMITERS), key=cells)
    return None if best == usual else best


def usual_delimiter(path: str) -> str:
    """The delimiter of a CSV or a TSV where nothing else is said."""
    return "\t" if ".tsv" in Path(path).suffixes else ","


def with_names(header: list[str]) -> list[str]:
    """The header with the names that pandas gives to unnamed columns: 'Unnamed: 0' for the first column."""
    names = list(header)
    for i, name in enumerate(header):
        if not name.strip():
            names[i] = next(new for j in range(i, 2 * len(header) + i) if (new := f"Unnamed: {j}") not in names)
    return names


def without_blank_end(raw: bytes) -> bytes:
    """`raw` without trailing blank lines; a copy only if there are some."""
    return raw.rstrip(b"\r\n") if len(raw) < 3 or raw.endswith((b"\n\n", b"\n\r\n", b"\r")) else raw


def parse_text(raw: bytes, delimiter: str, **options: Any) -> pl.DataFrame:
    """The cells of a CSV as text, None where empty."""
    import polars as pl

    return pl.read_csv(raw, separator=delimiter, infer_schema=False, **options)


def parse_typed(raw: bytes, header: list[str], delimiter: str, hints: Hints) -> pl.DataFrame:
    """The cells of a CSV: numbers in the columns that begin with numbers; all text if one of these holds a word."""
    import polars as pl

    if "" not in hints.missing:  # the number parser treats a quoted empty cell as missing
        return parse_text(raw, delimiter)
    words = [word for word in hints.missing if word.lower() not in ("", "nan")]  # these two are never numbers
    head = parse_text(raw, delimiter, n_rows=_SAMPLE_ROWS, null_values=words)
    named = zip(header, head, strict=True)  # polars reads quotes within a name otherwise
    numeric = [column.name for name, column in named if name not in hints.text and holds_numbers(column)]
    try:
        return parse_text(raw, delimiter, null_values=words, schema_overrides=dict.fromkeys(numeric, pl.Float64))
    except pl.exceptions.PolarsError:
        return parse_text(raw, delimiter)


def holds_numbers(column: pl.Series) -> bool:
    """Whether every text cell that is not empty is a number."""
    import polars as pl

    return column.cast(pl.Float64, strict=False).null_count() == column.null_count()


def check_encoding(raw: bytes, path: str) -> None:
    """Refuse bytes that are not UTF-8 text, with the offset of the first one."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: is UTF-16; save it as UTF-8")
    nul = raw.find(b"\0")
    if nul >= 0:
        raise DataError(f"{path}:{raw.count(10, 0, nul) + 1}: a NUL byte at offset {nul}: not a text file")
    wrong = undecodable(raw)
    if wrong is not None:
        line = raw.count(b"\n", 0, wrong) + 1
        raise DataError(f"{path}:{line}: not UTF-8 at byte offset {wrong}; save it as UTF-8")


def check_lines(raw: bytes, path: str) -> None:
    """Refuse a blank first line, and lines that end with a carriage return alone."""
    if raw[:1] in (b"\n", b"\r"):
        raise DataError(f"{path}:1: the first line must name the columns, but is blank")
    if b"\n" not in raw and b"\r" in raw:
        raise DataError(f"{path}: its lines end with a carriage return alone; save it with LF or CRLF line ends")


def undecodable(raw: bytes) -> int | None:
    """The offset of the first byte that is not UTF-8; None if there is none."""
    start = len(raw) if raw.isascii() else 0
    while start < len(raw):
        piece = raw[start : start + _CHUNK]
        try:
            start += codecs.utf_8_decode(piece, "strict", start + _CHUNK >= len(raw))[1]
        except UnicodeDecodeError as error:
            return start + error.start
    return None


def header_end(raw: bytes) -> int:
    """The offset of the end of the first record; a quoted name may hold a line break."""
    quoted = False
    for line_end in (i for i in range(len(raw)) if raw[i] in b'\n"'):
        if raw[line_end] == ord('"'):
            quoted = not quoted
        elif not quoted:
            return line_end
    return len(raw)


def check_header(header: list[str], path: str) -> None:
    """Refuse a header with duplicate names, or with numbers only."""
    if all(is_number(name) for name in header):
        raise DataError(
            f"{path}:1: the first line must name the columns, but holds numbers only: {', '.join(header[:6])}"
        )
    repeated = [name for name, count in Counter(header).items() if count > 1 and name.strip()]
    if repeated:
        places = "; ".join(f"'{n}' in columns {[i + 1 for i, h in enumerate(header) if h == n]}" for n in repeated)
        raise DataError(f"{path}:1: column names must differ: {places}")


def check_delimiter(header: list[str], path: str, delimiter: str) -> None:
    """Refuse a single column whose name contains a common delimiter."""
    other = next((mark for mark in (";", "\t", "|", ",") if mark != delimiter and header[0].count(mark)), None)
    if len(header) == 1 and other:
        shown = "\\t" if other == "\t" else other
        raise DataError(
            f"{path}:1: only 1 column found; if '{shown}' separates them, write {setting(data={'delimiter': other})}"
        )


def stray_quote(raw: bytes, delimiter: str) -> str:
    """A message on the first line with a quote inside an unquoted cell."""
    pattern = re.compile(rf'(?:^|{re.escape(delimiter)})[^"{re.escape(delimiter)}]+"')
    for number, line in enumerate(raw.decode().splitlines(), start=1):
        if pattern.search(line):
            return f"line {number} has a quote within a cell; put the cell in quotes and double the one inside"
    return "the file cannot be read as a table of quoted or plain cells"


def is_number(text: str) -> bool:
    """Whether `text` is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def shape(raw: bytes, delimiter: str, columns: int) -> tuple[int, bool]:
    """The number of records, and whether each has `columns` cells on average.

    polars refuses a record with too many cells; if no record has too many and the total is right, none has too few.
    """
    data = np.frombuffer(raw, np.uint8)
    inside, separators, ends = 0, 0, 0
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK]
        separator, end = chunk == ord(delimiter), chunk == ord("\n")
        if inside or raw.find(b'"', start, start + _CHUNK) >= 0:
            parity = (np.cumsum(chunk == ord('"'), dtype=np.uint8) + np.uint8(inside)) & 1
            separator &= parity == 0
            end &= parity == 0
            inside = int(parity[-1])
        separators += int(np.count_nonzero(separator))
        ends += int(np.count_nonzero(end))
    records = ends + (not raw.endswith(b"\n"))
    even = not inside and separators == records * (columns - 1)
    return records, even and (
        raw.endswith(b"\n") or not raw.endswith(delimiter.encode()) or ends_evenly(raw, delimiter)
    )


def ends_evenly(raw: bytes, delimiter: str) -> bool:
    """Whether the last record has as many cells as the first: polars accepts one empty cell too many at the end."""
    start = raw.rfind(b"\n") + 1
    if raw.find(b'"') >= 0:
        records = list(csv.reader(io.StringIO(raw.decode(), newline=""), delimiter=delimiter))
        return len(records[-1]) == len(records[0])
    return raw.count(delimiter.encode(), start) == raw.count(delimiter.encode(), 0, raw.find(b"\n"))


def first_irregularity(raw: bytes, delimiter: str, columns: int) -> str:
    """A message on the first record with a wrong number of cells, found by an exact but slower reader."""
    reader = csv.reader(io.StringIO(raw.decode(), newline=""), delimiter=delimiter, strict=True)
    bad: list[tuple[int, int]] = []
    start = 1
    try:
        for record in reader:
            if len(record) != columns:
                bad.append((start, len(record)))
            start = reader.line_num + 1
    except csv.Error as error:
        return f"line {start}: a quoted cell that begins here is not closed properly ({error})"
    if not bad:
        return stray_quote(raw, delimiter)
    line, cells = bad[0]
    what = "is blank" if cells == 0 else f"has {cells} cell{'s' * (cells != 1)}, the header {columns}"
    return f"line {line} {what}" + (f"; {len(bad)} lines are irregular" if len(bad) > 1 else "")
