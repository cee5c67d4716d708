"""Builds every mutant and every legal variant, validates each with a suite, and tabulates what tells them apart.

``python -m tests.mutants.run [--jobs 2] [--only NAME...] [--out FILE.md] [--purposes FILE.md]``; exit code 1 if a
mutant conforms, or if a legal build does not get the verdict that it must; 2 if the mutants cannot be built here.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from golden.errors import TargetError, UsageError
from golden.files.manifest import read_suite
from golden.files.names import NUMBERING_OPTION
from golden.files.vectors import VectorFile
from golden.judge import KINDS
from golden.operator import page_numbering
from golden.profile import load_profile
from golden.results import Results
from runners.judging.validate import Settings, validate
from runners.offline.export import export
from runners.targets import open_target
from tests.campaign import ROOT, in_processes, made, parser, publish, table, told
from tests.helpers.board import run_board
from tests.mutants import purposes
from tests.mutants.legal import LEGAL, Legal
from tests.mutants.mutants import FAMILIES, MUTANTS
from tests.mutants.variant import SUFFIXES, Through, Variant, build

#: Git ignores it.
FOLDER = ROOT / "build" / "mutants"
VECTORS = ROOT / "vectors"
#: Seconds for a call of a mutant. Healthy calls take milliseconds; a symbol that hangs costs this and two more.
TIMEOUT = 4.0
#: Kind of a wrong value that appears only in another invocation than a case's first.
VARIED = "varied invocation"


@dataclass(frozen=True)
class Outcome:
    """What a validation of one variant showed.

    ``classes``: ``operator/class`` of the required cases that fail, ``kinds``: what is wrong with them, kinds of
    wrong values or broken contracts; both most frequent first. ``cases``: the ids of all that fail, none if results
    do not list them all. ``skipped``: why the variant could not be built here; ``wrong``: what differs from what is
    expected of it.
    """

    name: str
    verdict: str
    classes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    reason: str = ""
    cases: frozenset[str] = frozenset()
    skipped: str = ""
    wrong: str = ""
    seconds: float = 0.0


@cache
def _suite(name: str) -> list[VectorFile]:
    """Return a suite, read once in each process."""
    return read_suite(VECTORS / name)


def _files(suite: str, part: str) -> list[VectorFile]:
    """Return the files of a suite whose names begin with ``part``."""
    return [f for f in _suite(suite) if f"{f.operator.name}-{f.dtype}".startswith(part)]


def _vectors(variant: Variant, suite: str, whole: bool, part: str) -> list[VectorFile]:
    """Return a suite; unless ``whole``, only the operators that a variant changes.

    The kernels of the other operator are the bundled ones, letter by letter: judging them again for every mutant
    would double the time and show nothing.
    """
    files, changed = _files(suite, part), {edit.file.partition(".")[0] for edit in variant.edits}
    operators = {f.operator.name for f in files}
    return files if whole or not changed <= operators else [f for f in files if f.operator.name in changed]


def check(
    variant: Variant,
    legal: Legal | None = None,
    folder: Path = FOLDER,
    through: Through = "library",
    suite: str = "core",
    part: str = "",
    timeout: float = TIMEOUT,
) -> Outcome:
    """Build and validate one variant; what it must do is to fail, unless ``legal`` says otherwise.

    ``through``: loaded as a library, linked into a harness, or run on a board that leaves dumps. ``part``: how the
    names of the suite's files begin that it is validated with. ``timeout``: seconds for a call of a mutant.
    """
    started = time.monotonic()
    try:
        library = build(variant, folder, through)
    except UsageError as error:
        if variant.cc is None:
            raise
        return Outcome(variant.name, "skipped", skipped=str(error))
    expected = legal or Legal(variant, verdict="fails")
    files = _vectors(variant, suite, legal is not None, part)
    results = _validate(library, expected, files, suite, timeout if legal is None else 10.0, part)
    outcome = _summary(variant.name, results)
    wrong = "" if outcome.verdict == expected.verdict else f"{outcome.verdict}: {outcome.reason}"
    if missing := [f for f in expected.findings if f not in outcome.findings]:
        wrong += f" no finding {', '.join(missing)}"
    return Outcome(
        **{**vars(outcome), "wrong": wrong.strip(), "seconds": time.monotonic() - started},
    )


def _validate(
    library: Path, expected: Legal, files: list[VectorFile], suite: str, timeout: float, part: str
) -> Results | str:
    """Return the results, or why the library could not be loaded."""
    settings = Settings(
        load_profile(expected.platform).allowing(expected.allow),
        suite,
        numbering=expected.numbering,
        timeout=timeout,
        draw="mutants",  # of boards, whose calls are exported once for all; that of libraries is their session's
    )
    try:
        session, described = open_target(_target(library, settings, part), timeout)
    except TargetError as error:
        return str(error)
    try:
        return validate(library.name, session, described, files, settings)
    finally:
        session.close()


def _target(built: Path, settings: Settings, part: str) -> str:
    """Return what validate is given for a library, a harness, or a board, which is run first."""
    if built.suffix != SUFFIXES["dump"]:
        return str(built) if built.suffix == SUFFIXES["library"] else f"exec:{built}"
    exported = built.with_name(f"export-{settings.suite}-{part}")
    if not exported.is_dir():
        options = {"suite": settings.suite, "platform": settings.profile.name, "memory": "any", "draw": settings.draw}
        options[NUMBERING_OPTION] = settings.numbering or page_numbering()
        export(exported, _files(settings.suite, part), settings.profile, options)
    run_board(built, exported)
    return f"dump:{exported}"


def _summary(name: str, results: Results | str) -> Outcome:
    if isinstance(results, str):
        return Outcome(name, "fails", (), ("not loadable",), (), results)
    classes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    cases: set[str] = set()
    for entry in results.entry_points:
        listed = {failure.case for failure in entry.failing if failure.case}
        cases |= listed if len(listed) == sum(c["failures"] for c in entry.classes.values()) else {""}
        if entry.status == "missing":
            kinds["missing"] += 1
        for failure in entry.failing:
            if failure.klass:
                classes[f"{entry.operator}/{failure.klass}"] += 1
            kinds[failure.kind] += 1
            # The judge says "with" which mask, placement and alignment, where the plain invocation was right.
            kinds[VARIED] += "legal bound with " in failure.message
    if len(kinds) > 1:
        del kinds["not-run"]  # what follows from crashes or time-outs, not a reason of its own
    return Outcome(
        name,
        results.verdict,
        tuple(k for k, _ in classes.most_common()),
        tuple(k for k, count in kinds.most_common() if count),
        tuple(sorted({f.kind for f in results.findings})),
        results.reason,
        frozenset() if "" in cases else frozenset(cases),
    )


def check_all(
    variants: Iterable[Variant], legals: Iterable[Legal], jobs: int, folder: Path = FOLDER
) -> Iterator[Outcome]:
    """Check variants in ``jobs`` processes and yield the outcomes as they come."""
    given = [(variant, None, folder) for variant in variants]
    return in_processes(jobs, check, [*given, *((v.variant, v, folder) for v in legals)])


def suite_classes() -> dict[str, bool]:
    """Return every ``operator/class`` of the suite, and whether any of its cases decides a verdict."""
    found: dict[str, bool] = {}
    for file in _suite("core"):
        for case in file.cases:
            key = f"{case.operator.name}/{case.klass}"
            found[key] = found.get(key, False) or case.tier == "required"
    return found


def _contracts(outcome: Outcome) -> list[str]:
    return [k for k in outcome.kinds if k not in KINDS]


def killers(outcome: Outcome, most: int = 3) -> str:
    """Name what kills a mutant: broken contracts first, then classes of cases."""
    named = [*_contracts(outcome), *(k.replace("lossgrad/", "/") for k in outcome.classes)]
    return ", ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "")


def render(outcomes: dict[str, Outcome], since: float) -> str:
    """Return the report as Markdown; ``outcomes`` by name, of any part of the tables, ``since`` as for :func:`made`."""
    mutants = [m for m in MUTANTS if m.name in outcomes]
    legals = [v for v in LEGAL if v.variant.name in outcomes]
    got = [outcomes[m.name] for m in mutants]
    killed = sum(not o.wrong for o in got)
    ran = [v for v in legals if not outcomes[v.variant.name].skipped]
    right = sum(not outcomes[v.variant.name].wrong for v in ran)
    lines = [
        "# Detection power",
        "",
        f"{killed} of {len(mutants)} defective builds are rejected, {right} of {len(ran)} legal builds get the "
        f"verdict they must ({len(legals) - len(ran)} could not be built). Suite core, {made(since)}.",
        "",
        "## Defective builds",
        "",
    ]
    lines += table(
        ["mutant", "family", "defect", "verdict", "killed by", "classes"],
        (
            (m.name, m.family, m.description, f"**{o.verdict}**" if o.wrong else o.verdict, killers(o), len(o.classes))
            for m, o in zip(mutants, got, strict=True)
        ),
    )
    lines += ["## Families", ""]
    lines += table(["family", "mutants", "rejected"], _by_family(mutants, outcomes))
    lines += ["## Legal builds", ""]
    lines += table(
        ["build", "what it is", "platform", "verdict", "findings"],
        (
            (
                v.variant.name,
                v.variant.description,
                Path(v.platform).stem,
                o.skipped or (f"**{o.wrong}**" if o.wrong else o.verdict),
                ", ".join(f for f in o.findings if not f.startswith("stress-")),
            )
            for v in legals
            for o in [outcomes[v.variant.name]]
        ),
    )
    return "\n".join([*lines, *_inverse(got)])


def _by_family(mutants: Sequence[Variant], outcomes: dict[str, Outcome]) -> Iterator[tuple[object, ...]]:
    for family in FAMILIES:
        members = [outcomes[m.name] for m in mutants if m.family == family]
        yield family, len(members), sum(not o.wrong for o in members)


def _inverse(mutants: Sequence[Outcome]) -> list[str]:
    """Tabulate for each class and each contract how many mutants it kills, and how many nothing else does."""
    known = suite_classes()
    any_class = Counter(k for o in mutants for k in o.classes)
    only_class = Counter(o.classes[0] for o in mutants if len(o.classes) == 1)
    names = {o.classes[0]: o.name for o in reversed(mutants) if len(o.classes) == 1}
    lines = ["## What each class of cases kills", ""]
    lines += ["*alone*: mutants that fail in no other class, whatever contract or value shows them.", ""]
    rows = [
        (
            k,
            any_class[k],
            only_class[k],
            names.get(k, "") if known.get(k) else "" if any_class[k] else "stress tier: measured only",
        )
        for k in sorted(known)
    ]
    lines += table(["class", "mutants", "alone", "such as"], rows)
    any_kind = Counter(k for o in mutants for k in o.kinds)
    only_kind = Counter(o.kinds[0] for o in mutants if len(o.kinds) == 1)
    sole = {o.kinds[0]: o.name for o in reversed(mutants) if len(o.kinds) == 1}
    lines += ["## What each contract and kind of wrong value kills", ""]
    lines += ["*alone*: mutants that show in no other way.", ""]
    rows = [
        (k, "value" if k in KINDS else "contract", any_kind[k], only_kind[k], sole.get(k, "")) for k in sorted(any_kind)
    ]
    return lines + table(["kind", "of", "mutants", "alone", "such as"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    options = parser("tests.mutants.run", __doc__, "mutants, legal builds or families")
    options.add_argument("--purposes", type=Path, metavar="FILE.md", help="what the suite's sizes and scalars kill")
    chosen = options.parse_args(arguments)
    only = set(chosen.only or ())
    mutants = [m for m in MUTANTS if not only or {m.name, m.family} & only]
    legals = [v for v in LEGAL if not only or {v.variant.name, "legal"} & only]
    started = time.monotonic()
    try:
        checked = check_all(mutants, legals, chosen.jobs)
        outcomes = told(checked, len(mutants) + len(legals), lambda done: f" ({killers(done)})")
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    if chosen.purposes:
        heads = {h.id: h for file in _suite("core") for h in file.heads}
        kills = {m.name: [heads[case] for case in outcomes[m.name].cases] for m in mutants}
        chosen.purposes.write_text(purposes.render([*heads.values()], kills), encoding="utf-8")
    return publish(render(outcomes, started), chosen.out, outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
