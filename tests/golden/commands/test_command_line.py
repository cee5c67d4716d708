"""Quiet and JSON output, colour, width, exit codes in help texts, suggestions, completion: in every command."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class

from golden.cli import cli
from golden.files import names
from golden.files.vectors import read_vectors
from golden.operator import entry_points
from tests import ROOT
from tests.helpers.command import SMALLEST, WARM, cases_of, golden, one_sentence

CASE = "smoothl1lossgrad/fp16/beta=0.1/kink/n=33"
SMOKE = ("--suite", "smoke")
VALIDATE = ("validate", "reference:formula", "--vectors", SMALLEST)


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that fails: a model that flushes, held to a platform that preserves."""
    out = tmp_path_factory.mktemp("failing")
    assert golden("validate", "reference:flush", *SMOKE, "--out", out).returncode == 1
    return out


def in_terminal(*arguments: object, columns: int = 80, **env: str) -> str:
    """Run a command with a terminal for its output and return what it wrote there."""
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    environment = {**clean, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": str(columns), **env}
    return WARM.run("golden", [*map(str, arguments)], ROOT, environment, 60, terminal=True).stdout


def last_screen(text: str) -> str:
    """Return what stays on the screen: progress bars are erased before what is meant to stay."""
    return text.rpartition("\x1b[2K")[2]


# --- quiet and JSON ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", *SMOKE, "--operator", "nlllossgrad", "--dtype", "fp32"),
        VALIDATE,
        ("sweep", "reference:formula", "--space", "random", "--samples", "4096"),
        ("hunt", "reference:formula", "--symbol", "hp_smoothl1lossgrad_p", "--rounds", "4"),
    ],
)
def test_quiet_prints_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = golden(*arguments, "--out", tmp_path, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir())  # what it does otherwise is printed by every other test of these commands


def test_quiet_is_quiet_in_a_terminal_and_says_errors(tmp_path: Path) -> None:
    assert in_terminal(*VALIDATE, "--out", tmp_path, "--quiet") == ""
    done = golden("validate", "reference:formla", "--quiet", "--out", tmp_path)
    assert done.returncode == 2 and one_sentence(done.stderr)


