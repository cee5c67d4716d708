"""Data sets of HDF5 files that anybody may have made: what they declare is held against what is there, then read."""

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from golden.errors import VectorError
from golden.formats import Array

#: Chunks of a data set that are read: each costs a look at the file.
_CHUNKS = 1 << 16
#: Filters of a compressed data set: its bytes shuffled, compressed, with a checksum.
_FILTERS = ([h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32],)


class Stored:
    """An open vector file, of which nothing is read that the writer cannot have written, or that its size belies."""

    def __init__(self, path: Path, file: h5py.File, size: int, again: str) -> None:
        self._path, self.hdf5, self._size, self._again = path, file, size, again

    def attribute(self, name: str) -> str:
        """Return an attribute; "" where it is not there."""
        if name not in self.hdf5.attrs:
            return ""
        found = self.hdf5.attrs.get_id(name)
        if found.shape != () or found.dtype.kind != "S" or found.dtype.itemsize > 4096:
            raise VectorError(f"{self._path}: the attribute {name} is no string of fixed length. {self._again}")
        return bytes(self.hdf5.attrs[name]).decode()

    def dataset(self, name: str, dtype: np.dtype[Any], filtered: bool) -> h5py.Dataset:
        """Return a flat data set that lies in this file, and is no larger than its part of it."""
        parts = name.split("/")
        for stop in range(1, len(parts) + 1):
            link = "/".join(parts[:stop])
            if link not in self.hdf5 and not self.hdf5.get(link, getlink=True):
                raise VectorError(f"{self._path} is damaged or not a vector file: it has no {link}. {self._again}")
            if not isinstance(self.hdf5.get(link, getlink=True), h5py.HardLink):
                raise VectorError(f"{self._path}: {link} is a link to elsewhere. {self._again}")
        data = self.hdf5[name]
        if not isinstance(data, h5py.Dataset) or data.dtype != dtype or len(data.shape) != 1:
            raise VectorError(f"{self._path} has columns or arrays of another type than its schema says. {self._again}")
        made, count = data.id.get_create_plist(), data.shape[0]
        filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
        chunks = -(-count // data.chunks[0]) if data.chunks else 0
        if data.is_virtual or data.external or (filters and (not filtered or filters not in _FILTERS)):
            raise VectorError(f"{self._path}: {name} is stored in a way that golden does not write. {self._again}")
        wrong = chunks > _CHUNKS or (data.chunks and data.id.get_num_chunks() != chunks)
        wrong = wrong or data.id.get_storage_size() > self._size
        if wrong or (not filters and data.id.get_storage_size() < data.nbytes):
            raise VectorError(
                f"{self._path}: {name} is declared with {count} elements, which are not there. {self._again}"
            )
        return data

    def whole(self, name: str, dtype: np.dtype[Any], limit: int) -> Array:
        """Return a data set of at most ``limit`` bytes.

        libhdf5 takes as much memory as a compressed chunk wants; so chunks are decompressed here, to their size.
        """
        data = self.dataset(name, dtype, filtered=True)
        if data.nbytes > limit or (data.chunks and data.chunks[0] * dtype.itemsize > limit):
            raise VectorError(
                f"{self._path}: {name} has {data.nbytes} bytes, more than the {limit} that it may. {self._again}"
            )
        made = data.id.get_create_plist()
        if not made.get_nfilters():
            return np.asarray(data[...])
        chunk, values = data.chunks[0], np.zeros(data.shape[0], dtype)
        for at in range(0, len(values), chunk):
            if data.id.get_chunk_info_by_coord((at,)).size > self._size:
                raise VectorError(f"{self._path}: {name} is damaged. {self._again}")
            skipped, raw = data.id.read_direct_chunk((at,))
            unpacked = zlib.decompressobj().decompress(raw, chunk * dtype.itemsize + 1)
            if skipped or len(unpacked) != chunk * dtype.itemsize:
                raise VectorError(f"{self._path}: {name} is damaged. {self._again}")
            bytes_of = np.frombuffer(unpacked, np.uint8).reshape(dtype.itemsize, chunk).T  # undoes the shuffling
            part = values[at : at + chunk]
            part[:] = np.ascontiguousarray(bytes_of).reshape(-1).view(dtype)[: len(part)]
        return values
