"""Is a map with paths right at every size, for paths that leave it, and without colour?"""

from __future__ import annotations

import math

import pytest

from mlptrain.cli.chart import Curve, plain
from mlptrain.cli.contour import Surface, Values, draw_paths


def bowl(x: Values, y: Values) -> Values:
    return x**2 + 4 * y**2


BOWL = Surface(bowl, (-4.0, 4.0), (-2.0, 2.0), ("w1", "w2"), (0.0, 0.0))
DOWN = Curve("down", [-3.0, -1.0, 0.0], [1.0, 0.5, 0.0])


@pytest.mark.parametrize(("width", "height"), [(24, 8), (40, 10), (80, 24), (200, 50)])
def test_a_map_fills_its_place_and_no_more(width: int, height: int) -> None:
    lines = plain(draw_paths(BOWL, [DOWN], width, height))
    assert len(lines) == height
    assert max(map(len, lines)) <= width


def test_contour_lines_run_across_the_gradient() -> None:
    lines = plain(draw_paths(Surface(lambda x, y: x + 0 * y, (-1.0, 1.0), (-1.0, 1.0)), [], 60, 20))
    drawn = [line.split("│")[-1].split("┤")[-1] for line in lines[1:-2]]
    assert all(set(line) == {" ", "|"} for line in drawn)
    lines = plain(draw_paths(Surface(lambda x, y: y + 0 * x, (-1.0, 1.0), (-1.0, 1.0)), [], 60, 20))
    assert {letter for line in lines[1:-2] for letter in line.split("│")[-1].split("┤")[-1]} == {"-"}


def test_the_start_the_end_and_the_minimum_are_where_they_are() -> None:
    lines = plain(draw_paths(BOWL, [DOWN._replace(x=[-4.0, 4.0], y=[2.0, -2.0])], 60, 20))
    assert lines[0] == "● down  S start  X minimum"
    first, last = lines[2], lines[-3]
    assert first.split("┤")[1][0] == "S"
    assert last.endswith("●")
    assert len(last) == 60
    middle = [(row, line.index("X")) for row, line in enumerate(lines) if "X" in line][1:]
    assert abs(middle[0][0] - len(lines) / 2) <= 1
    assert abs(middle[0][1] - (5 + 55 / 2)) <= 2


def test_a_path_that_leaves_the_map_is_cut_at_its_edge() -> None:
    away = Curve("away", [0.0, 100.0, math.nan, math.inf, 1e300], [0.0, 0.0, 1.0, 1.0, 1e300])
    lines = plain(draw_paths(BOWL, [away], 60, 20))
    (row,) = [line for line in lines if line.count("⠉") + line.count("⣀") + line.count("⠤") + line.count("⠒") > 10]
    assert len(row) == 60
    outside = Curve("outside", [10.0, 20.0], [10.0, 20.0])
    assert plain(draw_paths(BOWL, [outside], 60, 20))[1:] == plain(draw_paths(BOWL, [], 60, 20))[1:]


def test_paths_are_told_apart_without_colour() -> None:
    lines = plain(draw_paths(BOWL, [DOWN, Curve("other", [3.0, 2.0, 1.0], [-1.0, -1.0, -1.0])], 60, 20))
    assert lines[0].startswith("● down  ▲ other  S start")
    assert sum(line.count("●") for line in lines) > 1
    assert sum(line.count("▲") for line in lines) > 1


def test_a_surface_that_is_nowhere_finite_is_drawn_without_lines() -> None:
    lines = plain(draw_paths(BOWL._replace(value=lambda x, y: x + math.nan), [DOWN], 60, 20))
    assert len(lines) == 20
