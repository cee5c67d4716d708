"""What of a run's cases and entry points was asked for, and how much of all that is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from golden.case import Head
from golden.errors import UsageError, nearest
from golden.files.collected import Collected, collect
from golden.files.vectors import VectorFile
from golden.operator import EntryPoint
from golden.profile import Profile
from golden.results import Selection

#: Names that an error lists in full where none is like what was asked for.
_LISTED = 10


@dataclass(frozen=True)
class Wanted:
    """What was asked for, by the options that say it: of each kind whatever one of its patterns matches; () is all."""

    operators: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, list[str]]:
        """Return option -> patterns, of those that were given."""
        given = {
            "operator": self.operators,
            "dtype": self.dtypes,
            "symbol": self.symbols,
            "class": self.classes,
            "case": self.cases,
        }
        return {option: list(patterns) for option, patterns in given.items() if patterns}

    def entry(self, entry: EntryPoint) -> bool:
        """Tell whether an entry point is wanted."""
        return (
            _matches(entry.operator.name, self.operators)
            and _matches(entry.fmt.name, self.dtypes)
            and _matches(entry.symbol, self.symbols)
        )

    def case(self, head: Head) -> bool:
        """Tell whether a case is wanted."""
        return _matches(head.klass, self.classes) and _matches(head.id, self.cases)


@dataclass(frozen=True)
class Chosen:
    """What is run.

    ``covered``: the entry points that the platform requires and files have cases for; ``entries``: those of them that
    are wanted; ``cases``: what is run on them, by operator and dtype; ``total``: the cases of all files.
    """

    covered: Sequence[EntryPoint]
    entries: Sequence[EntryPoint]
    cases: Mapping[tuple[str, str], Collected]
    selection: Selection
    total: int

    def of(self, entry: EntryPoint) -> Collected:
        """Return the cases of an entry point."""
        return self.cases[_kind(entry)]


def choose(files: Sequence[VectorFile], profile: Profile, wanted: Wanted) -> Chosen:
    """Return what of vector files is run for a platform.

    Raises :class:`UsageError` for a pattern, or all of them together, that matches nothing, and
    :class:`golden.errors.VectorError` where files contradict each other.
    """
    collected = collect(files)
    total = sum(len(found.heads) for found in collected.values())
    covered = [entry for entry in profile.required() if _kind(entry) in collected]
    if not wanted.options or not covered:
        return Chosen(covered, covered, collected, Selection(), total)
    there = {_kind(entry): collected[_kind(entry)] for entry in covered}
    _check(wanted, covered, there.values(), profile.name)
    cases = {kind: found.only(wanted.case) for kind, found in there.items()}
    entries = [entry for entry in covered if wanted.entry(entry) and cases[_kind(entry)].heads]
    if not entries:
        asked = ", ".join(f"--{option} {pattern}" for option, ps in wanted.options.items() for pattern in ps)
        raise UsageError(f"Each of {asked} matches something, and no case all of them: leave one out.")
    return Chosen(
        covered,
        entries,
        cases,
        Selection(
            wanted.options,
            cases=sum(len(cases[kind].heads) for kind in {_kind(entry) for entry in entries}),
            of_cases=sum(len(found.heads) for found in there.values()),
            entry_points=len(entries),
            of_entry_points=len(covered),
        ),
        total,
    )


def _kind(entry: EntryPoint) -> tuple[str, str]:
    return entry.operator.name, entry.fmt.name


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _check(wanted: Wanted, entries: Sequence[EntryPoint], collected: Iterable[Collected], platform: str) -> None:
    """Raise :class:`UsageError` for a pattern that matches nothing."""
    heads = [head for found in collected for head in found.heads]
    names: dict[str, Callable[[], Iterable[str]]] = {
        "operator": lambda: (e.operator.name for e in entries),
        "dtype": lambda: (e.fmt.name for e in entries),
        "symbol": lambda: (e.symbol for e in entries),
        "class": lambda: (h.klass for h in heads),
        "case": lambda: (h.id for h in heads),
    }
    for option, patterns in wanted.options.items():
        known = sorted(set(names[option]()))
        for pattern in patterns:
            if not any(_matches(name, [pattern]) for name in known):
                raise UsageError(
                    f"--{option} {pattern}: these vectors have nothing of the kind for {platform}; "
                    f"{_hint(option, pattern, known)}"
                )


def _hint(option: str, pattern: str, known: Sequence[str]) -> str:
    if near := nearest(pattern, known):
        return f"did you mean {near!r}?"
    if len(known) <= _LISTED:
        return f"known are {', '.join(known)}."
    listed = {"case": "cases", "class": "classes"}.get(option)
    return f"see 'golden list {listed}'." if listed else f"none of the {len(known)} there are is like it."
