"""Reading files of others: whatever lies at a path, it is read within bounds, or refused in one sentence.

Only regular files are read (links to them too): a FIFO would hang, a device never end. Sizes are bounded before
anything is read, nesting while it is decoded. What cannot be read is an :class:`OSError` whose ``strerror`` says why,
as for a file that is not there; what cannot be decoded is a :class:`ValueError`. The readers make sentences of both.
"""

import errno
import os
import re
import stat
import tomllib
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

#: Bytes that a file of each kind may have: many times what golden writes, or people do.
RESULTS, STATE, MANIFEST, TOML, TEXT = 256 << 20, 64 << 20, 64 << 20, 1 << 20, 16 << 20
#: Bytes of a library, which is held in memory.
LIBRARY = 512 << 20
#: No count that golden writes comes near it, and no error in ulp is larger: see golden.histogram.BINS.
_COUNT = 2.0**278
#: Fields that may be negative, or are of no kind that is known here.
_ANY = {"exponent", "bias_ulp", "inputs", "parameters"}
#: Fields of a sweep's state that are -1 where there is no such point.
_NONE = {"worst", "first_failure"}
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
#: A key of a hundred parts: tomllib takes a time that is quadratic in them, and msgspec as many levels.
_DEEP_KEY = re.compile(r"""(?:\.[ \t]*(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*(?=[.\]=])){100}""")

T = TypeVar("T")


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; raises :class:`OSError` for anything else, without waiting for it."""
    try:
        # A socket cannot be opened, and opening a FIFO lets whoever waits at its other end go on: hence the first look.
        _check_kind(path, path.stat().st_mode)
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    try:
        _check_kind(path, os.fstat(file.fileno()).st_mode)
    except OSError:
        file.close()
        raise
    return file


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


def check_replaceable(path: Path) -> None:
    """Raise :class:`OSError` for what no file may be put in place of: a device, a pipe, a stream (``/dev/stdout``)."""
    if path.is_symlink() and str(path.readlink()).startswith("/proc/"):
        raise OSError(errno.EINVAL, "it is a stream, not a regular file", str(path))
    if path.exists():
        _check_kind(path, path.stat().st_mode)


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes; raises :class:`OSError` for anything else."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(limit + 1) if size <= limit else b""  # files of /proc have no size, and others may grow
        check_size(path, max(size, len(content)), limit)
    return content


def check_size(path: Path, size: int, limit: int) -> None:
    """Raise :class:`OSError` for a file of more than ``limit`` bytes."""
    if size > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes, the most that such a file may", str(path))


def read_text(path: Path, limit: int = TEXT) -> str:
    """Return a text in UTF-8; raises what :func:`read_bytes` raises, and :class:`ValueError` for another encoding."""
    return decoded(read_bytes(path, limit))


def decoded(content: bytes) -> str:
    """Decode UTF-8; raises :class:`ValueError` that says where it is none."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error


def plain_name(name: str) -> bool:
    """Tell whether a name that a file gives is one of a file in its own folder, which a terminal can show."""
    return name not in ("", "..") and name == Path(name).name and name.isprintable() and len(name) < 256


def json_of(content: bytes, schema: type[T]) -> T:
    """Decode JSON of a schema, whose counts make sense (:func:`check_counts`); raises :class:`ValueError`."""
    import msgspec  # noqa: PLC0415 - what completing a word in a shell need not pay

    try:
        document = msgspec.json.decode(content, type=schema)
        check_counts(document)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    return document


def toml_of(content: bytes) -> dict[str, Any]:
    """Decode TOML; raises :class:`ValueError`."""
    text = decoded(content)
    if _DEEP_KEY.search(text):
        raise ValueError("it is nested too deep")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def check_counts(document: object, where: str = "") -> None:
    """Raise :class:`ValueError` that names the first number of a document that can be no count, size, time or error.

    A histogram's keys are numbers too: the edges of its bins.
    """
    if fields := getattr(document, "__struct_fields__", ()):
        document = {name: getattr(document, name) for name in fields}
    if isinstance(document, dict):
        for name, value in document.items():
            if name == "histogram" and isinstance(value, dict):
                for edge in value:
                    if not re.fullmatch(r"[0-9]{1,80}(\.[0-9]{1,20})?(e\+?[0-9]{1,2})?", edge):
                        raise ValueError(f"{where}histogram: {edge!r} is not the edge of a bin in ulp")
            if name not in _ANY and not (name in _NONE and value == -1):
                check_counts(value, f"{where}{name}: ")
    elif isinstance(document, list | tuple):
        for item in document:
            check_counts(item, where)
    elif isinstance(document, int | float) and not 0 <= document <= _COUNT:
        raise ValueError(f"{where}{document:.6g} makes no sense there")
