"""What there is to list and to show: data, and its text, for the commands ``list`` and ``show``."""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from tabulate import tabulate

from golden.case import Case
from golden.errors import unknown_name
from golden.files.names import suites
from golden.files.vectors import VectorFile
from golden.formats import Array
from golden.judge import number, readable_inputs
from golden.legal import legal_ranges
from golden.operator import known_flags, operators
from golden.profile import Profile, load_profile, shipped
from golden.results import Number
from golden.terms import Terms
from runners.models import MODELS, models

#: Kinds of things that are there without vectors.
_KINDS = ("operators", "platforms", "suites", "models", "flags")


def inventory(what: str, files: Sequence[VectorFile] = (), pattern: str = "") -> dict[str, Any]:
    """Return one kind of thing as data, or of ``all`` that there are without vectors."""
    makers: dict[str, Callable[[], Any]] = {
        "operators": _operators,
        "platforms": _platforms,
        "suites": lambda: list(suites()),
        "models": lambda: {name: model.summary for name, model in MODELS.items()},
        "flags": known_flags,
        "classes": lambda: _classes(files, pattern),
        "cases": lambda: [
            {"id": c.id, "tier": c.tier, "class": c.klass, "flags": c.flags, "elements": c.golden.value.size}
            for file in files
            for c in file.cases
            if pattern in c.id
        ],
    }
    return {name: makers[name]() for name in (_KINDS if what == "all" else (what,))}


def overview(what: str) -> Iterator[str]:
    """Yield the lines of one kind of thing, or of ``all``."""
    for name, things in inventory(what).items():
        if what != "all":
            yield _text(name, things)
        elif name != "flags":
            yield from (f"{name}:", textwrap.indent(_text(name, things), "  "), "")


def _text(name: str, things: Any) -> str:
    if name == "operators":
        lines = (
            [
                f"{op['name']}: {op['summary']}",
                f"  {op['formula']}",
                *(f"  {e['prototype']}" for e in op["entry_points"]),
            ]
            for op in things
        )
        return "\n".join(line for block in lines for line in block)
    if name == "platforms":
        return _plain(
            [
                (
                    p["name"],
                    ", ".join(p["dtypes"]),
                    f"{p['cores']} cores",
                    f"subnormals {p['subnormals']}",
                    p["summary"],
                )
                for p in things
            ]
        )
    return "\n".join(things) if name == "suites" else _plain(list(things.items()))


def _operators() -> list[dict[str, Any]]:
    return [
        {
            "name": op.name,
            "title": op.title,
            "summary": op.summary,
            "formula": op.formula,
            "dtypes": op.dtypes,
            "entry_points": [{"symbol": e.symbol, "prototype": e.prototype} for e in op.entry_points()],
        }
        for op in operators().values()
    ]


def _platforms() -> list[dict[str, Any]]:
    keys = ("name", "summary", "dtypes", "cores", "subnormals", "half")
    return [{key: getattr(profile, key) for key in keys} for profile in map(load_profile, shipped())]


def platform_facts(profile: Profile) -> dict[str, Any]:
    """Return everything a profile says, with the entry points that it requires."""
    found: dict[str, Any] = msgspec.to_builtins(profile)
    found["memory"] = {kind: [f"{at:#x}" for at in starts] for kind, starts in found["memory"].items()}
    return {**found, "entry_points": [entry.symbol for entry in profile.required()]}


def describe_platform(profile: Profile) -> Iterator[str]:
    """Yield the lines that tell what a profile says, what of it is stated by the pages, and what is assumed."""
    facts = platform_facts(profile)
    memory = facts["memory"]
    overrides = "; ".join(f"{name}: {', '.join(dtypes) or 'none'}" for name, dtypes in profile.operators.items())
    rows = [
        ("name", profile.name),
        ("dtypes", ", ".join(profile.dtypes) + (f" ({overrides})" if overrides else "")),
        ("cores", str(profile.cores)),
        ("core mask of all", f"{profile.full_mask & 0xFFFFFFFF:#x}"),
        ("subnormals", profile.subnormals),
        ("arithmetic", profile.terms.told() or "every operation correctly rounded"),
        ("accepted", profile.accept.told() or "whatever is legal"),
        ("half", profile.half),
        ("alignment", f"{profile.alignment} bytes" if profile.alignment else "the element's own size"),
        *([("calls", profile.calling.told())] if profile.calling.told() else []),
        ("shared memory", ", ".join(memory["shared"]) or "anywhere"),
        ("private memory", ", ".join(memory["private"]) or "anywhere"),
        ("entry points", ", ".join(facts["entry_points"])),
    ]
    yield from (profile.summary, "", _plain(rows))
    for title, lines in (("stated by the pages", profile.provenance.stated), ("assumed", profile.provenance.assumed)):
        yield from ("", f"{title}:", *(f"  {line}" for line in lines or ["nothing"]))


def _plain(rows: Sequence[tuple[str, ...]]) -> str:
    return str(tabulate(rows, tablefmt="plain"))


def cases(files: Sequence[VectorFile], pattern: str) -> Iterator[str]:
    """Yield the ids of the cases that contain a pattern."""
    yield from (head.id for file in files for head in file.heads if pattern in head.id)


def classes(files: Sequence[VectorFile], pattern: str) -> Iterator[str]:
    """Yield a table of classes: operator, tier, cases, elements, flags."""
    headers = ["operator", "class", "tier", "cases", "elements", "flags"]
    rows = [[*list(row.values())[:-1], ", ".join(row["flags"])] for row in _classes(files, pattern)]
    yield tabulate(rows, headers=headers)


