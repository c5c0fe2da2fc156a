"""Does the page on the mathematics point at code, lessons and pages that are there, and at every component?"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from cli import LESSONS
from mlptrain.component import Component
from mlptrain.reference import catalogue

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mathematics.md"
TEXT = PAGE.read_text(encoding="utf8")

LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s]+)\)")
PLACE = re.compile(r"`([\w/]+\.py): ([\w.]+)`")
LESSON = re.compile(r"(?:`|src/mlptrain/lessons/)(\d\d[a-z]?-[a-z0-9-]+)(?:\.yaml)?\b")

LINKS = [(match[1], match[2]) for match in LINK.finditer(TEXT)]
PLACES = sorted({(match[1], match[2]) for text, _ in LINKS if (match := PLACE.fullmatch(text))})
NAMED_LESSONS = sorted({match[1] for match in LESSON.finditer(TEXT)})


def module_of(path: str) -> str:
    return "mlptrain." + path.removesuffix(".py").replace("/", ".")


def components() -> Iterator[type[Component]]:
    for _, _, found in catalogue():
        yield from found


def test_the_page_points_at_code_and_lessons() -> None:
    assert len(PLACES) > 100
    assert len(NAMED_LESSONS) > 20


def test_a_link_into_the_code_has_the_one_form() -> None:
    for text, target in LINKS:
        if target.startswith("../src/"):
            match = PLACE.fullmatch(text)
            assert match, f"[{text}]({target}) is not written `file.py: name`"
            assert target == f"../src/mlptrain/{match[1]}"


@pytest.mark.parametrize(("path", "name"), PLACES, ids=[f"{path}:{name}" for path, name in PLACES])
def test_the_name_is_defined_in_the_file(path: str, name: str) -> None:
    found = attrgetter(name)(importlib.import_module(module_of(path)))
    assert getattr(found, "__module__", module_of(path)) == module_of(path)


@pytest.mark.parametrize("component", list(components()), ids=lambda component: component.__name__)
def test_every_component_is_linked(component: type[Component]) -> None:
    assert component.__name__ in {name for path, name in PLACES if module_of(path) == component.__module__}


def test_every_relative_link_leads_somewhere() -> None:
    for text, target in LINKS:
        if "://" not in target:
            page = (PAGE.parent / target.partition("#")[0]).resolve()
            assert page.is_relative_to(ROOT), f"[{text}]({target})"
            assert page.exists(), f"[{text}]({target})"


def test_the_page_names_exactly_the_lessons_that_exist() -> None:
    assert {path.stem for path in LESSONS.glob("*.yaml")} == set(NAMED_LESSONS)
