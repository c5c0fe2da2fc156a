"""Is each line of a stream answered as `predict` answers it, at once, and a bad one by its reason?"""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import PROGRAM, Outcome, classes_rows, environment, run_cli, write_csv
from mlptrain.runs.model import open_model
from mlptrain.serving import lines
from mlptrain.serving.answers import Answerer
from mlptrain.serving.lines import Lines, Stream

HEADER = "x1,x2,colour"
FIT = ("--set", "training.epochs=3", "--set", "ensemble={members: 3}", "--out", "run", "-q")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of a small ensemble on two numbers and a colour."""
    folder = tmp_path_factory.mktemp("stream")
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", classes_rows())
    run_cli("fit", "classes.csv", "--target", "answer", *FIT, folder=folder).succeeded()
    return folder


@pytest.fixture(scope="module")
def answerer(home: Path) -> Answerer:
    return Answerer(open_model(home / "run"))


def row(**changes: Any) -> dict[str, Any]:
    return {"x1": 0.5, "x2": -0.25, "colour": "red"} | changes


def json_rows(rows: Sequence[Any]) -> bytes:
    return b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in rows)


def csv_rows(count: int = 40) -> bytes:
    body = "".join(",".join(map(str, one[:3])) + "\n" for one in classes_rows(count))
    return f"{HEADER}\n{body}".encode()


def streamed(home: Path, data: bytes, *options: str, code: int = 0) -> list[str]:
    """The lines of answers."""
    found = run_cli("predict", "run", "-", "--stream", *options, folder=home, stdin=data)
    assert found.code == code, found.err
    return found.out.split("\n")[:-1]


def answers(home: Path, *rows: Any, code: int = 0) -> list[dict[str, Any]]:
    """The answers to rows of JSON."""
    return [json.loads(line) for line in streamed(home, json_rows(rows), code=code)]


def test_csv_answers_are_those_of_predict_to_the_byte(home: Path) -> None:
    whole = run_cli("predict", "run", "-", "--spread", "-q", folder=home, stdin=csv_rows()).succeeded().out
    found = streamed(home, csv_rows(), "--spread")
    assert found[0].endswith(",error")
    assert [line.rpartition(",")[0] for line in found] == whole.splitlines()


def test_json_answers_have_the_numbers_of_predict(home: Path) -> None:
    whole = run_cli("predict", "run", "-", "-q", folder=home, stdin=csv_rows()).succeeded().out
    expected = list(csv.DictReader(whole.splitlines()))
    rows = [
        dict(zip(("x1", "x2", "colour"), (float(str(a)), float(str(b)), c), strict=True))
        for a, b, c, _ in classes_rows()
    ]
    found = streamed(home, json_rows(rows))
    for line, wanted in zip(found, expected, strict=True):
        assert json.loads(line) == {key: value if key == "answer" else float(value) for key, value in wanted.items()}
        for key, value in wanted.items():  # digit by digit
            assert (f'"{key}":"{value}"' if key == "answer" else f'"{key}":{value}') in line


@pytest.mark.parametrize("hidden", ["[8]", "[512]"])
def test_an_answer_does_not_depend_on_the_rows_beside_it(tmp_path: Path, hidden: str) -> None:
    """Not even in its last digit, although BLAS adds in another order where a product has few rows."""
    rng = np.random.default_rng(0)
    table = write_csv(tmp_path / "t.csv", "a,b,y,z", [tuple(one) for one in rng.standard_normal((60, 4)).tolist()])
    text = f"preset: plain\ntraining: {{epochs: 2}}\nnetwork: {{hidden: {hidden}}}\n"
    text += f"data: {{path: {table.name}, target: [y, z]}}"
    (tmp_path / "s.yaml").write_text(text)
    run_cli("fit", "s.yaml", "--out", "run", "-q", folder=tmp_path).succeeded()
    answerer = Answerer(open_model(tmp_path / "run"))
    rows = [f"{a},{b}\n".encode() for a, b in rng.standard_normal((1100, 2))]
    whole = Stream(answerer).feed(b"a,b\n" + b"".join(rows))
    for size in (1, 7, 100, 999):
        stream = Stream(answerer)
        pieces = [b"".join(rows[start : start + size]) for start in range(0, len(rows), size)]
        assert "".join([stream.feed(b"a,b\n"), *map(stream.feed, pieces), stream.end()]) == whole


@given(st.data())
def test_where_the_bytes_are_cut_does_not_matter(answerer: Answerer, data: st.DataObject) -> None:
    text = json_rows([row(), b"{bad\n", b"\n", row(colour="grün"), row(x1="1e0"), b"\xff\n", row(x2=None)])[:-1]
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    stream, whole = Stream(answerer), Stream(answerer)
    pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    assert "".join([*map(stream.feed, pieces), stream.end()]) == whole.feed(text) + whole.end()
    assert stream.counts == whole.counts


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b'{"x1": 1', b'"x1"', b"{}", b"[" * 3000, b"1" * 5000])))
def test_whatever_comes_has_one_line_of_strict_json(answerer: Answerer, found: list[bytes]) -> None:
    stream = Stream(answerer)
    text = stream.feed(json_rows([row()]) + b"\n".join(found)) + stream.end()
    number = sum(bool(line.strip()) for one in found for line in one.split(b"\n"))
    documents = [json.loads(line, parse_constant=pytest.fail) for line in text.split("\n")[:-1]]
    assert len(documents) == 1 + number
    assert all(set(one) == {"error", "line"} for one in documents[1:])


CELLS = (
    st.none()
    | st.booleans()
    | st.floats(-3, 3)
    | st.integers(-3, 3)
    | st.sampled_from(
        ["red", "1", "0.5", "true", " 1 ", "NA", "", "1e999", "?", "-0", 10**400, [1], {}, "\ud800", 1e300]
    )
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12))
def test_rows_together_are_answered_as_each_alone(answerer: Answerer, cells: list[tuple[Any, Any, Any]]) -> None:
    rows = [dict(zip(("x1", "x2", "colour"), one, strict=True)) for one in cells]
    together = answerer.answers(rows)
    alone = [answerer.answers([one]) for one in rows]
    assert list(together.places) == [i for i, one in enumerate(alone) if one.places]
    assert together.refusals == {i: one.refusals[0] for i, one in enumerate(alone) if one.refusals}
    for name, values in together.columns.items():
        assert list(values) == [one.columns[name][0] for one in alone if one.places]


def test_a_number_is_the_same_as_text_and_true_is_one(home: Path) -> None:
    found = answers(home, row(x1=1.5), row(x1="1.5"), row(x1=" 1.5 "), row(x1="15e-1"), row(x1=1), row(x1=True))
    assert found[0] == found[1] == found[2] == found[3] != found[4] == found[5]


def test_null_is_a_missing_value_and_other_keys_do_no_harm(home: Path) -> None:
    found = answers(home, row(x1=None), row(x1="NA"), row(x1=""), row(x1=None, more={"a": [1]}))
    assert found[0] == found[1] == found[2] == found[3]
    assert set(found[0]) == {"answer", "probability_no", "probability_yes"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{bad\n", "not JSON: expecting property name"),
        (b'{"x1": 1} 2\n', "not JSON: extra data, at character 10"),
        (b'{"x1": NaN, "x2": 1, "colour": "red"}\n', "NaN is not JSON; write null for a missing value"),
        (b'{"x1": -Infinity}\n', "-Infinity is not JSON"),
        (b'{"x1": 1, "x1": 2}\n', "the key 'x1' is there twice"),
        (b'{"x1": 1, "x2": "\xff"}\n', "not UTF-8 at byte offset 17"),
        (b"[1, 2]\n", "a row is an object"),
        (b"null\n", "not null"),
        (b"1" * 5000 + b"\n", "too many digits"),
        (b'{"x1":' * 100_000 + b"\n", "nested too deeply"),
        (json_rows([row(x1="much")]), "column 'x1' must be numeric, but 1 of its cells does not read as a number: 'm"),
        (json_rows([row(x1=10**400)]), "column 'x1' holds infinite values"),
        (json_rows([row(x1={})]), "'x1' is an object; a cell is text, a number, true, false or null"),
        (json_rows([row(x1=["a"])]), "'x1' is a list, but not of numbers"),
        (json_rows([row(x1=[])]), "'x1' must be a list of numbers"),
        (json_rows([row(colour=[1, 2])]), "column 'colour' has 2 values a row"),
        (
            json_rows([{"x1": 1, "x2": 2, "color": "red"}]),
            "no 'colour'; did you mean 'color'? where",
        ),
        (b"{}\n", "no 'x1', 'x2', 'colour'; where a value is missing, write null"),
        (b'{"x1": 1, "x2": 2, "colour": "\\ud800"}\n', "'colour' is not Unicode text"),
    ],
)
def test_a_bad_line_has_its_reason_and_the_others_their_answers(home: Path, line: bytes, reason: str) -> None:
    found = run_cli("predict", "run", "-", "--stream", folder=home, stdin=json_rows([row(), line, b"\r\n", row()])[:-1])
    first, bad, last = (json.loads(one) for one in found.out.split("\n")[:-1])
    assert first == last
    assert bad["line"] == 2
    assert bad["error"].startswith(reason) or reason in bad["error"]
    assert found.code == 3
    assert f"stdin: 1 of 3 rows have no answer; line 2: {bad['error'][:40]}" in found.err


def test_bad_lines_of_a_csv_have_their_reason_in_the_last_column(home: Path) -> None:
    rows = (b"1;2;red", b"1;2", b'"1";"2";"red"', b'1;"2;red', b"x;2;red", b"\xff;2;red", b"", b'1;2;"a;b"')
    data = b"\r\n".join((b"\xef\xbb\xbfx1;x2;colour", *rows))
    found = list(csv.reader(streamed(home, data, code=3)))
    assert found[0] == ["answer", "probability_no", "probability_yes", "error"]
    assert found[1] == found[3]
    assert [one[3].partition(": ")[0] for one in found[1:]] == ["", "line 3", "", "line 5", "line 6", "line 7", ""]
    assert found[2] == ["", "", "", "line 3: 2 cells, the header has 3"]
    assert all(one[:3] == ["", "", ""] for one in found[1:] if one[3])


def test_columns_are_kept(home: Path) -> None:
    rows = [row(id=7, note={"a": [1]}), row(id="ü\u2028", note=None), row(id=1)]
    options = ("--keep", "note", "--keep", "id", "--labels-only")
    first, second, third = map(json.loads, streamed(home, json_rows(rows), *options, code=3))
    assert (list(first), first["note"], first["id"]) == (["note", "id", "answer"], {"a": [1]}, 7)
    assert second == {"note": None, "id": "ü\u2028", "answer": first["answer"]}
    assert third == {"error": "no 'note', which is to be kept", "line": 3}
    found = streamed(home, b"id,x1,x2,colour\n007,1,2,red\n", "--keep", "id", "--labels-only")
    assert [line.split(",") for line in found] == [["id", "answer", "error"], ["007", found[1].split(",")[1], ""]]


@pytest.mark.parametrize(
    ("data", "options", "code", "message"),
    [
        (b"", (), 3, "stdin: 0 data rows"),
        (b"\n \n", (), 3, "stdin: 0 data rows"),
        (b"x1,x2\n1,2\n", (), 3, "stdin: the header has no column 'colour': x1,x2"),
        (b"x1,x2,x1,colour\n", (), 3, "column names must differ: 'x1'"),
        (b'[{"x1": 1}]\n', (), 3, "begins like a list; write one JSON object a line"),
        (b"\xff\xfe\n", (), 3, "not UTF-8"),
        (b"x1,x2,colour\n", ("--keep", "id"), 3, "no column 'id'"),
        (b"", ("--keep", "answer"), 2, "--keep answer: predict writes a column 'answer' itself"),
        (b"", ("--out", "f.csv"), 2, "--out: a stream is written to stdout"),
    ],
)
def test_streams_that_cannot_begin(home: Path, data: bytes, options: Sequence[str], code: int, message: str) -> None:
    run_cli("predict", "run", "-", "--stream", *options, folder=home, stdin=data).refused(code, message)


def test_a_target_may_be_called_error(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x1,x2,colour,error", classes_rows())
    run_cli("fit", "t.csv", "--target", "error", *FIT, folder=tmp_path).succeeded()
    good, bad = answers(tmp_path, row(), {}, code=3)
    assert good["error"] in ("yes", "no")
    assert bad["error_"].startswith("no 'x1'")
    found = list(csv.DictReader(streamed(tmp_path, b"x1,x2,colour\n1,2,red\n?,2,red\n", code=3)))
    assert (found[0]["error"] in ("yes", "no"), found[0]["error_"], found[1]["error"]) == (True, "", "")
    assert found[1]["error_"].startswith("line 3: column 'x1'")


def test_a_header_alone_is_answered_by_a_header(home: Path) -> None:
    assert streamed(home, b"x1,x2,colour\n") == ["answer,probability_no,probability_yes,error"]


def test_of_a_line_that_is_too_long_only_its_beginning_is_held(
    monkeypatch: pytest.MonkeyPatch, answerer: Answerer
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 100)
    cut = Lines()
    for _ in range(50):
        assert cut.cut(b"x" * 1000) == []
        assert len(cut.rest()[0]) <= 102
    assert len(cut.cut(b"\nshort\n")) == 2
    stream = Stream(answerer)
    text = stream.feed(json_rows([row(), row(more="x" * 200), row()]))
    assert [set(json.loads(line)) >= {"error"} for line in text.splitlines()] == [False, True, False]
    assert stream.counts[:2] == (2, 1)


def test_amounts_are_numbers_or_written_as_in_training(tmp_path: Path) -> None:
    rows = [(f"1.{100 + 7 * i},5 €", f"2024-01-{1 + i % 28:02d}", i % 2) for i in range(40)]
    write_csv(tmp_path / "t.csv", "price;day;bought", rows, ";")
    line = ("fit", "t.csv", "--target", "bought", "--set", "task=classification", "--set", "data.delimiter=';'")
    run_cli(*line, *FIT, folder=tmp_path).succeeded()
    prices = [1234.5, "1.234,5 €", 1.234, "1.234 €", "1.2 EUR", 1234.5]
    found = answers(tmp_path, *({"price": price, "day": "2024-01-05"} for price in prices), code=3)
    assert found[0] == found[1] == found[5] != found[2] != found[3]
    assert "'1.2 EUR'" in found[4]["error"]
    assert "error" in answers(tmp_path, {"price": 1, "day": "05.01.2024"}, code=3)[0]


def test_pixels_are_a_list(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, label = rng.integers(0, 256, (40, 9), np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "t.npz", pixels=pixels, label=label)
    line = ("fit", "t.npz", "--target", "label", "--set", "task=classification")
    run_cli(*line, *FIT, folder=tmp_path).succeeded()
    whole = run_cli("predict", "run", "t.npz", "-q", folder=tmp_path).succeeded().out
    found = answers(tmp_path, *({"pixels": one} for one in pixels.tolist()), {"pixels": [1] * 8}, {"pixels": 7}, code=3)
    expected = csv.DictReader(whole.splitlines())
    for one, wanted in zip(found, expected, strict=False):
        assert {key: str(value) for key, value in one.items()} == wanted | {"label": str(one["label"])}
        assert float(wanted["label"]) == float(one["label"])
    assert "the model needs 9" in found[40]["error"]
    assert "error" in found[41]


def start(home: Path, **streams: Any) -> subprocess.Popen[bytes]:
    command = [*PROGRAM.split(), "predict", "run", "-", "--stream"]
    pipe = subprocess.PIPE
    settings: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": pipe} | streams
    return subprocess.Popen(command, cwd=home, env=environment(), bufsize=0, text=False, **settings)


def ended(process: subprocess.Popen[bytes]) -> Outcome:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return Outcome(process.returncode, (out or b"").decode(), (err or b"").decode())


def test_each_line_is_answered_before_the_next_one_comes(home: Path) -> None:
    process = start(home)
    assert process.stdin is not None and process.stdout is not None
    for one in (row(), b"{\n", row(x1=None)):
        process.stdin.write(json_rows([one]))
        assert json.loads(process.stdout.readline())  # waits for ever if it is not flushed
    done = ended(process)
    assert done.code == 3
    assert done.out == ""


def test_a_reader_that_has_seen_enough_ends_it(home: Path) -> None:
    process = start(home)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json_rows([row()]))
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(json_rows([row()]))  # stdin stays open
    assert process.wait(60) == 0
    assert process.stderr is not None and process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


def test_an_interrupt_ends_it(home: Path) -> None:
    process = start(home)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json_rows([row()]))
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert ended(process).err == "mlptrain: interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such terminals")
def test_lines_can_be_typed(home: Path) -> None:
    ours, theirs = pty.openpty()
    process = start(home, stdin=theirs)
    os.close(theirs)
    assert process.stdout is not None
    os.write(ours, json_rows([row()]))
    assert "answer" in json.loads(process.stdout.readline())
    os.write(ours, b"\x04")  # Ctrl-D
    done = ended(process)
    os.close(ours)
    assert (done.code, done.out) == (0, "")
    assert "Ctrl-D ends" in done.err


def test_a_pipe_with_a_name_is_read(home: Path) -> None:
    os.mkfifo(home / "pipe")
    command = [*PROGRAM.split(), "predict", "run", "pipe", "--stream"]
    process = subprocess.Popen(command, cwd=home, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with (home / "pipe").open("wb", buffering=0) as pipe:
        pipe.write(json_rows([row()]))
        assert process.stdout is not None and b"answer" in process.stdout.readline()
    assert ended(process).code == 0
    found = run_cli("predict", "run", "nowhere", "--stream", folder=home)
    found.refused(3, "nowhere: no such file")
    run_cli("predict", "run", ".", "--stream", folder=home).refused(5, "cannot be read: Is a directory")
