"""Vector files: golden cases of one operator and dtype, packed into one HDF5 file.

Layout (documented for readers in other languages in ``vectors/README.md``)::

    /cases                   compound table, one row a case
    /operands/<name>         flat array of every case's operand, one after the other
    /golden  /residual       flat arrays of every case's output

Content is canonical: the digest covers it as bytes in a fixed order, so it is the same on every machine and for every
HDF5 version, whatever the container looks like.

Up to :data:`HELD` bytes of arrays a file is compressed, verified and held in memory as a whole. A larger one has the
same layout, uncompressed, under another schema: its digest covers the table alone, whose rows hold a digest of every
case. So its cases are written as they are made, and read and verified one at a time; neither takes more memory
than the largest case.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, overload

import h5py
import numpy as np

from golden import __version__
from golden.case import Case, Head, Tier
from golden.errors import UsageError, VectorError
from golden.formats import FORMATS, Array
from golden.growing import GrowingFile
from golden.operator import Golden, Operator, operators

SCHEMA, BULK_SCHEMA = "golden-vectors/1", "golden-vectors-bulk/1"
#: Bytes of arrays that are held in memory, by writer and reader alike.
HELD = 64 << 20
_CHUNK = 1 << 16
_ID_BYTES, _CLASS_BYTES, _FLAGS_BYTES, _WORD_BYTES = 160, 48, 160, 16
_AGAIN = "Restore it or generate it again with 'golden generate'."


@dataclass(frozen=True)
class VectorFile:
    """A vector file whose table is verified.

    ``heads`` say what the cases are and have no arrays. ``cases`` are verified already, or, where the file is too
    large to be held in memory, when one is reached (again each time): :class:`VectorError` if it is damaged.
    """

    path: Path
    suite: str
    operator: Operator
    dtype: str
    digest: str
    heads: Sequence[Head]
    cases: Sequence[Case]


def write_vectors(path: Path, suite: str, operator: Operator, dtype: str, cases: Iterable[Case], seed: str) -> str:
    """Write one vector file so that it is there whole or not at all; returns its content digest.

    ``cases`` must all be of ``operator`` and ``dtype``; they are taken one at a time. Raises :class:`UsageError` if
    the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(_Arrays(temporary, _array_dtypes(operator, dtype))) as arrays:
            rows = [np.zeros(0, _table_dtype(operator))]
            for case in cases:
                rows.append(_row(operator, case, arrays.counts))
                arrays.add(_arrays_of(case))
                del case  # while the next one is made
            table = np.concatenate(rows)
            schema = BULK_SCHEMA if arrays.bulk else SCHEMA
            digest = _digest(schema, operator, dtype, table, arrays.held())
            attributes = {"schema": schema, "generator_version": __version__, "suite": suite, "seed": seed}
            attributes |= {"operator": operator.name, "dtype": dtype}
            attributes |= {"spec_digest": operator.spec_digest(), "content_digest": digest}
            arrays.finish(attributes, table)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error}. Choose another folder with --out.") from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may not be one
            temporary.unlink()
    return digest


class _Arrays:
    """The flat arrays of a file that is being written: held in memory, or in the file once they are too large."""

    def __init__(self, path: Path, dtypes: dict[str, np.dtype[Any]]) -> None:
        self.counts = dict.fromkeys(dtypes, 0)
        self._path, self._dtypes, self._size = path, dtypes, 0
        self._parts: dict[str, list[Array]] = {name: [] for name in dtypes}
        self._file: GrowingFile | None = None

    @property
    def bulk(self) -> bool:
        """Tell whether the arrays are too large to be held."""
        return self._file is not None

    def add(self, arrays: dict[str, Array]) -> None:
        """Add one case's arrays."""
        self._size += sum(values.nbytes for values in arrays.values())
        if self._file is None and self._size > HELD:
            self._file = GrowingFile(self._path)
            for name, dtype in self._dtypes.items():
                self._file.create(name, dtype, _CHUNK)
                for values in self._parts.pop(name):
                    self._file.extend(name, values)
        for name, values in arrays.items():
            self.counts[name] += values.size
            if self._file is None:
                self._parts[name].append(values)
            else:
                self._file.extend(name, values)

    def held(self) -> dict[str, Array]:
        """Return the arrays; of a bulk file, whose arrays are not held, none."""
        empty = {name: np.empty(0, dtype) for name, dtype in self._dtypes.items()}
        return {name: np.concatenate([empty[name], *parts]) for name, parts in self._parts.items()}

    def finish(self, attributes: dict[str, str], table: Array) -> None:
        """Write what is left, and the rest of the file."""
        held = self.held()
        if self._file is None:
            self._file = GrowingFile(self._path, self._size)
        self._file.reserve(table.nbytes)
        for name, value in attributes.items():
            # Of fixed length, in the checksummed header. Strings of variable length lie in a heap without a
            # checksum: a flipped byte there goes unnoticed, or makes libhdf5 loop for ever.
            self._file.hdf5.attrs.create(name, np.bytes_(value))
        for name, values in {"cases": table, **held}.items():
            _compressed(self._file.hdf5, name, values)
        self._file.finish()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _compressed(file: h5py.File, name: str, values: Array) -> None:
    # Curated suites are small and must stay so: gzip after shuffling. fletcher32 lets HDF5 itself notice damage.
    options: dict[str, Any] = {}
    if values.size:
        options = {"chunks": (min(len(values), _CHUNK),), "compression": "gzip", "compression_opts": 9}
        options |= {"shuffle": True, "fletcher32": True}
    file.create_dataset(name, data=values, track_times=False, **options)


