"""Commands as a user types them, each a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.helpers.warm import LATE, Warm

COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc or gcc) on this machine")


#: A file that shows what a validation does, in a quarter of the time of its suite.
SMALLEST = ROOT / "vectors/smoke/smoothl1lossgrad-fp16.h5"
#: Runs commands for all tests of a process; the session closes it.
WARM = Warm()


def golden(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Type a command; it is forked from a process that has its imports unless the environment matters to these."""
    words, environment = [*map(str, arguments)], {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    if set(env or {}) <= LATE:
        return WARM.run("golden", words, cwd or ROOT, environment, timeout)
    command = [sys.executable, "-m", "golden.cli", *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd or ROOT, env=environment, timeout=timeout, check=False
    )


def one_sentence(text: str) -> bool:
    return text.startswith("golden: ") and text.count("\n") == 1 and "Traceback" not in text


def cases_of(suite: str, named: str = "") -> int:
    """Count the cases of a committed suite; ``named``: a text, of the operators or dtypes that it names."""
    manifest = json.loads((ROOT / "vectors" / suite / "manifest.json").read_text())
    files = manifest["files"].items()
    return sum(f["cases"] for name, f in files if not named or any(n in named for n in Path(name).stem.split("-")))


def one_operator(folder: Path, operator: str = "smoothl1lossgrad", suite: str = "smoke") -> Path:
    """Make a folder of the files that a committed suite has of one operator, for ``--vectors``."""
    shipped, folder = ROOT / "vectors" / suite, folder / operator
    manifest = json.loads((shipped / "manifest.json").read_text())
    manifest["files"] = {name: file for name, file in manifest["files"].items() if name.startswith(operator)}
    folder.mkdir(parents=True)
    for name in manifest["files"]:
        shutil.copyfile(shipped / name, folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
