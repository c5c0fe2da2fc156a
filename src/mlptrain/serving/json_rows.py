"""How is JSON read as rows, strictly: one object for each row, each key once, no NaN?"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from mlptrain.data.columns import short
from mlptrain.data.rows import Row
from mlptrain.errors import DataError


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these keys and values."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"the key '{short(twice)}' is there twice")
    return found


def no_constant(word: str) -> NoReturn:
    """Refuse NaN and Infinity, which are not JSON."""
    raise DataError(f"{word} is not JSON; write null for a missing value")


def nan_as_null(word: str) -> None:
    """NaN as a missing value, as pandas and MLflow write it; infinity is refused."""
    if word != "NaN":
        no_constant(word)


_STRICT = json.JSONDecoder(object_pairs_hook=each_key_once, parse_constant=no_constant)
_WITH_NAN = json.JSONDecoder(object_pairs_hook=each_key_once, parse_constant=nan_as_null)


def parse_json(text: bytes, nan_is_null: bool = False) -> Any:
    """The value in `text`; a `DataError` that says what is wrong with it."""
    try:
        whole = text.decode().strip(" \t\r\n")
        value, end = (_WITH_NAN if nan_is_null else _STRICT).raw_decode(whole)
        if end < len(whole):
            raise json.JSONDecodeError("Extra data", whole, end)
        return value
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte offset {error.start}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}, at character {error.pos + 1}") from error
    except RecursionError as error:
        raise DataError("not a row: its lists or objects are nested too deeply") from error
    except ValueError as error:  # Python refuses whole numbers of thousands of digits
        raise DataError("a number has too many digits") from error


def as_row(value: Any) -> Row:
    """`value`, which must be an object."""
    if not isinstance(value, dict):
        kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
        found = kinds.get(type(value), "a number")
        raise DataError(f'a row is an object, as in {{"column": 1.5}}, not {found}')
    return value
