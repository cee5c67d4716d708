"""Exports of the smoke suite, and what is validated through them."""

from pathlib import Path

from click.testing import CliRunner, Result

from golden.cli import cli
from golden.files.results import read_results
from golden.results import Results

SMOKE = ("--suite", "smoke", "--platform", "MT7004")
#: Few enough bytes that calls with many core masks do not fit into one blob.
TIGHT = 1 << 16


def golden(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(w) for w in words])


def exported(folder: Path, *options: object) -> Path:
    done = golden("export", "--out", folder, "--draw", "tests", *options)
    assert done.exit_code == 0, (done.output, done.exception)
    return folder


def validated(target: object, out: Path, *options: object) -> tuple[Results, Result]:
    done = golden("validate", target, "--out", out, *options)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return read_results(out / "results.json"), done
