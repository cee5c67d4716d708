"""Errors a user can act on: what went wrong, where, and what to do next; each kind has its exit code."""

import difflib
from collections.abc import Iterable


class GoldenError(Exception):
    """Base of all expected errors; ``str(error)`` is one complete sentence for the user."""

    exit_code = 1


class UsageError(GoldenError):
    """An argument, option or configuration that cannot be used."""

    exit_code = 2


class TargetError(GoldenError):
    """The target cannot be loaded, or lacks everything that was asked for."""

    exit_code = 3


def unknown_name(what: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}."
    return UsageError(f"There is no {what} named {name!r}; {hint}")


class VectorError(GoldenError):
    """A vector file is damaged, stale, or not a vector file at all."""

    exit_code = 4
