"""Expected failures: known defects that a user has written down, so that only new ones decide.

A text file, one entry a line: ``SYMBOL CASE  # reason``. Both may hold ``*`` and ``?``; the reason is required, because
an expectation nobody can explain is a hidden failure. Entries that no failure matches are stale, and reported.
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from golden.errors import UsageError
from golden.files import reading


class Entry(NamedTuple):
    """One line of the file."""

    line: int
    symbol: str
    case: str
    reason: str


class Xfail:
    """The entries of a file, and which of them were needed."""

    def __init__(self, entries: list[Entry], name: str = "") -> None:
        self.name = name
        self._entries = entries
        self._used: set[Entry] = set()

    def expects(self, symbol: str, case: str) -> bool:
        """Tell whether a failing case is expected to fail, and remember the entries that say so."""
        matching = [e for e in self._entries if fnmatchcase(symbol, e.symbol) and fnmatchcase(case, e.case)]
        self._used.update(matching)
        return bool(matching)

    def join(self, other: "Xfail") -> None:
        """Count the entries as needed, too, that another process has needed."""
        self._used |= other._used

    def stale(self) -> list[Entry]:
        """Return the entries that matched no failing case so far."""
        return [entry for entry in self._entries if entry not in self._used]


def read_xfail(path: Path | None) -> Xfail:
    """Read a file of expected failures; None gives none. Raises :class:`UsageError` that names file and line."""
    if path is None:
        return Xfail([])
    try:
        lines = reading.read_text(path).splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"Cannot read expected failures from {path}: {why}.") from error
    entries = []
    for number, line in enumerate(lines, 1):
        pattern, _, reason = line.partition("#")
        words = pattern.split()
        if not words:
            continue
        if len(words) != 2 or not reason.strip():
            raise UsageError(f"{path}, line {number}: an entry is 'SYMBOL CASE  # reason', with all three parts.")
        symbol, case = words
        entries.append(Entry(number, symbol, case, reason.strip()))
    return Xfail(entries, path.name)