def test_quiet_build_doctor_and_diff(failing: Path, tmp_path: Path) -> None:
    if shutil.which("cc") or shutil.which("gcc"):
        done = golden("build", "-o", tmp_path / "lib.so", "-q")
        assert (done.returncode, done.stdout) == (0, "") and (tmp_path / "lib.so").exists()
    assert golden("doctor", "-q").stdout == ""
    golden(*VALIDATE, "--out", tmp_path)
    done = golden("diff", tmp_path / "results.json", failing / "results.json", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_json_of_validate_has_the_keys_of_results(failing: Path, tmp_path: Path) -> None:
    done = golden("validate", "reference:flush", *SMOKE, "--out", tmp_path, "--json")
    assert done.returncode == 1 and done.stderr == ""
    summary = json.loads(done.stdout)
    results = json.loads((tmp_path / "results.json").read_text())
    assert summary["schema"] == "golden-summary/1" and summary["verdict"] == "fails"
    assert set(results) | {"files"} == set(summary)
    for key in ("reason", "platform", "target", "options", "probe", "complete", "vectors"):
        assert summary[key] == results[key]
    assert all(Path(path).is_file() for path in summary["files"].values()) and len(summary["files"]) == 4
    for entry, whole in zip(summary["entry_points"], results["entry_points"], strict=True):
        assert {k: v for k, v in entry.items() if whole.get(k) != v} == {"reproduce": entry["reproduce"]}
        assert ("golden repro" in entry["reproduce"]) == (entry["status"] == "fail")


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        (
            ("probe", "reference:formula", *SMOKE),
            lambda d: d["half_abi"] == "float16" and [e["symbol"] for e in d["entry_points"]] == [*entry_points()],
        ),
        (("list",), lambda d: d["models"]["exact"] and {p["name"] for p in d["platforms"]} >= {"MT7004"}),
        (
            ("list", "operators"),
            lambda d: [e["symbol"] for o in d["operators"] for e in o["entry_points"]] == [*entry_points()],
        ),
        (("list", "cases", "kink", *SMOKE), lambda d: CASE in [case["id"] for case in d["cases"]]),
        (("list", "classes", *SMOKE), lambda d: sum(c["cases"] for c in d["classes"]) == cases_of("smoke")),
        (("list", "flags"), lambda d: "tail" in d["flags"]),
        (("list", "suites"), lambda d: {"core", "smoke"} <= set(d["suites"])),
        (
            ("show", CASE, *SMOKE, "--element", "3"),
            lambda d: d["id"] == CASE and d["elements"][0]["index"] == 3 and d["elements"][0]["golden"]["bits"],
        ),
        (("show", CASE, *SMOKE), lambda d: len(d["elements"]) == 8 and d["size"] == 33),
        (("doctor",), lambda d: d["healthy"] is True and d["checks"][0]["name"] == "Python"),
        (
            ("sweep", "reference:formula", "--space", "random", "--samples", "4096", "--out", "{tmp}"),
            lambda d: d["points"] == 4096 and d["complete"] is True,
        ),
        (
            ("hunt", "reference:exact", "--symbol", "fp_smoothl1lossgrad_p", "--out", "{tmp}"),
            lambda d: d[0]["symbol"] == "fp_smoothl1lossgrad_p" and d[0]["fails"] is False,
        ),
    ],
)
def test_json(arguments: tuple[str, ...], holds: Callable[[object], bool], tmp_path: Path) -> None:
    done = golden(*(a.replace("{tmp}", str(tmp_path)) for a in arguments), "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    document = json.loads(done.stdout)
    assert holds(document), done.stdout[:500]


def test_json_and_text_of_show_say_the_same() -> None:
    element = json.loads(golden("show", CASE, *SMOKE, "--element", "2", "--json").stdout)["elements"][0]
    text = golden("show", CASE, *SMOKE, "--element", "2").stdout
    assert re.search(rf"golden +{re.escape(element['golden']['decimal'])} .*{element['golden']['bits']}", text)
    for name, got in element["orders"].items():
        assert re.search(rf"{name} +(same|.*{got['bits']})", text), name


def test_json_of_diff_is_its_json_format(failing: Path) -> None:
    both = [
        golden("diff", failing / "results.json", failing / "results.json", *o)
        for o in (["--json"], ["--format", "json"])
    ]
    assert both[0].stdout == both[1].stdout and json.loads(both[0].stdout)["schema"] == "golden-diff/1"


# --- colour and width -------------------------------------------------------------------------------------------


def test_colour_only_in_a_terminal_that_wants_it(tmp_path: Path) -> None:
    arguments = (*VALIDATE, "--out", tmp_path)
    colour = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    assert colour.search(last_screen(in_terminal(*arguments)))
    assert not colour.search(last_screen(in_terminal(*arguments, NO_COLOR="1")))
    assert "\x1b" not in golden(*arguments).stdout
    assert "\x1b" not in last_screen(in_terminal(*arguments, TERM="dumb"))


def test_what_is_piped_is_not_folded(failing: Path) -> None:
    done = golden("validate", "reference:flush", *SMOKE, "--out", failing, env={"COLUMNS": "30"})
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r"[hf]p_\w+ ", line)]
    assert len(rows) == len(entry_points()) and all(len(row) == 6 for row in rows)
    assert any(line.startswith("fails: ") and line.endswith(".") for line in done.stdout.splitlines())


@pytest.mark.parametrize("what", [("operators",), ("cases", *SMOKE)])  # less than a buffer, and more
def test_a_closed_pipe_ends_a_command_quietly(what: tuple[str, ...]) -> None:
    gone, pipe = os.pipe()
    os.close(gone)
    command = [sys.executable, "-m", "golden.cli", "list", *what]
    ended = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(pipe)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_sentence() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "golden.cli", "list", "cases", *SMOKE]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 2
    assert one_sentence(ended.stderr) and "No space left on device" in ended.stderr


def test_a_command_leaves_signals_alone() -> None:
    """A judge that died of SIGPIPE would be taken down by a kernel that ends while a request is written to it."""
    program = "import signal; from golden.cli import cli; cli.main(['list', 'flags'], standalone_mode=False);"
    program += "assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN"
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, cwd=ROOT, check=True)


def test_sixty_columns(tmp_path: Path) -> None:
    fails = ("validate", "reference:flush", "--vectors", SMALLEST)
    screen = last_screen(in_terminal(*fails, "--out", tmp_path, columns=60))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen).replace("\r", "")
    lines = plain.splitlines()
    assert all(len(line) <= 60 or line.startswith(("  golden repro", "report: ")) for line in lines), lines
    assert any(re.match(r"hp_smoothl1lossgrad_s +fail", line) for line in lines)
    for command in ["", *cli.commands]:
        text = golden(*command.split(), "--help", env={"COLUMNS": "60"}).stdout
        body, _, rest = text.partition("Examples:")
        long = [line for line in body.splitlines() + rest.partition("Exit codes:")[2].splitlines() if len(line) > 60]
        assert not long, (command, long)


