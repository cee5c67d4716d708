"""Vector files: golden cases of one operator and dtype, packed into one HDF5 file.

Layout (documented for readers in other languages in ``vectors/README.md``)::

    /cases                   compound table, one row a case
    /operands/<name>         flat array of every case's operand, one after the other
    /golden  /residual       flat arrays of every case's output

Content is canonical: the digest covers table and arrays as bytes in a fixed order, so it is the same on every
machine and for every HDF5 version, whatever the container looks like.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from golden import __version__
from golden.case import Case, Tier
from golden.errors import UsageError, VectorError
from golden.formats import FORMATS, Array
from golden.operator import Golden, Operator, operators

SCHEMA = "golden-vectors/1"
_ID_BYTES, _CLASS_BYTES, _FLAGS_BYTES, _WORD_BYTES = 160, 48, 160, 16


@dataclass(frozen=True)
class VectorFile:
    """A verified vector file in memory."""

    path: Path
    suite: str
    operator: Operator
    dtype: str
    digest: str
    cases: tuple[Case, ...]


def write_vectors(path: Path, suite: str, operator: Operator, dtype: str, cases: Sequence[Case], seed: str) -> str:
    """Write one vector file so that it is there whole or not at all; returns its content digest.

    ``cases`` must all be of ``operator`` and ``dtype``. Raises :class:`UsageError` if the folder cannot be written.
    """
    table, arrays = _pack(operator, dtype, cases)
    digest = _digest(operator, dtype, table, arrays)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(temporary, "w", libver=("v108", "v108"), track_order=False) as file:
            attributes = {"schema": SCHEMA, "generator_version": __version__, "suite": suite, "seed": seed}
            attributes |= {"operator": operator.name, "dtype": dtype}
            attributes |= {"spec_digest": operator.spec_digest(), "content_digest": digest}
            for name, value in attributes.items():
                # Of fixed length, in the checksummed header. Strings of variable length lie in a heap without a
                # checksum: a flipped byte there goes unnoticed, or makes libhdf5 loop for ever.
                file.attrs.create(name, np.bytes_(value))
            _store(file, "cases", table)
            for name, values in arrays.items():
                _store(file, name, values)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may not be one
            temporary.unlink()
        raise UsageError(f"Cannot write {path}: {error}. Choose another folder with --out.") from error
    return digest


def read_vectors(path: Path, expected_digest: str | None = None) -> VectorFile:
    """Read and verify one vector file.

    Raises :class:`UsageError` if there is no such file and :class:`VectorError` for any damage: not HDF5, truncated,
    another schema, a digest that does not match the content or the manifest (``expected_digest``), golden data
    made for another description of the operator.
    """
    if not path.is_file():
        raise UsageError(f"There is no vector file {path}. List suites with 'golden list', or generate one.")
    try:
        with h5py.File(path, "r") as file:
            return _read(path, file, expected_digest)
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

    again = "Restore it or generate it again with 'golden generate'."
    if "schema" not in file.attrs or attribute("schema") != SCHEMA:
        found = repr(attribute("schema")) if "schema" in file.attrs else "no schema"
        raise VectorError(f"{path} has {found}; this version reads {SCHEMA!r}. {again}")
    known = operators()
    name, dtype = attribute("operator"), attribute("dtype")
    if name not in known or dtype not in FORMATS:
        raise VectorError(f"{path} is for {name!r} in {dtype!r}, which this version does not know. {again}")
    operator = known[name]
    if attribute("spec_digest") != operator.spec_digest():
        raise VectorError(f"{path} is stale: it was made for another description of {name}. {again}")
    table = file["cases"][...]
    arrays = {n: file[n][...] for n in _array_names(operator)}
    dtypes = {"golden": FORMATS[dtype].dtype, "residual": np.dtype("<f4")}
    dtypes |= {f"operands/{p.name}": p.dtype(FORMATS[dtype]) for p in operator.inputs}
    if table.dtype != _table_dtype(operator) or any(arrays[n].dtype != d for n, d in dtypes.items()):
        raise VectorError(f"{path} has columns or arrays of another type than its schema says. {again}")
    digest = _digest(operator, dtype, table, arrays)
    if digest != attribute("content_digest"):
        raise VectorError(f"{path} is damaged: its content does not match its digest. {again}")
    if expected_digest is not None and digest != expected_digest:
        raise VectorError(f"{path} is not the file that its manifest names (digest differs). {again}")
    cases = tuple(_unpack(operator, dtype, row, arrays) for row in table)
    return VectorFile(path, attribute("suite"), operator, dtype, digest, cases)


def case_digest(case: Case) -> str:
    """Return the digest of one case: identity, scalars, operands and golden data."""
    content = hashlib.sha256()
    content.update(repr((case.id, case.tier, case.klass, case.flags, sorted(case.scalars.items()))).encode())
    for pointer in case.operator.inputs:
        content.update(np.ascontiguousarray(case.operands[pointer.name]).tobytes())
    content.update(case.golden.value.tobytes())
    content.update(case.golden.residual.tobytes())
    return content.hexdigest()


def _store(file: h5py.File, name: str, values: Array) -> None:
    # Curated suites are small and must stay so: gzip after shuffling. fletcher32 lets HDF5 itself notice damage.
    options: dict[str, Any] = {}
    if values.size:
        options = {"chunks": (min(len(values), 65536),), "compression": "gzip", "compression_opts": 9}
        options |= {"shuffle": True, "fletcher32": True}
    file.create_dataset(name, data=values, track_times=False, **options)


def _array_names(operator: Operator) -> list[str]:
    return [f"operands/{p.name}" for p in operator.inputs] + ["golden", "residual"]


def _table_dtype(operator: Operator) -> np.dtype[Any]:
    columns: list[tuple[str, str]] = [("id", f"S{_ID_BYTES}"), ("tier", f"S{_WORD_BYTES}")]
    columns += [("class", f"S{_CLASS_BYTES}"), ("flags", f"S{_FLAGS_BYTES}")]
    kinds = {"int": "<i4", "real": "<f8", "reduction": f"S{_WORD_BYTES}"}
    columns += [(s.name, kinds[s.kind]) for s in operator.scalars]
    for name in [p.name for p in operator.inputs] + ["golden"]:
        columns += [(f"{name}_offset", "<i8"), (f"{name}_count", "<i8")]
    return np.dtype([*columns, ("digest", "S64")])


def _pack(operator: Operator, dtype: str, cases: Sequence[Case]) -> tuple[Array, dict[str, Array]]:
    names = [p.name for p in operator.inputs]
    table = np.zeros(len(cases), _table_dtype(operator))
    position = dict.fromkeys([*names, "golden"], 0)
    for row, case in zip(table, cases, strict=True):
        words = {"id": case.id, "tier": case.tier, "class": case.klass, "flags": ",".join(case.flags)}
        for column, word in words.items():
            if len(word.encode()) > table.dtype[column].itemsize:
                raise ValueError(f"{column} of case {case.id} is too long")
            row[column] = word.encode()
        for scalar in operator.scalars:
            value = case.scalars[scalar.name]
            row[scalar.name] = value.encode() if isinstance(value, str) else value
        for name in [*names, "golden"]:
            count = case.golden.value.size if name == "golden" else case.operands[name].size
            row[f"{name}_offset"], row[f"{name}_count"] = position[name], count
            position[name] += count
        row["digest"] = case_digest(case).encode()
    fmt = FORMATS[dtype]
    arrays = {f"operands/{p.name}": _joined((c.operands[p.name] for c in cases), p.dtype(fmt)) for p in operator.inputs}
    arrays["golden"] = _joined((c.golden.value for c in cases), fmt.dtype)
    arrays["residual"] = _joined((c.golden.residual for c in cases), np.dtype("<f4"))
    return table, arrays


def _joined(parts: Iterable[Array], dtype: np.dtype[Any]) -> Array:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)


def _unpack(operator: Operator, dtype: str, row: Any, arrays: dict[str, Array]) -> Case:
    def part(name: str, array: str) -> Array:
        offset, count = int(row[f"{name}_offset"]), int(row[f"{name}_count"])
        return arrays[array][offset : offset + count]

    scalars: dict[str, int | float | str] = {}
    for scalar in operator.scalars:
        value = row[scalar.name]
        scalars[scalar.name] = value.decode() if scalar.kind == "reduction" else value.item()
    return Case(
        id=row["id"].decode(),
        operator=operator,
        dtype=dtype,
        tier=cast(Tier, row["tier"].decode()),
        klass=row["class"].decode(),
        flags=tuple(row["flags"].decode().split(",")),
        scalars=scalars,
        operands={p.name: part(p.name, f"operands/{p.name}") for p in operator.inputs},
        golden=Golden(part("golden", "golden"), part("golden", "residual")),
    )


def _digest(operator: Operator, dtype: str, table: Array, arrays: dict[str, Array]) -> str:
    content = hashlib.sha256(f"{SCHEMA} {operator.name} {dtype} {operator.spec_digest()}".encode())
    for values in (table, *(arrays[name] for name in _array_names(operator))):
        content.update(str(values.shape).encode())
        content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()
