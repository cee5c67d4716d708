"""The workflow files in ``examples/ci``, run as their servers do: a report is kept whatever the verdict."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from golden.cli import cli
from tests import ROOT

GITHUB, GITLAB = ROOT / "examples/ci/github.yml", ROOT / "examples/ci/gitlab-ci.yml"
needs_cc = pytest.mark.skipif(
    (shutil.which("cc") or shutil.which("gcc")) is None, reason="no C compiler (cc or gcc) on this machine"
)
#: What the build is in place of, and a build that lacks what MT7004 requires.
BUILD = "golden build -o libvendor.so"
LACKING = f"{BUILD} --cflags=-DGOLDEN_FP32_ONLY"


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a runner on which installing does nothing, and golden is this one."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, line in {
        "golden": f'exec "{sys.executable}" -m golden.cli "$@"',
        "pip": 'test "$*" = "install golden-kernels"',
        "sudo": 'exec "$@"',
        "apt-get": "exit 0",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    env = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **env, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}


def shell(script: str, env: dict[str, str], tmp_path: Path) -> bool:
    """Run a script as both servers do, and tell whether it succeeded; of the suites the small one will do here."""
    script = script.replace("golden validate ", "golden validate --suite smoke ")
    command = ["bash", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, env=env, cwd=tmp_path / "work", check=False).returncode == 0


def read(path: Path) -> dict[Any, Any]:
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@needs_cc
@pytest.mark.confirm
@pytest.mark.parametrize("build", [BUILD, LACKING])
def test_github(build: str, machine: dict[str, str], tmp_path: Path) -> None:
    workflow = read(GITHUB)
    job, ran, kept = workflow["jobs"]["validate"], [], []
    for step in job["steps"]:
        if all(ran) or step.get("if") == "always()":
            if "run" in step:
                script = step["run"].replace(BUILD, build)
                ran.append(shell(script, machine | workflow["env"], tmp_path))
            elif "path" in step.get("with", {}):
                kept.append(tmp_path / "work" / step["with"]["path"])
    assert ran == [True, True, build == BUILD, True]
    assert [path.name for path in kept] == ["report", "pages"]
    assert {path.name for path in kept[0].iterdir()} == {"results.json", "report.md", "report.html", "junit.xml"}
    assert (kept[1] / "index.html").read_text() == (kept[0] / "report.html").read_text()
    assert ("**CONFORMS**" if build == BUILD else "**FAILS**") in (tmp_path / "summary.md").read_text()
    publish = workflow["jobs"]["publish"]
    assert publish["needs"] == "validate" and publish["if"].startswith("always() && ")


@needs_cc
@pytest.mark.parametrize("build", [pytest.param(b, marks=pytest.mark.confirm) for b in (BUILD, LACKING)])
def test_gitlab(build: str, machine: dict[str, str], tmp_path: Path) -> None:
    pipeline = read(GITLAB)
    job, pages = pipeline["conformance"], pipeline["pages"]
    script = "\n".join([*job["before_script"], *job["script"]]).replace(BUILD, build)
    assert shell(script, machine | pipeline["variables"], tmp_path) == (build == BUILD)
    kept = job["artifacts"]
    assert kept["when"] == "always" and (tmp_path / "work" / kept["reports"]["junit"]).is_file()
    assert kept["paths"] == ["report"] and pages["needs"] == ["conformance"] and pages["rules"][0]["when"] == "always"
    assert shell("\n".join(pages["script"]), machine, tmp_path)
    assert (tmp_path / "work/public/index.html").is_file() and pages["artifacts"]["paths"] == ["public"]


@pytest.mark.parametrize("name", ["examples/ci/github.yml", "examples/ci/gitlab-ci.yml", "Dockerfile"])
def test_commands_in_them_are_commands(name: str) -> None:
    """Also where PyYAML is missing, and for the Dockerfile, which no test builds."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", "")
    found = re.findall(r"(?<![\w/-])golden ([a-z]+(?: [^`#\n|]+)?)", text)
    known = [words for words in map(shlex.split, found) if words[0] in cli.commands]
    assert {"validate", "doctor"} <= {words[0] for words in known}
    for command, *arguments in known:
        with cli.commands[command].make_context(command, arguments) as context:
            assert isinstance(context, click.Context)
