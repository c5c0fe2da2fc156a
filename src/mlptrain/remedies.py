"""How is a remedy written so that it works when it is pasted into an experiment file?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[^\W\d][\w./+-]*(?: [\w./+-]+)*")
_RESERVED = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


def yaml_flow(value: Any) -> str:
    """A value as YAML on one line; text is quoted wherever YAML could read it as something else.

    >>> print(yaml_flow({"exclude": ["Price, USD", "no", "7", "Sex"], "min_count": 2}))
    {exclude: ['Price, USD', 'no', '7', Sex], min_count: 2}
    """
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(key))}: {yaml_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(yaml_flow, value)) + "]"
    return json.dumps(value)


def scalar(text: str) -> str:
    """Text as one YAML scalar."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return (
        '"'
        + "".join(letter if letter.isprintable() and letter not in '"\\' else escape(letter) for letter in text)
        + '"'
    )


def escape(letter: str) -> str:
    """A letter as it is written in double quotes."""
    if letter.isprintable() and letter not in '"\\':
        return letter
    return {"\t": "\\t", "\n": "\\n", '"': '\\"', "\\": "\\\\"}.get(letter, f"\\U{ord(letter):08X}")


def setting(**settings: Any) -> str:
    """Settings as they are written at the top level of an experiment file: `data: {exclude: [id]}`."""
    return ", ".join(f"{key}: {yaml_flow(value)}" for key, value in settings.items())
