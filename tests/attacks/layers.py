"""Which layers of protection this machine can put in force."""

import ctypes
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

_LANDLOCK_CREATE_RULESET, _VERSION = 444, 1
_CLONE_NEWUSER = 0x10000000


def _has_landlock() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))) >= 1


def _has_seccomp() -> bool:
    try:
        return "kill_process" in Path("/proc/sys/kernel/seccomp/actions_avail").read_text()
    except OSError:
        return False


def _has_namespaces() -> bool:
    """Try it in a child: there is no asking."""
    child = os.fork()
    if child == 0:
        os._exit(ctypes.CDLL(None).unshare(_CLONE_NEWUSER) != 0)
    return os.waitpid(child, 0)[1] == 0


#: Layers that a machine can lack, and how it is found out.
LAYERS: dict[str, Callable[[], bool]] = {
    "registers": lambda: platform.machine() == "x86_64",
    "state": lambda: Path("/proc/self/status").exists(),
    "seccomp": _has_seccomp,
    "landlock": _has_landlock,
    "namespaces": _has_namespaces,
}


@cache
def layers_in_force() -> frozenset[str]:
    """Return the layers that can be in force here."""
    return frozenset(name for name, has in LAYERS.items() if has())
