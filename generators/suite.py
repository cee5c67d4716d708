"""Suites: which cases there are, in which files, and how they are written and found again."""

import importlib
import importlib.metadata
import pkgutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

import generators
from generators.stream import Stream, seed, seed_part, seeded
from golden.case import Case, Head, Tier
from golden.errors import UsageError, unknown_name
from golden.files.manifest import write_manifest
from golden.files.names import PUBLIC_SEED, seed_stated
from golden.files.vectors import write_vectors
from golden.flags import FLAGS
from golden.formats import FORMATS, Array, Format
from golden.operator import Operator, operator, operators
from golden.rounding import Golden
from golden.selfcheck import check_arithmetic

Suite = Literal["smoke", "core", "full"]
SUITES: dict[str, str] = {
    "smoke": "a few cases of every class; seconds; committed",
    "core": "every class, beta, reduction and length; the default of 'golden validate'; committed",
    "full": "core, and every class at large sizes up to 2**24 elements; generated, not committed",
}

#: Lists the cases of one operator: (suite, format) -> cases with unique ids.
Generator = Callable[[str, Format], Iterator[Case]]
#: Values of a case's scalars, of one element type or another.
Scalars = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Offer:
    """What a generator makes of what a suite file asks for: ``OFFER`` of its module.

    ``classes``: with their flags, and the dtypes in which they are stress; ``usual``: the one that sizes get, unless
    others are asked for. ``operands``: makes the operands of a class at given scalars, of any size. ``scalars`` and
    ``sizes``: those that a file leaves out; a size is one number for each int scalar. ``has_inputs``: whether a class
    has operands for given scalars.
    """

    classes: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    usual: str
    operands: Callable[[Stream, Format, str, Scalars], dict[str, Array]]
    scalars: Mapping[str, tuple[float | str, ...]]
    sizes: tuple[tuple[int, ...], ...]
    has_inputs: Callable[[Format, str, Scalars], bool] = lambda fmt, klass, scalars: True


class Described(Protocol):
    """A suite that is not one of :data:`SUITES`: its name, the one whose cases it has, too, and cases of its own."""

    @property
    def name(self) -> str:
        """What vector files say."""

    @property
    def base(self) -> str:
        """One of :data:`SUITES`, or ""."""

    def covers(self, name: str, dtype: str) -> bool:
        """Tell whether there are cases of an operator in a dtype."""

    def cases(self, op: Operator, fmt: Format) -> Iterator[Case]:
        """List its own."""


#: Set while heads are listed: cases are made without their arrays.
_LISTING = ContextVar("listing", default=False)


def make_case(
    op: Operator,
    fmt: Format,
    tier: Tier,
    klass: str,
    flags: tuple[str, ...],
    path: str,
    scalars: dict[str, int | float | str],
    operands: dict[str, Array] | Callable[[], dict[str, Array]],
) -> Case:
    """Build a case: golden outputs come from the operator's oracle, the id from ``path``.

    ``operands``: or what makes them, so that cases can be listed without.
    """
    unknown = [flag for flag in flags if flag not in FLAGS and flag not in op.flags]
    if unknown:
        raise ValueError(f"flags without an explanation in golden/flags.py or of the operator: {unknown}")
    given, golden = dict[str, Array](), Golden(np.empty(0, fmt.dtype), np.empty(0, np.float32))
    if not _LISTING.get():
        given = operands() if callable(operands) else operands
        golden = op.oracle(fmt, scalars, given)
    return Case(f"{op.name}/{fmt.name}/{seed_part()}{path}", op, fmt.name, tier, klass, flags, scalars, given, golden)


def scalar_words(op: Operator, fmt: Format, scalars: Scalars) -> list[str]:
    """Return the scalars as parts of an id: real ones by their shortest decimal, so that different ones differ."""
    shown = {s.name: str(fmt.dtype.type(scalars[s.name])) for s in op.scalars if s.kind == "real"}
    words = {s.name: s.word for s in op.scalars}
    return [f"{words[name]}={shown.get(name, value)}" for name, value in scalars.items()]


