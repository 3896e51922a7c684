"""What the text in a table's cell means: one rule for labels, groups and clusters.

- Blanks around it do not count, and letters with accents are compared as one character each (Unicode NFC).
- A number with a decimal point is written the shortest way: "1.0" is "1", "0.50" is "0.5", "-0.0" is "0", "+1" is "1". So is
  one as computers print it, with a signed exponent: "1.000e+00" is "1". Whole numbers stay as they are: "007" is a name of its
  own, and so is "1e5".
- The words of MISSING, in capital letters or not, say that there is no value.
- Numbers come in the order of their value, before words, which come in the order of their letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from supernet.errors import UserError
from supernet.schema import is_plain, printable

# What pandas, R, spreadsheets and databases write for "no value".
MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "#n/a", "null", "none", "nat"})
UNKNOWN_NAME = "unknown"  # a group, or a class of its own
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
PRINTED = re.compile(NUMBER.pattern + r"[eE][+-][0-9]{1,2}")  # numpy.savetxt, C and spreadsheets always write the sign
QUOTES = str.maketrans("", "", "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a")


def meaning(text: str) -> str:
    """The cell's value as the rule above has it; missing words come back as they are written."""
    text = unicodedata.normalize("NFC", text.strip())
    if PRINTED.fullmatch(text):
        text = f"{Decimal(text):+f}"
    if not NUMBER.fullmatch(text) or not ("." in text or text[0] in "+-"):
        return text
    if "." not in text and text[1:] != "0" and text.lstrip("+-").startswith("0"):
        return text  # -007
    shortest = format(Decimal(text), "f")
    shortest = shortest.rstrip("0").rstrip(".") if "." in shortest else shortest
    return "0" if shortest in ("-0", "") else shortest


def is_missing(value: str) -> bool:
    """Whether it says that there is no value."""
    return value.lower() in MISSING


def is_unknown(value: str) -> bool:
    """Whether a cell of a group column says that the group is not known."""
    return is_missing(value) or value.lower() == UNKNOWN_NAME


def in_order(values: Iterable[str]) -> tuple[str, ...]:
    """Each value once: numbers by value, then words by letter."""
    return tuple(sorted(set(values), key=_place))


def nearly(value: str) -> str:
    """The same of values that a person would hardly tell apart: in capitals, blanks, quotes, invisible or wide characters, and as a number."""
    plain = unicodedata.normalize("NFKC", value).casefold().translate(QUOTES)
    words = " ".join("".join(sign for sign in plain if unicodedata.category(sign) != "Cf").split())
    try:
        number = Decimal(words.replace(",", "."))
    except InvalidOperation:
        return words
    return f"{number.normalize():f}" if number.is_finite() and abs(number.adjusted()) < 100 else words


def check_name(name: str, where: str) -> None:
    """Raises UserError for a name with characters that a terminal or a page would obey instead of showing them."""
    if not is_plain(name):
        raise UserError(f'{where}: the name "{printable(name)}" has control characters: write it without them.')


def _place(name: str) -> tuple[bool, Decimal, str]:
    return (False, Decimal(name), name) if NUMBER.fullmatch(name) else (True, Decimal(0), name)
