"""Does every component say its formula, and is every formula on the pages one that Markdown and LaTeX can read?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.mathtext import MathTextParser

from mlptrain.component import Component
from mlptrain.reference import catalogue

DOCS = Path(__file__).resolve().parents[1] / "docs"
FORMULA = re.compile(r"\$\$([^$]+)\$\$|\$([^$\n]+)\$")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
HARMFUL = re.compile(r"\\[!-/:-@\[-`{-~]|[|<*~]|[^A-Za-z0-9]_")
"""An escape that Markdown takes away, a column of a table, a tag, an underscore that may begin emphasis."""

SPELLINGS = {"lt": "<", "gt": ">", "le": r"\leq", "ge": r"\geq"}
SPELLINGS |= {"lvert": "|", "rvert": "|", "lVert": r"\|", "rVert": r"\|"}
"""Words of LaTeX, chosen because Markdown leaves them alone, that matplotlib knows by another name."""
PAGES = [("mathematics.md", 300), ("reference/components.md", 140), ("reference/spec.md", 8)]
"""Each page with the least number of formulas that it holds."""
PARSER = MathTextParser("path")


def formulas(page: str) -> Iterator[str]:
    """The mathematics on a page, displayed or within a line."""
    text = CODE.sub("", (DOCS / page).read_text(encoding="utf8"))
    return (match[1] or match[2] for match in FORMULA.finditer(text))


def parse(formula: str) -> None:
    """Raise ValueError unless `formula` is well-formed: balanced, with known commands and complete arguments."""
    spelled = re.sub(r"\\([A-Za-z]+)", lambda match: SPELLINGS.get(match[1], match[0]), formula.strip())
    PARSER.parse("$" + re.sub(r"sqrt ([0-9A-Za-z])", r"sqrt{\1}", spelled) + "$")


@pytest.mark.parametrize(("page", "at_least"), PAGES)
def test_every_formula_on_the_page_is_well_formed(page: str, at_least: int) -> None:
    found = list(formulas(page))
    assert len(found) >= at_least
    for formula in found:
        assert not HARMFUL.search(formula), formula
        parse(formula)


@pytest.mark.parametrize("mistake", [r"\frac{1}{2", r"\sigm(z)", r"\frac{1}", r"x^", r"\left( z", r"\sqrt"])
def test_a_mistake_in_a_formula_is_seen(mistake: str) -> None:
    with pytest.raises(ValueError, match="Exception"):
        parse(mistake)


@pytest.mark.parametrize(
    "variant", [variant for _, _, found in catalogue() for variant in found], ids=lambda variant: variant.__name__
)
def test_every_component_has_formulas_of_its_own(variant: type[Component]) -> None:
    own = vars(variant).get("formula")  # one that is inherited is the formula of something else
    assert own, "say what it computes in `formula`, right below `kind`"
    assert all(isinstance(formula, str) for formula in own)
    page = (DOCS / "reference/components.md").read_text(encoding="utf8")
    section = page.partition(f"### `{variant.name()}`")[2].partition("\n#")[0]
    assert all(f"\n\n$$ {formula} $$\n" in page for formula in own), "run python docs/make.py"
    assert section.count("$$") >= 2
