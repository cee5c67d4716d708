"""Python callables as targets: ``python:MODULE:OBJECT``, evaluated in a process of their own; docs/third-party.md.

That process is a harness written in Python (:mod:`runners.harness.adapter_process`) and speaks the harness's protocol,
so a crash, a hang or an exit there costs an invocation, as on a board. The judge never imports the module.
"""

import os
import shlex
import sys
from pathlib import Path

from golden.errors import UsageError
from runners.calling.placement import Regions
from runners.harness.frames import Hello
from runners.harness.session import ExecSession

#: Seconds for the module to be imported: large packages load hundreds of megabytes.
_PATIENCE = 120.0


class CallableSession(ExecSession):
    """A Python object behind the session interface; see :class:`runners.calling.session.Session`.

    It gets arrays and returns one, so what it does to memory of its own is nobody's business, and entry points that
    differ only in C parameters are the same for it. Arrays are placed and filled as invocations say.

    Raises :class:`UsageError` for a name that is none and :class:`golden.errors.TargetError` for an object that cannot
    be loaded.
    """

    noun = "adapter"
    unobservable = frozenset(
        {
            *("outside-access", "outside-write", "untouched-operands", "processes"),
            *("output-written", "output-fill", "core-mask", "storage", "aliasing"),
        }
    )

    def __init__(self, name: str, *, timeout: float = 10.0, regions: Regions | None = None) -> None:
        module, _, dotted = name.partition(":")
        if not all(word.isidentifier() for path in (module, dotted) for word in path.split(".")):
            raise UsageError(
                f"'python:{name}' is not python:MODULE:OBJECT, such as python:runners.adapters.pytorch:cpu."
            )
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._environment = {**os.environ, "PYTHONPATH": path}
        command = shlex.join([sys.executable, "-P", "-m", "runners.harness.adapter_process", name])
        super().__init__(command, timeout=timeout, patience=_PATIENCE, regions=regions)

    def restart(self) -> None:
        """Do nothing: large packages take seconds to import, too long for a fresh process at every entry point."""

    def _blind(self, hello: Hello) -> tuple[str, ...]:
        return (
            "accesses outside operands",
            "output elements that were not computed",
            "core masks",
            "differences between shared and private memory",
            "exception traps, and modes of fp16 arithmetic",
            "processes and memory that calls leave behind",
            "state that shows only after tens of thousands of calls of an entry point",
        )
