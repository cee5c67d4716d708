"""Which calls a task makes, and how: drawn from its number and the seed, the same wherever it is run."""

import random
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pkgutil import resolve_name
from typing import NamedTuple

import msgspec

from golden.case import Case
from golden.errors import UsageError
from golden.formats import Format
from golden.operator import EntryPoint, Operator, entry_points
from golden.profile import Profile
from runners.calling.call import UNREAD, Invocation
from runners.calling.manner import Manner
from runners.calling.plan import moved

#: One batch in so many is made for both kinds of memory, mixed with the one before, or with operands inaccessible that
#: need not be touched; one call in so many is repeated, or made in plain memory.
_BOTH, _MIXED, _CLOSED, _REPEATED, _PLAIN = 4, 4, 12, 4, 12
#: So many batches in a row without a call that is wanted, and that the profile allows: there is none.
_VAIN = 300

#: Draws a batch of cases: (operator, format, name, output elements at most) -> cases.
Draw = Callable[[Operator, Format, str, int], list[Case]]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What decides which calls there are.

    ``draw``: a :data:`Draw` by module and name. ``calls``: of all tasks, 0 for no end; ``task``: of one, which share a
    process that is a fresh one at first. ``bytes``: of a call's operands, at most. ``classes``: patterns of the classes
    of values that are wanted; all without.
    """

    seed: str
    profile: Profile
    symbols: tuple[str, ...]
    draw: str
    calls: int = 0
    task: int = 2048
    bytes: int = 1 << 20
    classes: tuple[str, ...] = ()


class Job(NamedTuple):
    """A call that was drawn: an entry point, a case, and the ways in which it is made."""

    entry: EntryPoint
    case: Case
    plan: list[Invocation]


class Drawing:
    """The calls of a task. ``plain``: the target can be called with operands in plain memory."""

    def __init__(self, recipe: Recipe, task: int, plain: bool) -> None:
        self._recipe, self._task, self._plain = recipe, task, plain
        self._rng = random.Random(f"{recipe.seed} {task}")
        self._draw: Draw = resolve_name(recipe.draw)
        #: Calls of classes that are not wanted.
        self.passed_over = 0

    def jobs(self) -> Iterator[Job]:
        """Yield the calls.

        Mostly several of one entry point follow each other; which comes next is drawn, and sometimes two take turns.
        """
        waiting: list[Job] = []
        for made in self._batches():
            if waiting and self._rng.randrange(_MIXED) == 0:
                yield from self._rng.sample([*waiting, *made], len(waiting) + len(made))
                waiting = []
            else:
                yield from waiting
                waiting = made
        yield from waiting

    def _batches(self) -> Iterator[list[Job]]:
        recipe, rng = self._recipe, self._rng
        kinds: dict[tuple[str, str], list[EntryPoint]] = {}
        for symbol in recipe.symbols:
            entry = entry_points()[symbol]
            kinds.setdefault((entry.operator.name, entry.fmt.name), []).append(entry)
        left = min(recipe.task, recipe.calls - self._task * recipe.task) if recipe.calls else recipe.task
        vain = batch = 0
        manner = Manner.of(recipe.profile)
        while left > 0:
            entries = rng.choice(list(kinds.values()))
            page, fmt = entries[0].operator, entries[0].fmt
            cases = self._draw(page, fmt, f"{recipe.seed}/{self._task}/{batch}", _elements(page, fmt, recipe.bytes))
            batch += 1
            if recipe.classes and not any(fnmatchcase(cases[0].klass, glob) for glob in recipe.classes):
                self.passed_over += len(cases)
                cases, none = [], f"No values are drawn of a class like {', '.join(recipe.classes)}."
            elif not (cases := [case for case in cases if manner.takes(case)]):
                lengths = f"{page.length_name} is as the profile says: {manner.lengths}"
                none = f"No call was drawn whose {lengths}. Allow more with --max-bytes."
            if not cases:
                vain += 1
                if vain > _VAIN:
                    raise UsageError(none)
                continue
            vain = 0
            chosen = entries if rng.randrange(_BOTH) == 0 else [rng.choice(entries)]
            # The comparison of both kinds of memory takes the shared one first.
            order = sorted(chosen, key=lambda e: e.storage, reverse=True)
            made = [Job(e, c, ways(rng, e, c, recipe.profile, self._plain)) for e in order for c in cases][:left]
            left -= len(made)
            yield made


def _elements(page: Operator, fmt: Format, most: int) -> int:
    """Return how many output elements a call may have, all operands being as large, for its operands to fit."""
    return max(1, most // (fmt.itemsize * len(page.pointers)))


def ways(rng: random.Random, entry: EntryPoint, case: Case, profile: Profile, plain: bool) -> list[Invocation]:
    """Draw the ways in which a call is made: the first is judged in full, the second differs from it in everything."""
    first, second = (_way(rng, entry, profile, fill) for fill in (0, 1))
    plan = [first, second]
    if rng.randrange(_REPEATED) == 0:
        plan.append(first)
    if rng.randrange(_CLOSED) == 0 and (untouched := case.operator.untouched(case.scalars)):
        plan.append(msgspec.structs.replace(first, unreadable=untouched))
    if plain and rng.randrange(_PLAIN) == 0:
        plan.append(msgspec.structs.replace(first, placement="plain", fill=2))
    return plan


def _way(rng: random.Random, entry: EntryPoint, profile: Profile, fill: int) -> Invocation:
    way = Manner.of(profile).invocation()
    unread = rng.choice(UNREAD[1:]) if fill else "nan"
    if rng.randrange(2):
        way = moved(_Choices(rng), way, entry, profile.alignment, unread)
    else:
        shift = rng.randrange(16) * rng.randrange(2) * (not profile.alignment)
        way = msgspec.structs.replace(way, placement=rng.choice(("end", "begin")), offset=shift)
    mask = _mask(rng, profile) if entry.has_core_mask else None
    return msgspec.structs.replace(way, core_mask=mask, fill=fill, unread=unread)


class _Choices(NamedTuple):
    rng: random.Random

    def below(self, limit: int) -> int:
        return self.rng.randrange(limit)


def _mask(rng: random.Random, profile: Profile) -> int:
    """Draw a core mask of the platform, as a C int: all cores, one, or any."""
    if some := profile.masks:
        return rng.choice(some)
    cores, kind = profile.cores, rng.randrange(4)
    if kind == 0:
        return profile.full_mask
    mask = 1 << rng.randrange(cores) if kind == 1 else 1 + rng.randrange((1 << cores) - 1)
    return mask - (1 << 32) if mask >= 1 << 31 else mask
