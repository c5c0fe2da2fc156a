"""How do numbers and names of a report read?"""

from __future__ import annotations

import html


def number(value: float | None) -> str:
    """A number for a table: four digits, and those before the point of a large one.

    >>> number(0.98765), number(17510.2), number(None)
    ('0.9877', '17,510', '-')
    """
    if value is None:
        return "-"
    if 1000 <= abs(value) < 1e12:
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.1f}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1000 or value == 0 else f"{value:.4g}"


def brief(value: float) -> str:
    """A quantity in its own units: four significant digits, and those before the point of a large one.

    >>> brief(127.6361), brief(17510.2), brief(0.00001234)
    ('127.6', '17,510', '1.234e-05')
    """
    return (
        f"{value:,.0f}" if 10_000 <= abs(value) < 1e12 else f"{value:,.4g}" if abs(value) < 10_000 else f"{value:.4g}"
    )


def visible(text: str) -> str:
    r"""`text` with a symbol for each control character, which a page and a terminal would interpret.

    >>> visible("a\tb\x1b[2J")
    'a␉b␛[2J'
    """
    return "".join(letter if letter.isprintable() else symbol(letter) for letter in text)


def symbol(letter: str) -> str:
    """What stands for a character that cannot be shown."""
    return chr(0x2400 + ord(letter)) if ord(letter) < 32 else "␡" if ord(letter) == 127 else "�"


def escaped(text: object) -> str:
    """Text for HTML, inside and outside of attributes."""
    return html.escape(visible(str(text)), quote=True)


def shortened(text: str, most: int = 24) -> str:
    """`text` in at most `most` letters, with its beginning and its end."""
    text = visible(text)
    return text if len(text) <= most else f"{text[: most - most // 3 - 1]}…{text[len(text) - most // 3 :]}"
