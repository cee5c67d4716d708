"""What there is to list and to show: text for the commands ``list`` and ``show``."""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tabulate import tabulate

from golden.case import Case
from golden.errors import unknown_name
from golden.flags import FLAGS
from golden.formats import Array
from golden.judge import number, readable_inputs
from golden.manifest import suite_folder
from golden.operator import operators
from golden.profile import load_profile, shipped
from golden.results import Number
from golden.vectorfile import VectorFile
from runners.reference import MODELS


def overview(what: str) -> Iterator[str]:
    """Yield the lines of one kind of thing, or of ``all``."""
    sections: dict[str, Callable[[], str]] = {
        "operators": _operators,
        "platforms": _platforms,
        "suites": _suites,
        "models": lambda: _plain([(k, m.summary) for k, m in MODELS.items()]),
        "flags": lambda: _plain(list(FLAGS.items())),
    }
    for name, section in sections.items():
        if what == "all":
            if name != "flags":
                yield from (f"{name}:", textwrap.indent(section(), "  "), "")
        elif what == name:
            yield section()


def _operators() -> str:
    blocks = []
    for op in operators().values():
        prototypes = "\n".join(f"  {e.prototype}" for e in op.entry_points())
        blocks.append(f"{op.name}: {op.summary}\n  {op.formula}\n{prototypes}")
    return "\n".join(blocks)


def _platforms() -> str:
    rows = []
    for name in shipped():
        p = load_profile(name)
        rows.append((p.name, ", ".join(p.dtypes), f"{p.cores} cores", f"subnormals {p.subnormals}", p.summary))
    return _plain(rows)


def _plain(rows: Sequence[tuple[str, ...]]) -> str:
    return str(tabulate(rows, tablefmt="plain"))


def _suites() -> str:
    folder = suite_folder("core").parent
    return "\n".join(sorted(p.name for p in folder.iterdir() if (p / "manifest.json").is_file()))


def cases(files: Sequence[VectorFile], pattern: str) -> Iterator[str]:
    """Yield the ids of the cases that contain a pattern."""
    yield from (case.id for file in files for case in file.cases if pattern in case.id)


def classes(files: Sequence[VectorFile], pattern: str) -> Iterator[str]:
    """Yield a table of classes: operator, tier, cases, elements, flags."""
    count: Counter[tuple[str, str, str]] = Counter()
    elements: Counter[tuple[str, str, str]] = Counter()
    flags: dict[tuple[str, str, str], dict[str, None]] = {}
    for file in files:
        for case in file.cases:
            key = (case.operator.name, case.klass, case.tier)
            count[key] += 1
            elements[key] += case.golden.value.size
            flags.setdefault(key, {}).update(dict.fromkeys(case.flags))
    rows = [(*k, count[k], elements[k], ", ".join(flags[k])) for k in count if pattern in k[1]]
    yield tabulate(rows, headers=["operator", "class", "tier", "cases", "elements", "flags"])


def find(files: Sequence[VectorFile], name: str) -> Case:
    """Return the case of an id; raises :class:`golden.errors.UsageError` with the nearest id there is."""
    known = {case.id: case for file in files for case in file.cases}
    if name not in known:
        raise unknown_name("case", name, known)
    return known[name]


def describe(case: Case, element: int | None, limit: int) -> Iterator[str]:
    """Yield the lines that show a case: scalars, flags, then element by element.

    Raises :class:`golden.errors.UsageError` for an element that the case does not have.
    """
    yield case.id
    scalars = ", ".join(f"{k} = {v:.9g}" if isinstance(v, float) else f"{k} = {v}" for k, v in case.scalars.items())
    yield f"{case.operator.title}, {case.dtype}, {case.tier}: {scalars}"
    for flag in case.flags:
        yield f"  {flag}: {FLAGS[flag]}"
    size = case.golden.value.size
    if element is not None and element >= size:
        raise unknown_name("element", str(element), [f"0 to {size - 1}"] if size else ["none"])
    chosen = [element] if element is not None else _interesting(case, limit)
    outputs = {
        name: model.evaluate(case.operator, case.fmt, case.scalars, case.operands) for name, model in MODELS.items()
    }
    for index in chosen:
        yield ""
        yield from _element(case, index, outputs)
    if len(chosen) < size and element is None:
        yield f"\n{size - len(chosen)} more elements: --element N or --limit N"


def _interesting(case: Case, limit: int) -> list[int]:
    """Prefer elements that are not zero: most of a sparse output is."""
    ranked = sorted(range(case.golden.value.size), key=lambda i: (bool(case.golden.value[i] == 0), i))
    return sorted(ranked[:limit])


def _element(case: Case, index: int, outputs: dict[str, Array]) -> Iterator[str]:
    fmt = case.fmt
    yield f"element {index}"
    rows = []
    for name, value in readable_inputs(case, index).items():
        rows.append((name, *_columns(value)) if isinstance(value, Number) else (name, str(value), "", ""))
    exact = case.operator.exact(fmt, case.scalars, case.operands, index)
    residual = float(case.golden.residual[index])
    rows.append(("exact", f"{float(exact):.17g}", "", ""))
    golden = number(fmt, case.golden.value[index])
    rows.append(("golden", *_columns(golden)))
    rows.append(("exact - golden", f"{residual:+.6f} ulp", "", ""))
    for name, output in outputs.items():
        got = number(fmt, output[index])
        rows.append((f"  {name}", *_columns(got)) if got.bits != golden.bits else (f"  {name}", "same", "", ""))
    yield tabulate(rows, tablefmt="plain", disable_numparse=True)


def _columns(value: Number) -> tuple[str, str, str]:
    return value.decimal, value.hex, value.bits
