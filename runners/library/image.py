"""The library that runs: a sealed copy of the file, taken once, whose SHA-256 is the one that results state."""

import contextlib
import copy
import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

from golden.errors import MachineError, UsageError
from golden.files.reading import LIBRARY, check_size, open_regular
from runners.library.elf import inspect_library

#: What the search path of a library says for "beside me".
_BESIDE = b"$ORIGIN"
#: Files of a library's folder that it may load.
_NEIGHBOURS = 1000


class Image:
    """A copy of a library in memory that nobody can change, not even its own process.

    ``address``: the path to load it by, in every process that inherits ``descriptor``; ``readable``: other files that
    loading may need. A library that looks for others beside itself is given a folder of links for that.

    Raises :class:`UsageError` for a file that cannot be read, :class:`golden.errors.TargetError` for one that this
    machine cannot load, and :class:`MachineError` where there is no memory for it.
    """

    def __init__(self, path: Path) -> None:
        self.library = inspect_library(path)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        try:
            self.descriptor = os.memfd_create("library", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except (AttributeError, OSError) as error:
            raise MachineError(f"This machine has no memfd_create ({error}), by which libraries are kept.") from error
        try:
            digest, beside, tail = hashlib.sha256(), False, b""
            with open_regular(path) as file:
                while chunk := file.read(1 << 20):
                    check_size(path, file.tell(), LIBRARY)
                    digest.update(chunk)
                    beside = beside or _BESIDE in tail + chunk
                    tail = chunk[-len(_BESIDE) :]
                    view = memoryview(chunk)
                    while view:
                        view = view[os.write(self.descriptor, view) :]
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        except OSError as error:
            self.close()
            raise UsageError(
                f"Cannot read the library {path}: {error.strerror}. Give the path of a .so file."
            ) from error
        self.library = msgspec.structs.replace(self.library, sha256=digest.hexdigest())
        self.address = f"/proc/self/fd/{self.descriptor}"
        self.readable = [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry]
        if beside:
            self._link(path.resolve())

    def lent(self) -> "Image":
        """Return it for a fork of this process, which leaves the folder of links to this one."""
        lent = copy.copy(self)
        lent._folder = None
        return lent

    def close(self) -> None:
        """Give the copy back."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
        if self._folder is not None:
            self._folder.cleanup()

    def _link(self, path: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="golden-")
        folder = Path(self._folder.name)
        (folder / path.name).symlink_to(self.address)
        for neighbour in sorted(path.parent.glob("*.so*"))[:_NEIGHBOURS]:
            if neighbour.name != path.name:
                (folder / neighbour.name).symlink_to(neighbour)
                self.readable.append(str(neighbour))
        self.readable.append(str(folder))
        self.address = str(folder / path.name)
