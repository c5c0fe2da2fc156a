"""Does the YAML reader say exactly what a file says, and name every mistake by line and column?"""

from __future__ import annotations

import gzip
import json
import math
import os
import threading
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlptrain.errors import EnvironmentFault, SpecError, UsageError
from mlptrain.spec import yaml
from mlptrain.spec.yaml import Node, Plain, dotted, dump, excerpt, load, parse

PARSERS = [getattr(pyyaml, name) for name in ("CSafeLoader", "SafeLoader") if hasattr(pyyaml, name)]


@pytest.fixture(params=PARSERS, ids=lambda parser: parser.__name__)
def _each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "LOADER", request.param)


each_parser = pytest.mark.usefixtures("_each_parser")


def entries(node: Node) -> dict[str, Node]:
    assert isinstance(node.value, dict)
    return node.value


def value_of(scalar: str) -> Plain:
    return entries(parse(f"key: {scalar}\n", "spec.yaml"))["key"].plain()


def mistakes(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(SpecError) as caught:
        parse(text, "f")
    return [(problem.place, problem.path, problem.message) for problem in caught.value.problems]


# --- What the text says


FORMS: list[tuple[Plain, str]] = [
    (None, "~ null Null NULL"),
    (True, "true True TRUE"),
    (False, "false False FALSE"),
    (0, "0 -0 00 0x0 0o0"),
    (15, "15 +15 015 0xf 0xF 0o17"),
    (-int("1" * 100), "-" + "1" * 100),
    (0.001, "1e-3 1E-3 1.0e-3 .001 +0.1e-02"),
    (1000.0, "1e3 1e+3 1.0E3 1000. 1000.0"),
    (math.inf, ".inf .Inf +.INF 1e400"),
    (-math.inf, "-.inf -1.0e+400"),
    (math.nan, ".nan .NaN .NAN"),
]
STRINGS = "no on off Yes NO y N nan inf -.nan .iNf tRUE nULL 1_000 0b1 0b_ 0x_ 0x 0o8 -0x1 1:30 2001-12-14 = "
STRINGS += "1,5 1.000,5 0.1.2 1e- 1e e3 . ٣"
STYLES: dict[str, tuple[str, Plain]] = {
    "empty": ("", None),
    "double quotes": ('"1e-3"', "1e-3"),
    "single quotes": ("'true'", "true"),
    "quoted, empty": ('""', ""),
    "quoted merge": ("'<<'", "<<"),
    "escape": ('"a\\nb"', "a\nb"),
    "literal block": ("|\n  1\n", "1\n"),
    "folded block": (">-\n  1\n  2\n", "1 2"),
    "5000 digits in quotes": ('"' + "1" * 5000 + '"', "1" * 5000),
    "list": ("[no, 3, '3']", ("no", 3, "3")),
    "mapping": ("{a: 1, b: {}}", {"a": 1, "b": {}}),
}


@each_parser
@pytest.mark.parametrize(("value", "form"), [(value, form) for value, row in FORMS for form in row.split()])
def test_plain_scalars_follow_the_core_schema(value: Plain, form: str) -> None:
    assert repr(value_of(form)) == repr(value)  # repr tells 1 from 1.0 and True, and nan is itself


@each_parser
@pytest.mark.parametrize("text", STRINGS.split())
def test_other_plain_scalars_are_strings(text: str) -> None:
    assert value_of(text) == text


@each_parser
@pytest.mark.parametrize(("text", "value"), STYLES.values(), ids=STYLES)
def test_quotes_blocks_and_collections(text: str, value: Plain) -> None:
    assert repr(value_of(text)) == repr(value)


@each_parser
def test_a_whole_spec_is_read() -> None:
    text = "%YAML 1.2\n---\n# a\nname: no\nlayers:\n- {width: 3}\n- width: 4\n  act: tanh\non: [1, ~]\n...\n"
    layers = ({"width": 3}, {"width": 4, "act": "tanh"})
    assert parse(text, "f").plain() == {"name": "no", "layers": layers, "on": (1, None)}


@each_parser
def test_json_is_yaml() -> None:
    data = {
        "name": "no",
        "rate": 1e-05,
        "hidden": {"widths": [32, 16]},
        "none": None,
        "yes": True,
        "ü": "a\n\"b'\\",
    }
    for text in (json.dumps(data, indent=2), json.dumps(data, separators=(",", ":"))):
        assert json.loads(json.dumps(parse(text, "f").plain())) == data


PLACES = {
    "scalar": ("a: 1\nb:   2\n", ["b"], (2, 6, 2, 1)),
    "block mapping": ("a:\n  b: 1\n", ["a"], (2, 3, 1, 1)),
    "block list": ("a:\n  - x\n", ["a"], (2, 3, 1, 1)),
    "flow": ("a: {b: [1]}\n", ["a", "b"], (1, 8, 1, 5)),
    "null": ("a:\nb: 1\n", ["a"], (1, 3, 1, 1)),
    "columns are characters": ("é: {ü: 'x'}\n", ["é", "ü"], (1, 8, 1, 5)),
    "windows line ends": ("a: 1\r\nb: 2\r\n", ["b"], (2, 4, 2, 1)),
    "unicode line ends": ("a: x\u2028b: 2\n", ["b"], (2, 4, 2, 1)),
}


@each_parser
@pytest.mark.parametrize(("text", "keys", "place"), PLACES.values(), ids=PLACES)
def test_values_and_keys_have_places(text: str, keys: list[str], place: tuple[int, int, int, int]) -> None:
    node = parse(text, "f")
    for key in keys:
        node = entries(node)[key]
    assert (node.line, node.column, node.key_line, node.key_column) == place


@each_parser
def test_items_of_a_list_have_their_own_place_as_key() -> None:
    items = entries(parse("a:\n- x\n-   y: 1\n", "f"))["a"].value
    assert isinstance(items, tuple)
    places = [(item.line, item.column, item.key_line, item.key_column) for item in items]
    assert places == [(2, 3, 2, 3), (3, 5, 3, 5)]


def test_kinds_are_words_of_an_error_message() -> None:
    node = parse("{a: {}, b: [], c: x, d: 1, e: .5, f: true, g: }", "f")
    words = ["a mapping", "a list", "a string", "an integer", "a number", "a boolean", "null"]
    assert [child.kind for child in entries(node).values()] == words


# --- Mistakes


MISTAKES = {
    "duplicate": ("a: 1\nb: 2\na: 3", ["f:3:1 a"], "duplicate key: first on line 1, again on line 3"),
    "duplicate, deep": ("m:\n  a: 1\n  'a': 2", ["f:3:3 m.a"], "first on line 2, again on line 3"),
    "duplicate, flow": ("{a: 1, b: [{c: 1, c: 2}]}", ["f:1:19 b.0.c"], "first on line 1"),
    "duplicate, thrice": ("a: 1\na: 2\na: 3", ["f:2:1 a", "f:3:1 a"], "first on line 1"),
    "alias, undefined": ("a: *x", ["f:1:4 a"], "alias '*x': aliases are not allowed"),
    "anchor": ("a: &x 1", ["f:1:4 a"], "anchor '&x': aliases are not allowed"),
    "anchor and alias": ("a: &x [1]\nb: *x", ["f:1:4 a", "f:2:4 b"], "aliases are not allowed"),
    "alias as key": ("&x a: 1\n*x : 2", ["f:1:1 a", "f:2:1 ?"], "aliases are not allowed"),
    "tag int": ("a: !!int '3.0'", ["f:1:4 a"], "tag '!!int': tags are not allowed"),
    "tag binary": ("a: !!binary aGk=", ["f:1:4 a"], "tag '!!binary'"),
    "tag set": ("a: !!set {x}", ["f:1:4 a"], "tag '!!set'"),
    "tag omap": ("a: !!omap [x: 1]", ["f:1:4 a"], "tag '!!omap'"),
    "tag local": ("a: [!foo x]", ["f:1:5 a.0"], "tag '!foo'"),
    "tag without a name": ("a: ! x", ["f:1:4 a"], "tag '!'"),
    "tag of a key": ("!!str a: x", ["f:1:1 a"], "tag '!!str'"),
    "tag python": ("a: !!python/name:os.system", ["f:1:4 a"], "tag '!!python/name:os.system'"),
    "merge": ("<<: {a: 1}\na: 2", ["f:1:1 <<"], "merge keys are not supported"),
    "merge as value": ("a: <<", ["f:1:4 a"], "merge keys are not supported"),
    "key int": ("1: x", ["f:1:1 1"], "expected a string as key, got an integer: put the key in"),
    "key null": ("~: x", ["f:1:1 ~"], "got null: put the key in quotes"),
    "key bool": ("true: x", ["f:1:1 true"], "got a boolean"),
    "key list": ("? [a]\n: x", ["f:1:3 ?"], "got a list"),
    "key mapping": ("{a: 1}: x", ["f:1:1 ?"], "got a mapping"),
    "integer of 101 digits": ("a: " + "1" * 101, ["f:1:4 a"], "an integer of 101 digits; at most 100"),
    "integer past Python's limit": ("a: " + "1" * 5000, ["f:1:4 a"], "an integer of 5000 digits"),
    "two documents": ("a: 1\n---\nb: 1", ["f:2:1"], "more than one document"),
    "two documents, one empty": ("---\n---\na: 1", ["f:2:1"], "more than one document"),
    "top list": ("- a", ["f:1:1"], "expected a mapping of keys, got a list"),
    "top string": ("\nhello", ["f:2:1"], "expected a mapping of keys, got a string"),
    "top integer": ("3", ["f:1:1"], "expected a mapping of keys, got an integer"),
    "empty": ("", ["f:1:1"], "the spec is empty"),
    "comments only": ("# only\n# comments", ["f:1:1"], "the spec is empty"),
    "document mark only": ("---\n", ["f:1:4"], "the spec is empty"),
    "bell": ("a: x\x07", ["f:1:5"], "control character U+0007 at offset 4"),
    "NUL": ("a: 1\r\nb: \0", ["f:2:4"], "control character U+0000 at offset 9"),
    "lone surrogate": ("a: \ud800", ["f:1:4"], "U+D800 at offset 3"),
}


@each_parser
@pytest.mark.parametrize(("text", "places", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_place_and_path(text: str, places: list[str], message: str) -> None:
    found = mistakes(text)
    assert [f"{place} {path}".rstrip() for place, path, _ in found] == places
    assert all(message in words for _, _, words in found)


SYNTAX_MISTAKES = {
    "tab": ("a:\n\tb: 1", "f:2:1", "a tab cannot indent"),
    "tab before the first key": ("\ta: 1", "f:1:1", "a tab cannot indent"),
    "tab after a space": ("a:\n  b: 1\n \tc: 1", "f:3:2", "a tab cannot indent"),
    "tab after a value": ("a: 1\n\tb: 2", "f:2:1", "a tab cannot indent"),
    "two colons": ("a: b: c", "f:1:5", "':' cannot stand here"),
    "too deep": ("a: 1\n  b: 2", "f:2:4", "':' cannot stand here: check the indentation"),
    "between levels": ("a:\n  b: 1\n c: 2", "f:3:2", "does not continue what starts on line 1"),
    "quote within quotes": ("a: 'it's'", "f:1:8", "check the indentation and the quotes"),
    "list, then a key": ("a: [1, 2\nb: 3", "f:2:2", "the list opened on line 1 is not closed"),
    "mapping, then a key": ("a: {b: 1\nc: 3", "f:2:2", "the mapping opened on line 1 is not closed"),
    "list, then the end": ("a: 1\nb: [1", "f:2:6", "the list opened on line 2 is not closed"),
    "bracket, then the end": ("a: [\n", "f:1:5", "a bracket is not closed"),
    "closed, never opened": ("a: ]", "f:1:4", "a value is missing here"),
    "quote not closed": ('a: "x\nb: 3\n', "f:1:4", "the quote opened on line 1 is never closed"),
    "single quote not closed": ("a: 'x", "f:1:4", "the quote opened on line 1 is never closed"),
    "at sign": ("a: @x", "f:1:4", "'@' cannot start a value: put the text in quotes"),
    "backtick": ("a: `x", "f:1:4", "'`' cannot start a value"),
    "percent": ("a: %x", "f:1:4", "'%' cannot start a value"),
    "glob": ("a: *.csv", "f:1:4", "aliases, which are not allowed: put the text in quotes"),
    "no colon": ("a: 1\nfoo\nb: 2", "f:2:1", "':' is missing"),
    "item on the line of its key": ("a: - b", "f:1:4", "a list item cannot stand here"),
    "after the end": ("a: 1\n...\nb: 2", "f:3:1", "text after the end of the spec"),
    "tag of an unknown prefix": ("a: !e!x 1", "f:1:4", "tags are not allowed"),
    "a version of YAML to come": (
        "%YAML 2.0\n---\na: 1",
        "f:1:1",
        "unknown version of YAML",
    ),
    "words after the mark of a block": ("a: |x\n b", "f:1:4", "after '|' only"),
    "wrong bracket": ("{a: 1]", "f:1:6", "the mapping opened on line 1 is not closed"),
}


@each_parser
@pytest.mark.parametrize(("text", "place", "message"), SYNTAX_MISTAKES.values(), ids=SYNTAX_MISTAKES)
def test_a_syntax_error_is_told_plainly(text: str, place: str, message: str) -> None:
    [(found, path, words)] = mistakes(text)
    assert (found, path) == (place, "")
    assert message in words


@each_parser
def test_an_unknown_escape_is_told_plainly() -> None:
    [(place, _, message)] = mistakes('a: 1\nb: "C:\\data"')
    assert place.startswith("f:2:")  # one parser points at the quote, the other at the escape
    assert "in double quotes write '\\\\'" in message


@each_parser
def test_a_line_that_starts_with_percent() -> None:
    [(_, _, message)] = mistakes("%x\na: 1")
    assert message in ("'%' cannot start a line: put the text in quotes", "text after the end of the spec")


@each_parser
def test_all_mistakes_come_together_in_the_order_of_the_file() -> None:
    text = "a: &x 1\na: 2\nb: !t {1: *x}\nc: {<<: 1}\nd: e: f\n"
    places = ["f:1:4", "f:2:1", "f:3:4", "f:3:8", "f:3:11", "f:4:5", "f:5:5"]
    assert [place for place, _, _ in mistakes(text)] == places


@each_parser
def test_the_message_shows_the_line_and_a_caret() -> None:
    with pytest.raises(SpecError) as caught:
        parse("a: 1\n\nb:\n  c: *x\n", "spec.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("spec.yaml:4:6 b.c: alias '*x'")
    assert lines[1:] == ["   4 |   c: *x", "     |      ^"]


TOML = {
    "section": ("[network]\nhidden = 3\n", True),
    "pairs": ("epochs = 3\nrate = 0.1\n", True),
    "table": ("[[layers]]\n", True),
    "broken YAML": ("a: b: c\n", False),
    "list": ("- x\n", False),
}


@pytest.mark.parametrize(("text", "guessed"), TOML.values(), ids=TOML)
def test_toml_is_recognised(text: str, guessed: bool) -> None:
    [(_, _, message)] = mistakes(text)
    assert ("this looks like TOML" in message) is guessed


def test_no_tag_executes_anything(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    [(_, _, message)] = mistakes(f"a: !!python/object/apply:os.system ['touch {marker}']")
    assert "tag '!!python/object/apply:os.system'" in message
    assert not marker.exists()


# --- Bombs

LAUGHS = "a: &a [lol]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefghi"))
BOMBS = {
    "billion laughs": (LAUGHS, "aliases are not allowed"),
    "brackets": ("a: " + "[" * 1200, "nesting too deep (limit 50)"),
    "braces, each the key of the one around": ("a: " + "{" * 1200, "nesting too deep (limit 50)"),
    "dashes": ("- " * 1100, "nesting too deep (limit 50)"),
    "indentation": ("".join(" " * depth + "a:\n" for depth in range(300)), "nesting too deep"),
    "fifty thousand mistakes": ("a: [" + "*x, " * 50_000, "aliases are not allowed"),
    "mistakes below a long key": ('? "' + "k" * 200_000 + '"\n: [' + "*x, " * 50_000, "aliases"),
}


@each_parser
@pytest.mark.parametrize(("text", "message"), BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_briefly(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, "f")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 10_000
    assert len(caught.value.problems) <= yaml.PROBLEMS_MAX


@each_parser
@pytest.mark.parametrize("levels", [yaml.NESTING_MAX, yaml.NESTING_MAX + 1])
def test_the_limit_of_nesting_is_exact(levels: int) -> None:
    text = "a: " + "[" * (levels - 1) + "]" * (levels - 1)
    if levels <= yaml.NESTING_MAX:
        assert "a" in entries(parse(text, "f"))
    else:
        assert [place for place, _, _ in mistakes(text)] == [f"f:1:{3 + yaml.NESTING_MAX}"]


# --- Files


ENCODINGS = {
    "UTF-8": "name: Größe\n".encode(),
    "UTF-8 with a mark": "name: Größe\n".encode("utf-8-sig"),
    "UTF-16, little end first": b"\xff\xfe" + "name: Größe\n".encode("utf-16-le"),
    "UTF-16, big end first": b"\xfe\xff" + "name: Größe\n".encode("utf-16-be"),
}


@pytest.mark.parametrize("content", ENCODINGS.values(), ids=ENCODINGS)
def test_unicode_files_are_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    text, node = load(path)
    assert text == "name: Größe\n"
    assert node.plain() == {"name": "Größe"}
    assert entries(node)["name"].key_column == 1


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.npy", b"0")


NO_SPECS = {
    "folder": (lambda path: path.mkdir(), "a folder, but a spec is a YAML file"),
    "Latin-1": (lambda path: path.write_bytes(b"a: 1\nb: \xe9"), "byte 0xe9 at offset 8"),
    "surrogate": (lambda path: path.write_bytes(b"b: \xed\xa0\x80"), "not UTF-8: byte 0xed"),
    "UTF-16": (lambda path: path.write_bytes(b"\xff\xfea"), "not UTF-16: byte 0x61 at offset 2"),
    "NUL": (lambda path: path.write_bytes(b"a: \0"), "control character U+0000 at offset 3"),
    "PNG": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "a PNG image"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"a: 1")), "a gzip archive"),
    "zip": (zipped, "a zip archive"),
    "weights": (lambda path: path.write_bytes(b"\0\2" + bytes(6) + b'{"a"'), "a safetensors file"),
    "empty": (lambda path: path.write_bytes(b""), "the spec is empty"),
    "empty, with a mark": (lambda path: path.write_bytes(b"\xef\xbb\xbf"), "the spec is empty"),
    "too large": (lambda path: path.write_text("a: x\n" * 300_000), "1500000 bytes"),
}


@pytest.mark.parametrize(("write", "message"), NO_SPECS.values(), ids=NO_SPECS)
def test_files_that_are_no_spec(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "spec.yaml"
    write(path)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [yaml.BYTES_MAX, yaml.BYTES_MAX + 1])
def test_the_limit_of_size_is_exact(tmp_path: Path, size: int) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("a: " + "x" * (size - 3))
    if size <= yaml.BYTES_MAX:
        assert load(path)[0] == path.read_text()
    else:
        with pytest.raises(UsageError, match=f"{size} bytes .* the limit is {yaml.BYTES_MAX} bytes"):
            load(path)


def test_a_sparse_giant_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match=f"{1 << 40} bytes"):
        load(path)


