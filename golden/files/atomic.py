"""Files that are there whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from golden.errors import UsageError
from golden.files import reading


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the destination, in a folder that is made if need be, then rename.

    What a killed process left there before is removed. What is there and no file (a device, a pipe) is not replaced:
    :class:`UsageError`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        reading.check_replaceable(path)
        for stale in path.parent.glob(f".{path.name}.*.tmp"):
            if not Path(f"/proc/{stale.suffixes[-2][1:]}").exists():
                stale.unlink(missing_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UsageError(f"Cannot write {path}: {error.strerror}. Choose another folder.") from error
