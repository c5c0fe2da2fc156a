"""Do the plots of `mlptrain components` show what the components do, and fit into any terminal?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from cli import Cli
from helpers import assert_close, label
from mlptrain.cli.chart import plain
from mlptrain.cli.component_plots import RATES, START, STEEP, STEPS, descent, picture_of, ravine, slopes
from mlptrain.component import Component, example_instances, variants
from mlptrain.data.scalers import Scaler
from mlptrain.nn.activations import Activation
from mlptrain.nn.initializers import FromFile, Initializer
from mlptrain.nn.losses import CrossEntropy, Loss, MeanSquaredError
from mlptrain.optim.optimizers import SGD, Momentum, Optimizer
from mlptrain.optim.schedules import Schedule
from mlptrain.reference import catalogue

DRAWN = (Activation, Loss, Initializer, Optimizer, Schedule, Scaler)
VARIANTS = [variant for family in DRAWN for variant in variants(family) if variant is not FromFile]


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_every_variant_of_a_family_with_a_plot_has_one_that_fits(variant: type[Component]) -> None:
    picture = picture_of(variant)
    assert picture is not None
    assert picture.caption.endswith(".")
    for width, height in ((40, 10), (80, 24), (200, 50)):
        lines = plain(picture.lines(width, height))
        assert len(lines) == height
        assert max(map(len, lines)) <= width
        assert sum(0x2800 < ord(letter) < 0x2900 for line in lines for letter in line) > 5


def test_what_has_no_defaults_or_nothing_to_see_has_no_plot() -> None:
    assert picture_of(FromFile) is None
    others = [variant for _, family, found in catalogue() if family not in DRAWN for variant in found]
    assert {picture_of(variant) for variant in others} == {None}


def test_gradient_descent_takes_the_steps_of_its_closed_form() -> None:
    for rate in (0.01, 0.1):
        t = np.arange(STEPS + 1)[:, None]
        assert_close(descent(SGD(), rate), np.array(START) * (1 - rate * np.array([1, STEEP])) ** t, 1e-12, scale=1.0)


@pytest.mark.parametrize("optimizer", example_instances(Optimizer), ids=label)
def test_every_optimizer_gets_down_the_ravine_at_its_best_rate(optimizer: Optimizer) -> None:
    with np.errstate(all="ignore"):
        paths = [descent(optimizer, rate) for rate in RATES]
        last = min(float(height) for path in paths if math.isfinite(height := float(ravine(*path[-1]))))
    assert last < 0.1 * float(ravine(*START))
    assert all((path[0] == START).all() for path in paths)


def test_momentum_without_momentum_is_gradient_descent() -> None:
    assert_close(descent(Momentum(momentum=0.0), 0.05), descent(SGD(), 0.05), 1e-15)


def test_the_loss_and_its_derivative_are_those_of_the_formula() -> None:
    z = np.linspace(-3, 3, 13)
    values, derivatives = slopes(MeanSquaredError(), z, np.zeros((1, 1)))
    assert_close(values, z**2, 1e-14)
    assert_close(derivatives, 2 * z, 1e-14)
    values, derivatives = slopes(CrossEntropy(), z, np.zeros(1, np.intp), others=1)
    assert_close(values, np.log1p(np.exp(-z)), 1e-12)
    assert_close(derivatives, -1 / (1 + np.exp(z)), 1e-12)


def test_an_initializer_is_drawn_with_the_deviations_of_theory(cli: Cli) -> None:
    out = " ".join(cli("components", "he_normal").succeeded().out.split())
    assert "5,000 weights of a layer of 100 inputs and 50 units of relu: standard deviation 0.1394" in out
    assert "Theory for this layer: He 0.1414, Glorot 0.1155, LeCun 0.1." in out
    assert "standard deviation 0, mean 0" in cli("components", "zeros").succeeded().out


def test_two_curves_are_told_apart_without_colour(cli: Cli) -> None:
    out = cli("components", "gelu").succeeded().out
    assert "● f(z)  ▲ f'(z)" in out
    assert out.count("●") > 2
    assert out.count("▲") > 2


@pytest.mark.parametrize("title", [title for title, _, _ in catalogue()])
def test_a_family_is_an_argument_in_both_numbers(cli: Cli, title: str) -> None:
    (family, found), *_ = [(family, found) for name, family, found in catalogue() if name == title]
    out = cli("components", title).succeeded().out
    if (single := family.__name__.lower()) != "layer":  # which is layer normalization
        assert out == cli("components", single).succeeded().out
    lines = out.splitlines()
    assert lines[0] == title
    assert [line.split(" ")[0] for line in lines if line and not line.startswith((" ", "One in full"))][1:] == [
        variant.name() for variant in found
    ]


def test_paragraphs_do_not_keep_the_line_breaks_of_the_source(cli: Cli) -> None:
    lines = cli("components", "adam").succeeded().out.splitlines()
    (start,) = [line for line in lines if line.startswith("m^ = ")]
    assert len(start) > 100
    assert all(len(line) <= 120 for line in lines)
