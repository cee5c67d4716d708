"""``python:MODULE:OBJECT``: what an object gets and may return, what it does wrong, and what cannot be loaded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from golden.errors import TargetError, UsageError
from golden.files.results import read_results
from golden.operator import entry_points
from runners.calling.call import Invocation, Outcome
from runners.calling.from_case import call_for
from runners.calling.placement import Regions
from runners.harness.adapter import CallableSession
from tests import ROOT
from tests.helpers.command import golden

SYMBOL = "fp_smoothl1lossgrad_p"


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(session: CallableSession, n: int, *plan: Invocation, symbol: str = SYMBOL) -> list[Outcome]:
    operands = {name: np.arange(1, n + 1, dtype=np.float32) for name in ("dy", "x1", "x2")}
    operands["x2"] = operands["x2"] - 1
    return session.run(call_for(entry_points()[symbol], {"length": n, "beta": 2.0}, operands, plan or (Invocation(),)))


def validate(target: str, out: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return golden("--no-config", "validate", target, "--suite", "smoke", "--out", out, *options)


def test_an_object_gets_the_call_and_its_result_comes_back() -> None:
    session = CallableSession("tests.python_targets:broken")
    assert session.symbols == set(entry_points()) and session.load_findings == []
    for n in (0, 12, 30):
        outcome = run(session, n)[0]
        assert outcome.status == "ok" and outcome.findings == []
        assert np.frombuffer(outcome.output, np.float32).tolist() == (np.arange(1, n + 1) / 2).tolist()
    assert session.close() == []


def test_operands_lie_where_the_invocation_wants_them() -> None:
    session = CallableSession("tests.python_targets:broken")
    plans = {
        Invocation(): [128 - 40] * 3,
        Invocation(placement="begin", offset=2): [8] * 3,
        Invocation(placement="begin", offset=1, skew=5): [4, 44, 0],
    }
    for plan, expected in plans.items():
        assert np.frombuffer(run(session, 10, plan)[0].output, np.float32)[:3].tolist() == expected
    session.close()


@pytest.mark.parametrize(
    ("n", "status", "says"),
    [
        (1, "crash", "returned list, not a NumPy array."),
        (2, "crash", "returned an array of float64, not of float32."),
        (3, "crash", "returned an array of shape [2], not [3]."),
        (
            *(4, "crash"),
            "raised ValueError: four is not supported (tests/python_targets.py:{_misbehave} in _misbehave, called from "
            "tests/python_targets.py:{broken} in broken).",
        ),
        (5, "crash", "crashed with SIGSEGV."),
        (6, "exit", "ended with exit code 6."),
        (7, "timeout", "did not return within 1 s."),
    ],
)
def test_what_goes_wrong_costs_only_its_invocation(n: int, status: str, says: str) -> None:
    session = CallableSession("tests.python_targets:broken", timeout=1.0)
    first, second = run(session, n, Invocation(), Invocation(fill=1))
    lines = (ROOT / "tests/python_targets.py").read_text().splitlines()
    raised = next(i for i, line in enumerate(lines, 1) if "raise ValueError" in line)
    called = next(i for i, line in enumerate(lines, 1) if "return _misbehave" in line)
    says = says.format(_misbehave=raised, broken=called)
    assert (first.status, first.message) == (status, f"{SYMBOL} {says}")
    assert second.status == ("not-run" if status == "timeout" else status)
    assert run(session, 12)[0].status == "ok"
    session.close()


def test_a_function_is_what_its_module_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``operators``, ``name`` and ``version`` are read from the nearest owner that has them, and is no other thing."""
    (tmp_path / "stated.py").write_text(
        "from types import SimpleNamespace\n"
        "operators, name, version = {'smoothl1lossgrad': ['fp32']}, 'vendor', '3.1'\n"
        "def f(operator, dtype, scalars, operands):\n    return operands['dy']\n"
        "inner = SimpleNamespace(f=f, name='inner')\n"
    )
    (tmp_path / "imports.py").write_text("from golden.operator import operators\nfrom stated import f\nname = 7\n")
    monkeypatch.chdir(tmp_path)
    smooth = {"fp_smoothl1lossgrad_s", "fp_smoothl1lossgrad_p"}
    for name, title, symbols in [
        ("stated:f", "vendor 3.1", smooth),
        ("stated:inner.f", "inner 3.1", smooth),
        ("imports:f", "imports:f", set(entry_points())),
    ]:
        session = CallableSession(name)
        assert (session.library.compiler, session.symbols) == (title, symbols)
        session.close()


def test_an_exception_costs_no_process() -> None:
    session = CallableSession("tests.python_targets:broken")
    run(session, 12)
    assert session._peer is not None
    before = session._peer.pid
    assert [o.status for o in run(session, 4, *[Invocation()] * 3)] == ["crash"] * 3
    assert run(session, 12)[0].status == "ok" and session._peer.pid == before
    session.close()


