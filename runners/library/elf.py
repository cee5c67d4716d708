"""What a shared library says about itself, and why this machine cannot load it, without loading it."""

import contextlib
import hashlib
import os
import platform
import struct
from pathlib import Path

from elftools.elf.enums import ENUM_E_MACHINE

from golden.errors import TargetError, UsageError
from golden.files.reading import LIBRARY, check_size, open_regular
from golden.results import Library

_ET_DYN, _COMPRESSED = 3, 0x800
_MACHINES = {number: name for name, number in ENUM_E_MACHINE.items() if name != "_default_"}
_HOST_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "riscv64": "EM_RISCV"}


def inspect_library(path: Path) -> Library:
    """Return what a shared library says about itself, without loading it.

    Raises :class:`UsageError` for a file that cannot be read and :class:`TargetError` for one that this
    machine cannot load, whatever it contains.
    """
    try:
        with open_regular(path) as file:
            header = file.read(20)
            file.seek(0)
            digest = ""
            if header[:4] == b"\x7fELF":  # what is no library may be of any size
                check_size(path, os.fstat(file.fileno()).st_size, LIBRARY)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"Cannot read the library {path}: {error.strerror}. Give the path of a .so file.") from error
    if header[:4] != b"\x7fELF" or len(header) < 20:
        raise TargetError(f"{path} is not a shared library: it does not begin as an ELF file does.")
    if header[4] not in (1, 2) or header[5] not in (1, 2):
        raise TargetError(f"{path} is damaged: its ELF header states no known word size or byte order.")
    order = ">" if header[5] == 2 else "<"
    kind, number = struct.unpack(order + "HH", header[16:20])
    machine = _MACHINES.get(number, f"machine {number}")
    host = _HOST_MACHINES.get(platform.machine(), platform.machine())
    if (machine, header[4], header[5]) != (host, 2, 1):
        width, end = 64 if header[4] == 2 else 32, "big" if order == ">" else "little"
        raise TargetError(
            f"{path} is built for {machine} ({width}-bit, {end}-endian), and this machine is {host}. "
            "Build it for this machine, or run it where it belongs with the target exec:COMMAND."
        )
    if kind != _ET_DYN:
        raise TargetError(f"{path} is an ELF file but not a shared library (type {kind}). Link it with -shared.")
    return Library(path=str(path), sha256=digest, compiler=_compiler(path), machine=machine)


def _compiler(path: Path) -> str:
    """Return the distinct strings of the .comment section, if it can be read and is none that anybody forged."""
    # A damaged file can state any place and size; this text is worth no error.
    with contextlib.suppress(OSError, ValueError, OverflowError, struct.error), open_regular(path) as file:

        def read(offset: int, size: int, limit: int = 1 << 20) -> bytes:
            file.seek(offset)
            return file.read(size) if size <= limit else b""

        header = read(0, 64)
        (table,), (each, count, names) = struct.unpack_from("<Q", header, 40), struct.unpack_from("<HHH", header, 58)
        sections = list(struct.iter_unpack("<IIQQQQIIQQ", read(table, 64 * count, 64 << 16))) if each == 64 else []
        words = read(*sections[names][4:6]) if names < len(sections) else b""
        for name, _, flags, _, offset, size, *_ in sections:
            if words[name:].startswith(b".comment\0") and not flags & _COMPRESSED:
                parts = [t.decode("utf-8", "replace") for t in read(offset, size, 1 << 16).split(b"\0") if t]
                return "; ".join(dict.fromkeys(parts))
    return ""
