"""How is the help of a command written where a table with boxes would be cut?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand

from mlptrain.cli.streams import wrapped

WIDE = 80
"""Columns of a terminal from which on the help is a table with boxes."""


class NarrowHelp:
    """A command or a group whose help is plain text in a narrow terminal."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from rich.console import Console

        width = Console().width
        if width >= WIDE:
            super().format_help(ctx, formatter)  # type: ignore[misc]  # of Typer's command or group
        else:
            formatter.write("\n".join(help_lines(self, ctx, width)))


class Verb(NarrowHelp, TyperCommand):
    """A command of mlptrain."""


def help_lines(command: Any, ctx: Any, width: int) -> Iterator[str]:
    """The help of a command or of a group: each option or command, and below it what it does."""
    pieces = " ".join(command.collect_usage_pieces(ctx))
    yield from wrapped(f"Usage: {ctx.command_path} {pieces}", width, "  ")
    yield from paragraphs(command.help or "", width)
    for panel, records in panels(command, ctx).items():
        yield from ("", f"{panel}:")
        for name, meaning in records:
            yield from wrapped(f"  {name}", width, "    ")
            yield from wrapped(f"      {meaning}", width, "      ")
    if command.epilog:
        yield ""
        yield from wrapped(command.epilog, width, "")


def panels(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """The arguments, options and commands by group, each with its meaning."""
    found: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            usual = "Arguments" if param.param_type_name == "argument" else "Options"
            found.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(record)
    for name in getattr(command, "commands", ()):
        each = command.get_command(ctx, name)
        panel = getattr(each, "rich_help_panel", None) or "Commands"
        found.setdefault(panel, []).append((name, each.get_short_help_str(1000)))
    return found


def paragraphs(text: str, width: int) -> Iterator[str]:
    """Text with its paragraphs and its indented lines, each wrapped."""
    for paragraph in text.strip().replace("\b\n", "").split("\n\n"):
        yield ""
        lines = paragraph.splitlines()
        if not any(line.startswith(" ") for line in lines):
            lines = [" ".join(lines)]
        for line in lines:
            indent = line[: len(line) - len(line.lstrip())]
            yield from wrapped(line, width, f"{indent}  " if indent else "")
