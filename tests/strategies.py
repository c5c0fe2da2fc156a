"""Which random inputs do the property tests draw?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from helpers import Architecture, stack
from mlptrain.component import example_instances
from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.losses import Loss
from mlptrain.nn.normalization import Normalization

seeds = st.integers(0, 2**32 - 1)
losses = st.sampled_from([loss for loss in example_instances(Loss) if not loss.levels])
"""Those with a score for each column of the target; quantiles share one column."""
activations = st.sampled_from(example_instances(Activation))
normalizations = st.one_of(st.none(), st.sampled_from(example_instances(Normalization)))
layer_norms = normalizations.filter(lambda norm: norm is None or not norm.running)
"""Those that treat each row by itself."""


@st.composite
def layer_stacks(
    draw: st.DrawFn, normalization: st.SearchStrategy[Normalization | None] = normalizations
) -> Architecture:
    """Networks of one to four layers, each one to six units wide: the linear model and single units too."""
    widths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    # over one or two units, layer normalization turns rounding into numbers: it keeps nothing but signs
    normalized = draw(normalization) if min(widths[1:-1], default=3) >= 3 else None
    return stack(*widths, activation=draw(activations), normalization=normalized)


class Answers(NamedTuple):
    """What a classifier said of some rows, and what was true."""

    scores: Array
    """(n, classes)"""
    truth: Indices
    """(n,)"""


@st.composite
def answers(draw: st.DrawFn, classes: st.SearchStrategy[int], every_class: bool = False) -> Answers:
    """Scores on a coarse grid, so that many are tied; some classes may neither occur nor be predicted."""
    k, rng = draw(classes), np.random.default_rng(draw(seeds))
    occurring = list(range(k)) if every_class else draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k))
    more = rng.choice(occurring, draw(st.integers(0, 20)))
    truth = rng.permutation(np.concatenate([occurring, more])).astype(np.intp)
    return Answers(rng.integers(-6, 7, (len(truth), k)) / 4, truth)
