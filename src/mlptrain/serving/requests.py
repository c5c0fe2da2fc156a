"""How is the body of a request read, and its answer written?

Bodies that are refused raise `Refusal` with the status of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlptrain.component import did_you_mean
from mlptrain.data.rows import Row
from mlptrain.data.tables import parse_table
from mlptrain.errors import DataError
from mlptrain.serving.answers import Answerer
from mlptrain.serving.json_rows import as_row, parse_json
from mlptrain.serving.lines import frame_of, json_lines

SHOWN = 20
"""Rows of which it is said why they are refused."""
JSON, CSV = "application/json", "text/csv"


class Refusal(Exception):
    """A request that has no answer."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status, self.document = status, {"error": error, **more}


class Answer(NamedTuple):
    """The body of an answer."""

    text: str
    kind: str


def predict(answerer: Answerer, kind: str, body: bytes) -> Answer:
    """POST /predict: `{"rows": [...]}` is answered by `{"predictions": [...]}`, a CSV as by `mlptrain predict`."""
    if kind == CSV:
        return Answer(frame_of(columns_of_csv(answerer, body)).write_csv(), CSV)
    document = document_of(body)
    refuse_other_keys(document, ("rows",))
    return predictions(json_lines(columns_of_rows(answerer, records(document["rows"], "rows"))))


def invocations(answerer: Answerer, kind: str, body: bytes) -> Answer:
    """POST /invocations, as `mlflow models serve` has it: `dataframe_split`, `dataframe_records` or a CSV."""
    if kind == CSV:
        return predictions(json_lines(columns_of_csv(answerer, body)))
    document = document_of(body, nan_is_null=True)
    if document.get("params") in (None, {}):
        document.pop("params", None)
    refuse_other_keys(document, ("dataframe_split", "dataframe_records"))
    if "dataframe_split" in document:
        rows = split_rows(document["dataframe_split"])
    else:
        rows = records(document["dataframe_records"], "dataframe_records")
    return predictions(json_lines(columns_of_rows(answerer, rows)))


def document_of(body: bytes, nan_is_null: bool = False) -> dict[str, Any]:
    """The object in `body`."""
    try:
        document = parse_json(body, nan_is_null)
    except DataError as error:
        raise Refusal(400, str(error)) from error
    if not isinstance(document, dict):
        raise Refusal(400, 'the body must be an object, as in {"rows": [{"column": 1.5}]}')
    return document


def refuse_other_keys(document: Mapping[str, Any], wanted: Sequence[str]) -> None:
    """Refuse an object that has not exactly one of the `wanted` keys."""
    names = " or ".join(f"'{name}'" for name in wanted)
    for key in document:
        if key not in wanted:
            raise Refusal(400, f"unknown key '{key[:100]}'; {did_you_mean(key, wanted, f'the key is {names}')}")
    if len(document) != 1:
        raise Refusal(400, f"the body must have the key {names}")


def records(value: Any, key: str) -> list[Row]:
    """A list of objects."""
    if not isinstance(value, list):
        raise Refusal(400, f"'{key}' must be a list of objects, one for each row")
    try:
        return [as_row(one) for one in value]
    except DataError as error:
        place = next(i for i, one in enumerate(value) if not isinstance(one, dict))
        raise Refusal(400, f"'{key}'[{place}]: {error}") from error


def split_rows(value: Any) -> list[Row]:
    """The rows of a frame that is split into `columns` and `data`; its `index` is of no use."""
    if not isinstance(value, dict) or not {"columns", "data"} <= value.keys() <= {"columns", "data", "index"}:
        raise Refusal(400, "'dataframe_split' must have the keys 'columns' and 'data'")
    columns, data = value["columns"], value["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise Refusal(400, "'columns' must be a list of names")
    if len(set(columns)) < len(columns):
        raise Refusal(400, "'columns' names a column twice")
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        raise Refusal(400, "'data' must be a list of rows, each a list of cells")
    for place, row in enumerate(data):
        if len(row) != len(columns):
            raise Refusal(400, f"'data'[{place}] has {len(row)} cells, and there are {len(columns)} columns")
    return [dict(zip(columns, row, strict=True)) for row in data]


def columns_of_rows(answerer: Answerer, rows: Sequence[Row]) -> Mapping[str, Any]:
    """The answers to `rows`; if one of them is bad, the whole request is refused, and each bad row is told of."""
    if not rows:
        raise Refusal(422, "there are no rows")
    found = answerer.answers(rows)
    if not found.refusals:
        return found.columns
    wrong = [{"row": place + 1, "error": found.refusals[place]} for place in sorted(found.refusals)]
    text = f"{len(wrong)} of {len(rows)} rows cannot be predicted; row {wrong[0]['row']}: {wrong[0]['error']}"
    raise Refusal(422, text, rows=wrong[:SHOWN])


def columns_of_csv(answerer: Answerer, body: bytes) -> Mapping[str, Any]:
    """The answers to the rows of a CSV."""
    transforms = answerer.model.transforms
    try:
        return answerer.table(parse_table(body, "body", answerer.model.plan.data.delimiter, transforms.hints))
    except DataError as error:
        raise Refusal(422, str(error)) from error


def predictions(lines: str) -> Answer:
    """Objects, one a line, as the list of a document."""
    return Answer(f'{{"predictions":[{",".join(lines.split(chr(10))[:-1])}]}}', JSON)
