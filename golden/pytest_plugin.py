"""pytest plugin: golden vector files as tests of a library.

``pytest vectors/core --golden-library LIB --golden-platform P`` collects every ``.h5`` file: one item for each case on
each entry point that the platform requires, ``FILE::SYMBOL::CASE``, selectable with ``-k``, parallel with xdist. Each
process has one session with the library. Without ``--golden-library`` nothing is collected and nothing is imported:
everything of ours that is heavy is imported where it is used.
"""

import argparse
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from golden.case import Head
    from golden.files.vectors import VectorFile
    from golden.operator import EntryPoint
    from golden.profile import Profile
    from golden.results import EntryPointResult, Failure
    from runners.calling.from_case import HalfAbi
    from runners.judging.xfail import Xfail
    from runners.library.session import LibrarySession
#: As :data:`golden.files.names.NUMBERING_OPTION`, which is not imported where the plugin is not used.
_NUMBERING = "reduction-enum"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; ``--golden-library`` switches everything on."""
    group = parser.getgroup("golden", "golden: hold a build of the DSP kernels against golden vectors")
    group.addoption("--golden-library", metavar="LIB", help="Shared library to test; collects .h5 vector files.")
    group.addoption(
        "--golden-platform", metavar="P", default="host", help="FT78NE, MT7004, host, or a profile's path [host]."
    )
    group.addoption("--golden-half-abi", choices=["auto", "float16", "uint16"], default="auto", help="C type of half.")
    group.addoption(
        f"--golden-{_NUMBERING}",
        choices=["sum-mean-none", "none-sum-mean", "auto"],
        default="sum-mean-none",
        help="What the numbers 0, 1, 2 mean.",
    )
    group.addoption(
        "--golden-allow",
        choices=["overflow", "nan"],
        action="append",
        default=[],
        help="Accept overflow in any order's intermediates, or any result for NaN (may be repeated).",
    )
    group.addoption(
        "--golden-require",
        choices=["correctly-rounded", "faithful", "formula", "legal"],
        default="",
        help="The least grade that is accepted.",
    )
    group.addoption(
        "--golden-max-ulp",
        type=_limit,
        action="append",
        default=[],
        metavar="X|DTYPE=X",
        help="The largest error that is accepted, in ulp (may be repeated).",
    )
    group.addoption("--golden-strict", action="store_true", help="Let the stress tier decide too.")
    group.addoption("--golden-xfail", metavar="FILE", help="Expected failures: lines 'SYMBOL CASE  # reason'.")
    group.addoption(
        "--golden-timeout", type=_seconds, default=10.0, metavar="S", help="Seconds a kernel call may take."
    )
    group.addoption(
        "--golden-recheck", action="store_true", help="Compute the golden values of all vectors again, not of a few."
    )


def _seconds(text: str) -> float:
    """Read a time as the command line does."""
    from golden.commands.options import Seconds

    return float(_converted(Seconds(), text))


def _limit(text: str) -> tuple[str, float]:
    """Read a largest error as the command line does."""
    from golden.commands.options import MaxUlp

    dtype, limit = _converted(MaxUlp(), text)
    return dtype, limit


def _converted(kind: Any, text: str) -> Any:
    import click

    try:
        return kind.convert(text, None, None)
    except click.BadParameter as error:
        raise argparse.ArgumentTypeError(error.message) from error


class _Target(NamedTuple):
    """The library under test in this process, and how it is called."""

    session: "LibrarySession"
    profile: "Profile"
    half_abi: "HalfAbi"
    numbering: str
    misnumbered: str  #: why entry points with a choice are not run, or ""
    strict: bool
    xfail: "Xfail"


_TARGET = pytest.StashKey[_Target]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Open the library, so that one that cannot be loaded is one sentence and not a failure of every case."""
    if session.config.getoption("--golden-library") is not None:
        from golden.errors import GoldenError
        from golden.shadow import require_ours

        try:
            require_ours()
            session.config.stash[_TARGET] = _open(session.config)
        except GoldenError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last item, end the library: one that dies then, or died between two items, is an error."""
    if nextitem is not None or _TARGET not in item.config.stash:
        return
    if died := [finding.message for finding in item.config.stash[_TARGET].session.close() if finding.symbol]:
        pytest.fail("\n".join(died), pytrace=False)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the library's processes."""
    if _TARGET in config.stash:
        config.stash[_TARGET].session.close()
        del config.stash[_TARGET]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name what is tested."""
    if config.getoption("--golden-library") is None:
        return []
    return [f"golden: {config.getoption('--golden-library')} for {config.getoption('--golden-platform')}"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Where modules could not be collected, say whether they and golden are after packages of the same name."""
    if config.getoption("--golden-library") is not None and terminalreporter.getreports("error"):
        from golden.errors import UsageError
        from golden.shadow import require_ours

        try:
            require_ours()
        except UsageError as error:
            terminalreporter.write_line(f"golden: {error}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take vector files and the manifests of suites, if there is a library to test."""
    if parent.config.getoption("--golden-library") is None:
        return None
    if file_path.suffix == ".h5":
        return Vectors.from_parent(parent, path=file_path)
    return Manifest.from_parent(parent, path=file_path) if file_path.name == "manifest.json" else None


def _open(config: pytest.Config) -> _Target:
    from golden.operator import choice_words
    from golden.profile import load_profile
    from golden.selfcheck import check_arithmetic, require_machine
    from runners.calling.manner import Manner
    from runners.judging.probe import probe_half_abi, probe_numbering
    from runners.judging.xfail import read_xfail
    from runners.library.session import LibrarySession

    require_machine()
    check_arithmetic()
    # pytest may run in another folder than the one where paths were typed.
    folder, expected = config.invocation_params.dir, config.getoption("--golden-xfail")
    xfail = read_xfail(folder / expected if expected else None)
    profile = load_profile(config.getoption("--golden-platform")).allowing(config.getoption("--golden-allow"))
    profile = profile.holding(config.getoption("--golden-require"), config.getoption("--golden-max-ulp"))
    library = LibrarySession(
        folder / config.getoption("--golden-library"), timeout=config.getoption("--golden-timeout")
    )
    library.manner = Manner.of(profile)
    half_abi, numbers = config.getoption("--golden-half-abi"), config.getoption(f"--golden-{_NUMBERING}")
    if half_abi == "auto":
        half_abi = "uint16" if probe_half_abi(library) == "uint16" else "float16"
    found, misnumbered = probe_numbering(library), ""
    known = found not in ("unknown", "other")
    if numbers == "auto":
        numbers = found if known else "sum-mean-none"
    elif known and found != numbers:
        option = f"--golden-{_NUMBERING} {found}"
        misnumbered = f"This build numbers {choice_words()} {found}, not {numbers}: add {option} to judge the rest."
    return _Target(library, profile, half_abi, numbers, misnumbered, config.getoption("--golden-strict"), xfail)


class Manifest(pytest.File):
    """A suite's manifest: no item, but an error if a file is missing that it names."""

    def collect(self) -> Iterator[pytest.Item]:
        """Check that no file is missing."""
        from golden.text import plain

        missing = [name for name in _digests(self.path) if not (self.path.parent / name).is_file()]
        if missing:
            raise self.CollectError(plain(f"{self.path.parent} lacks {', '.join(missing)}, which its manifest names."))
        return iter(())


class Vectors(pytest.File):
    """A vector file: one collector an entry point."""

    def collect(self) -> Iterator["Symbol"]:
        """Read and verify the file; damage is a collection error of one sentence."""
        from golden.errors import GoldenError
        from golden.files.manifest import open_file

        digests = _digests(self.path.with_name("manifest.json"))
        try:
            file = open_file(self.path, digests.get(self.path.name), self.config.getoption("--golden-recheck"))
        except GoldenError as error:
            raise self.CollectError(str(error)) from error
        for entry in self.config.stash[_TARGET].profile.required():
            if (entry.operator.name, entry.fmt.name) == (file.operator.name, file.dtype):
                yield Symbol.from_parent(self, name=entry.symbol, entry=entry, file=file)


class Symbol(pytest.Collector):
    """An entry point: one item a case, or a single one that says why no case can run."""

    def __init__(self, *, entry: "EntryPoint", file: "VectorFile", **others: Any) -> None:
        super().__init__(**others)
        self.entry, self.file = entry, file

    def collect(self) -> Iterator[pytest.Item]:
        """Yield the items in the file's order."""
        target = self.config.stash[_TARGET]
        if self.entry.symbol not in target.session.symbols:
            reason = f"{self.entry.symbol} is not in {target.session.library.path}; {target.profile.name} requires it."
            yield Refused.from_parent(self, name="missing", reason=reason)
        elif target.misnumbered and any(s.kind == "choice" for s in self.entry.operator.scalars):
            yield Refused.from_parent(self, name=_NUMBERING, reason=target.misnumbered)
        else:
            for position, head in enumerate(self.file.heads):
                yield CaseItem.from_parent(
                    self, name=head.id, entry=self.entry, head=head, file=self.file, position=position
                )


class KernelError(Exception):
    """A case failed; its failures are the second argument."""


class _Item(pytest.Item):
    """What the items have in common: a failure is shown as its sentence, without a traceback."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show a kernel's failure and a damaged file as text, and anything else as pytest does."""
        from golden.errors import VectorError

        if isinstance(excinfo.value, KernelError | VectorError):
            return str(excinfo.value.args[0])
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Name the item as one selects it."""
        return self.path, None, f"{self.parent.name if self.parent else ''}::{self.name}"


class Refused(_Item):
    """Stands for all cases of an entry point that cannot be run."""

    def __init__(self, *, reason: str, **others: Any) -> None:
        super().__init__(**others)
        self._reason = reason

    def runtest(self) -> None:
        """Fail."""
        raise KernelError(self._reason)


class CaseItem(_Item):
    """One case on one entry point, run in all the ways that must not change a bit of the result."""

    def __init__(self, *, entry: "EntryPoint", head: "Head", file: "VectorFile", position: int, **others: Any) -> None:
        super().__init__(**others)
        self._entry, self._head = entry, head
        self._file, self._position = file, position

    def runtest(self) -> None:
        """Run and judge the case; one of the stress tier that fails is an expected failure unless strict."""
        from runners.calling.from_case import call_for
        from runners.calling.plan import invocations, unreadable_cases
        from runners.judging.verdict import EntryPointVerdict

        target, case = self.config.stash[_TARGET], self._file.cases[self._position]
        if not target.session.manner.takes(self._head):
            pytest.skip(f"the profile says that lengths are {target.profile.calling.lengths}")
        closed = case.id in unreadable_cases(target.session.draw, self._entry, self._file.heads)
        session = target.session
        plan = invocations(case, self._entry, target.profile, closed, session.plain, session.aliasing)
        abi, numbers = target.half_abi, target.numbering
        call = call_for(self._entry, case.scalars, case.operands, plan, half_abi=abi, numbering=numbers)
        verdict = EntryPointVerdict(self._entry, target.profile, strict=True, xfail=target.xfail)
        verdict.add(case, plan, target.session.run(call))
        result = verdict.result(expected=1)
        if result.expected_failures:
            pytest.xfail(f"expected by {target.xfail.name}")
        self._record(result, target.profile)
        if result.failing and case.tier == "stress" and not target.strict:
            pytest.xfail(f"in the stress tier, which does not decide: {result.failing[0].message}")
        if result.failing:
            raise KernelError(self._text(result.failing))

    def _record(self, result: "EntryPointResult", profile: "Profile") -> None:
        """Add what JUnit files show as properties."""
        tallies = [*result.groups.values(), *result.stress.values()]
        grade = tallies[0].grade if tallies and not result.failing else "fails"
        properties = {
            "golden_platform": profile.name,
            "golden_symbol": self._entry.symbol,
            "golden_class": self._head.klass,
            "golden_tier": self._head.tier,
            "golden_grade": grade,
        }
        if tallies and tallies[0].measured:
            properties["golden_max_ulp"] = f"{tallies[0].max_ulp:.6g}"
            properties["golden_misrounded"] = str(tallies[0].misrounded)
        self.user_properties += list(properties.items())

    def _text(self, failures: "list[Failure]") -> str:
        from golden.results import Number

        def shown(value: Number | int | str) -> str:
            return f"{value.hex} ({value.bits}, {value.decimal})" if isinstance(value, Number) else str(value)

        lines = [f"{self._entry.symbol}: {self._head.id}"]
        lines += [f"{failure.kind}: {failure.message}" for failure in failures]
        if first := next((f.first for f in failures if f.first), None):
            lines += [f"element {first.index}:"]
            lines += [f"  {name} = {shown(value)}" for name, value in first.inputs.items()]
            lines += [f"  expected {shown(first.expected)}", f"  got      {shown(first.got)}"]
        return "\n".join([*lines, "", f"again: {self._command()}", f"inputs: golden show {shlex.quote(self._head.id)}"])

    def _command(self) -> str:
        """Return the command that runs this item alone, from the folder where pytest was started."""
        path = os.path.relpath(self.path, self.config.invocation_params.dir)
        words = ["pytest", f"{path}::{self._entry.symbol}::{self._head.id}"]
        for name, default in (("library", None), ("platform", "host"), ("half-abi", "auto"), ("xfail", None)):
            value = self.config.getoption(f"--golden-{name}")
            words += [f"--golden-{name}", value] if value != default else []
        if (numbers := self.config.getoption(f"--golden-{_NUMBERING}")) != "sum-mean-none":
            words += [f"--golden-{_NUMBERING}", numbers]
        words += ["--golden-strict"] if self.config.getoption("--golden-strict") else []
        return shlex.join(words)


def _digests(path: Path) -> dict[str, str]:
    """Return the digests of a manifest's files; nothing where there is none, or one that is not ours."""
    from golden.errors import GoldenError
    from golden.files.manifest import read_manifest

    try:
        return {name: file.digest for name, file in read_manifest(path.parent).files.items()}
    except GoldenError:
        return {}
