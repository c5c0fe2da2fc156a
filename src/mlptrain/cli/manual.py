"""How does the help of the commands become pages to read: one in Markdown, and one for `man` of each command?"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from typer.models import CommandInfo, OptionInfo, ParameterInfo

import mlptrain
from mlptrain.cli.app import app
from mlptrain.runs import directory

EXITS = (
    ("0", "success"),
    ("1", "a bug in mlptrain"),
    ("2", "a wrong command line, or a mistake in an experiment file"),
    ("3", "a table that cannot be read or used"),
    ("4", "a run, checkpoint or model file that cannot be used"),
    ("5", "the machine: disk, permissions, locks, memory"),
    (
        "6",
        "a check that failed: training diverged, a gradient, --fail-under, --fail-over, `check`, `reproduce`",
    ),
    ("129, 130, 143", "interrupted by SIGHUP, SIGINT or SIGTERM, after the run was saved"),
)
"""Each exit code with its meaning."""
COMMON = (
    "Results go to stdout, progress and notes to stderr. Every command takes `--debug`, which shows the traceback "
    "of an error. Wherever a run is expected, `latest` means the newest one under runs/."
)
"""What holds for every command."""
PLACEHOLDERS = {Path: "PATH", str: "TEXT", int: "NUMBER", float: "NUMBER"}
"""What stands for a value of each type."""


@dataclass(frozen=True)
class Entry:
    """An argument, an option, a file, an exit code or a command, with what it means."""

    name: str
    meaning: str
    group: str = ""


@dataclass(frozen=True)
class Page:
    """What is to be said about a command."""

    name: str
    summary: str
    text: tuple[str, ...]
    """Further paragraphs."""
    examples: tuple[str, ...]
    arguments: tuple[Entry, ...]
    options: tuple[Entry, ...]
    group: str

    @property
    def synopsis(self) -> str:
        """How it is called."""
        return " ".join(["mlptrain", self.name, "[OPTIONS]", *(each.name for each in self.arguments)])


def pages() -> list[Page]:
    """The page of each command, in the order of `mlptrain --help`."""
    return [page(command) for command in app.registered_commands]


def page(command: CommandInfo) -> Page:
    """The page of a command, from its docstring and its parameters."""
    function = command.callback
    assert function is not None
    text, _, examples = (inspect.getdoc(function) or "").partition("\n\nExamples:\n")
    summary, *others = (" ".join(part.split()) for part in text.split("\n\n"))
    parameters = list(parameters_of(function))
    options = [option(each) for each in parameters if isinstance(each.about, OptionInfo)]
    return Page(
        command.name or function.__name__,
        summary,
        tuple(others),
        tuple(line.strip() for line in examples.splitlines()),
        tuple(argument(each) for each in parameters if not isinstance(each.about, OptionInfo)),
        (*options, Entry("-h, --help", "Show the help and exit.")),
        str(command.rich_help_panel),
    )


class Parameter(NamedTuple):
    """A parameter of a command as its function declares it."""

    name: str
    kind: Any
    """The type of its value, or of each value."""
    about: ParameterInfo
    default: Any
    required: bool

    @property
    def flags(self) -> list[str]:
        """Its names as an option, if they are not that of the parameter; Typer takes the first one for a default."""
        given = (self.about.default, *(self.about.param_decls or ()))
        return sorted((name for name in given if isinstance(name, str) and name.startswith("-")), key=len)

    @property
    def takes(self) -> str:
        """What stands for its value."""
        return str(self.about.metavar or PLACEHOLDERS[self.kind])

    @property
    def meaning(self) -> str:
        """Its help, with its lowest value and its default."""
        lowest = "" if self.about.min is None else f" At least {self.about.min}."
        shown = "" if self.required or self.default in (None, False) else f" Default: {self.default}."
        return f"{self.about.help}{lowest}{shown}"


def parameters_of(function: Callable[..., Any]) -> Iterator[Parameter]:
    """The parameters of the function of a command."""
    hints = get_type_hints(function, include_extras=True)
    for name, declared in inspect.signature(function).parameters.items():
        kind, about = get_args(hints[name])[:2]
        while get_args(kind):  # `list[Path] | None` is about paths
            kind = get_args(kind)[0]
        yield Parameter(name, kind, about, declared.default, declared.default is inspect.Parameter.empty)


def argument(parameter: Parameter) -> Entry:
    """An argument; in brackets if it may be left out."""
    name = parameter.about.metavar or parameter.name.upper()
    return Entry(name if parameter.required else f"[{name}]", parameter.meaning)


def option(parameter: Parameter) -> Entry:
    """An option with what it takes."""
    names = parameter.flags or [f"--{parameter.name.replace('_', '-')}"]
    takes = "" if parameter.kind is bool else f" {parameter.takes}"
    group = getattr(parameter.about, "rich_help_panel", None) or ""
    return Entry(f"{', '.join(names)}{takes}", parameter.meaning, group)


def grouped(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The entries by their group, those without one at the end."""
    found: dict[str, list[Entry]] = {}
    for each in sorted(entries, key=lambda entry: not entry.group):
        found.setdefault(each.group, []).append(each)
    return found


