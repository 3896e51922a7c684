"""The one exception that a user's mistake raises, and help with names that are close to a known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend: its message is one line that says what is wrong and what to do.

    The commands print it and exit with code 2; everything already written stays.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known name, and all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    return f"{hint} Known: {', '.join(names) or 'none'}."