def test_an_object_that_always_raises_is_given_up() -> None:
    session = CallableSession("tests.python_targets:broken")
    assert {o.status for o in run(session, 4, *[Invocation()] * 100)} == {"crash"}
    assert [o.message for o in run(session, 4)] == [f"{SYMBOL} was not called again after 100 crashes."]
    session.close()


def test_what_is_printed_and_written_is_found() -> None:
    session = CallableSession("tests.python_targets:broken")
    printed = run(session, 8)[0]
    assert printed.stderr == "hello from Python\n" and [f.kind for f in printed.findings] == ["printed"]
    written = run(session, 9)[0].findings
    assert [(f.kind, f.operand, f.element) for f in written] == [("input-written", "x1", 4)]
    assert run(session, 11)[0].status == "ok" and run(session, 12)[0].status == "ok"
    session.close()


def test_a_changed_rounding_mode_is_found_and_set_back() -> None:
    session = CallableSession("tests.python_targets:upward")
    for outcome in run(session, 12, Invocation(), Invocation()):
        assert [f.message for f in outcome.findings] == ["The call changed rounding mode from to nearest to upward."]
        assert np.frombuffer(outcome.output, np.float32).tolist() == (np.arange(1, 13) / 2).tolist()
    session.close()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:x", "there is no module 'no_such_module', neither among the installed ones nor"),
        (
            "tests.python_targets:formul",
            "tests.python_targets has no 'formul' (did you mean 'formula'?).",
        ),
        (
            "tests.python_targets:number",
            "tests.python_targets.number is neither callable nor has it a method",
        ),
        ("tests.python_targets:_Upward", "tests.python_targets._Upward is a class: name an instance"),
        ("tests.python_targets:no_mapping", "no_mapping.operators is no mapping of operators to dtypes"),
        ("reports.published.regenerat:x", "there is no module 'reports.published.regenerat'"),
    ],
)
def test_what_cannot_be_loaded(name: str, says: str) -> None:
    with pytest.raises(TargetError) as caught:
        CallableSession(name)
    assert str(caught.value).startswith("The adapter cannot work: ") and says in str(caught.value)


@pytest.mark.parametrize("name", ["", "tests.python_targets", "tests.python_targets:", ":x", "a b:c", "a/b.py:c"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="is not python:MODULE:OBJECT"):
        CallableSession(name)


def test_modules_are_found_where_the_user_is_and_take_nobodys_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "import wave\n\ndef f(operator, dtype, scalars, operands):\n    return operands['dy']\n"
    )
    (tmp_path / "broken_import.py").write_text("import no_such_package\n")
    (tmp_path / "raises.py").write_text("raise RuntimeError('no licence')\n")
    for taken in ("numpy", "golden", "struct", "wave"):
        (tmp_path / f"{taken}.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    session = CallableSession("mine:f")
    assert run(session, 12)[0].status == "ok"
    session.close()
    with pytest.raises(TargetError, match="broken_import needs the module 'no_such_package', which is not installed"):
        CallableSession("broken_import:f")
    with pytest.raises(TargetError, match="importing raises failed: RuntimeError: no licence"):
        CallableSession("raises:f")


def test_documented_addresses_are_refused() -> None:
    with pytest.raises(TargetError, match="this adapter cannot place operands at addresses"):
        CallableSession("tests.python_targets:formula", regions=Regions((1 << 28,), (1 << 28,)))


@pytest.mark.confirm
def test_a_whole_run(tmp_path: Path) -> None:
    done = validate("python:tests.python_targets:fp32_only", tmp_path, "--platform", "FT78NE")
    assert done.returncode == 0, done.stdout + done.stderr
    results = read_results(tmp_path / "results.json")
    assert results.library.compiler == "formula 1.2" and results.complete
    assert {e.grade for e in results.entry_points} == {"formula"}
    contracts = {c.name: c for c in results.entry_points[0].contracts}
    assert not contracts["outside-access"].observable and not contracts["core-mask"].observable
    for name in ("inputs-unchanged", "placement", "unread-operands", "repetition", "position", "fp-environment"):
        assert contracts[name].observable and contracts[name].checked and not contracts[name].broken, name
    assert any(f.kind == "not-observable" for f in results.findings)


def test_reading_what_must_not_be_read_fails(tmp_path: Path) -> None:
    done = validate("python:tests.python_targets:reads_logits", tmp_path, "--platform", "FT78NE")
    assert done.returncode == 1
    results = read_results(tmp_path / "results.json")
    status = {e.symbol: e.status for e in results.entry_points}
    assert status["fp_smoothl1lossgrad_s"] == "pass" and status["fp_nlllossgrad_s"] == "fail"
    broken = {c.name for e in results.entry_points for c in e.contracts if c.broken}
    assert "unread-operands" in broken


def test_exit_codes_and_sweeps(tmp_path: Path) -> None:
    assert validate("python:nosuch:x", tmp_path).returncode == 3
    assert validate("python:nosuch", tmp_path).returncode == 2
    command = [
        sys.executable,
        "-m",
        "golden.cli",
        "--no-config",
        "sweep",
        "python:tests.python_targets:formula",
    ]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "python: is too slow for whole input spaces" in done.stderr
