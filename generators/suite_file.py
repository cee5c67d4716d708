"""Suites that a user describes in a file: own scalars, sizes, classes and recorded tensors, beside a suite or alone.

The format is in ``docs/suite-files.md``. Which keys an operator's table takes follows from its description, which
classes from what its generator offers.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generators.recorded import Recording, recorded_case
from generators.stream import Stream
from generators.suite import SUITES, Offer, make_case, offer, scalar_words
from golden.case import Case, Tier
from golden.errors import UsageError, unknown_name
from golden.files import reading
from golden.formats import FORMATS, Format
from golden.operator import Operator, Scalar, operator

#: Bytes of a case, operands and golden data together, unless its table says otherwise.
MAX_BYTES = 256 << 20
#: Sizes that one entry may stand for.
_MANY = 10_000
_NUMBER = r"(2\^\d{1,2}|\d{1,10})"
_RANGE, _DRAWN = re.compile(rf"{_NUMBER}\.\.{_NUMBER}"), re.compile(rf"log-uniform (\d{{1,5}}) below {_NUMBER}")
_TOP = ("name", "seed", "base", "recorded")
#: Keys of any operator's table, beside its scalars and sizes.
_COMMON = ("classes", "dtype", "max-bytes")

#: An entry of sizes: one for each int scalar, or how many are drawn, and below which product.
Sizes = tuple[int, ...] | tuple[str, int, int]


@dataclass(frozen=True)
class Table:
    """What a file asks of one operator; what is None the generator offers. ``scalars``: by parameter name."""

    scalars: dict[str, tuple[float | str, ...]]
    sizes: tuple[Sizes, ...] | None
    classes: tuple[str, ...] | None
    dtypes: tuple[str, ...]
    max_bytes: int
    where: str


@dataclass(frozen=True)
class SuiteFile:
    """A suite as a file describes it. ``base``: the suite whose cases it has, too; ``seed``: private, or ""."""

    name: str
    seed: str = ""
    base: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    recorded: tuple[Recording, ...] = ()

    def covers(self, name: str, dtype: str) -> bool:
        """Tell whether the suite has cases of an operator in a dtype."""
        own = name in self.tables and dtype in self.tables[name].dtypes
        return bool(self.base) or own or any(r.operator == name and dtype in r.dtypes for r in self.recorded)

    def cases(self, op: Operator, fmt: Format) -> Iterator[Case]:
        """List the cases that the file itself describes."""
        table = self.tables.get(op.name)
        if table is not None and fmt.name in table.dtypes:
            yield from _cases(op, fmt, table, offer(op.name))
        for recording in self.recorded:
            if recording.operator == op.name and fmt.name in recording.dtypes:
                yield recorded_case(op, fmt, recording)


def _cases(op: Operator, fmt: Format, table: Table, offered: Offer) -> Iterator[Case]:
    named = [s for s in op.scalars if s.kind != "int"]
    values = [_typed(fmt, s, table.scalars.get(s.name) or offered.scalars[s.name]) for s in named]
    sizes = offered.sizes if table.sizes is None else tuple(dict.fromkeys(_drawn(op, table.sizes)))
    classes = table.classes or (tuple(offered.classes) if table.sizes is None else (offered.usual,))
    ints = [s.name for s in op.scalars if s.kind == "int"]
    for klass, given, size in itertools.product(classes, itertools.product(*values), sizes):
        scalars: dict[str, int | float | str] = {
            **{s.name: value for s, value in zip(named, given, strict=True)},
            **dict(zip(ints, size, strict=True)),
        }
        if not offered.has_inputs(fmt, klass, scalars):
            continue
        if (used := _bytes(op, fmt, scalars)) > table.max_bytes:
            stated = ", ".join(f"{name}={n}" for name, n in zip(ints, size, strict=True))
            raise UsageError(f"{table.where} {stated} takes {used} bytes; max-bytes allows {table.max_bytes}.")
        path = "/".join(["own", klass, *scalar_words(op, fmt, scalars)])
        flags, stress = offered.classes[klass]
        tier: Tier = "stress" if fmt.name in stress else "required"
        flags = flags if math.prod(size) else ("empty",)
        yield make_case(op, fmt, tier, klass, flags, path, scalars, _made(offered, op, fmt, klass, path, scalars))


def _made(
    offered: Offer, op: Operator, fmt: Format, klass: str, path: str, scalars: Mapping[str, int | float | str]
) -> Callable[[], dict[str, Any]]:
    return lambda: offered.operands(Stream(f"{op.name}/{fmt.name}/{path}"), fmt, klass, scalars)


def _typed(fmt: Format, scalar: Scalar, values: Sequence[float | str]) -> list[float | str]:
    return list(dict.fromkeys(v if scalar.kind == "choice" else fmt.typed(float(v)) for v in values))


def _drawn(op: Operator, sizes: Sequence[Sizes]) -> Iterator[tuple[int, ...]]:
    """Yield sizes, with those drawn that are to be: products log-uniform, the first of several log-uniform below."""
    for number, entry in enumerate(sizes):
        if isinstance(entry[0], int):
            yield tuple(map(int, entry))
            continue
        _, count, limit = entry
        stream, left = Stream(f"{op.name}/own/sizes/{number}/{count}/{limit}"), 8 * int(count)
        found: dict[tuple[int, ...], None] = {}
        extents = sum(s.kind == "int" for s in op.scalars)
        while len(found) < int(count) and left:
            left -= 1
            size = [_log_uniform(stream, int(limit))]
            for _ in range(extents - 1):
                first = _log_uniform(stream, size[-1] + 1)
                size[-1:] = [first, size[-1] // first]
            found[tuple(size)] = None
        yield from found


def _log_uniform(stream: Stream, limit: int) -> int:
    low = 1 << int(stream.integers(1, 0, (limit - 1).bit_length())[0])
    return int(stream.integers(1, low, min(2 * low, limit))[0])


def _bytes(op: Operator, fmt: Format, scalars: Mapping[str, int | float | str]) -> int:
    shapes = op.shapes(scalars)
    operands = sum(math.prod(shapes[p.name]) * p.dtype(fmt).itemsize for p in op.inputs)
    return operands + op.output_size(scalars) * (fmt.dtype.itemsize + 4)


def read_suite_file(path: Path) -> SuiteFile:
    """Read a suite file; raises :class:`UsageError` that names the file, the table and the key."""
    try:
        content = reading.toml_of(reading.read_bytes(path, reading.TOML))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise UsageError(f"Cannot read the suite file {path}: {why}.") from error
    try:
        return _suite_file(path, content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _suite_file(path: Path, content: dict[str, Any]) -> SuiteFile:
    tables = {}
    for key, value in content.items():
        if key in _TOP:
            continue
        if not isinstance(value, dict):
            raise unknown_name("key", key, _TOP)
        tables[operator(key).name] = _table(operator(key), value)
    name, seed, base = (_text(content, key) for key in ("name", "seed", "base"))
    name = name or path.stem
    if name in SUITES or not re.fullmatch(r"[\w.-]{1,40}", name, re.ASCII):
        raise UsageError(f"name = {name!r}: a name of letters, digits, dots and dashes that no suite has is needed.")
    if base and base not in SUITES:
        raise unknown_name("suite", base, SUITES)
    entries = content.get("recorded", [])
    if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        raise UsageError("recorded is written as tables, each [[recorded]].")
    recorded = tuple(_recording(path.parent, entry) for entry in entries)
    kinds = [(r.operator, r.name, r.scalars) for r in recorded]
    if twice := [r for r in recorded if kinds.count((r.operator, r.name, r.scalars)) > 1]:
        raise UsageError(f"[[recorded]] {twice[0].name!r} is there twice: give each a name of its own.")
    if not (tables or recorded or base):
        raise UsageError("it describes no case: it needs a base, an operator's table, or [[recorded]].")
    return SuiteFile(name, seed, base, tables, recorded)


def _text(content: dict[str, Any], key: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str) or not value.isprintable() or (key in content and not value):
        raise UsageError(f"{key} takes a string in quotes.")
    return value


def _table(op: Operator, content: dict[str, Any]) -> Table:
    offered, where = offer(op.name), f"[{op.name}]"
    ints = [s.name for s in op.scalars if s.kind == "int"]
    of_sizes = ints[0] if len(ints) == 1 else "shape"
    words = {s.word: s for s in op.scalars if s.kind != "int"}
    if unknown := [key for key in content if key not in (*words, of_sizes, *_COMMON)]:
        raise unknown_name(f"key of {where}", unknown[0], (*words, of_sizes, *_COMMON))
    dtypes = _dtypes(op, content, where)
    scalars = {
        s.name: _values(op, s, content[word], dtypes, f"{where} {word}") for word, s in words.items() if word in content
    }
    sizes = None
    if of_sizes in content:
        entries = _list(content[of_sizes], f"{where} {of_sizes}")
        sizes = tuple(itertools.chain(*(_sizes(entry, len(ints), f"{where} {of_sizes}") for entry in entries)))
    classes = tuple(map(str, _list(content["classes"], f"{where} classes"))) if "classes" in content else None
    if strange := [name for name in classes or () if name not in offered.classes]:
        raise unknown_name(f"class of {op.name}", strange[0], offered.classes)
    limit = content.get("max-bytes", MAX_BYTES)
    if type(limit) is not int or limit < 1:
        raise UsageError(f"{where} max-bytes takes a whole number above 0, not {limit!r}.")
    return Table(scalars, sizes, classes, dtypes, limit, where)


def _recording(folder: Path, content: dict[str, Any]) -> Recording:
    where = "[[recorded]]"
    op, file = operator(_text(content, "operator")), content.get("file")
    words = {s.word: s for s in op.scalars if s.kind != "int"}
    known = ("operator", "file", "name", "dtype", *words)
    if unknown := [key for key in content if key not in known]:
        raise unknown_name(f"key of {where}", unknown[0], known)
    files = file if isinstance(file, dict) else {"": file}
    if not files or not all(isinstance(name, str) and name and "\0" not in name for name in files.values()):
        raise UsageError(f"{where} file takes a path in quotes, or a table of paths by parameter name.")
    paths = tuple((str(name), folder / str(path)) for name, path in files.items())
    dtypes = _dtypes(op, content, where)
    if missing := [word for word in ("file", *words) if word not in content]:
        raise UsageError(f"{where} of {op.name} lacks {missing[0]}.")
    scalars = []
    for word, s in words.items():
        values = _values(op, s, content[word], dtypes, f"{where} {word}")
        if len(values) > 1:
            raise UsageError(f"{where} {word} takes one value, not {len(values)}.")
        scalars.append((s.name, values[0]))
    name = _text(content, "name") or paths[0][1].stem
    if not re.fullmatch(r"[\w.-]{1,60}", name, re.ASCII):
        raise UsageError(f"{where} name = {name!r}: a name of letters, digits, dots and dashes is needed.")
    return Recording(op.name, name, paths, tuple(scalars), dtypes)


def _dtypes(op: Operator, content: dict[str, Any], where: str) -> tuple[str, ...]:
    dtypes = tuple(map(str, _list(content.get("dtype", list(op.dtypes)), f"{where} dtype")))
    if strange := [name for name in dtypes if name not in op.dtypes]:
        raise unknown_name(f"dtype of {op.name}", strange[0], op.dtypes)
    return dtypes


def _list(value: object, where: str) -> list[Any]:
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise UsageError(f"{where} is empty: leave it out for what the suite has.")
    return entries


def _values(op: Operator, scalar: Scalar, value: object, dtypes: Sequence[str], where: str) -> tuple[float | str, ...]:
    entries = _list(value, where)
    for entry in entries:
        if scalar.kind == "choice":
            if entry not in scalar.names():
                raise unknown_name(scalar.word, str(entry), scalar.names())
        elif type(entry) not in (int, float):
            raise UsageError(f"{where} takes numbers, not {entry!r}.")
        else:
            for dtype in dtypes:  # a value may leave the domain where it is rounded
                try:
                    op.given(FORMATS[dtype], {scalar.word: entry})
                except UsageError as error:
                    raise UsageError(f"{where} = {entry} in {dtype}: {error}") from error
    return tuple(entries)


def _sizes(entry: object, extents: int, where: str) -> list[Sizes]:
    """Read a size: a number or a list of them, a range, or how many to draw."""
    if isinstance(entry, str) and (drawn := _DRAWN.fullmatch(entry)):
        count, limit = int(drawn[1]), _number(drawn[2])
        if 1 <= count <= _MANY and 2 <= limit <= 1 << 31:
            return [("log-uniform", count, limit)]
    elif isinstance(entry, str) and extents == 1 and (ends := _RANGE.fullmatch(entry)):
        first, last = _number(ends[1]), _number(ends[2])
        if first <= last < min(first + _MANY, 1 << 31):
            return [(n,) for n in range(first, last + 1)]
    else:
        numbers = entry if isinstance(entry, list) else [entry]
        if len(numbers) == extents and all(type(n) is int and 0 <= n < 1 << 31 for n in numbers):
            return [tuple(numbers)]
    written = str([64] * extents) if extents > 1 else '100, "1..70"'
    raise UsageError(f'{where} takes {written} or "log-uniform 40 below 2^20", not {entry!r}.')


def _number(text: str) -> int:
    return 1 << int(text[2:]) if text.startswith("2^") else int(text)