# --- exit codes and examples in help texts ----------------------------------------------------------------------


@cache
def listed(command: str) -> set[int]:
    text = golden(*command.split(), "--help").stdout.partition("Exit codes:")[2]
    return {int(number) for number in re.findall(r"^ +(\d+)  ", text, re.M)}


def test_exit_codes_in_help() -> None:
    assert listed("") == {0, 1, 2, 3, 4, 5, 130}
    assert listed("validate") == listed("diff") == {0, 1, 2, 3, 4, 5, 130}
    assert listed("sweep") == listed("hunt") == {0, 1, 2, 3, 5, 130}
    assert listed("probe") == {0, 2, 3, 4, 5}
    assert listed("list") == {0, 2, 4}
    assert listed("show") == listed("repro") == {0, 2, 4, 5}
    assert listed("doctor") == {0, 2, 5}


def test_commands_end_with_the_codes_that_their_help_lists(failing: Path, tmp_path: Path) -> None:
    text, cut, out = tmp_path / "text.so", tmp_path / "cut.h5", ("--out", str(tmp_path / "o"))
    text.write_text("no library\n")
    cut.write_bytes((ROOT / "vectors/smoke/smoothl1lossgrad-fp16.h5").read_bytes()[:5000])
    results = failing / "results.json"
    swept = ("sweep", "reference:formula", "--space", "random", "--samples", "1024", *out)
    runs = [
        ("build", ("build", "--cflags", "'", *out[1:0])),
        ("generate", ("generate", "--suite", "cor", *out)),
        ("report", ("report", text)),
        ("report", ("report", results, "--out", tmp_path / "r.md")),
        ("validate", ("validate", text, *out)),
        ("validate", ("validate", "reference:exact", "--vectors", cut, *out)),
        ("probe", ("probe", text)),
        ("probe", ("probe", "reference:nothing")),
        ("sweep", ("sweep", text, *out)),
        ("sweep", swept),
        ("hunt", ("hunt", text, *out)),
        ("list", ("list", "cases", "--vectors", cut)),
        ("list", ("list", "cases", "--suite", "cor")),
        ("show", ("show", CASE, "--vectors", cut)),
        ("diff", ("diff", results, results)),
        ("diff", ("diff", results, text)),
        ("repro", ("repro", text, CASE)),
    ]
    for command, arguments in runs:
        done = golden(*arguments)
        assert done.returncode in (listed(command) or {0, 2}), (arguments, done.returncode, done.stderr)
        assert done.returncode == 0 or one_sentence(done.stderr), (arguments, done.stderr)


def test_every_command_has_examples_and_help_for_every_option() -> None:
    for name, command in cli.commands.items():
        assert "Examples:" in (command.epilog or ""), name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)


# --- suggestions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("validte",), "Did you mean 'validate'?"),
        (("validate", "x", "--plaform", "host"), "'--platform'?"),
        (("validate", "reference:exact", "--platform", "MT704"), "did you mean 'MT7004'?"),
        (("validate", "reference:exact", "--platform", "ft78en"), "did you mean 'FT78NE'?"),
        (("validate", "reference:exact", "--suite", "smok"), "did you mean 'smoke'?"),
        (("validate", "reference:exact", "--half-abi", "floatl6"), "did you mean 'float16'?"),
        (("validate", "reference:product-frist"), "did you mean 'product-first'?"),
        (("generate", "--operator", "smoothl1losgrad"), "did you mean 'smoothl1lossgrad'?"),
        (("generate", "--dtype", "fp61"), "did you mean 'fp16'?"),
        (("generate", "--suite", "ful"), "did you mean 'full'?"),
        (("show", "smoothl1lossgrad/fp16/beta=0.5/kink/n=32"), "did you mean 'smoothl1lossgrad/fp16/beta=0.5/kink/n=3"),
        (
            ("show", "nothing of the kind"),
            f"none of the {cases_of('core')} there are is like it: see 'golden list cases'.",
        ),
        (("list", "platform"), "did you mean 'platforms'?"),
        (("report", "x", "--format", "markdown"), "known are md, html"),
        (("sweep", "reference:exact", "--space", "dif-dy"), "did you mean 'diff-dy'?"),
        (("sweep", "reference:exact", "--reduction", "meen"), "did you mean 'mean'?"),
        (("hunt", "reference:exact", "--symbol", "hp_smoothl1losgrad_s"), "did you mean 'hp_smoothl1lossgrad_s'?"),
        (("completion", "bsh"), "did you mean 'bash'?"),
        (("validate", "x", "--config", "y"), "--config stands before the command: golden --config"),
    ],
)
def test_what_is_misspelt_is_told_in_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    done = golden(*arguments)
    assert (done.returncode, done.stdout) == (2, "") and one_sentence(done.stderr), done.stderr
    assert words in done.stderr


