"""C of this project's own, compiled for this machine when it is first needed and kept in the user's cache folder.

The file's name is made of source, compiler, flags and processor, so that whatever decides its content decides its name.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from golden.errors import UsageError
from runners.toolchain.build import find_compiler

_CALL_LOOP = Path(__file__).parent.parent / "process" / "call_loop.c"
#: Never -ffast-math: it would change results, and the environment of the whole process.
FLAGS = (
    *("-O3", "-std=gnu11", "-fPIC", "-shared"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-fast-math", "-Wno-psabi"),
)
#: Flags for code that is made of vectors, tried in this order until one compiles and loads. Tuned for no processor in
#: particular: a GCC that takes a newer one for an older, without vectors as wide, schedules them 4 % slower.
VECTORS: tuple[tuple[str, ...], ...] = (
    ("-march=native", "-mtune=generic", "-mprefer-vector-width=512"),
    ("-march=native",),
    (),
)
#: Set to anything but "" or "0" to do without: NumPy judges, and Python makes a sweep's calls.
DISABLE = "GOLDEN_NO_NATIVE"


def compiler() -> tuple[str, ...] | None:
    """Return the compiler's command; None where there is none, or where compiled code is not wanted."""
    if os.environ.get(DISABLE, "0") not in ("", "0"):
        return None
    try:
        return tuple(find_compiler())
    except UsageError:
        return None


def load(source: Path, tunings: Sequence[Sequence[str]] = ((),), before: str = "") -> ctypes.CDLL | None:
    """Return a C file compiled and loaded, with the first flags that do; None where that is not possible.

    ``before``: generated text that comes before it, and includes what it needs from the same folder.
    """
    for tuning in tunings:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return ctypes.CDLL(str(compiled(source, tuning, before)))
    return None


@cache
def helper() -> str:
    """Return the path of what :mod:`runners.process.call_loop` makes calls with; "" where :func:`load` has None."""
    library = load(_CALL_LOOP)
    return "" if library is None else library._name


def compiled(source: Path, tuning: Sequence[str] = (), before: str = "") -> Path:
    """Return a C file compiled, from the cache if it is there; see :func:`load`.

    Raises OSError or SubprocessError where that is not possible.
    """
    found = compiler()
    if found is None:
        raise OSError("no compiler")
    command = [*found, *FLAGS, *tuning]
    version = subprocess.run([*found, "--version"], capture_output=True, check=True).stdout
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(source.parent.glob("*.[ch]"))))
    for part in (repr(command).encode(), version, platform.machine().encode(), processor(), before.encode()):
        content.update(part)
    folder = _cache_folder()
    path = folder / f"{source.stem}-{content.hexdigest()[:32]}.so"
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / "built.so"
            text = Path(scratch) / "generated.c"
            text.write_text(f'{before}#include "{source.name}"\n')
            whole = [*command, f"-I{source.parent}", str(text), "-o", str(built), "-lm"]
            subprocess.run(whole, capture_output=True, check=True)
            built.replace(path)
    return path


def processor() -> bytes:
    """Return what -march=native depends on: the feature flags of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_bytes().splitlines():
            if line.startswith((b"flags", b"Features")):
                return line
    return platform.processor().encode()


def _cache_folder() -> Path:
    """Return a folder of this user's alone: code is loaded from it."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".cache"
    for folder in (base / "golden", Path(tempfile.gettempdir()) / f"golden-{os.getuid()}"):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o022 == 0:
                return folder
    raise OSError("no folder for compiled code")
