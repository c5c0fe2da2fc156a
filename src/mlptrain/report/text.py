"""How are names written into a page?"""

from __future__ import annotations

import html


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