@pytest.mark.parametrize("special", ["fifo", "/dev/zero"])
def test_pipes_and_devices_do_not_hang(tmp_path: Path, special: str) -> None:
    path = tmp_path / special
    if special == "fifo":
        os.mkfifo(path)
    answers: list[str] = []

    def attempt() -> None:
        with pytest.raises(UsageError) as caught:
            load(path)
        answers.append(str(caught.value))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert answers == [f"{path}: a pipe, socket or device, but a spec is a YAML file"]


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "penguins.yaml").touch()
    (tmp_path / "other.txt").touch()
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "pengiuns.yaml")
    nearest = f"did you mean {tmp_path / 'penguins.yaml'}?"
    assert str(caught.value) == f"{tmp_path / 'pengiuns.yaml'}: No such file or directory; {nearest}"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("xyz", "No such file or directory"),
        ("a/b", "No such file or directory"),
        ("file/b", "Not a directory"),
    ],
)
def test_a_missing_file_with_no_name_near(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        load(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {reason}"


def test_an_unreadable_file_is_the_machine_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spec.yaml"
    path.touch()
    denied = mock.Mock(side_effect=PermissionError(13, "Permission denied"))
    monkeypatch.setattr(Path, "open", denied)  # mode 000 does not stop root
    with pytest.raises(EnvironmentFault, match=r"spec\.yaml: cannot be read: Permission denied"):
        load(path)


def test_mistakes_in_a_file_carry_its_path(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(SpecError) as caught:
        load(path)
    assert caught.value.problems[0].place == f"{path}:2:1"


# --- Excerpts and paths


EXCERPTS = {
    "short": ("  rate: 1", 3, "  14 |   rate: 1\n     |   ^"),
    "past the end": ("a", 5, "  14 | a\n     |     ^"),
    "tabs and escapes become spaces": ("\tx\x1b[1m", 2, "  14 |  x [1m\n     |  ^"),
    "long, caret at the start": ("x" * 150, 1, f"  14 | {'x' * 100}\n     | ^"),
    "middle": ("a" * 150 + "^" + "b" * 150, 151, f"  14 | {'a' * 50}^{'b' * 49}\n     | {' ' * 50}^"),
    "long, caret at the end": ("x" * 149 + "^", 150, f"  14 | {'x' * 99}^\n     | {' ' * 99}^"),
}


@pytest.mark.parametrize(("line", "column", "shown"), EXCERPTS.values(), ids=EXCERPTS)
def test_excerpt(line: str, column: int, shown: str) -> None:
    assert excerpt([""] * 13 + [line], 14, column) == shown


def test_excerpt_of_a_line_that_is_not_there() -> None:
    assert excerpt(["a: 1"], 2, 1) == ""
    assert excerpt([], 1, 1) == ""


def test_excerpt_of_a_high_line_number() -> None:
    assert excerpt(["x"] * 12345, 12345, 1) == "12345 | x\n      | ^"


def test_paths_are_dotted_cut_and_printable() -> None:
    assert dotted(["network", "hidden", 0, "width"]) == "network.hidden.0.width"
    assert dotted([]) == ""
    assert dotted(["a\nb", "k" * 60, "k" * 61]) == "a b." + "k" * 60 + "." + "k" * 57 + "..."


# --- Writing

TRICKY = [
    "no",
    "y",
    "1e-3",
    "1e3",
    "~",
    "<<",
    "=",
    "0o7",
    "1_0",
    "0b1",
    "1:30",
    "2024-01-05",
    " x ",
    "a: b",
    "# c",
]
TRICKY += [
    "- x",
    "'",
    '"',
    "\\",
    "\n",
    "a\n b\n",
    "---",
    "...",
    "\t",
    "%x",
    "{",
    "*a",
    "&a",
    "!t",
    "1" * 101,
    "\ufeff",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | st.sampled_from(TRICKY)
scalars = st.none() | st.booleans() | st.integers(-(10**100 - 1), 10**100 - 1) | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
specs = st.dictionaries(texts, values, max_size=3)
generously = settings(deadline=None)  # the first example also pays for imports


def listed(data: Plain) -> object:
    if isinstance(data, dict):
        return {key: listed(value) for key, value in data.items()}
    return [listed(value) for value in data] if isinstance(data, tuple) else data


@generously
@given(specs)
def test_what_is_dumped_is_read_back_with_its_types_and_order(spec: dict[str, object]) -> None:
    text = dump(spec)
    for parser in PARSERS:
        with mock.patch.object(yaml, "LOADER", parser):
            assert repr(listed(parse(text, "f").plain())) == repr(spec)


@generously
@given(specs)
def test_readers_of_yaml_1_1_agree_on_what_is_dumped(spec: dict[str, object]) -> None:
    assert repr(pyyaml.safe_load(dump(spec))) == repr(spec)


LOOKS = {
    "order of the keys": ({"b": 1, "a": 2}, "b: 1\na: 2\n"),
    "scalars": ({"a": None, "b": True, "c": -3}, "a: null\nb: true\nc: -3\n"),
    "floats": ({"a": 0.1, "b": 1e-7, "c": math.inf}, "a: 0.1\nb: 1.0e-07\nc: .inf\n"),
    "plain strings": ({"a": "adam", "b": "Größe 1"}, "a: adam\nb: Größe 1\n"),
    "ambiguous strings": ({"a": ["no", "y", "1e3", "1:30"]}, 'a: ["no", "y", "1e3", "1:30"]\n'),
    "ambiguous key, two lines": ({"no": "a\nb"}, '"no": "a\\nb"\n'),
    "short lists": ({"a": (1, 2), "b": [], "c": {}}, "a: [1, 2]\nb: []\nc: {}\n"),
    "list with a mapping": ({"a": [{"b": 1}, 2]}, "a:\n- b: 1\n- 2\n"),
    "long list": ({"a": ["x" * 50] * 2}, f"a:\n- {'x' * 50}\n- {'x' * 50}\n"),
    "long text stays on one line": ({"a": "x " * 100 + "x"}, f"a: {'x ' * 100}x\n"),
}


@pytest.mark.parametrize(("data", "text"), LOOKS.values(), ids=LOOKS)
def test_the_look_of_what_is_dumped(data: object, text: str) -> None:
    assert dump(data) == text


def test_a_value_that_occurs_twice_is_written_twice() -> None:
    shared = {"kind": "adam"}
    assert dump({"a": shared, "b": shared}) == "a:\n  kind: adam\nb:\n  kind: adam\n"


def test_nan_is_read_back() -> None:
    assert repr(parse(dump({"a": math.nan}), "f").plain()) == "{'a': nan}"


def test_what_is_not_plain_data_is_refused() -> None:
    with pytest.raises(pyyaml.YAMLError, match="cannot represent an object"):
        dump({"a": object()})
