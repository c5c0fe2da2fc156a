"""Do the charts in the terminal show what the numbers say, in every size and without colour?"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mlptrain.cli.chart import MARKS, STAR, Curve, draw, plain, styled

EPOCHS = range(100)
FALLING = Curve("train_loss", EPOCHS, [math.exp(-epoch / 20) for epoch in EPOCHS])
DIP = Curve("validation_loss", EPOCHS, [0.2 + ((epoch - 50) / 100) ** 2 for epoch in EPOCHS], best=50)
SIZES = [(40, 10), (24, 6), (60, 20), (80, 24), (200, 50)]


def braille(line: str) -> list[int]:
    """The columns with dots."""
    return [column for column, letter in enumerate(line) if 0x2800 < ord(letter) <= 0x28FF]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("log", [False, True])
def test_a_chart_fills_its_room_and_no_more(width: int, height: int, log: bool) -> None:
    lines = plain(draw([FALLING, DIP], width, height, log=log))
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    assert max(map(len, lines)) >= width - 1


def test_a_straight_line_goes_from_corner_to_corner() -> None:
    lines = plain(draw([Curve("y", range(11), range(11))], 40, 14))
    plot = [line for line in lines if "│" in line or "┤" in line]
    ends = [(braille(line)[0], braille(line)[-1]) for line in plot]
    assert ends == sorted(ends, reverse=True)  # falls from the upper right to the lower left
    assert ends[0][1] == 39
    assert ends[-1][0] == plot[-1].index("┤") + 1


def test_the_numbers_stand_at_their_values() -> None:
    lines = plain(draw([Curve("y", [0, 100], [0, 10])], 60, 14))
    labelled = {line.split("┤")[0].strip(): row for row, line in enumerate(lines) if "┤" in line}
    assert labelled.keys() >= {"0", "10"}
    assert labelled["10"] == 1  # right below the legend
    assert labelled["0"] == len(lines) - 3
    ticks, numbers = lines[-2], lines[-1]
    assert numbers.startswith("epoch")
    assert numbers.split()[1:] == ["0", "20", "40", "60", "80", "100"]
    assert ticks.index("┬") == numbers.index("0")
    assert ticks.rindex("┬") == 59


def test_the_best_point_is_marked_where_it_lies() -> None:
    lines = plain(draw([DIP], 60, 14))
    assert lines[0] == f"validation_loss {STAR} epoch 50"
    column = next(line.index(STAR) for line in lines[1:] if STAR in line)
    assert abs(column - lines[-1].index("40") - 10 * 53 / 99) <= 2  # 99 epochs over the 53 columns right of the axis
    assert STAR in lines[-3]  # on the lowest row, since the best is the lowest


def test_curves_are_told_apart_by_marks_on_them_and_in_the_legend() -> None:
    lines = plain(draw([FALLING, DIP], 80, 20))
    assert lines[0].startswith(f"{MARKS[0]} train_loss  {MARKS[1]} validation_loss")
    left = [line.rindex("│") if "│" in line else line.index("┤") for line in lines[1:-2]]
    assert sum(line[edge:].count(MARKS[0]) for line, edge in zip(lines[1:-2], left, strict=True)) >= 3
    falling = [row for row, line in enumerate(lines[1:-2]) if MARKS[0] in line]
    dip = [row for row, line in enumerate(lines[1:-2]) if MARKS[1] in line]
    assert falling[-1] > dip[-1]  # the end of the one that falls lies lower


def test_each_curve_has_its_colour() -> None:
    text = styled(draw([FALLING, DIP], 60, 12))
    assert {str(span.style) for span in text.spans} >= {"cyan", "yellow"}
    assert text.plain.splitlines()[0].rstrip() == plain(draw([FALLING, DIP], 60, 12))[0]


@pytest.mark.parametrize("gap", [None, math.nan, math.inf, -math.inf])
def test_a_value_that_is_none_is_a_gap(gap: float | None) -> None:
    values = [1.0 if epoch < 30 or epoch > 70 else gap for epoch in EPOCHS]
    line = next(line for line in plain(draw([Curve("y", EPOCHS, values)], 60, 10)) if braille(line))
    columns = braille(line)
    assert max(b - a for a, b in pairwise(columns)) >= 15


def test_on_a_logarithmic_axis_an_exponential_is_straight() -> None:
    powers = Curve("y", range(7), [10.0**-k for k in range(7)])
    lines = plain(draw([powers], 60, 24, log=True))
    labels = [line.split("┤")[0].strip() for line in lines if "┤" in line]
    assert labels == ["1", "0.1", "0.01", "0.001", "0.0001", "1e-5", "1e-6"]
    rows = [row for row, line in enumerate(lines) if "┤" in line]
    assert {b - a for a, b in pairwise(rows)} <= {3, 4}


def test_a_logarithmic_axis_leaves_out_what_is_not_positive() -> None:
    lines = plain(draw([Curve("y", range(4), [0.0, -1.0, 1.0, 10.0])], 40, 10, log=True))
    assert not any("-1" in line for line in lines)
    assert plain(draw([Curve("y", range(2), [0.0, -1.0])], 40, 10, log=True)) == ["y", "nothing positive to draw"]


def test_nothing_to_draw_is_said() -> None:
    assert plain(draw([Curve("y", [0, 1], [None, math.nan])], 40, 10)) == ["y", "nothing to draw"]
    assert plain(draw([Curve("y", [], [])], 40, 10)) == ["y", "nothing to draw"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["1.0", "0.5", "0"]),
        (0.31, 0.33, ["0.330", "0.325", "0.320", "0.315", "0.310"]),
        (0, 34_900, ["30,000", "20,000", "10,000", "0"]),
        (-1e299, 1e299, ["1.0e299", "5e298", "0", "-5e298", "-1.0e299"]),
        (1e-9, 3e-9, ["3.0e-9", "2.5e-9", "2.0e-9", "1.5e-9", "1.0e-9"]),
        (1e9, 1e9 + 4, [f"1.00000000{k}e9" for k in (4, 3, 2, 1, 0)]),
    ],
)
def test_the_numbers_of_an_axis_are_round(low: float, high: float, expected: list[str]) -> None:
    lines = plain(draw([Curve("y", [0, 1], [low, high])], 60, 14))
    assert [line.split("┤")[0].strip() for line in lines if "┤" in line] == expected


def test_many_curves_leave_room_for_the_plot() -> None:
    curves = [Curve(f"a-run-with-a-long-name-{k:04d}", range(3), [k, k, k]) for k in range(30)]
    lines = plain(draw(curves, 60, 15))
    assert len(lines) == 15
    assert "more" in lines[4]
    assert sum(bool(braille(line)) for line in lines) >= 8


def test_a_name_cannot_send_commands_to_the_terminal() -> None:
    lines = plain(draw([Curve("a\x1b[2Jb\n" + "x" * 200, [0, 1], [0, 1])], 40, 10))
    assert lines[0].startswith("a␛[2Jb␊xxx")
    assert cell_len(lines[0]) <= 40
    assert "…" in lines[0]


values = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.lists(values, max_size=30), min_size=1, max_size=4), st.sampled_from(SIZES), st.booleans())
def test_any_numbers_can_be_drawn(found: list[list[float | None]], size: tuple[int, int], log: bool) -> None:
    curves = [Curve("loss", range(len(y)), y, best=0) for y in found]
    lines = plain(draw(curves, *size, log=log))
    assert len(lines) <= size[1]
    assert max(map(cell_len, lines)) <= size[0]
