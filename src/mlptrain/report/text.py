"""How are names written into a page?"""

from __future__ import annotations

import html
import itertools
import unicodedata

JOINERS = "\u200c\u200d\ufe0f"
"""Without a width: they join emoji and letters of some scripts, or choose how a letter looks."""


def visible(text: str) -> str:
    r"""`text` with a symbol for each control character, which a page and a terminal would interpret.

    >>> visible("a\tb\x1b[2J")
    'a␉b␛[2J'
    """
    if text.isprintable():
        return text
    shown = [letter if letter.isprintable() else symbol(letter) for letter in text]
    for i in range(1, len(text)):
        if text[i] in JOINERS and not text[i - 1].isascii():
            shown[i] = text[i]
    return "".join(shown)


def width_of(text: str) -> int:
    """About how many Latin letters wide `text` is: Chinese letters and emoji are two.

    >>> width_of("ab"), width_of("红色"), width_of("🦊")
    (2, 4, 2)
    """
    return sum(letter_width(letter) for letter in text)


def letter_width(letter: str) -> int:
    """The width of one letter, in Latin letters."""
    return (
        0 if unicodedata.combining(letter) or letter in JOINERS else 1 + (unicodedata.east_asian_width(letter) in "WF")
    )


def symbol(letter: str) -> str:
    """What stands for a character that cannot be shown."""
    return chr(0x2400 + ord(letter)) if ord(letter) < 32 else "␡" if ord(letter) == 127 else "�"


def escaped(text: object) -> str:
    """Text for HTML, inside and outside of attributes."""
    return html.escape(visible(str(text)), quote=True)


def shortened(text: str, most: int = 24) -> str:
    """`text` in the width of at most `most` Latin letters, with its beginning and its end.

    >>> shortened("a long name of a column", 12), shortened("非常长的类别名称", 12)
    ('a long …lumn', '非常长…名称')
    """
    text = visible(text)
    if width_of(text) <= most:
        return text
    end = most // 3
    return f"{beginning(text, most - end - 1)}…{beginning(text[::-1], end)[::-1].lstrip(JOINERS)}"


def beginning(text: str, most: int) -> str:
    """As much of the beginning of `text` as has a width of at most `most`."""
    ends = itertools.accumulate(map(letter_width, text))
    return text[: sum(1 for _ in itertools.takewhile(lambda end: end <= most, ends))]
