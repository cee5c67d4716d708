"""``golden repro``: one C99 program that makes one call of a run again and shows whether its failure is still there.

The program needs the vendor's header, the library and the C library, nothing else. It holds operands as bit
patterns (NaN payloads survive), calls the kernel in the ways in which the run did, and judges by the interval of
legal results of every element. These intervals are found by asking the judge itself, so the program and the judge
cannot disagree. The C text is in ``templates/repro.c.j2``.
"""

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from golden.case import Case
from golden.errors import UsageError, unknown_name
from golden.files.names import NUMBERING_OPTION
from golden.formats import Format
from golden.judge import number
from golden.legal import legal_ranges
from golden.operator import EntryPoint, Pointer, Role, Scalar, numberings, page_numbering
from golden.results import EntryPointResult, Failure, Results
from golden.terms import Terms
from reports import text

#: Arrays of at most this many elements carry a readable comment beside every bit pattern.
COMMENTED = 4096
#: What the output is filled with before a call, as the run did it.
_FILLS = (0xA5, 0x5A, 0)
_WIDTH = 112


class Run(Protocol):
    """One way of calling; the invocations that a run was planned with have these attributes."""

    @property
    def core_mask(self) -> int | None:
        """As a C int; None for entry points that take none."""

    @property
    def placement(self) -> str:
        """Operands lie at the ``end`` of their memory, before a guard, or at its ``begin``."""

    @property
    def offset(self) -> int:
        """Elements between operand and guard."""

    @property
    def skew(self) -> int:
        """Further elements for each parameter."""

    @property
    def align(self) -> int:
        """Bytes."""

    @property
    def fill(self) -> int:
        """0 or 1."""

    @property
    def unread(self) -> str:
        """``nan`` or ``ones``: what operands hold that must not matter."""

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Operands that cannot be accessed."""


@dataclass(frozen=True)
class _Table:
    """A C array: its initialisers, elements, and extent (never 0, which C does not have)."""

    lines: list[str]
    count: int
    name: str = ""
    ctype: str = ""

    @property
    def extent(self) -> int:
        return max(self.count, 1)


def choose_symbol(results: Results, case: Case, symbol: str | None = None) -> str:
    """Return the entry point to call: the one that is named, else the first on which the case fails.

    Raises :class:`UsageError` for a name that does not exist or does not take the case, where the run has no
    entry point for the case, and where what fails is legal.
    """
    taking = [e for e in results.entry_points if (e.operator, e.dtype) == (case.operator.name, case.dtype)]
    if symbol is not None:
        if symbol not in {e.symbol for e in taking}:
            raise unknown_name(f"entry point for {case.id}", symbol, [e.symbol for e in taking] or ["none of this run"])
        return _shown(results, [e for e in taking if e.symbol == symbol], case)
    if not taking:
        raise UsageError(f"The run judged no entry point that takes {case.id}; validate for a platform that has one.")
    order = sorted(taking, key=lambda e: (not _failures(e, case), e.status in ("pass", "missing")))  # stable
    return _shown(results, order, case)


def _shown(results: Results, order: Sequence[EntryPointResult], case: Case) -> str:
    """Return the first entry point, unless there is nothing that a program could show of it."""
    found = _failures(order[0], case)
    if found and not any(map(text.reproducible, found)):
        raise UsageError(
            f"{case.id} has legal results, and fails by what is asked for beyond ({results.platform.held}): a program "
            "would find nothing. Its worst element stands in the report."
        )
    return order[0].symbol


def render_repro(results: Results, case: Case, symbol: str, runs: Sequence[Run], terms: Terms) -> str:
    """Return the C program for one case on one entry point.

    ``terms``: what results are held to. ``runs``: the ways in which the run called it, the first being the one that was
    judged in full; those with
    inaccessible operands decide nothing and are left out. Raises :class:`UsageError` if the run does not know
    ``symbol``, if the library lacks it, and if no run is left.
    """
    entry = next((e for e in case.operator.entry_points() if e.symbol == symbol and e.fmt is case.fmt), None)
    judged = next((e for e in results.entry_points if e.symbol == symbol), None)
    if entry is None or judged is None:
        raise unknown_name(f"entry point for {case.id}", symbol, [e.symbol for e in results.entry_points])
    if judged.status == "missing":
        raise UsageError(f"{symbol} is not in the library, so there is no call to reproduce: nm -D shows what is.")
    runs = [run for run in runs if not run.unreadable]
    if not runs:
        raise UsageError(f"There is no call of {symbol} to reproduce.")
    fmt = case.fmt
    pointers = [(slot, p) for slot, p in enumerate(case.operator.parameters) if isinstance(p, Pointer)]
    return _template().render(
        case=case,
        title=_comment(case.id),
        symbol=symbol,
        fmt=fmt,
        has_core_mask=entry.has_core_mask,
        story=_story(results, case, entry, judged),
        reported=next((str(f.first.index) for f in _failures(judged, case) if f.first), "SIZE_MAX"),
        timeout=_timeout(results),
        word=f"uint{fmt.width}_t",
        one=fmt.round(Fraction(1)),
        arrays=[_array(case, p) for _, p in pointers if p.role is Role.INPUT],
        legal=_legal(case, terms),
        operands=[_operand(case, slot, p) for slot, p in pointers],
        runs=[_run(run) for run in runs],
        reals=[_real(case, s) for s in case.operator.scalars if s.kind == "real"],
        call=_call(results, case, entry),
    )


def _legal(case: Case, terms: Terms) -> _Table:
    """List the elements that may be anything but zero: of a sparse output these are few."""
    fmt = case.fmt
    expected = fmt.bits(case.golden.value).tolist()
    cells = []
    found = legal_ranges(case.operator, fmt, case.scalars, case.operands, case.golden.value, terms)
    for i, ranges in enumerate(found):
        if expected[i] == 0 and ranges == [(0, 0)]:
            continue
        cells += [f"{{{i}, {_hex(fmt, expected[i])}, {_hex(fmt, low)}, {_hex(fmt, high)}}}," for low, high in ranges]
        if len(expected) <= COMMENTED:
            cells[-1] += f" /* {number(fmt, case.golden.value[i]).hex} */"
    return _Table(_filled(cells) if cells else ["{0, 0, 0, 0},"], len(cells))


def _array(case: Case, pointer: Pointer) -> _Table:
    values = case.operands[pointer.name]
    if pointer.element == "int32":
        cells, ctype = [f"{value}," for value in values.tolist()], "int32_t"
    else:
        fmt = case.fmt
        cells, ctype = [f"{_hex(fmt, b)}," for b in fmt.bits(values).tolist()], f"uint{fmt.width}_t"
        if len(cells) <= COMMENTED:
            cells = [f"{c} /* {number(fmt, v).hex} */" for c, v in zip(cells, values, strict=True)]
    return _Table(_filled(cells) if cells else ["0,"], len(cells), pointer.name, ctype)


def _operand(case: Case, slot: int, pointer: Pointer) -> dict[str, str | int]:
    count = math.prod(case.operator.shapes(case.scalars)[pointer.name])
    stored = pointer.role is Role.INPUT
    return {
        "name": pointer.name,
        "role": pointer.role.name,
        "slot": slot,
        "size": pointer.dtype(case.fmt).itemsize,
        "count": len(case.operands[pointer.name]) if stored else count,
        "data": f"{pointer.name}_data" if stored else "NULL",
    }


def _run(run: Run) -> str:
    numbers = (_int(run.core_mask or 0), int(run.placement == "end"), run.offset, run.skew, max(run.align, 1))
    return f"{{{', '.join(map(str, numbers))}, {_FILLS[run.fill]:#x}, {int(run.unread == 'ones')}}}"


def _int(value: int) -> str:
    # C has no negative literals: -2147483648 would be the negation of a long.
    return str(value) if value > -(1 << 31) else f"(-{(1 << 31) - 1} - 1)"


def _real(case: Case, scalar: Scalar) -> dict[str, str]:
    shown = number(case.fmt, float(case.scalars[scalar.name]))
    ctype = "half" if case.fmt.width == 16 else "float"
    return {"name": scalar.name, "bits": shown.bits, "hex": shown.hex, "decimal": shown.decimal, "ctype": ctype}


def _call(results: Results, case: Case, entry: EntryPoint) -> list[str]:
    words, pointer = [], 0
    for p in case.operator.parameters:
        if isinstance(p, Pointer):
            words.append(f"places[{pointer}].argument")
            pointer += 1
        elif p.kind == "choice":
            words.append(str(p.names(_numbering(results)).index(str(case.scalars[p.name]))))
        else:
            words.append(p.name if p.kind == "real" else _int(int(case.scalars[p.name])))
    words += ["running->core_mask"] * entry.has_core_mask
    opening = f"{entry.symbol}("
    return textwrap.wrap(f"{opening}{', '.join(words)});", _WIDTH, subsequent_indent=" " * len(opening))


def _numbering(results: Results) -> str:
    """Return the numbering of choices that the run used."""
    asked = results.options.get(NUMBERING_OPTION, "")
    return next((name for name in (asked, results.probe.numbering) if name in numberings()), page_numbering())


def _timeout(results: Results) -> int:
    found = re.match(r"[0-9.]+", results.options.get("timeout", ""))
    return max(1, math.ceil(float(found[0]))) if found else 10


def _failures(entry: EntryPointResult, case: Case) -> list[Failure]:
    return [failure for failure in entry.failing if failure.case == case.id]


def _story(results: Results, case: Case, entry: EntryPoint, judged: EntryPointResult) -> list[str]:
    """Say what was found, how the program is built and what it does; no text of others can end the comment."""
    library = f"{text.build_label(results)}" + (
        f" (SHA-256 {results.library.sha256})" if results.library.sha256 else ""
    )
    scalars = ", ".join(f"{k} = {v}" for k, v in case.scalars.items())
    paragraphs = [
        f"{scalars}. {case.operator.formula}.",
        f"golden {results.golden} held {library} to the profile {results.platform.name} and reported here:",
    ]
    for failure in _failures(judged, case):
        paragraphs.append(f"  {failure.kind}: {failure.message}")
        if first := failure.first:
            inputs = ", ".join(f"{name} = {text.number(value)}" for name, value in first.inputs.items())
            paragraphs.append(
                f"  element {first.index}: {inputs}; expected {text.number(first.expected)}, "
                f"got {text.number(first.got)}"
            )
    if not _failures(judged, case):
        kept = len(judged.failing)
        paragraphs.append(f"  no failure (it keeps {kept} of {judged.failures} failing cases).")
    same = [e.symbol for e in results.entry_points if e.symbol != entry.symbol and _failures(e, case)]
    if same:
        paragraphs.append(f"  The case fails on {', '.join(same)} too.")
    paragraphs += [
        "",
        "Build it with the vendor's header and library, and run it:",
        f"  cc -std=c99 -I HEADERS repro.c FOLDER/{text.build_label(results)} -o repro && ./repro",
        "Exit code 1: the failure shows; 0: all is right; 2: it could not run. './repro 1000' repeats everything 1000 "
        "times, for failures that need many calls or luck.",
        "",
        "Where the system has mmap, operands lie between inaccessible pages. Elsewhere, and with -DREPRO_PORTABLE, "
        "they lie between canaries, which show writes outside an operand but not reads: for those run it under "
        "valgrind or with -fsanitize=address, built with -DREPRO_PORTABLE -DREPRO_MARGIN=0.",
        "",
        f"Called as on the operator's page: {entry.prototype}.",
    ]
    if case.fmt.width == 16:
        paragraphs.append(
            f"The library takes half by value as {results.probe.half_abi}; "
            "the header must be compiled to declare the same."
        )
    for choice in case.operator.choices:
        numbers = ", ".join(f"{n} {name}" for n, name in enumerate(choice.names(_numbering(results))))
        paragraphs.append(f"{choice.word.capitalize()} numbers: {numbers}.")
    elements = sum(len(v) for v in case.operands.values())
    paragraphs.append(f"{elements} numbers go in, {case.golden.value.size} come out.")
    lines: list[str] = []
    for paragraph in paragraphs:
        indent = " " * (len(paragraph) - len(paragraph.lstrip()))
        lines += textwrap.wrap(_comment(paragraph), _WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return lines


def _comment(words: str) -> str:
    """Make text safe inside a C comment: what opens or ends one, and trigraphs, are taken apart."""
    return re.sub(r"\?(?=\?)", "? ", re.sub(r"\*(?=/)|/(?=\*)", lambda m: f"{m[0]} ", words))


def _hex(fmt: Format, bits: int) -> str:
    return f"0x{int(bits):0{fmt.width // 4}x}"


def _filled(cells: Sequence[str]) -> list[str]:
    """Fill lines with cells of equal width, so that columns stand."""
    width = max(map(len, cells))
    columns = max(1, (_WIDTH + 1) // (width + 1))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return [" ".join(cell.ljust(width) for cell in row).rstrip() for row in rows]


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    # C, not markup: nothing is escaped here, and what comes from others goes through _comment.
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template("repro.c.j2")
