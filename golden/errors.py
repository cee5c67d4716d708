"""Errors a user can act on: what went wrong, where, and what to do next; each kind has its exit code."""


class GoldenError(Exception):
    """Base of all expected errors; ``str(error)`` is one complete sentence for the user."""

    exit_code = 1


class UsageError(GoldenError):
    """An argument, option or configuration that cannot be used."""

    exit_code = 2


class TargetError(GoldenError):
    """The target cannot be loaded, or lacks everything that was asked for."""

    exit_code = 3


class VectorError(GoldenError):
    """A vector file is damaged, stale, or not a vector file at all."""

    exit_code = 4
