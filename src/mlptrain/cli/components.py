"""mlptrain components: the families and their variants, the variants of one family, or one variant in full."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mlptrain.cli.chart import styled
from mlptrain.cli.component_plots import picture_of
from mlptrain.cli.console import print_results, stdout_console
from mlptrain.component import Component, did_you_mean
from mlptrain.errors import UsageError
from mlptrain.reference import Setting, catalogue, paragraphs, settings, summary
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import all_paths

WIDEST, HIGHEST = 100, 20
"""Letters of a plot."""
_FORMULA = re.compile(r"\.? *$|[:;] |(?<=[a-z)])\. (?=[A-Z])")
"""Where the first part of a summary ends: at a colon, a semicolon or the end of a sentence."""


def run(name: str | None) -> None:
    """Run the command."""
    families = {word: title for title, family, _ in catalogue() for word in (title, family.__name__.lower())}
    variants = [variant for _, _, found in catalogue() for variant in found if name in words_of(variant)]
    if name is None:
        print_results(*overview())
    elif variants:
        for variant in variants:
            print_results(*details(variant))
    elif name in families:
        print_results(*one_family(families[name]))
    else:
        refuse(name, families)


def words_of(variant: type[Component]) -> tuple[str, ...]:
    """The names of a variant."""
    return variant.name(), *variant.aliases


def refuse(name: str, families: dict[str, str]) -> None:
    """Say that there is no such component, and what may be meant."""
    if path := next((path for path in all_paths(Experiment) if name in (path, path.rpartition(".")[2])), None):
        raise UsageError(f"no component '{name}'; it is a setting: {path}")
    words = [*families, *(word for _, _, found in catalogue() for variant in found for word in words_of(variant))]
    raise UsageError(f"no component '{name}'; {did_you_mean(name, words) or '`mlptrain components` lists them all'}")


def overview() -> list[RenderableType]:
    """One table for each family."""
    parts: list[RenderableType] = []
    width = stdout_console().width - 3  # between the columns
    for title, _, found in catalogue():
        widest = max(len(variant.name()) for variant in found)
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(min_width=widest, no_wrap=True)
        table.add_column()
        for variant in found:
            table.add_row(Text(variant.name()), Text(shortened(summary(variant), width - widest)))
        parts += [Text(title, "bold"), table, ""]
    return parts


def shortened(text: str, width: int) -> str:
    """`text`; if it is wider than `width`, without its formula and what follows.

    >>> shortened("Mish: f(z) = z tanh(softplus(z)).", 20)
    'Mish.'
    """
    return text if len(text) <= width else _FORMULA.split(text, maxsplit=1)[0] + "."


def one_family(title: str) -> list[RenderableType]:
    """The variants of a family, each with its whole summary."""
    parts: list[RenderableType] = [Text(title, "bold")]
    for variant in next(found for name, _, found in catalogue() if name == title):
        parts += ["", heading(variant), *indented(summary(variant))]
    example = next(found[0].name() for name, _, found in catalogue() if name == title)
    return [*parts, "", Text(f"One in full: mlptrain components {example}", "dim")]


def heading(variant: type[Component]) -> Text:
    """The names of a variant."""
    also = f" (also {', '.join(variant.aliases)})" if variant.aliases else ""
    return Text(variant.name() + also, "bold")


def indented(text: str) -> Iterator[Text]:
    """`text` as lines that are indented by two spaces and break between words."""
    wrapped = textwrap.wrap(text, stdout_console().width - 2, break_long_words=False, break_on_hyphens=False)
    yield from (Text(f"  {line}") for line in wrapped)


def details(variant: type[Component]) -> list[RenderableType]:
    """Everything about one variant."""
    first, *others = (Text(joined(text)) for text in paragraphs(variant))
    parts: list[RenderableType] = [heading(variant), first]
    for text in others:
        parts += ["", text]
    if found := settings(variant, skip=("kind",)):
        parts += ["", Text("settings", "bold")]
        for setting in found:
            parts += [setting_line(setting), *indented(setting.meaning)]
    if drawn := picture_of(variant):
        console = stdout_console()
        height = min(HIGHEST, max(10, console.height - 2)) if console.is_terminal else HIGHEST
        parts += ["", styled(drawn.lines(min(WIDEST, console.width), height)), Text(drawn.caption)]
    return [*parts, ""]


def joined(paragraph: str) -> str:
    """A paragraph on one line, unless its lines are indented."""
    lines = paragraph.splitlines()
    return paragraph if any(line.startswith(" ") for line in lines) else " ".join(lines)


def setting_line(setting: Setting) -> Text:
    """The name, the type and the default of a setting."""
    default = setting.default if setting.default == "required" else f"default {setting.default}"
    return Text.assemble((setting.name, "cyan"), f"  {setting.type.replace('`', '')}; {default}")