def read_vectors(path: Path, expected_digest: str | None = None) -> VectorFile:
    """Read and verify one vector file; of one that is too large to be held, the table (see :class:`VectorFile`).

    Raises :class:`UsageError` if there is no such file and :class:`VectorError` for any damage: not HDF5, truncated,
    another schema, a digest that does not match the content or the manifest (``expected_digest``), golden data
    made for another description of the operator.
    """
    if not path.is_file():
        raise UsageError(f"There is no vector file {path}. List suites with 'golden list', or generate one.")
    with _opened(path) as file:
        return _read(path, file, expected_digest)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a vector file for reading; whatever goes wrong with it is a :class:`VectorError`."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except VectorError:
        raise
    except Exception as error:  # h5py reports damage as OSError, KeyError, RuntimeError, ValueError, ...
        raise VectorError(
            f"{path} is damaged or not a vector file ({error}). Restore it or generate it again."
        ) from error


def _read(path: Path, file: h5py.File, expected_digest: str | None) -> VectorFile:
    def attribute(name: str) -> str:
        value = file.attrs[name]
        return value.decode() if isinstance(value, bytes) else str(value)

    schema = attribute("schema") if "schema" in file.attrs else "no schema"
    if schema not in (SCHEMA, BULK_SCHEMA):
        found = repr(schema) if "schema" in file.attrs else schema
        raise VectorError(f"{path} has {found}; this version reads {SCHEMA!r} and {BULK_SCHEMA!r}. {_AGAIN}")
    known = operators()
    name, dtype = attribute("operator"), attribute("dtype")
    if name not in known or dtype not in FORMATS:
        raise VectorError(f"{path} is for {name!r} in {dtype!r}, which this version does not know. {_AGAIN}")
    operator = known[name]
    if attribute("spec_digest") != operator.spec_digest():
        raise VectorError(f"{path} is stale: it was made for another description of {name}. {_AGAIN}")
    table, dtypes = file["cases"][...], _array_dtypes(operator, dtype)
    if table.dtype != _table_dtype(operator) or any(file[n].dtype != d for n, d in dtypes.items()):
        raise VectorError(f"{path} has columns or arrays of another type than its schema says. {_AGAIN}")
    arrays = {n: file[n][...] for n in dtypes} if schema == SCHEMA else {}
    digest = _digest(schema, operator, dtype, table, arrays)
    if digest != attribute("content_digest"):
        raise VectorError(f"{path} is damaged: its content does not match its digest. {_AGAIN}")
    if expected_digest is not None and digest != expected_digest:
        raise VectorError(f"{path} is not the file that its manifest names (digest differs). {_AGAIN}")
    heads = tuple(_head(operator, dtype, row) for row in table)
    if schema == SCHEMA:
        cases: Sequence[Case] = tuple(_case(head, row, arrays) for head, row in zip(heads, table, strict=True))
    else:
        cases = _StoredCases(path, table, heads)
    return VectorFile(path, attribute("suite"), operator, dtype, digest, heads, cases)


@dataclass(frozen=True, eq=False)
class _StoredCases(Sequence[Case]):
    """The cases of a bulk file, by position: each is read and verified when it is asked for, and none is kept."""

    path: Path
    table: Array
    heads: tuple[Head, ...]

    def __len__(self) -> int:
        return len(self.heads)

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Case]: ...
    def __getitem__(self, index: int | slice) -> Case | Sequence[Case]:
        if isinstance(index, slice):
            return _StoredCases(self.path, self.table[index], self.heads[index])
        head, row = self.heads[index], self.table[index]
        with _opened(self.path) as file:
            case = _case(head, row, file)
        if case_digest(case) != row["digest"].decode():
            raise VectorError(f"{self.path} is damaged: case {head.id} does not match its digest. {_AGAIN}")
        return case


