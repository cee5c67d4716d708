"""What a process has been through must not matter: entry points called in turn, and one tens of thousands of times.

Every entry point was judged in a process of its own. Here all of them share one: calls of a few small cases follow one
another so that each entry point comes directly after each, itself included, with the same sizes where operators and
dtypes have cases of these. Whatever one leaves behind (a plan that it looks up by geometry, a mode, a scratch array)
then meets another. After that each is called in a row until a counter of 16 bits has come round. Results have to have
the bits that they had when they were judged.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from golden.case import Case
from golden.files.collected import Collected
from golden.formats import Array, comparable_bits
from golden.judge import judge
from golden.operator import EntryPoint
from golden.profile import Profile
from golden.results import Failure
from runners.calling.call import Call, Invocation, Outcome
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.manner import Manner
from runners.calling.plan import invocations
from runners.calling.session import Session
from runners.judging.outcomes import Remark, Shown, array, broken_contracts, illegal_values
from runners.judging.verdict import EntryPointVerdict

#: How often each entry point comes after each, with other sizes; elements of an output at most, if any has so few.
_ROUNDS, _SMALL = 6, 64
#: Calls in a row: more than a counter of 16 bits counts. Of entry points with so many cases, so that a quick suite
#: stays quick.
IN_A_ROW, FROM_CASES = 70_000, 300
#: Cases that are looked at for one whose results differ from one another.
_TRIED = 8

_Places = dict[str, int]  # by symbol: of a case in its file


class _Step(NamedTuple):
    """A call of the sequence."""

    entry: EntryPoint
    case: Case
    way: Invocation


class History:
    """The calls of a run that are made in one process, drawn before it, since what cases give has to be kept."""

    def __init__(
        self, session: Session, profile: Profile, draw: str, half_abi: HalfAbi, numbering: str,
        entries: Sequence[EntryPoint], files: Mapping[tuple[str, str], Collected],
    ) -> None:  # fmt: skip
        self._session, self._profile = session, profile
        self._half_abi: HalfAbi = half_abi
        self._numbering = numbering
        self._files = files
        self._random = random.Random(f"{draw} history")
        self._entries = {e.symbol: e for e in entries}
        seen = "history" not in session.unobservable
        self._rounds = list(self._drawn()) if seen else []
        self._in_rows = dict(self._smallest()) if seen else {}

    def kept(self, entry: EntryPoint) -> frozenset[str]:
        """Return the ids of the cases of an entry point whose outputs have to be there when they are judged."""
        places = [r[entry.symbol] for r in (*self._rounds, self._in_rows) if entry.symbol in r]
        return frozenset(self._files[entry.operator.name, entry.fmt.name].heads[place].id for place in places)

    def run(self, verdicts: Mapping[str, EntryPointVerdict]) -> None:
        """Make the calls and have the verdicts take in what they show; entry points that do not return are left out."""
        there = {s: v for s, v in verdicts.items() if s in self._entries and v.returns}
        if not self._rounds or not there:
            return
        self._session.mix()
        before: _Step | None = None
        for step, outcome in self._sequence(there):
            self._held(there[step.entry.symbol], step, outcome, _after(before))
            before = step
        for symbol in self._random.sample(sorted(there), len(there)):
            self._in_a_row(self._entries[symbol], there[symbol])

    # What is called

    def _drawn(self) -> Iterator[_Places]:
        """Draw the cases of each round: as many output elements everywhere, and alike in all dtypes, if possible."""
        groups = self._groups()
        sizes = sorted({size for by_size in groups.values() for size in by_size})
        if not sizes:
            return
        shared = [size for size in sizes if all(size in by_size for by_size in groups.values())] or sizes
        each = [*self._random.sample(shared, min(len(shared), _ROUNDS - 1)), *self._random.choices(shared, k=_ROUNDS)]
        for size in [*each[: _ROUNDS - 1], self._random.choice(sizes)]:
            found: _Places = {}
            for by_size in groups.values():
                alike = by_size.get(size) or by_size[self._random.choice(sorted(by_size))]
                places = alike[self._random.randrange(len(alike))]
                for entry in self._entries.values():
                    if some := places.get((entry.operator.name, entry.fmt.name)):
                        found[entry.symbol] = self._telling(entry, some)
            yield found

    def _groups(self) -> dict[str, dict[int, list[dict[tuple[str, str], list[int]]]]]:
        """Return by operator and size, of every combination of scalars, where cases stand in each dtype's file."""
        found: dict[str, dict[int, dict[str, dict[tuple[str, str], list[int]]]]] = {}
        kinds = {(e.operator.name, e.fmt.name) for e in self._entries.values()}
        for kind in sorted(kinds):
            heads = self._files[kind].heads
            least = min((head.size for head in heads if head.tier == "required" and head.size), default=0)
            for place, head in enumerate(heads):
                if head.tier == "required" and 1 <= head.size <= max(_SMALL, least):
                    by_size = found.setdefault(kind[0], {}).setdefault(head.size, {})
                    by_size.setdefault(repr(sorted(head.scalars.items())), {}).setdefault(kind, []).append(place)
        chosen: dict[str, dict[int, list[dict[tuple[str, str], list[int]]]]] = {}
        for name, sizes in found.items():
            dtypes = max(len(places) for alike in sizes.values() for places in alike.values())
            for size, alike in sizes.items():
                if whole := [places for places in alike.values() if len(places) == dtypes]:
                    chosen.setdefault(name, {})[size] = whole
        return chosen

    def _telling(self, entry: EntryPoint, places: Sequence[int]) -> int:
        """Draw a case, one whose results are neither zeros nor all alike if there is one."""
        drawn = self._random.sample(places, min(len(places), _TRIED))
        cases = self._files[entry.operator.name, entry.fmt.name].cases
        return next((p for p in drawn if np.unique(cases[p].golden.value).size > 1), drawn[0])

    def _smallest(self) -> Iterator[tuple[str, int]]:
        """Draw one of the smallest cases of each entry point, for calls in a row."""
        for symbol, entry in self._entries.items():
            heads = self._files[entry.operator.name, entry.fmt.name].heads
            if len(heads) < FROM_CASES:
                continue
            sizes = {place: head.size for place, head in enumerate(heads) if head.tier == "required" and head.size}
            least = min(sizes.values(), default=0)
            if places := [place for place, size in sizes.items() if size <= 2 * least]:
                yield symbol, self._telling(entry, places)

    def _sequence(self, there: Mapping[str, EntryPointVerdict]) -> Iterator[tuple[_Step, Outcome]]:
        """Make the calls of all rounds; yield each with its outcome."""
        waiting: list[_Step] = []
        orders = _orders(sorted(there), len(self._rounds), self._random)
        for places, order in zip(self._rounds, orders, strict=True):
            symbols = [symbol for symbol in order if symbol in places]
            for symbol in [*symbols, *_each_after_each(symbols, self._random)]:
                step = self._step(self._entries[symbol], places[symbol])
                self._session.submit(self._call(step))
                waiting.append(step)
        for step in waiting:
            yield step, self._session.collect()[0]

    def _step(self, entry: EntryPoint, place: int) -> _Step:
        case = self._files[entry.operator.name, entry.fmt.name].cases[place]
        return _Step(entry, case, invocations(case, entry, self._profile)[0])

    def _call(self, step: _Step) -> Call:
        abi, numbers = self._half_abi, self._numbering
        made = call_for(step.entry, step.case.scalars, step.case.operands, [step.way], half_abi=abi, numbering=numbers)
        return msgspec.structs.replace(made, name=step.case.id)

    def _in_a_row(self, entry: EntryPoint, verdict: EntryPointVerdict) -> None:
        """Call an entry point until a counter has come round, by as few cores as may be."""
        if verdict.fails:
            return
        if (place := self._in_rows.get(entry.symbol)) is None:
            return
        step = self._step(entry, place)
        if (output := verdict.kept.get(step.case.id)) is None:
            return
        way = Manner.of(self._profile).invocation(one_core=True)
        call = self._call(step._replace(way=way))
        done = self._session.endure(call, output, IN_A_ROW)
        if done is None:
            return
        if done.findings:
            verdict.later(
                step.case, broken_contracts(step.case, [way], [Outcome("ok", findings=list(done.findings))]), True
            )
        if done.outcome is not None:
            after = f" when it is called for the {_ordinal(done.calls + 1)} time in a row"
            self._held(verdict, step._replace(way=way), done.outcome, after)
            return
        remarks = []
        if done.calls < IN_A_ROW:
            text = f"It was called {done.calls:,} times in a row, not {IN_A_ROW:,}: its calls take long."
            remarks.append(Remark("few-in-a-row", "info", text))
        verdict.later(step.case, Shown([], remarks), True, done.calls)

    # What it shows

    def _held(self, verdict: EntryPointVerdict, step: _Step, outcome: Outcome, after: str) -> None:
        """Hold a call against what the case gave when it was judged; ``after``: words that say what was before."""
        case, kept = step.case, verdict.kept.get(step.case.id)
        if verdict.fails or kept is None:
            return
        failures, remarks = broken_contracts(case, [step.way], [outcome])
        failures = [msgspec.structs.replace(f, message=f"{f.message.rstrip('.')},{after}.") for f in failures]
        output = array(case, outcome)
        if output is not None:
            was = np.frombuffer(kept, case.fmt.dtype)
            differ = np.flatnonzero(comparable_bits(case.fmt, output) != comparable_bits(case.fmt, was))
            if differ.size:
                terms, accept = self._profile.terms, self._profile.accept
                failures += [
                    msgspec.structs.replace(f, kind="history")
                    for f in illegal_values(case, output, judge(case, output, terms), terms, accept, after)
                ]
                if not (failures or verdict.varies):
                    failures.append(_other(case, output, was, int(differ[0]), differ.size, after))
        verdict.later(case, Shown(failures, remarks), not failures)


