"""How does a number read, for people?"""

from __future__ import annotations


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


def brief(value: float, digits: int = 4) -> str:
    """A quantity in its own units: four significant digits, and those before the point of a large one.

    Numbers below ten thousand have no mark of thousands: a whole one may be a year.

    >>> brief(127.6361), brief(17510.2), brief(2018.0), brief(0.00001234), brief(17510.25, 6)
    ('127.6', '17,510', '2018', '1.234e-05', '17510.2')
    """
    large = 10**digits <= abs(value) < 1e12
    return f"{value:,.0f}" if large else f"{value:.{digits}g}"
