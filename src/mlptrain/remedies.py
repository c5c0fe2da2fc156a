"""How is a remedy written as YAML that can be pasted into an experiment file?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[^\W\d][\w./+-]*(?: [\w./+-]+)*")
_RESERVED = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


def yaml_flow(value: Any) -> str:
    """A value as YAML on one line; text is quoted if YAML could read it as something else.

    >>> print(yaml_flow({"exclude": ["Price, USD", "no", "7", "Sex"], "min_count": 2}))
    {exclude: ['Price, USD', 'no', '7', Sex], min_count: 2}
    """
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(key))}: {yaml_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(yaml_flow, value)) + "]"
    return number(value) if isinstance(value, float) else json.dumps(value)


def number(value: float) -> str:
    """A real number with three significant digits, for any YAML parser: 1.0e-05, since YAML 1.1 reads 1e-05 as text.

    >>> number(0.00001), number(0.25), number(2.0)
    ('1.0e-05', '0.25', '2.0')
    """
    text = f"{value:.3g}"
    if "e" in text:
        return text if "." in text else text.replace("e", ".0e")
    return text if "." in text else f"{text}.0"


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
    """A character inside double quotes."""
    if letter.isprintable() and letter not in '"\\':
        return letter
    return {"\t": "\\t", "\n": "\\n", '"': '\\"', "\\": "\\\\"}.get(letter, f"\\U{ord(letter):08X}")


def setting(**settings: Any) -> str:
    """Settings as a line at the top level of an experiment file: `data: {exclude: [id]}`."""
    return ", ".join(f"{key}: {yaml_flow(value)}" for key, value in settings.items())


def after_divergence(learning_rate: float, clipped: bool) -> str:
    """What to try after training diverged with this rate, with or without clipping."""
    slower = f"Try {setting(optimizer={'learning_rate': learning_rate / 10})}"
    return slower if clipped else f"{slower}, {setting(training={'clip_norm': 1.0})}"