def _other(case: Case, output: Array, was: Array, index: int, count: int, after: str) -> Failure:
    """Say that a legal result has other bits than when it was judged."""
    message = (
        f"{count} of {output.size} elements have other bits{after} than in a process of its own; "
        f"element {index}: {output[index]} instead of {was[index]}."
    )
    return Failure(case.id, case.klass, case.tier, "history", message, count)


def _after(before: _Step | None) -> str:
    if before is None:
        return " in a process that other entry points share"
    return f" right after {before.entry.symbol} ({before.case.id}) in one process"


def _ordinal(number: int) -> str:
    end = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{end}"


def _orders(symbols: Sequence[str], count: int, chance: random.Random) -> list[list[str]]:
    """Return so many orders in which, of any two, each comes first at least once: it leaves what the other finds."""
    order = chance.sample(symbols, len(symbols))
    return [order if number % 2 else order[::-1] for number in range(count)]


def _each_after_each(symbols: Sequence[str], chance: random.Random) -> list[str]:
    """Return a sequence in which each follows each once, itself included: a circuit through all pairs, drawn."""
    left = {symbol: chance.sample(symbols, len(symbols)) for symbol in symbols}
    path, circuit = list(symbols[:1]), list[str]()
    while path:
        if following := left[path[-1]]:
            path.append(following.pop())
        else:
            circuit.append(path.pop())
    return circuit[::-1]
