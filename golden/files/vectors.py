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

Whoever wrote a file may have written anything: what it declares is held against its size before it is read, links and
filters of other kinds than the writer's are refused, and every row must make sense (:func:`_check_rows`). Digests say
that a file is whole, not that its golden values are right: those can be computed again (``recheck``).
"""

import contextlib
import hashlib
import math
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args, overload

import h5py
import numpy as np

from golden import __version__
from golden.case import Case, Head, Tier
from golden.errors import UsageError, VectorError
from golden.files import reading
from golden.files.hdf5 import GrowingFile
from golden.files.storage import Stored
from golden.formats import FORMATS, Array
from golden.operator import Operator, known_flags, operators
from golden.rounding import Golden

SCHEMA, BULK_SCHEMA = "golden-vectors/1", "golden-vectors-bulk/1"
#: Bytes of arrays that are held in memory, by writer and reader alike.
HELD = 64 << 20
_CHUNK = 1 << 16
#: Bytes of a table, and of all arrays of a file that is held, that are read.
_READ = HELD
_INT_MAX = (1 << 31) - 1
#: Draws the cases whose golden values are computed again: others in every run.
_DRAWN = random.SystemRandom()
_ID_BYTES, _CLASS_BYTES, _FLAGS_BYTES, _WORD_BYTES = 160, 48, 160, 16
_AGAIN = "Restore it or generate it again with 'golden generate'."


@dataclass(frozen=True)
class VectorFile:
    """A vector file whose table is verified. ``seed``: as it states it; a private one by its digest.

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
    seed: str = ""


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


def read_vectors(path: Path, expected_digest: str | None = None, recheck: float = 0.0) -> VectorFile:
    """Read and verify one vector file; of one that is too large to be held, the table (see :class:`VectorFile`).

    ``recheck``: the share of cases, drawn at random and at least one, whose golden data are computed again.

    Raises :class:`UsageError` if there is no such file and :class:`VectorError` for any damage: not HDF5, truncated,
    another schema, a digest that does not match the content or the manifest (``expected_digest``), golden data
    made for another description of the operator, a case that cannot be one, golden data that are not the operator's.
    """
    with _opened(path) as file:
        return _read(path, file, expected_digest, recheck)


def read_ids(path: Path) -> list[str]:
    """Return the ids in a vector file's table that can be shown, and verify nothing; raises as :func:`read_vectors`."""
    with _opened(path) as file:
        table = file.whole("cases", _table_dtype(_kind(path, file)[0]), _READ)
        return [name for raw in table["id"].tolist() if (name := raw.decode("utf-8", "replace")).isprintable()]


def _no_file(path: Path) -> UsageError:
    return UsageError(f"There is no vector file {path}. List suites with 'golden list', or generate one.")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Stored]:
    """Open a vector file for reading; whatever goes wrong with it is a :class:`VectorError`."""
    try:
        with reading.open_regular(path) as found:
            size = os.fstat(found.fileno()).st_size
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise _no_file(path) from error
    except OSError as error:
        if path.is_dir():
            raise _no_file(path) from error
        raise VectorError(f"Cannot read vector file {path}: {error.strerror}. {_AGAIN}") from error
    try:
        with h5py.File(path, "r") as file:
            yield Stored(path, file, size, _AGAIN)
    except (VectorError, MemoryError):  # what a file declares is held against what is there: memory is this machine's
        raise
    except Exception as error:  # h5py reports damage as OSError, KeyError, RuntimeError, ValueError, ...
        raise VectorError(
            f"{path} is damaged or not a vector file ({error}). Restore it or generate it again."
        ) from error


def _read(path: Path, file: Stored, expected_digest: str | None, recheck: float) -> VectorFile:
    schema = file.attribute("schema")
    if schema not in (SCHEMA, BULK_SCHEMA):
        found = repr(schema) if schema else "no schema"
        raise VectorError(f"{path} has {found}; this version reads {SCHEMA!r} and {BULK_SCHEMA!r}. {_AGAIN}")
    operator, dtype = _kind(path, file)
    name = operator.name
    if file.attribute("spec_digest") != operator.spec_digest():
        raise VectorError(f"{path} is stale: it was made for another description of {name}. {_AGAIN}")
    dtypes, held, left = _array_dtypes(operator, dtype), schema == SCHEMA, _READ
    table, arrays = file.whole("cases", _table_dtype(operator), _READ), {}
    sizes = {n: file.dataset(n, d, filtered=held).shape[0] for n, d in dtypes.items()}
    for n, d in dtypes.items() if held else ():
        arrays[n] = file.whole(n, d, left)
        left -= arrays[n].nbytes
    digest = _digest(schema, operator, dtype, table, arrays)
    if digest != file.attribute("content_digest"):
        raise VectorError(f"{path} is damaged: its content does not match its digest. {_AGAIN}")
    if expected_digest is not None and digest != expected_digest:
        raise VectorError(f"{path} is not the file that its manifest names (digest differs). {_AGAIN}")
    heads = _check_rows(path, operator, dtype, table, sizes)
    chosen = np.zeros(len(heads), bool)
    if recheck and len(heads):
        chosen[_DRAWN.sample(range(len(heads)), math.ceil(recheck * len(heads)))] = True
    if held:
        cases: Sequence[Case] = tuple(_case(head, row, arrays) for head, row in zip(heads, table, strict=True))
        for case, again in zip(cases, chosen, strict=True):
            _check_case(path, case, bool(again))
    else:
        cases = _StoredCases(path, table, heads, chosen)
    return VectorFile(path, file.attribute("suite"), operator, dtype, digest, heads, cases, file.attribute("seed"))


