"""Which words look like dates, or like formatted numbers?"""

from __future__ import annotations

import re
from collections.abc import Sequence

_MONTH = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_TIME = r"([T ,]+\d{1,2}:\d{2}.*)?"
_DATE = (
    rf"(\d{{4}}([-/.])\d{{1,2}}\2\d{{1,2}}|\d{{1,2}}([-/.])\d{{1,2}}\3(\d{{4}}|\d{{2}})"
    rf"|\d{{1,2}}(st|nd|rd|th)?[-/. ]*{_MONTH}[-/., ]*(\d{{4}}|\d{{2}})"
    rf"|{_MONTH}[-/. ]*\d{{1,2}}(st|nd|rd|th)?[-/., ]+(\d{{4}}|\d{{2}})|\d{{4}}[-/. ]+{_MONTH}[-/. ]*\d{{1,2}}){_TIME}"
)
_COMMA_NUMBER = r"[-+]?(\d+,\d+|\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}(\.\d{3})+,\d+)"
_NUMBER = r"(\d{1,3}([ ,.'\u00a0\u202f]\d{3})+|\d+)([.,]\d+)?"
CURRENCY = r"(?:[$€£¥₹]|US\$|USD|EUR|GBP|CHF|JPY|Rs\.?)"
UNIT = (
    rf"(?:%|‰|{CURRENCY}|kg|g|mg|t|lbs?|oz|km|m|cm|mm|mi|ft|in|l|ml|h|hrs?|min|s|ms|days?|years?|yrs?|kB|MB|GB|Hz|W|kW"
    r"|cc|CC|bhp|hp|PS|kmpl|km/kg|km/h|mph|m²|m2|sqft|sq\.? ?ft|km²|°C|°F|°|kWh|GHz|MHz|TB|weeks?|months?)"
)
_AMOUNT = (
    rf"[-+]?{CURRENCY}\s?[-+]?{_NUMBER}|[-+]?{_NUMBER}\s?{UNIT}|\({CURRENCY}?\s?{_NUMBER}\s?{UNIT}?\)"
    r"|[-+]?\d{1,3}([ '\u00a0\u202f]\d{3})+([.,]\d+)?"
)
_SAMPLE = 2000  # words that are looked at, of many
MAX_UNIT_CATEGORIES = 10
"""Up to this many distinct words with a unit may be meant as categories: 10%, 20% and 30%."""

ADVICE = {
    "numbers with commas": "write them with a decimal point and no thousands separator",
    "dates": "write what matters of them as numbers (the month, the days since the first)",
    "amounts with a unit": "write them as plain numbers",
}
"""What to do with words by what they probably mean."""


def meant_as(words: Sequence[str]) -> str | None:
    """What most of `words` probably mean: numbers with commas, dates, amounts with a unit; None for categories."""
    words = words[:: max(1, len(words) // _SAMPLE)]
    matchers = (re.compile(pattern).fullmatch for pattern in (_COMMA_NUMBER, _DATE, _AMOUNT))
    numbers, dates, amounts = (sum(match(word) is not None for word in words) for match in matchers)
    most = len(words) / 2
    if numbers == len(words) or (numbers > most and len(words) > MAX_UNIT_CATEGORIES):
        return "numbers with commas"
    if dates == len(words) or (dates > most and len(words) > MAX_UNIT_CATEGORIES):
        return "dates"
    if amounts + numbers > most and len(words) > MAX_UNIT_CATEGORIES:
        return "amounts with a unit"
    return None
