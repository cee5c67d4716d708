"""Several processes that judge: what one would have found, and nothing of theirs is lost."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden.errors import MachineError, TargetError, UsageError
from golden.files.manifest import read_suite
from golden.files.vectors import VectorFile
from golden.formats import FORMATS
from golden.operator import operators
from golden.profile import load_profile
from golden.results import Library, Results
from runners.judging import validate as judging
from runners.judging.beside import Beside
from runners.judging.validate import Settings, validate
from runners.library.session import LibrarySession
from runners.models import ReferenceSession
from tests import ROOT
from tests.helpers.command import needs_compiler
from tests.mutants.mutants import MUTANTS
from tests.mutants.variant import build

BY_NAME = {variant.name: variant for variant in MUTANTS}


@pytest.fixture(scope="module")
def suite() -> list[VectorFile]:
    return read_suite(ROOT / "vectors/smoke")


def counted(step: Callable[[], None]) -> tuple[int, list[object]]:
    for _ in range(3):
        step()
    return os.getpid(), [*FORMATS.values(), *operators().values()]


def test_a_result_comes_back_and_formats_and_operators_are_those_that_are_here() -> None:
    other = Beside(counted)
    pid, singles = other.result()
    assert pid != os.getpid() and other.done == 3
    assert all(a is b for a, b in zip(singles, [*FORMATS.values(), *operators().values()], strict=True))


@pytest.mark.parametrize("error", [TargetError, UsageError])
def test_its_errors_are_raised_here(error: type[Exception]) -> None:
    def fail(step: Callable[[], None]) -> None:
        raise error("why.")

    with pytest.raises(error, match=r"^why\.$"):
        Beside(fail).result()


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by signal 9"),
        (lambda: os._exit(3), "ended by an error"),
        (lambda: 1 // 0, "ended by an error"),
    ],
)
def test_one_that_ends_is_no_verdict(end: Callable[[], object], says: str) -> None:
    with pytest.raises(MachineError, match=says):
        Beside(lambda step: end()).result()


def test_an_interrupt_reaches_it() -> None:
    def wait(step: Callable[[], None]) -> str:
        try:
            step()
            time.sleep(60)
        except KeyboardInterrupt:
            return "interrupted"
        return "slept"

    other = Beside(wait)
    while not other.done:
        time.sleep(0.001)
    other.interrupt()
    assert other.result() == "interrupted"


def test_who_waits_for_it_may_be_interrupted_and_wait_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(step: Callable[[], None]) -> str:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            return "x" * 300_000  # more than a pipe holds
        return "slept"

    def interrupted(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    other, before = Beside(wait), signal.signal(signal.SIGALRM, interrupted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            other.result()
        other.interrupt()
        assert len(other.result()) == 300_000
    finally:
        signal.signal(signal.SIGALRM, before)


def steady(results: Results) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(results)
    return {name: value for name, value in found.items() if name not in ("seconds", "created")}


def judged(target: Path | str, files: list[VectorFile], jobs: int, **options: Any) -> Results:
    session: Any = ReferenceSession(target) if isinstance(target, str) else LibrarySession(target, timeout=2, draw="d")
    settings = Settings(load_profile("MT7004"), "smoke", jobs=jobs, timeout=2, draw="d", **options)
    return validate("it", session, Library(), files, settings)


@needs_compiler
@pytest.mark.parametrize(
    "name",
    [
        "",
        "sl1-fp-writes-beyond",
        *(pytest.param(n, marks=pytest.mark.confirm) for n in ("nll-fp-no-zero-fill", "flush")),
    ],
)
def test_any_number_of_them_finds_the_same(
    name: str, kernels: Path, suite: list[VectorFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target: Path | str = build(BY_NAME[name], tmp_path) if name in BY_NAME else name or kernels
    expected = tmp_path / "xfail"
    expected.write_text("fp_nlllossgrad_* nlllossgrad/* # known\nhp_smoothl1lossgrad_p *n=33 # not so\n")
    monkeypatch.setattr(judging, "_MANY", 10**9)
    alone = judged(target, suite, 3, xfail=expected)
    monkeypatch.setattr(judging, "_MANY", 1)
    forks: list[int] = []
    monkeypatch.setattr(os, "fork", lambda fork=os.fork: (forks.append(0), fork())[1])
    assert steady(judged(target, suite, 3, xfail=expected)) == steady(alone)
    assert len(forks) >= 2 and (alone.verdict == "fails") == (name == "sl1-fp-writes-beyond")


def test_what_cannot_be_opened_again_is_judged_here(suite: list[VectorFile], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ReferenceSession) -> ReferenceSession:
        raise TargetError("It cannot be loaded again.")

    alone = judged("formula", suite, 1)
    monkeypatch.setattr(judging, "_MANY", 1)
    monkeypatch.setattr(ReferenceSession, "again", fail)
    assert steady(judged("formula", suite, 2)) == steady(alone)


def test_an_interrupt_ends_all_of_them(suite: list[VectorFile], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_MANY", 1)
    session = ReferenceSession("formula")
    seen = []

    def interrupted(step: judging.Progress) -> None:
        seen.append(step.done)
        if len(seen) == 20:
            raise KeyboardInterrupt

    settings = Settings(load_profile("MT7004"), "smoke", jobs=2, draw="d")
    results = validate("it", session, Library(), suite, settings, interrupted)
    cases = sum(entry.cases for entry in results.entry_points)
    assert not results.complete and results.reason.startswith(f"Interrupted after {cases} of ")