def heads(
    suite: str, operator_name: str, dtype: str, stated: str = PUBLIC_SEED, own: Described | None = None
) -> tuple[list[Head], bool] | None:
    """List what the cases of a suite are, in their order, without making their arrays, and whether these are they.

    ``stated``: the seed, as vector files state it. With a private one that is not in use the cases of another private
    seed are listed, which are as many of each kind. ``own``: the file that describes the suite, if one does.

    None for a suite, or an operator, that no generator makes.
    """
    known = stated in (PUBLIC_SEED, seed_stated(seed()))
    if suite not in SUITES and (own is None or own.name != suite):
        return None
    try:
        generator(operator_name)
    except UsageError:
        return None
    token = _LISTING.set(True)
    try:
        with seeded("" if stated == PUBLIC_SEED else seed() if known else stated):
            return [case.head for case in cases_of(suite, own, operator(operator_name), FORMATS[dtype])], known
    finally:
        _LISTING.reset(token)


def cases_of(suite: str, own: Described | None, op: Operator, fmt: Format) -> Iterator[Case]:
    """List the cases of an operator in a suite: those of its name, or those that a file describes."""
    if own is None:
        return generator(op.name)(suite, fmt)
    return chain(generator(op.name)(own.base, fmt) if own.base else (), own.cases(op, fmt))


@cache
def generator(name: str) -> Generator:
    """Return the generator of an operator: a module of this package, or of the group ``golden.generators``."""
    if name in {m.name for m in pkgutil.iter_modules(generators.__path__)}:
        found: Generator = importlib.import_module(f"generators.{name}").cases
        return found
    for point in importlib.metadata.entry_points(group="golden.generators", name=name):
        loaded: Generator = point.load()
        return loaded
    raise UsageError(f"Operator {name!r} has no generator: add generators/{name}.py or an entry point.")


def offer(name: str) -> Offer:
    """Return what the generator of an operator offers to suite files."""
    found = getattr(sys.modules[generator(name).__module__], "OFFER", None)
    if not isinstance(found, Offer):
        raise UsageError(f"The generator of {name} offers nothing to suite files: it lacks OFFER.")
    return found


@dataclass(frozen=True)
class Written:
    """One vector file that was written. ``elements``: output elements of its cases."""

    path: Path
    digest: str
    cases: int
    elements: int
    seconds: float

    @property
    def rate(self) -> float:
        """Million elements a second."""
        return self.elements / self.seconds / 1e6


def generate_file(
    suite: str, operator_name: str, dtype: str, folder: Path, own: Described | None = None, private: str = ""
) -> Written:
    """Generate and write the vector file of one operator and dtype, one case after the other.

    ``own``: the file that describes the suite, if one does. ``private``: the seed, if not the public one.
    """
    op, started = operator(operator_name), time.monotonic()
    sizes: dict[str, int] = {}

    def counted(case: Case) -> Case:
        if case.id in sizes:
            raise ValueError(f"there are two cases {case.id}")
        sizes[case.id] = case.size
        return case

    path = folder / f"{op.name}-{dtype}.h5"
    with seeded(private):
        cases = _checked(map(counted, cases_of(suite, own, op, FORMATS[dtype])))
        digest = write_vectors(path, suite, op, dtype, cases, seed_stated(private))
    return Written(path, digest, len(sizes), sum(sizes.values()), time.monotonic() - started)


def _checked(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield cases between two looks at this process's arithmetic: what follows wrong ones is no file."""
    check_arithmetic()
    yield from cases
    check_arithmetic()


def generate(
    suite: str | Described,
    folder: Path,
    operator_names: list[str] | None = None,
    dtypes: list[str] | None = None,
    jobs: int = 1,
    done: Callable[[Written], None] = lambda written: None,
    private: str = "",
) -> list[Written]:
    """Generate a suite into ``folder``, calling ``done`` after each file; writes the manifest last.

    ``private``: the seed, if not the public one. A manifest is written only for a whole suite, so that a part can never
    pass for it.
    """
    own = None if isinstance(suite, str) else suite
    name = suite if isinstance(suite, str) else suite.name
    if own is None and name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    chosen = [operator(name) for name in operator_names] if operator_names else list(operators().values())
    work = [(op.name, d) for op in chosen for d in op.dtypes if not dtypes or d in dtypes]
    if own is not None:
        work = [kind for kind in work if own.covers(*kind)]
    if not work:
        raise UsageError("The suite has no case of the operators and dtypes asked for.")
    written = []
    make = partial(generate_file, name, folder=folder, own=own, private=private)
    if private and not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
    if jobs == 1:
        for kind in work:
            written.append(make(*kind))
            done(written[-1])
    else:
        with ProcessPoolExecutor(jobs) as pool:
            for future in [pool.submit(make, *kind) for kind in work]:
                written.append(future.result())
                done(written[-1])
    if not operator_names and not dtypes:
        write_manifest(folder, name, {w.path.name: (w.digest, w.cases) for w in written})
    return written