# --- completion -------------------------------------------------------------------------------------------------


def completed(*words: str) -> list[str]:
    """Ask through click's protocol for bash: the words as bash splits them, the last one being typed."""
    environment = {"COMP_WORDS": "\n".join(("golden", *words)), "COMP_CWORD": str(len(words))}
    done = golden(env={**environment, "_GOLDEN_COMPLETE": "bash_complete"})
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [line.partition(",")[2] if line.startswith("plain,") else line for line in done.stdout.split()]


def test_completion_of_commands_and_names() -> None:
    assert completed("va") == ["validate"]
    assert completed("validate", "x", "--pl") == ["--platform"]
    assert completed("validate", "x", "--platform", "m") == ["MT7004"]
    assert completed("validate", "x", "--platform", "=", "F") == ["FT78NE"]
    assert completed("validate", "x", "--platform", "own.to") == ["file,own.to"]
    assert {"core", "smoke"} <= set(completed("list", "cases", "--suite", ""))
    assert completed("generate", "--operator", "n") == ["nlllossgrad"]
    assert completed("hunt", "x", "--symbol", "fp_n") == ["fp_nlllossgrad_s", "fp_nlllossgrad_p"]
    assert completed("validate", "x", "--half-abi", "u") == ["uint16"]
    assert completed("validate", "lib") == ["file,lib"]
    assert completed("validate", "reference", ":", "rec") == ["reciprocal"]
    assert completed("show", "--suite", "none there", "smooth") == []


def test_completion_of_cases(failing: Path) -> None:
    file = ROOT / "vectors/smoke/smoothl1lossgrad-fp16.h5"
    ids = {case.id for case in read_vectors(file).cases}
    assert set(completed("show", "--vectors", shlex.quote(str(file)), "")) == ids
    assert len(completed("show", "--suite", "smoke", "")) == cases_of("smoke")
    assert completed("show", "smoothl1lossgrad/fp16/beta", "=", "0.5/kink/n", "=", "3") == ["31"]
    assert completed("show", "--vectors", str(ROOT / "README.md"), "s") == []
    results = json.loads((failing / "results.json").read_text())
    bad = {f["case"] for entry in results["entry_points"] for f in entry["failing"]}
    assert set(completed("repro", str(failing / "results.json"), "")) == bad
    assert completed("repro", str(ROOT / "README.md"), "") == []


def test_names_are_those_of_the_packages() -> None:
    from golden.operator import operators
    from golden.profile import load_profile

    assert names.operators() == list(operators())
    assert all(load_profile(name).name == name for name in names.platforms())


def test_completion_imports_nothing_heavy() -> None:
    code = "import sys, golden.cli; print([m for m in ('numpy', 'h5py', 'rich', 'msgspec') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_script_is_clicks_own() -> None:
    for shell in ("bash", "zsh", "fish"):
        found = get_completion_class(shell)
        assert found is not None
        assert golden("completion", shell).stdout.rstrip("\n") == found(
            cli, {}, "golden", "_GOLDEN_COMPLETE"
        ).source().rstrip("\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_take_the_script(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} on this machine")
    script = tmp_path / "completion"
    script.write_text(golden("completion", shell).stdout)
    done = subprocess.run([program, "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_bash_completes_a_case_as_typed(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "golden").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m golden.cli "$@"\n')
    (folder / "golden").chmod(0o755)
    script = (
        'eval "$(golden completion bash)"\n'
        "COMP_WORDS=(golden show smoothl1lossgrad/fp16/beta = 0.5/ki); COMP_CWORD=4\n"
        '_golden_completion golden\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0.5/kink/n=31", "0.5/kink/n=97"], done.stderr
