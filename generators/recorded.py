"""Real tensors as cases: files of NumPy, PyTorch and safetensors, read by the libraries that own these formats.

Nothing is unpickled. Arrays carry the page's parameter names; sizes follow from their shapes; floating-point numbers of
other types are rounded once to the entry point's, integers must fit.
"""

import importlib
import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from generators.suite import make_case, scalar_words
from golden.case import Case, Tier
from golden.errors import UsageError
from golden.files import reading
from golden.formats import Array, Format
from golden.operator import Operator, Pointer

#: Bytes of a file, and of what is read out of it.
_LARGEST = 1 << 30
#: What an operand holds that these scalars do not use, and that was not recorded.
_UNUSED = 3.25


@dataclass(frozen=True)
class Recording:
    """A ``[[recorded]]`` table. ``files``: (parameter, path), or one of the parameter "" for a file with names."""

    operator: str
    name: str
    files: tuple[tuple[str, Path], ...]
    scalars: tuple[tuple[str, float | str], ...]
    dtypes: tuple[str, ...]


def recorded_case(op: Operator, fmt: Format, recording: Recording) -> Case:
    """Return the case of a recording; raises :class:`UsageError` where there is none in its files."""
    arrays, shown = _arrays(recording), ", ".join(str(path) for _, path in recording.files)
    try:
        given = {n: v if isinstance(v, str) else fmt.typed(v) for n, v in recording.scalars}
        sizes = _sizes(op, given, arrays)
        scalars: dict[str, int | float | str] = {**given, **sizes}
        operands = {p.name: _operand(op, fmt, p, scalars, arrays) for p in op.inputs}
        if wrong := op.outside(scalars, operands):
            raise ValueError(wrong)
    except ValueError as error:
        raise UsageError(f"{shown} is no recording of {op.name}: {error}.") from error
    path = "/".join(["recorded", recording.name, *scalar_words(op, fmt, scalars)])
    tier: Tier = "required" if all(_documented(op, p, scalars, operands[p.name]) for p in op.numbers) else "stress"
    return make_case(op, fmt, tier, "recorded", ("realistic",), path, scalars, operands)


def _sizes(op: Operator, given: Mapping[str, float | str], arrays: Mapping[str, Array]) -> dict[str, int]:
    """Return the int scalars, each the number of elements of the first operand that has this size alone."""
    marks = {s.name: 1_000_003 + 2 * k for k, s in enumerate(s for s in op.scalars if s.kind == "int")}
    shapes, found = op.shapes({**given, **marks}), {}
    for name, mark in marks.items():
        alone = [p.name for p in op.inputs if shapes[p.name] == (mark,)]
        if not (there := [operand for operand in alone if operand in arrays]):
            raise ValueError(f"it has no array {' or '.join(alone)}")
        found[name] = arrays[there[0]].size
    return found


def _operand(
    op: Operator, fmt: Format, p: Pointer, scalars: Mapping[str, int | float | str], arrays: Mapping[str, Array]
) -> Array:
    count = math.prod(op.shapes(scalars)[p.name])
    if p.name not in arrays and p.name in op.untouched(scalars):
        return np.full(count, _UNUSED, p.dtype(fmt))
    if p.name not in arrays:
        raise ValueError(f"it has no array {p.name}")
    array = arrays[p.name].reshape(-1)
    if array.size != count:
        raise ValueError(f"{p.name} has {array.size} elements, and {count} are due")
    if p.element == "int32":
        if array.dtype.kind not in "iu" or (
            array.size and not -(1 << 31) <= int(array.min()) <= int(array.max()) < 1 << 31
        ):
            raise ValueError(f"{p.name} holds other numbers than integers of 32 bits")
        return array.astype("<i4")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{p.name} holds {array.dtype}, no numbers")
    return array.copy() if array.dtype == fmt.dtype else fmt.cast(array.astype(np.float64))


def _documented(op: Operator, p: Pointer, scalars: Mapping[str, int | float | str], values: Array) -> bool:
    """Tell whether all values of an operand are such as the page has, where it is used."""
    if p.name in op.untouched(scalars):
        return True
    return not ((not p.domain.zero and (values == 0).any()) or (p.domain.positive and not (values > 0).all()))


def _arrays(recording: Recording) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, path in recording.files:
        arrays = read_arrays(path)
        if name:
            if len(arrays) != 1:
                raise UsageError(f"{path} has {len(arrays)} arrays, and is named for {name} alone.")
            arrays = {name: next(iter(arrays.values()))}
        elif "" in arrays:
            raise UsageError(f'{path} holds an array without a name: write file = {{ NAME = "{path.name}", ... }}.')
        found |= arrays
    return found


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a file by name; of a ``.npy`` without fields, by "".

    Raises :class:`UsageError` for what cannot be read, is damaged, or holds objects, and where the library that owns
    the format is not installed.
    """
    readers = {".npy": _npy, ".npz": _npz, ".pt": _pt, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise UsageError(f"{path} is none of {', '.join(readers)}.")
    try:
        content = reading.read_bytes(path, _LARGEST)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        return readers[path.suffix](content)
    except UsageError:
        raise
    except (Exception, RecursionError) as error:  # each library reports damage in ways of its own
        why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise UsageError(f"{path} is damaged, or no {path.suffix} of plain arrays: {why}.") from error


def _npy(content: bytes) -> dict[str, Array]:
    array = _plain(content)
    return {n: array[n] for n in array.dtype.names} if array.dtype.names else {"": array}


def _plain(content: bytes) -> Array:
    """Read one array; what it declares is held against what is there before memory is taken for it."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError("it is longer or shorter than it declares")
    array: Array = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def _npz(content: bytes) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _LARGEST:
            raise ValueError(f"its arrays have more than {_LARGEST:,} bytes")
        return {m.filename.removesuffix(".npy"): _plain(archive.read(m)) for m in members}


def _safetensors(content: bytes) -> dict[str, Array]:
    # Not safetensors.numpy, which has no bfloat16: half of what is recorded.
    return {str(n): _tensor(**t) for n, t in _library("safetensors", "safetensors").deserialize(content)}


def _tensor(dtype: str, shape: list[int], data: bytes) -> Array:
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    kind, bits = dtype[:1].lower(), dtype[1:]
    if kind not in ("f", "i", "u") or bits not in ("8", "16", "32", "64") or dtype == "F8":
        raise ValueError(f"it holds {dtype}, which is not read")
    return np.frombuffer(data, f"<{kind}{int(bits) // 8}").reshape(shape)


def _pt(content: bytes) -> dict[str, Array]:
    torch = _library("torch", "torch")
    tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not (isinstance(tensors, dict) and all(isinstance(t, torch.Tensor) for t in tensors.values())):
        raise ValueError("it is no dictionary of tensors")

    def array(tensor: Any) -> Array:
        plain = tensor.detach()
        return np.asarray((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy())

    return {str(name): array(tensor) for name, tensor in tensors.items()}


def _library(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"Recorded tensors of this kind take another package: pip install 'golden-kernels[{extra}]'."
        ) from error