def _kind(path: Path, file: Stored) -> tuple[Operator, str]:
    known = operators()
    name, dtype = file.attribute("operator"), file.attribute("dtype")
    if name not in known or dtype not in known[name].dtypes:
        raise VectorError(f"{path} is for {name!r} in {dtype!r}, which this version does not know. {_AGAIN}")
    return known[name], dtype


def _check_rows(path: Path, operator: Operator, dtype: str, table: Array, sizes: dict[str, int]) -> tuple[Head, ...]:
    """Return the heads of a table, each of which must be one of a case that this operator can have.

    Arrays lie one after the other, without gaps, each as long as the case's shapes say. ``sizes``: of the flat arrays.
    """
    heads: dict[str, Head] = {}
    places = dict.fromkeys(sizes, 0)
    stated = {
        array: list(zip(*(table[f"{_column(array)}_{of}"].tolist() for of in ("offset", "count")), strict=True))
        for array in sizes
    }
    for number, row in enumerate(table):
        name = f"row {number}"
        try:
            head = _head(operator, dtype, row)
            name = f"case {head.id}" if head.id.isprintable() else name
            if wrong := "there are two of them" if head.id in heads else _wrong_with(head):
                raise ValueError(wrong)
            shapes = operator.shapes(head.scalars)
            for array in sizes:
                owner = operator.output.name if array in ("golden", "residual") else array.removeprefix("operands/")
                count = math.prod(shapes[owner])
                if stated[array][number] != (places[array], count):
                    raise ValueError(f"the place of {array} is not behind that of the case before, or of another size")
                places[array] += count
        except (ValueError, ArithmeticError) as error:
            raise VectorError(f"{path}: {name} makes no sense: {error}. {_AGAIN}") from error
        heads[head.id] = head
    if places != sizes:
        raise VectorError(f"{path}: its arrays are longer or shorter than its cases. {_AGAIN}")
    return tuple(heads.values())


def _wrong_with(head: Head) -> str:
    """Return what cannot be so in the row of a case; "" if it is sound."""
    if not all(text.isprintable() for text in (head.id, head.klass)) or not (head.id and head.klass):
        return "its id or class is no readable text"
    if head.tier not in get_args(Tier):
        return f"its tier is {head.tier!r}"
    if unknown := [flag for flag in head.flags if flag not in known_flags()]:
        return f"there is no flag {unknown[0]!r}"
    for scalar in head.operator.scalars:
        value = head.scalars[scalar.name]
        if scalar.kind == "choice" and value not in scalar.names():
            return f"its {scalar.name} is {value!r}"
        if scalar.kind == "int" and not 0 <= int(value) <= _INT_MAX:
            return f"its {scalar.name} is {value}"
        with np.errstate(over="ignore"):
            if scalar.kind == "real" and float(head.fmt.dtype.type(value)) != value:
                return f"its {scalar.name} is {value}, which is no number of {head.dtype}"
    return head.operator.outside(head.scalars, {})


def _check_case(path: Path, case: Case, recheck: bool) -> None:
    """Raise :class:`VectorError` for operands that cannot be called with; ``recheck``: and for wrong golden data."""
    if wrong := case.operator.outside(case.scalars, case.operands):
        raise VectorError(f"{path}: case {case.id} makes no sense: {wrong}. {_AGAIN}")
    if recheck:
        right = case.operator.oracle(case.fmt, case.scalars, case.operands)
        if not all(_same(a, b) for a, b in zip(case.golden, right, strict=True)):
            raise VectorError(f"{path}: the golden data of case {case.id} are not those of its operands. {_AGAIN}")


def _same(one: Array, other: Array) -> bool:
    """Tell whether two arrays have the same bits, NaN payloads apart."""
    nan = np.isnan(one) & np.isnan(other)
    bits = f"u{one.itemsize}"
    return one.shape == other.shape and bool(np.all(nan | (one.view(bits) == other.view(bits))))


@dataclass(frozen=True, eq=False)
class _StoredCases(Sequence[Case]):
    """The cases of a bulk file, by position: each is read and verified when it is asked for, and none is kept."""

    path: Path
    table: Array
    heads: tuple[Head, ...]
    chosen: Array  #: cases whose golden data are computed again

    def __len__(self) -> int:
        return len(self.heads)

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Case]: ...
    def __getitem__(self, index: int | slice) -> Case | Sequence[Case]:
        if isinstance(index, slice):
            return _StoredCases(self.path, self.table[index], self.heads[index], self.chosen[index])
        head, row = self.heads[index], self.table[index]
        try:
            with _opened(self.path) as file:
                case = _case(head, row, file.hdf5)
        except UsageError as error:
            raise VectorError(f"{self.path} has gone while it was read. {_AGAIN}") from error
        if case_digest(case) != row["digest"].decode():
            raise VectorError(f"{self.path} is damaged: case {head.id} does not match its digest. {_AGAIN}")
        _check_case(self.path, case, bool(self.chosen[index]))
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
    kinds = {"int": "<i4", "real": "<f8", "choice": f"S{_WORD_BYTES}"}
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
            column = _column(name)
            row[f"{column}_offset"], row[f"{column}_count"] = positions[name], values.size
    row["digest"] = case_digest(case).encode()
    return row


def _column(array: str) -> str:
    """Return the prefix of the columns that say where a case's part of an array lies."""
    return "golden" if array == "residual" else array.removeprefix("operands/")


def _head(operator: Operator, dtype: str, row: Any) -> Head:
    scalars: dict[str, int | float | str] = {}
    for scalar in operator.scalars:
        value = row[scalar.name]
        scalars[scalar.name] = value.decode() if scalar.kind == "choice" else value.item()
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
