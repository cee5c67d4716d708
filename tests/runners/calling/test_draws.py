"""The order in which calls are made is drawn for each run, and nothing that is told depends on it."""

import itertools
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from golden.case import Case
from golden.files.collected import collect
from golden.files.manifest import suite_folder
from golden.files.vectors import VectorFile, read_vectors
from golden.judge import judge
from golden.operator import operator
from golden.profile import load_profile
from golden.results import Library, Results
from golden.tally import Accumulator
from golden.terms import Terms
from runners.calling.call import Call
from runners.calling.plan import invocations, shuffled, unreadable_cases
from runners.harness.session import ExecSession
from runners.judging.cases import Cases
from runners.judging.positions import Positions, look
from runners.judging.validate import Settings, validate
from runners.judging.verdict import EntryPointVerdict
from runners.judging.xfail import read_xfail
from runners.library.session import LibrarySession
from runners.models import ReferenceSession
from runners.toolchain.build import build_harness, build_library, include_dir
from tests.helpers.command import golden, needs_compiler
from tests.helpers.validating import case_with

PROFILE = load_profile("FT78NE")
SMOKE = suite_folder("smoke")
DRAWS = ("one", "another")

#: Kernels of fp_smoothl1lossgrad_p: ``good`` is the one that it replaces.
BUILDS = {
    "conforming": "good(dy, dx1, x1, x2, length, beta);",
    "wrong": (
        # Outside bounds, other bits within bounds by position and between _s and _p, unwritten, written beyond, ended:
        # each by what a call is, so the same in whatever order calls are made.
        "if (length == 7) abort(); good(dy, dx1, x1, x2, length, beta);"
        "for (int i = length / 8 * 8; i < length; i++) if (x1[i] - x2[i] < beta && x2[i] - x1[i] < beta)"
        "  dx1[i] = (x1[i] - x2[i]) * dy[i] / beta;"
        "for (int i = 9; i < length; i += 5) dx1[i] *= 1.0001f + 1e-5f * i;"
        "if (length == 16) dx1[16] = 0; if (length == 9) dx1[3] = dy[3] * 1e9f;"
        "if (length == 31 && ((unsigned long)dx1 & 63) == 4) dx1[5] = 1;"
    ),
}


def source(tmp_path: Path, build: str) -> Path:
    path = tmp_path / f"{build}.c"
    path.write_text(
        '#include <stdlib.h>\n#define fp_smoothl1lossgrad_p good\n#include "smoothl1lossgrad.c"\n'
        "#undef fp_smoothl1lossgrad_p\n"
        "void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)\n"
        f"{{ {BUILDS[build]} }}\n"
    )
    return path


def told(results: Results) -> dict[str, Any]:
    """Return what a run tells, but for what it was drawn from, and when and how long it was."""
    found: dict[str, Any] = msgspec.to_builtins(results)
    found["options"] = {name: value for name, value in found["options"].items() if name != "draw"}
    return {name: value for name, value in found.items() if name not in ("seconds", "created")}


def runs(kind: str, build: str, tmp_path: Path, files: Sequence[VectorFile]) -> list[Results]:
    flags = ["-DGOLDEN_FP32_ONLY", f"-I{include_dir()}", "-Wno-all", "-pthread"]
    found = []
    library = harness = Path()
    if kind != "reference":
        library = build_library(tmp_path / "lib.so", sources=[source(tmp_path, build)], cflags=flags)
    if kind == "exec":
        harness = build_harness(tmp_path / "harness", libraries=[library])
    for draw in DRAWS:
        session: Any
        if kind == "library":
            session = LibrarySession(library, timeout=2.0, draw=draw)
        elif kind == "exec":
            session = ExecSession(str(harness))
        else:
            session = ReferenceSession("formula" if build == "conforming" else "product-first")
        found.append(validate(kind, session, Library(), files, Settings(PROFILE, "smoke", draw=draw, strict=True)))
    return found


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "build", "suite"),
    [
        ("library", "wrong", "smoke"),
        ("reference", "conforming", "smoke"),
        pytest.param("library", "conforming", "smoke", marks=pytest.mark.confirm),
        *(pytest.param("exec", build, "smoke", marks=pytest.mark.confirm) for build in BUILDS),
        *(pytest.param("reference", build, "core", marks=pytest.mark.confirm) for build in BUILDS),
    ],
)
def test_two_draws_tell_the_same(kind: str, build: str, suite: str, tmp_path: Path) -> None:
    one, other = runs(kind, build, tmp_path, [read_vectors(suite_folder(suite) / "smoothl1lossgrad-fp32.h5")])
    assert (one.options["draw"], other.options["draw"]) == DRAWS
    assert one.verdict == ("conforms" if build == "conforming" else "fails"), one.reason
    if kind == "library" and build == "wrong":
        kinds = {f.kind for e in one.entry_points for f in e.failing} | {f.kind for f in one.findings}
        assert kinds >= {"value", "crash", "output-overrun", "position-dependent", "storage-dependent"}, kinds
    assert told(one) == told(other)
    assert list(map(list, _ordered(told(one)))) == list(map(list, _ordered(told(other))))