def files() -> list[Entry]:
    """The files of a run."""
    lines = (directory.__doc__ or "").splitlines()
    return [Entry(*re.split(r"\s{2,}", line)) for line in lines if re.match(r"[\w.]+\s{2,}", line)]


def markdown() -> str:
    """All commands on one page, below its title."""
    found = pages()
    return "\n".join([*overview(found), *(line for each in found for line in section(each, found))]) + "\n"


def overview(found: Sequence[Page]) -> Iterator[str]:
    """The list of the commands, and what holds for all of them."""
    for group in dict.fromkeys(each.group for each in found):
        yield f"\n**{group}**\n"
        yield from (
            f"- [`mlptrain {each.name}`](#mlptrain-{each.name}): {each.summary}"
            for each in found
            if each.group == group
        )
    yield f"\n{COMMON}\n"
    yield from table("exit code", [Entry(*each) for each in EXITS])
    yield ""
    yield from table("file of a run", files())


def section(about: Page, found: Sequence[Page]) -> Iterator[str]:
    """A command in Markdown."""
    yield f"\n## mlptrain {about.name}\n\n```\n{about.synopsis}\n```\n"
    yield from (f"{paragraph}\n" for paragraph in (about.summary, *about.text))
    if about.arguments:
        yield from (*table("argument", about.arguments), "")
    for group, entries in grouped(about.options).items():
        yield from (*table(f"option: {group.lower()}" if group else "option", entries), "")
    yield "\n".join(["```console", *about.examples, "```"])
    others = [f"[{each.name}](#mlptrain-{each.name})" for each in related(about, found)]
    if others:
        yield f"\nSee also {', '.join(others)}."


def related(about: Page, found: Sequence[Page]) -> list[Page]:
    """The other commands of the same group."""
    return [each for each in found if each.group == about.group and each.name != about.name]


def table(head: str, entries: Sequence[Entry]) -> Iterator[str]:
    """A row for each entry."""
    yield f"| {head} | meaning |\n| --- | --- |"
    for each in entries:
        name, text = (part.replace("|", "\\|") for part in (each.name, each.meaning))
        yield f"| `{name}` | {text} |"


def man_pages() -> dict[str, str]:
    """Every page for `man` by its file name."""
    found = pages()
    made = {f"mlptrain-{each.name}.1": "\n".join(man_page(each, found)) + "\n" for each in found}
    return {"mlptrain.1": "\n".join(man_overview(found)) + "\n", **made}


def man_overview(found: Sequence[Page]) -> Iterator[str]:
    """The page on mlptrain itself."""
    yield from head("mlptrain", (app.info.help or "").rstrip("."), "mlptrain COMMAND [OPTIONS] [ARGUMENTS]")
    yield f".SH DESCRIPTION\n{roff(COMMON)}"
    yield ".SH COMMANDS"
    yield from entries_of([Entry(f"mlptrain-{each.name}(1)", each.summary, each.group) for each in found])
    yield from foot([])


def man_page(about: Page, found: Sequence[Page]) -> Iterator[str]:
    """A command for `man`."""
    yield from head(f"mlptrain-{about.name}", about.summary.rstrip("."), about.synopsis)
    if about.text:
        paragraphs = "\n.PP\n".join(map(roff, about.text))
        yield f".SH DESCRIPTION\n{paragraphs}"
    if about.arguments:
        yield ".SH ARGUMENTS"
        yield from entries_of(about.arguments)
    yield ".SH OPTIONS"
    yield from entries_of(about.options)
    yield "\n".join([".SH EXAMPLES", ".nf", *map(roff, about.examples), ".fi"])
    yield from foot([f"mlptrain-{each.name}" for each in related(about, found)])


def head(name: str, summary: str, synopsis: str) -> Iterator[str]:
    """The beginning of a page for `man`."""
    yield f'.TH {name.upper()} 1 "" "mlptrain {mlptrain.__version__}" "User Commands"'
    yield f".SH NAME\n{roff(name)} \\- {roff(summary)}"
    yield f".SH SYNOPSIS\n{roff(synopsis)}"


def entries_of(entries: Sequence[Entry]) -> Iterator[str]:
    """A tagged paragraph for each entry, under a heading for each group."""
    for group, some in grouped(entries).items():
        if group:
            yield f".SS {roff(group)}"
        yield from (f".TP\n\\fB{roff(each.name)}\\fR\n{roff(each.meaning)}" for each in some)


def foot(others: Sequence[str]) -> Iterator[str]:
    """The end of a page for `man`: exit codes, files, other pages."""
    yield ".SH EXIT STATUS"
    yield from entries_of([Entry(*each) for each in EXITS])
    yield ".SH FILES"
    yield from entries_of(files())
    if others:
        yield ".SH SEE ALSO\n" + ", ".join(f"{roff(name)}(1)" for name in ("mlptrain", *others))


def roff(text: str) -> str:
    """Text for `man`, in which a backslash, a hyphen and the first letter of a line may be commands."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{text}" if text[:1] in (".", "'") else text