def _classes(files: Sequence[VectorFile], pattern: str) -> list[dict[str, Any]]:
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for head in (head for file in files for head in file.heads if pattern in head.klass):
        key = (head.operator.name, head.klass, head.tier)
        row = found.setdefault(
            key, {"operator": key[0], "class": key[1], "tier": key[2], "cases": 0, "elements": 0, "flags": []}
        )
        row["cases"] += 1
        row["elements"] += head.size
        row["flags"] += [flag for flag in head.flags if flag not in row["flags"]]
    return list(found.values())


def find(files: Sequence[VectorFile], name: str) -> Case:
    """Return the case of an id; raises :class:`golden.errors.UsageError` with the nearest id there is."""
    known = {head.id: (file, position) for file in files for position, head in enumerate(file.heads)}
    if name not in known:
        raise unknown_name("case", name, known)
    file, position = known[name]
    return file.cases[position]


def details(case: Case, element: int | None, limit: int, terms: Terms) -> dict[str, Any]:
    """Return a case as data: scalars, flags, and the chosen elements with what is legal, and what every order gives.

    Raises :class:`golden.errors.UsageError` for an element that the case does not have.
    """
    size = case.golden.value.size
    if element is not None and element >= size:
        raise unknown_name("element", str(element), [f"0 to {size - 1}"] if size else ["none"])
    chosen = [element] if element is not None else _interesting(case, limit)
    outputs = {
        name: model.evaluate(case.operator, case.fmt, case.scalars, case.operands)
        for name, model in models(case.operator).items()
    }
    return {
        "id": case.id,
        "operator": case.operator.name,
        "dtype": case.dtype,
        "tier": case.tier,
        "class": case.klass,
        "scalars": dict(case.scalars),
        "flags": {flag: known_flags()[flag] for flag in case.flags},
        "size": size,
        "elements": [_element(case, index, outputs, terms) for index in chosen],
    }


def _interesting(case: Case, limit: int) -> list[int]:
    """Prefer elements that are not zero: most of a sparse output is."""
    ranked = sorted(range(case.golden.value.size), key=lambda i: (bool(case.golden.value[i] == 0), i))
    return sorted(ranked[:limit])


def _element(case: Case, index: int, outputs: dict[str, Array], terms: Terms) -> dict[str, Any]:
    fmt, at = case.fmt, np.array([index])
    (ranges,) = legal_ranges(case.operator, fmt, case.scalars, case.operands, case.golden.value[at], terms, at)
    return {
        "index": index,
        "inputs": readable_inputs(case, index),
        "exact": float(case.operator.exact(case.fmt, case.scalars, case.operands, index)),
        "golden": number(case.fmt, case.golden.value[index]),
        "residual_ulp": float(case.golden.residual[index]),
        "legal": [[number(fmt, v) for v in fmt.from_bits(np.array(ends, fmt.bits_dtype))] for ends in ranges],
        "orders": {name: number(case.fmt, output[index]) for name, output in outputs.items()},
    }


def describe(case: Case, element: int | None, limit: int, terms: Terms) -> Iterator[str]:
    """Yield the lines that show a case: scalars, flags, then element by element.

    Raises :class:`golden.errors.UsageError` for an element that the case does not have.
    """
    found = details(case, element, limit, terms)
    yield case.id
    scalars = ", ".join(f"{k} = {v:.9g}" if isinstance(v, float) else f"{k} = {v}" for k, v in case.scalars.items())
    yield f"{case.operator.title}, {case.dtype}, {case.tier}: {scalars}"
    yield from (f"  {flag}: {meaning}" for flag, meaning in found["flags"].items())
    for shown in found["elements"]:
        yield f"\nelement {shown['index']}"
        yield _element_table(shown)
    left = found["size"] - len(found["elements"])
    if left and element is None:
        yield f"\n{left} more elements: --element N or --limit N"


def _element_table(shown: dict[str, Any]) -> str:
    golden = shown["golden"]
    rows = [
        (name, *_columns(value)) if isinstance(value, Number) else (name, str(value), "", "")
        for name, value in shown["inputs"].items()
    ]
    rows.append(("exact", f"{shown['exact']:.17g}", "", ""))
    rows.append(("golden", *_columns(golden)))
    residual = shown["residual_ulp"]
    rows.append(("exact - golden", "no distance" if math.isnan(residual) else f"{residual:+.6f} ulp", "", ""))
    rows += [("legal", *_legal(golden, low, high, shown["legal"])) for low, high in shown["legal"]]
    for name, got in shown["orders"].items():
        rows.append((f"  {name}", *_columns(got)) if got.bits != golden.bits else (f"  {name}", "same", "", ""))
    return str(tabulate(rows, tablefmt="plain", disable_numparse=True))


def _columns(value: Number) -> tuple[str, str, str]:
    return value.decimal, value.hex, value.bits


def _legal(golden: Number, low: Number, high: Number, ranges: list[list[Number]]) -> tuple[str, str, str]:
    """Describe one range of the legal set."""
    if low.bits != high.bits:
        first, second, third = (f"{a} to {b}" for a, b in zip(_columns(low), _columns(high), strict=True))
        return first, second, third
    return ("golden's bits alone", "", "") if len(ranges) == 1 and low.bits == golden.bits else _columns(low)
