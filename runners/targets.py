"""Turns what a user names as TARGET into a session."""

from pathlib import Path

from golden.errors import UsageError
from golden.results import Library
from runners.calling.call import Mode
from runners.calling.placement import Allocator, Regions
from runners.calling.session import Session
from runners.harness.adapter import CallableSession
from runners.harness.session import ExecSession
from runners.library.session import LibrarySession
from runners.models import ReferenceSession
from runners.offline.session import OfflineSession, is_dump
from runners.process.system import PR_SET_DUMPABLE, prctl


def open_target(
    target: str, timeout: float, memory: Regions | Allocator | None = None, *, sandbox: Mode = "auto", draw: str = ""
) -> tuple[Session, Library]:
    """Open a target: a library's path, ``exec:COMMAND``, ``python:MODULE:OBJECT``, ``dump:DIR``, ``reference:MODEL``.

    ``memory``: where operands have to lie, or functions of a library that they come from; anywhere by default, and of
    no meaning for a model or dumps. ``sandbox`` and ``draw``: as :class:`runners.library.session.LibrarySession` takes
    them.

    Raises :class:`UsageError` for a name that means nothing and :class:`golden.errors.TargetError` for a library,
    harness or adapter that cannot be loaded, or dumps that cannot be used.
    """
    kind, separator, rest = target.partition(":")
    regions = memory if isinstance(memory, Regions) else None
    if separator and kind == "reference":
        return ReferenceSession(rest), Library()
    if separator and kind in ("exec", "python", "dump") and isinstance(memory, Allocator):
        raise UsageError(
            f"--memory symbol: is for a library that is loaded here; {kind}: targets allocate by themselves."
        )
    if separator and kind == "exec" and not Path(target).exists():
        harness = ExecSession(rest, timeout=timeout, regions=regions)
        return harness, harness.library
    if is_dump(target):
        dumps = OfflineSession(Path(rest))
        return dumps, dumps.library
    if separator and kind == "python" and not Path(target).exists():
        adapter = CallableSession(rest, timeout=timeout, regions=regions)
        return adapter, adapter.library
    allocator = memory if isinstance(memory, Allocator) else None
    prctl(PR_SET_DUMPABLE, 0)  # no other process may look into the judge, nor trace it
    session = LibrarySession(
        Path(target), timeout=timeout, regions=regions, allocator=allocator, mode=sandbox, draw=draw
    )
    return session, session.library
