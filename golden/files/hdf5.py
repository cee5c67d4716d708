"""HDF5 files whose flat arrays grow while they are written, as fast as the file system takes their bytes.

Each whole chunk of an array goes to the file as it lies in memory (``H5Dwrite_chunk``): nothing is copied, and nothing
passes through libhdf5's cache.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from golden.formats import Array

#: Bytes that are reserved ahead of what is written.
RESERVED = 64 << 20
#: Bytes that HDF5's structures may take on top of the arrays: never less is free.
_ROOM = 8 << 20


class GrowingFile:
    """A new HDF5 file, with flat arrays that can be extended.

    Room on the disk is reserved before anything is written, because libhdf5 may crash when a write fails; where there
    is none, every method may raise :class:`OSError`.
    """

    def __init__(self, path: Path, size: int = RESERVED) -> None:
        """Create the file with room for ``size`` bytes."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._arrays: dict[str, _GrowingArray] = {}
        with contextlib.ExitStack() as undone:
            undone.callback(os.close, self._fd)
            os.posix_fallocate(self._fd, 0, size + _ROOM)
            self.hdf5 = h5py.File(path, "w", libver=("v108", "v108"), track_order=False)  # empties it again
            undone.callback(self.hdf5.close)
            self._end = 0
            self.reserve(size)
            undone.pop_all()

    def create(self, name: str, dtype: np.dtype[Any], chunk: int) -> None:
        """Create an empty array, in chunks of ``chunk`` elements."""
        self._arrays[name] = _GrowingArray(self, name, dtype, chunk)

    def extend(self, name: str, values: Array) -> None:
        """Append to an array."""
        self._arrays[name].extend(values)

    def reserve(self, size: int) -> None:
        """See to it that ``size`` more bytes can be written."""
        used = self.hdf5.id.get_filesize()
        if used + size + _ROOM > self._end:
            end = used + max(size, RESERVED if self._arrays else 0) + _ROOM
            os.posix_fallocate(self._fd, used, end - used)
            # What the disk has is not kept in memory: gigabytes of it would push out everything else, and fresh pages
            # can cost more than all the rest, above all in virtual machines. It also starts the writing of what is new.
            os.posix_fadvise(self._fd, 0, used, os.POSIX_FADV_DONTNEED)
            self._end = end

    def finish(self) -> None:
        """Write what is left, give back what was reserved in vain, and close the file."""
        for array in self._arrays.values():
            array.finish()
        self.hdf5.flush()
        os.ftruncate(self._fd, self.hdf5.id.get_filesize())
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        if self.hdf5:
            try:
                self.hdf5.close()
            finally:
                os.close(self._fd)


class _GrowingArray:
    def __init__(self, file: GrowingFile, name: str, dtype: np.dtype[Any], chunk: int) -> None:
        file.reserve(0)
        self._file = file
        self._data = file.hdf5.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(chunk,), track_times=False)
        self._part = np.zeros(chunk, dtype)  # the last chunk, as far as it has come
        self._count = 0

    def extend(self, values: Array) -> None:
        values = np.ascontiguousarray(values, self._part.dtype)
        chunk, started = len(self._part), self._count % len(self._part)
        if started:  # complete the last chunk
            head = min(chunk - started, len(values))
            self._part[started : started + head] = values[:head]
            self._count += head
            if self._count % chunk == 0:
                self._write(self._count - chunk, self._part)
            values = values[head:]
        whole = len(values) // chunk * chunk
        self._write(self._count, values[:whole])
        if len(values) > whole:
            self._part[: len(values) - whole] = values[whole:]
        self._count += len(values)

    def _write(self, start: int, values: Array) -> None:
        """Write whole chunks."""
        if len(values):
            self._file.reserve(values.nbytes)
            self._data.resize((start + len(values),))
            for at in range(0, len(values), len(self._part)):
                self._data.id.write_direct_chunk((start + at,), values[at : at + len(self._part)])

    def finish(self) -> None:
        """Write the chunk that is not whole, filled up with zeros."""
        started = self._count % len(self._part)
        if started:
            self._part[started:] = 0
            self._write(self._count - started, self._part)
            self._data.resize((self._count,))
