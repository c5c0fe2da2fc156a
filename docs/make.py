"""Writes the reference pages from the classes: `python docs/make.py`; with --check it only says which are stale.

`python docs/make.py --man FOLDER` writes pages for `man` on the commands into a folder.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from mlptrain.cli import manual
from mlptrain.component import Component, Frozen
from mlptrain.reference import catalogue, paragraphs, settings, summary
from mlptrain.spec.experiment import Experiment

FOLDER = Path(__file__).parent / "reference"
SOURCE = Path(__file__).parents[1] / "src/mlptrain"
NOTATION = (
    "Formulas are in the notation of [the course](../mathematics.md#1-notation), where they are derived; $[c]$ is 1\n"
    "where the condition $c$ holds and 0 elsewhere.\n"
)
NOTE = "<!-- Written by docs/make.py from the classes; edit those. -->\n"


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "spec.md": spec_page(),
        "components.md": components_page(),
        "modules.md": modules_page(),
        "commands.md": f"{NOTE}\n# The commands\n{manual.markdown()}",
    }


def spec_page() -> str:
    """Every key of an experiment file."""
    head = (
        f"{NOTE}\n# The experiment file\n\n"
        "Every key, its type, its default and its meaning. Only `data.path` and `data.target` have no default. For\n"
        "the kinds of a family see [components.md](components.md): a bare name selects `{kind: name}`.\n"
        f"{NOTATION}"
    )
    return head + "\n".join(section(Experiment, "")) + "\n"


def section(model: type[BaseModel], path: str) -> Iterator[str]:
    """A heading and a table for one mapping, then those of the mappings inside it."""
    yield f"\n## {path or 'top level'}\n"
    yield f"{summary(model)}\n"
    yield from (f"{formula}\n" for formula in formulas(model))
    yield from table(model)
    for name, field in model.model_fields.items():
        inner = mapping_in(field.annotation)
        if inner is not None:
            yield from section(inner, f"{path}.{name}" if path else name)


def table(model: type[BaseModel], skip: tuple[str, ...] = ()) -> Iterator[str]:
    """One row for each key."""
    yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
    for setting in settings(model, skip):
        default = setting.default if setting.default in ("required", "see below") else f"`{setting.default}`"
        meaning = setting.meaning.replace("|", "\\|")
        yield f"| `{setting.name}` | {setting.type} | {default} | {meaning} |"


def components_page() -> str:
    """Every variant of every family."""
    head = f"{NOTE}\n# Components\n\nThe choices for each key of an experiment file that names a family.\n{NOTATION}"
    return (
        head
        + "\n".join(line for title, family, found in catalogue() for line in family_section(title, family, found))
        + "\n"
    )


def family_section(title: str, family: type[Component], found: list[type[Component]]) -> Iterator[str]:
    """The variants of one family."""
    yield f"\n## {title.capitalize()}\n\n{summary(family)}"
    yield from (f"\n{formula}" for formula in formulas(family))
    for variant in found:
        also = f" (also {', '.join(f'`{alias}`' for alias in variant.aliases)})" if variant.aliases else ""
        yield f"\n### `{variant.name()}`{also}\n"
        yield from (f"{formula}\n" for formula in formulas(variant))
        yield "\n\n".join(paragraphs(variant))
        if settings(variant, skip=("kind",)):
            yield ""
            yield from table(variant, skip=("kind",))


def modules_page() -> str:
    """Every module with the first line of its docstring."""
    head = (
        f"{NOTE}\n# The modules\n\nEach module answers one question, which is its first line. Imports run one way, "
        "which a test\nholds; [CONTRIBUTING.md](../../CONTRIBUTING.md) says in which order.\n\n"
        "| module | its question |\n| --- | --- |\n"
    )
    return head + "".join(f"{module_row(path)}\n" for path in sorted(SOURCE.rglob("*.py")))


def module_row(path: Path) -> str:
    """A module and its first line."""
    name = path.relative_to(SOURCE).as_posix()
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf8"))) or "").partition("\n")[0]
    return f"| [`{name}`](../../src/mlptrain/{name}) | {first} |"


def formulas(model: type[BaseModel]) -> list[str]:
    """What a class computes, each formula as a separate paragraph."""
    return [f"$$ {formula} $$" for formula in model.formula] if issubclass(model, Frozen) else []


def mapping_in(annotation: Any) -> type[BaseModel] | None:
    """The mapping of settings that a field holds, if it holds one that is no component."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if issubclass(annotation, Component) else annotation
    return next((found for argument in get_args(annotation) if (found := mapping_in(argument))), None)


def main() -> int:
    """Write the pages, or with --check compare them; with --man write those for `man`."""
    if sys.argv[1:2] == ["--man"]:
        write(Path(sys.argv[2]), manual.man_pages())
        return 0
    stale = [name for name, text in pages().items() if not same(FOLDER / name, text)]
    if "--check" in sys.argv:
        for name in stale:
            sys.stdout.write(f"{name} is stale: run python docs/make.py\n")
        return 1 if stale else 0
    write(FOLDER, pages())
    return 0


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write files into a folder, which is made if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf8")


def same(path: Path, text: str) -> bool:
    """Whether the file at `path` holds `text`."""
    return path.exists() and path.read_text(encoding="utf8") == text


if __name__ == "__main__":
    sys.exit(main())