def case_digest(case: Case) -> str:
    """Return the digest of one case: identity, scalars, operands and golden data."""
    content = hashlib.sha256()
    content.update(repr((case.id, case.tier, case.klass, case.flags, sorted(case.scalars.items()))).encode())
    for values in _arrays_of(case).values():
        content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()


def _array_dtypes(operator: Operator, dtype: str) -> dict[str, np.dtype[Any]]:
    """Return the element types of a file's flat arrays, by name and in the order of the digests."""
    fmt = FORMATS[dtype]
    operands = {f"operands/{p.name}": p.dtype(fmt) for p in operator.inputs}
    return {**operands, "golden": fmt.dtype, "residual": np.dtype("<f4")}


def _arrays_of(case: Case) -> dict[str, Array]:
    operands = {f"operands/{p.name}": case.operands[p.name] for p in case.operator.inputs}
    return {**operands, "golden": case.golden.value, "residual": case.golden.residual}


def _table_dtype(operator: Operator) -> np.dtype[Any]:
    columns: list[tuple[str, str]] = [("id", f"S{_ID_BYTES}"), ("tier", f"S{_WORD_BYTES}")]
    columns += [("class", f"S{_CLASS_BYTES}"), ("flags", f"S{_FLAGS_BYTES}")]
    kinds = {"int": "<i4", "real": "<f8", "reduction": f"S{_WORD_BYTES}"}
    columns += [(s.name, kinds[s.kind]) for s in operator.scalars]
    for name in [p.name for p in operator.inputs] + ["golden"]:
        columns += [(f"{name}_offset", "<i8"), (f"{name}_count", "<i8")]
    return np.dtype([*columns, ("digest", "S64")])


def _row(operator: Operator, case: Case, positions: dict[str, int]) -> Array:
    """Return the table's row of a case whose arrays will lie at ``positions`` of the flat ones."""
    row = np.zeros(1, _table_dtype(operator))
    words = {"id": case.id, "tier": case.tier, "class": case.klass, "flags": ",".join(case.flags)}
    for column, word in words.items():
        if len(word.encode()) > row.dtype[column].itemsize:
            raise ValueError(f"{column} of case {case.id} is too long")
        row[column] = word.encode()
    for scalar in operator.scalars:
        value = case.scalars[scalar.name]
        row[scalar.name] = value.encode() if isinstance(value, str) else value
    for name, values in _arrays_of(case).items():
        if name != "residual":  # as long as golden
            column = name.removeprefix("operands/")
            row[f"{column}_offset"], row[f"{column}_count"] = positions[name], values.size
    row["digest"] = case_digest(case).encode()
    return row


def _head(operator: Operator, dtype: str, row: Any) -> Head:
    scalars: dict[str, int | float | str] = {}
    for scalar in operator.scalars:
        value = row[scalar.name]
        scalars[scalar.name] = value.decode() if scalar.kind == "reduction" else value.item()
    return Head(
        id=row["id"].decode(),
        operator=operator,
        dtype=dtype,
        tier=cast(Tier, row["tier"].decode()),
        klass=row["class"].decode(),
        flags=tuple(filter(None, row["flags"].decode().split(","))),
        scalars=scalars,
    )


def _case(head: Head, row: Any, arrays: Any) -> Case:
    """Take a case's arrays out of the flat ones, by name: arrays in memory, or the data sets of an open file."""

    def part(name: str, array: str) -> Array:
        offset, count = int(row[f"{name}_offset"]), int(row[f"{name}_count"])
        values: Array = arrays[array][offset : offset + count]
        return values

    operands = {p.name: part(p.name, f"operands/{p.name}") for p in head.operator.inputs}
    return Case(**vars(head), operands=operands, golden=Golden(part("golden", "golden"), part("golden", "residual")))


def _digest(schema: str, operator: Operator, dtype: str, table: Array, arrays: dict[str, Array]) -> str:
    """Return the digest of a file's content: of the table, and of the arrays unless the table has to speak for them."""
    content = hashlib.sha256(f"{schema} {operator.name} {dtype} {operator.spec_digest()}".encode())
    for values in (table, *(arrays.values() if schema == SCHEMA else ())):
        content.update(str(values.shape).encode())
        content.update(values.tobytes())
    return content.hexdigest()
