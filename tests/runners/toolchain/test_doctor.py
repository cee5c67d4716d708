"""The doctor looks at the real thing, and says what to do about what is not there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from golden.cli import cli
from runners.toolchain import doctor
from runners.toolchain.doctor import Check, diagnose, healthy, render, sandboxed
from tests.helpers.command import needs_compiler
from tests.helpers.validating import run_library


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    found = diagnose()
    assert len({c.name for c in found}) == len(found)
    return {check.name: check for check in found}


def test_a_machine_that_runs_these_tests_is_healthy(checks: dict[str, Check]) -> None:
    assert healthy(list(checks.values()))
    for name in ("Python", "numpy", "h5py", "byte order", "guard pages", "fault addresses", "suite core"):
        assert checks[name].state == "ok", checks[name]
    assert "write" in checks["fault addresses"].found or "unknown" in checks["fault addresses"].found
    assert "golden can validate libraries here" in render(list(checks.values()))


def test_every_check_says_what_it_enables_and_the_rest_what_to_do(checks: dict[str, Check]) -> None:
    for check in checks.values():
        assert check.found and check.enables
        assert bool(check.advice) == (check.state != "ok"), check


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on PATH")
def test_the_compiler_is_asked(checks: dict[str, Check]) -> None:
    assert "gcc" in checks["gcc"].found.lower()
    program = "_Float16 x;\n"
    accepted = subprocess.run(["gcc", "-xc", "-fsyntax-only", "-"], input=program, text=True, check=False)
    assert (checks["gcc: fp16"].state == "ok") == (accepted.returncode == 0)


def test_without_a_compiler_only_building_is_impossible(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    found = {check.name: check for check in diagnose()}
    assert found["C compiler"].state == "absent" and "install" in found["C compiler"].advice
    assert found["aarch64 emulator"].state == "absent" and "qemu-user" in found["aarch64 emulator"].advice
    assert healthy(list(found.values()))


def test_a_compiler_without_fp16_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "gcc"
    compiler.write_text('#!/bin/sh\ncase "$1" in --version) echo old gcc 4.8;; *) exit 1;; esac\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    found = {check.name: check for check in diagnose()}
    assert found["gcc"].found == "old gcc 4.8"
    assert found["gcc: fp16"].state == "absent" and "GOLDEN_FP32_ONLY" in found["gcc: fp16"].advice


@pytest.mark.parametrize(
    ("attribute", "value", "name"),
    [
        ("_PACKAGES", ("no-such-package",), "no-such-package"),
        ("_FAULT_PROGRAM", "print(7)", "guard pages"),
        ("_FAULT_PROGRAM", "raise OSError('seccomp')", "guard pages"),
    ],
)
def test_what_is_essential_and_missing_is_named(
    attribute: str, value: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, attribute, value)
    found = diagnose()
    assert not healthy(found)
    assert [check.name for check in found if check.state == "missing"] == [name]
    text = render(found)
    assert f"golden cannot validate a library here: {name}." in text
    assert next(c for c in found if c.name == name).advice in text


def test_a_missing_suite_is_essential_if_it_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "suite_folder", lambda name: tmp_path)
    found = {check.name: check.state for check in diagnose()}
    assert (found["suite core"], found["suite smoke"]) == ("missing", "absent")


def test_the_byte_order_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    assert doctor._byte_order().state == "missing"


@pytest.mark.parametrize(
    ("attribute", "value", "code"),
    [
        ("", None, 0),
        ("_PACKAGES", ("no-such-package",), 2),
        ("arithmetic_fault", lambda: "Flush-to-zero is on.", 5),
        ("machine_fault", lambda: "/proc is not there.", 5),
        ("_FAULT_PROGRAM", "print(7)", 5),
    ],
)
def test_the_exit_code_says_whether_a_verdict_could_be_trusted(
    attribute: str, value: object, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if attribute:
        monkeypatch.setattr(doctor, attribute, value)
    done = CliRunner().invoke(cli, ["--no-config", "doctor"])
    assert done.exit_code == code
    assert ("No verdict of this machine could be trusted: " in done.output) == (code == 5)
    if callable(value):
        assert value() in done.output and "exit code 5" in done.output
    facts = json.loads(CliRunner().invoke(cli, ["--no-config", "doctor", "--json"]).output)
    assert (facts["trusted"], facts["healthy"]) == (code != 5, code == 0)


@needs_compiler
def test_layers_are_named_as_in_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnose()
    results = run_library(tmp_path, "good(dy, dx1, x1, x2, length, beta);")
    assert results.options["sandbox"] == sandboxed(found)
    assert f"Libraries are kept in (as results say, sandbox): {sandboxed(found)}" in render(found)
    monkeypatch.setattr(doctor, "_SANDBOX_PROGRAM", "print('landlock')")
    found = diagnose()
    assert sandboxed(found) == "landlock" and healthy(found)
    assert "landlock, not namespaces and not seccomp: '--sandbox require' is refused." in render(found)
    monkeypatch.setattr(doctor, "_SANDBOX_PROGRAM", "raise OSError('not here')")
    found = diagnose()
    assert sandboxed(found) == "none" and {c.found for c in found if "sandbox" in c.name} == {"OSError: not here"}
