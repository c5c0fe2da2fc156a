"""The scale of the target: is the logarithm taken where it helps, and only there?"""

from __future__ import annotations

import numpy as np
import pytest

from cli import Cli, Write
from mlptrain.spec.presets import Best, Facts, Standard
from mlptrain.target_scale import Comparison, skewness, worth_trying

ROWS = 240


def table(multiplies: bool) -> str:
    """x, z and a positive, skewed y: a product times noise, or a sum of skewed x and z and noise of one size."""
    rng = np.random.default_rng(4)
    noise = rng.normal(size=ROWS)
    if multiplies:
        x, z = rng.uniform(-2, 2, (2, ROWS))
        y = np.exp(1.5 * x + z + 0.05 * noise)
    else:
        x, z = rng.exponential(size=(2, ROWS))
        y = 2 * x + z + 1 + 0.02 * noise
    return "x,z,y\n" + "".join(f"{a:.4f},{b:.4f},{c:.6g}\n" for a, b, c in zip(x, z, y, strict=True))


SPEC = """
preset: plain
data: {path: table.csv, target: y, choose_target_scale: true}
network: {hidden: [16]}
training: {epochs: 40, batch_size: 16}
optimizer: {learning_rate: 0.01}
"""


def scale_of(cli: Cli, spec: Write, text: str, extra: str = "") -> str:
    path = spec(SPEC + extra)
    path.with_name("table.csv").write_text(text, encoding="utf8")
    cli("fit", path, "--out", "run", "--quiet").succeeded()
    written = (path.parent / "run" / "spec.yaml").read_text(encoding="utf8")
    lines = written[written.index("scale_target:") :].splitlines()
    return (lines[0] + " " + lines[1]).split("kind:")[1].split()[0]


def test_a_product_is_learned_on_the_logarithm(cli: Cli, spec: Write) -> None:
    assert scale_of(cli, spec, table(multiplies=True)) == "log"


def test_a_sum_is_learned_as_it_is(cli: Cli, spec: Write) -> None:
    assert scale_of(cli, spec, table(multiplies=False)) == "standard"


def test_what_the_spec_says_has_priority(cli: Cli, spec: Write) -> None:
    own = SPEC.replace("target: y,", "target: y, scale_target: robust,")
    path = spec(own)
    path.with_name("table.csv").write_text(table(multiplies=True), encoding="utf8")
    cli("fit", path, "--out", "run", "--quiet").succeeded()
    assert "kind: robust" in (path.parent / "run" / "spec.yaml").read_text(encoding="utf8")


def test_best_compares_the_scales_of_amounts_alone() -> None:
    values = Facts(rows=500, classes=False, folds=True, linear=True, epochs=None, own_optimizer=False)
    for preset, facts, wanted in (
        (Best(), values, True),
        (Best(), values._replace(classes=True), False),
        (Standard(), values, False),
    ):
        assert preset.settings(facts)["data"]["choose_target_scale"] is wanted


@pytest.mark.parametrize(
    ("truth", "worth"),
    [
        (np.exp(np.random.default_rng(0).normal(size=500)), True),
        (-np.exp(np.random.default_rng(0).normal(size=500)), False),  # values below 0
        (100 - np.exp(np.random.default_rng(0).normal(size=500)), False),  # skewed to the other side
        (np.full(5, 3.0), False),
    ],
)
def test_only_what_the_logarithm_straightens_is_tried(truth: np.ndarray, worth: bool) -> None:
    assert worth_trying(truth) == worth


def test_skewness_is_that_of_scipys_definition() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=1000)
    centred = values - np.mean(values)
    assert skewness(values) == pytest.approx(np.mean(centred**3) / np.mean(centred**2) ** 1.5, rel=1e-12)


def test_a_difference_within_chance_keeps_the_standard_scale() -> None:
    rng = np.random.default_rng(2)
    errors = rng.chisquare(1, 50)
    one_row = errors.copy()
    one_row[0] += 100  # a single row makes the mean error worse: that is luck
    assert Comparison(one_row, errors).ratio < 0.97
    assert not Comparison(one_row, errors).prefers_log
    assert Comparison(errors * 1.5, errors).prefers_log
    assert not Comparison(errors, errors * 1.5).prefers_log
    assert not Comparison(errors, errors * 0.96).prefers_log  # a lower error, but not by 3 %
