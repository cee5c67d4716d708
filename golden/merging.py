"""Adds up what the parts of a run found about entry points, as if they had been one part, however it was cut."""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from golden.judge import KEPT_FAILURES
from golden.results import GRADES, Binade, Contract, EntryPointResult, Failure, Landscape, Status, Tally
from golden.tally import KEPT_WORST

#: What a failing entry point's status is, if it fails in several ways: the first of these.
_STATUSES: tuple[Status, ...] = ("crash", "timeout", "fail", "missing")
_COUNTS = ["cases", "elements", "measured", "misrounded", "failures"]
_COUNTS += ["nan", "infinity", "overflow", "zero", "zero_sign"]


def merged(parts: Sequence[EntryPointResult]) -> EntryPointResult:
    """Return the result of an entry point from those of the parts of a run, in their order; there is one at least.

    Digests of bits are left out. The grade is that of the required elements, whatever the status.
    """
    first = parts[0]
    groups, stress = (_tallies([getattr(p, name) for p in parts]) for name in ("groups", "stress"))
    failing = [p for p in parts if p.failures or p.status != "pass"]
    status: Status = next((s for s in _STATUSES if any(p.status == s for p in failing)), "pass")
    worst = max((GRADES.index(t.grade) for t in groups.values()), default=0)
    would = {p.would_conform for p in failing}
    return EntryPointResult(
        symbol=first.symbol,
        operator=first.operator,
        dtype=first.dtype,
        storage=first.storage,
        required=first.required,
        status=status,
        grade="fails" if status != "pass" else GRADES[worst],
        max_ulp=max(p.max_ulp for p in parts),
        misrounded=sum(p.misrounded for p in parts),
        elements=sum(p.elements for p in parts),
        cases=sum(p.cases for p in parts),
        failures=sum(p.failures for p in parts),
        detail=next((p.detail for p in failing if p.status == status), ""),
        would_conform=would.pop() if len(would) == 1 else "",
        groups=groups,
        stress=stress,
        classes=_classes(p.classes for p in parts),
        expected_failures=sum(p.expected_failures for p in parts),
        evidence=sum(p.evidence for p in parts),
        failing=_kept([f for p in parts for f in p.failing]),
        worst=sorted((e for p in parts for e in p.worst), key=lambda e: -e.ulp)[:KEPT_WORST],
        landscapes=_landscapes([p.landscapes for p in parts if p.landscapes]),
        contracts=_contracts([p.contracts for p in parts if p.contracts]),
    )


def tally(parts: Sequence[Tally]) -> Tally:
    """Return the statistics of several sets of elements together."""
    measured = sum(p.measured for p in parts)
    counts: dict[str, int] = {}
    for part in parts:
        for edge, count in part.histogram.items():
            counts[edge] = counts.get(edge, 0) + count
    ordered = dict(sorted(counts.items(), key=lambda item: float(item[0])))
    edges, bins = [float(edge) for edge in ordered], np.array(list(ordered.values()), np.int64)
    share = np.searchsorted(np.cumsum(bins), 0.999 * bins.sum()) if edges else 0
    worst = [p.worst for p in parts if p.worst]
    return Tally(
        **{name: sum(getattr(p, name) for p in parts) for name in _COUNTS},
        max_ulp=max(p.max_ulp for p in parts),
        mean_ulp=sum(p.mean_ulp * p.measured for p in parts) / measured if measured else 0.0,
        p999_ulp=edges[int(share)] if edges else 0.0,
        bias_ulp=sum(p.bias_ulp * p.measured for p in parts) / measured if measured else 0.0,
        grade=GRADES[max(GRADES.index(p.grade) for p in parts)],
        worst=max(worst, key=lambda e: e.ulp) if worst else None,
        histogram=ordered,
    )


def _tallies(parts: Sequence[dict[str, Tally]]) -> dict[str, Tally]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: tally([part[name] for part in parts if name in part]) for name in sorted(names)}


def _classes(parts: Iterable[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for part in parts:
        for name, counts in part.items():
            mine = found.setdefault(name, dict.fromkeys(counts, 0))
            for key, count in counts.items():
                mine[key] += count
    return dict(sorted(found.items()))


def _kept(failing: Sequence[Failure]) -> list[Failure]:
    """Keep one of every class and kind first, as a single run does."""
    seen: dict[tuple[str, str], int] = {}
    ranked: list[tuple[bool, int, int, Failure]] = []
    for failure in failing:
        key = failure.klass, failure.kind
        seen[key] = seen.get(key, -1) + 1
        ranked.append((failure.tier == "stress", seen[key], len(ranked), failure))
    return [failure for *_, failure in sorted(ranked, key=lambda r: r[:3])][:KEPT_FAILURES]


def _contracts(parts: Sequence[Sequence[Contract]]) -> list[Contract]:
    found: dict[str, Contract] = {}
    for part in parts:
        for new in part:
            old = found.get(new.name, Contract(new.name))
            seen = old.observable and new.observable
            found[new.name] = Contract(new.name, old.checked + new.checked, old.broken + new.broken, seen)
    return list(found.values())


def _landscapes(parts: Sequence[Sequence[Landscape]]) -> list[Landscape]:
    """Add up landscapes of the same axes, binade by binade."""
    found = []
    for same in zip(*parts, strict=True):
        bins: dict[tuple[bool, int], list[Binade]] = {}
        for landscape in same:
            for b in landscape.binades:
                bins.setdefault((b.negative, b.exponent), []).append(b)
        ordered = sorted(bins, key=lambda key: (-1, -key[1]) if key[0] else (1, key[1]))
        found.append(msgspec.structs.replace(same[0], binades=[_binade(bins[key]) for key in ordered]))
    return found


def _binade(parts: Sequence[Binade]) -> Binade:
    elements = sum(b.elements for b in parts)
    return Binade(
        exponent=parts[0].exponent,
        negative=parts[0].negative,
        elements=elements,
        misrounded=sum(b.misrounded for b in parts),
        failures=sum(b.failures for b in parts),
        max_ulp=max(b.max_ulp for b in parts),
        mean_ulp=sum(b.mean_ulp * b.elements for b in parts) / elements if elements else 0.0,
    )