def _ordered(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what has an order that comparing does not see."""
    return [e[name] for e in results["entry_points"] for name in ("groups", "stress", "classes", "bits")]


class Recorder(ReferenceSession):
    """A model that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__("formula")
        self.calls: list[Call] = []

    def submit(self, call: Call) -> None:
        super().submit(call)
        self.calls.append(call)


def test_calls_are_the_same_in_another_order() -> None:
    files = [read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")]
    asked = []
    for draw in (*DRAWS, DRAWS[0]):
        session = Recorder()
        validate("it", session, Library(), files, Settings(PROFILE, "smoke", draw=draw))
        asked.append([msgspec.json.encode(call) for call in session.calls])
    one, other, again = asked
    assert one == again != other

    def content(calls: list[bytes]) -> list[object]:
        return sorted(repr((*call[:2], sorted(map(repr, call[2])))) for call in map(_fields, calls))

    assert content(one) == content(other)
    cases = [list(dict.fromkeys(repr(_fields(call)[:2]) for call in calls)) for calls in asked]
    assert cases[0] != cases[1] and sorted(cases[0]) == sorted(cases[1])
    begins = [[_fields(call)[2][0] for call in calls] for calls in asked]
    assert begins[0] != begins[1] and len({repr(first) for first in begins[0]}) > 3, "invocations too"


def _fields(call: bytes) -> tuple[Any, ...]:
    _, symbol, arguments, ways, *_ = msgspec.json.decode(call)
    return symbol, arguments, ways


def test_a_repetition_stays_one() -> None:
    file = read_vectors(suite_folder("core") / "smoothl1lossgrad-fp32.h5")
    for entry in file.operator.entry_points()[2:]:
        for case in file.cases[::40]:
            plan = invocations(case, entry, PROFILE)
            order = shuffled("x", case.id, len(plan))
            ways = [plan[number] for number in order]
            assert sorted(order) == list(range(len(plan)))
            assert ways.count(plan[0]) == plan.count(plan[0]) >= 2


def test_who_is_called_with_inaccessible_operands_is_drawn() -> None:
    file = read_vectors(suite_folder("core") / "nlllossgrad-fp32.h5")
    entry = operator("nlllossgrad").entry_points()[2]
    drawn = [unreadable_cases(draw, entry, file.heads) for draw in map(str, range(20))]
    assert {len(ids) for ids in drawn} == {7} and len(set(drawn)) == 20
    able = {h.id for h in file.heads if h.klass == "selection" and h.operator.untouched(h.scalars)}
    assert len(able) == 50 and len(frozenset().union(*drawn)) > 40 and frozenset().union(*drawn) <= able
    case = next(case for case in file.cases if case.id in drawn[0])
    assert [bool(i.unreadable) for i in invocations(case, entry, PROFILE, True)].count(True) == 1
    assert not any(i.unreadable for i in invocations(case, entry, PROFILE))


def test_no_case_outlives_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest cases take hundreds of megabytes: what is kept until the end must not hold on to their arrays."""
    file = read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")
    entry = next(e for e in file.operator.entry_points() if e.symbol == "fp_smoothl1lossgrad_s")
    alive: list[weakref.ref[Any]] = []
    monkeypatch.setattr("runners.judging.cases._AHEAD_BYTES", 0)  # as if these cases were large
    monkeypatch.setattr("runners.judging.verdict._TOGETHER_BYTES", 0)

    class Fresh(Sequence[Case]):
        """Cases whose arrays are made when they are asked for, as those of a bulk file are."""

        def __len__(self) -> int:
            return len(file.cases)

        def __getitem__(self, index: Any) -> Any:
            case = file.cases[index]
            operands = {name: values.copy() for name, values in case.operands.items()}
            alive.extend(weakref.ref(values) for values in operands.values())
            return Case(**vars(case.head), operands=operands, golden=case.golden)

    bulk = VectorFile(file.path, file.suite, file.operator, file.dtype, file.digest, file.heads, Fresh())
    verdict = EntryPointVerdict(entry, PROFILE, True, read_xfail(None))
    cases = Cases(ReferenceSession("product-first"), PROFILE, "x", "float16", "sum-mean-none")
    for _ in cases.run(entry, collect([bulk])["smoothl1lossgrad", entry.fmt.name], verdict):
        assert sum(ref() is not None for ref in alive) <= 3 * 4, "of the cases that are on their way"
    assert len(alive) == 3 * len(file.cases) and verdict.result(len(file.cases)).cases == len(file.cases)


@pytest.mark.confirm
def test_every_target_tells_what_its_run_was_drawn_from(tmp_path: Path) -> None:
    told_of = []
    for options in ((), (), ("--draw", "mine")):
        done = golden("validate", "reference:formula", "--suite", "smoke", "--out", tmp_path, *options)
        assert done.returncode == 0
        told_of.append(msgspec.json.decode((tmp_path / "results.json").read_bytes())["options"]["draw"])
    assert told_of[2] == "mine" and len(set(told_of)) == 3 and all(told_of)


def test_the_first_of_equal_cases_is_the_first_of_the_suite() -> None:
    cases = [case_with(n, 7.0) for n in (3, 4, 5, 6)]
    outputs = [(case.golden.value * np.float32(factor)) for case, factor in zip(cases, (1, 2, 2, 3), strict=True)]
    seen = []
    for order in itertools.permutations(range(4)):
        positions, rows = Positions(), Accumulator(detailed=True)
        for place in order:
            case, output = cases[place], outputs[place]
            positions.add(case, look(case, output), place)
            judged = judge(case, np.where(output == 3 * case.golden.value, case.golden.value, output), Terms())
            rows.add(case, output, judged, place=place)
        differing = [(head.id, where) for head, where in positions.differing()]
        seen.append((differing, rows.tally().worst, [found.case for found in rows.worst_cases()]))
    assert all(found == seen[0] for found in seen)
    assert seen[0][0] == [(case.id, where) for case, where in zip(cases, (None, 0, 0, 0), strict=True)]
    assert seen[0][1] is not None and seen[0][1].case == cases[1].id == seen[0][2][0]
