"""Validates every build of tests/mutants/estimates.py twice: as what it is, and as what it is not.

``python -m tests.mutants.arithmetic [--jobs 2] [--only NAME...] [--suite core]``: under the profile that states its
arithmetic each build conforms; under that of a platform that rounds correctly and flushes nothing those fail whose
results are not what some legal order gives, and the verdict says with which terms they would conform: no larger figure
than they were measured to have. Exit code 1 if not.
"""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from golden.files.manifest import read_suite
from golden.files.vectors import VectorFile
from golden.profile import load_profile
from golden.results import Results
from runners.judging.validate import Settings, validate
from runners.targets import open_target
from tests.campaign import ROOT, in_processes, parser, told
from tests.mutants.estimates import ESTIMATES, UNLIKE, Estimated, profile_of
from tests.mutants.run import FOLDER
from tests.mutants.variant import build


@dataclass(frozen=True)
class Twice:
    """What was found about a build: ``wrong`` is empty where both verdicts are as they must be.

    ``verdict``: what it would conform with.
    """

    name: str
    verdict: str
    wrong: str
    seconds: float
    skipped: str = ""


def judged(estimated: Estimated, library: Path, profile: str, suite: str) -> Results:
    """Validate a build under a profile's text, on the vectors of what its arithmetic concerns."""
    path = library.with_suffix(".toml")
    path.write_text(profile)
    files = [f for f in _suite(suite) if f.dtype in estimated.dtypes]
    session, described = open_target(str(library), 10.0)
    try:
        return validate(library.name, session, described, files, Settings(load_profile(str(path)), suite, timeout=10.0))
    finally:
        session.close()
        path.unlink()


@cache
def _suite(name: str) -> list[VectorFile]:
    return read_suite(ROOT / "vectors" / name)


def correct(profile: str) -> str:
    """Return a profile's text without its arithmetic, and without flushing."""
    return re.sub(r"\[arithmetic\]\n[^\[]*", "", profile).replace('"unspecified"\nhalf', '"preserve"\nhalf')


def check(name: str, suite: str = "core") -> Twice:
    """Validate one build twice."""
    started = time.monotonic()
    estimated = next(e for e in ESTIMATES if e.variant.name == name)
    library = build(estimated.variant, FOLDER)
    own = judged(estimated, library, profile_of(estimated), suite)
    plain = judged(estimated, library, correct(profile_of(estimated)), suite)
    named = ", ".join(sorted({e.would_conform for e in plain.entry_points} - {""}))
    wrong = "" if own.verdict == "conforms" else f"as itself: {own.reason} {own.entry_points[0].detail}"
    if name in UNLIKE and plain.verdict == "conforms":
        wrong += " as another: conforms"
    if plain.verdict == "fails" and not all(one in plain.reason for one in named.split(", ")):
        wrong += f" as another: {plain.reason}"
    for figure in estimated.figures:
        found = re.search(rf"{re.escape(figure.key)} = ([0-9.]+)", named)
        if found and float(found[1]) > figure.ulp:
            wrong += f" {found[0]}, measured {figure.ulp}"
    return Twice(name, named or "as others", wrong.strip(), time.monotonic() - started)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    options = parser("tests.mutants.arithmetic", __doc__, "builds")
    options.add_argument("--suite", default="core")
    chosen = options.parse_args(arguments)
    names = [e.variant.name for e in ESTIMATES if not chosen.only or e.variant.name in chosen.only]
    found = told(in_processes(chosen.jobs, check, [(name, chosen.suite) for name in names]), len(names))
    wrong = [done for done in found.values() if done.wrong]
    print(f"{len(found) - len(wrong)} of {len(found)} builds have both verdicts that they must.")
    return int(not found or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
