"""Errors a user can act on: what went wrong, where, and what to do next; each kind has its exit code."""

import difflib
from collections.abc import Iterable

from golden.text import plain

#: Names that an error lists in full where none is like the one that was given.
_LISTED = 20


class GoldenError(Exception):
    """Base of all expected errors; ``str(error)`` is one complete sentence for the user."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the sentence, in which names and words of others can move no cursor."""
        return plain(super().__str__(), lines=True)


class UsageError(GoldenError):
    """An argument, option or configuration that cannot be used."""

    exit_code = 2


class TargetError(GoldenError):
    """The target cannot be loaded, or lacks everything that was asked for."""

    exit_code = 3


class MachineError(GoldenError):
    """The judge's own machine cannot be trusted, or lacks what judging takes: nothing is said about the target."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like another, upper or lower case aside; "" where none is."""
    folded = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), folded, 1, cutoff=0.5)
    return folded[near[0]] if near else ""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    if near := nearest(name, names):
        hint = f"did you mean {near!r}?"
    elif len(names) <= _LISTED:
        hint = f"known are {', '.join(names)}."
    else:
        hint = f"none of the {len(names)} there are is like it: see 'golden list {what}s'."
    return UsageError(f"There is no {what} named {name!r}; {hint}")


class VectorError(GoldenError):
    """A vector file is damaged, stale, or not a vector file at all."""

    exit_code = 4
