"""Turns what a user names as TARGET into a session."""

from pathlib import Path

from golden.errors import UsageError
from golden.results import Library
from runners.execute import ExecSession
from runners.library import LibrarySession
from runners.placement import Regions
from runners.protocol import Session
from runners.reference import ReferenceSession


def open_target(target: str, timeout: float, regions: Regions | None = None) -> tuple[Session, Library]:
    """Open a target: the path of a shared library, ``exec:COMMAND`` or ``reference:MODEL``.

    ``regions``: where operands have to lie; anywhere by default, and of no meaning for a model.

    Raises :class:`UsageError` for a name that means nothing and :class:`golden.errors.TargetError` for a library
    or harness that cannot be loaded.
    """
    kind, separator, rest = target.partition(":")
    if separator and kind == "reference":
        return ReferenceSession(rest), Library()
    if separator and kind == "exec" and not Path(target).exists():
        harness = ExecSession(rest, timeout=timeout, regions=regions)
        return harness, harness.library
    if separator and kind == "dump" and not Path(target).exists():
        raise UsageError("dump: targets are not supported by this version; give a library, exec: or reference:MODEL.")
    session = LibrarySession(Path(target), timeout=timeout, regions=regions)
    return session, session.library
