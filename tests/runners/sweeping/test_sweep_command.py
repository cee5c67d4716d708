"""``golden sweep``: options, defaults that follow platform and build, what it prints, exit codes."""

import hashlib
import json
from pathlib import Path

import pytest

from golden.cli import main
from tests.helpers.small_sweeps import build

LINE = "command line"
SMALL = ("--space", "random", "--samples", "2^14")
_FLUSHING = """
for (int i = 0; i < length; i++) {
    unsigned short bits;
    __builtin_memcpy(&bits, &dx1[i], 2);
    if (!(bits & 0x7c00)) bits &= 0x8000;
    __builtin_memcpy(&dx1[i], &bits, 2);
}
"""


class Command:
    """Runs ``golden sweep`` in this process."""

    def __init__(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._out, self._capsys = out, capsys
        self.printed = self.errors = ""

    def __call__(self, target: object, *options: str) -> int:
        with pytest.raises(SystemExit) as stop:
            main(["sweep", str(target), "--jobs", "1", "--out", str(self._out), *options])
        self.printed, self.errors = self._capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code

    @property
    def result(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self._out / "sweep.json").read_text())
        return found


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path / "out", capsys)


def test_a_sample_says_what_it_covers_and_that_its_maximum_is_a_lower_bound(kernels: Path, command: Command) -> None:
    assert command(kernels, *SMALL, "--beta", "0.1") == 0
    lines = command.printed.splitlines()
    assert lines[0] == (
        "hp_smoothl1lossgrad_p random: 16,384 points, 2^-34 of the space, so the maximum is a lower bound"
    )
    assert "max >= " in lines[1] and " 0 outside every legal bound" in lines[1] and len(lines) == 2
    first = command.result
    assert first["points"] == 1 << 14 and first["share"] == 2.0**-34 and first["exhaustive"] is False
    assert command(kernels, *SMALL, "--beta", "0.1", "--seed", "1") == 0
    assert command.result["parameters"]["seed"] == 1 and command.result["tally"] != first["tally"]  # type: ignore[index]
    assert command(kernels, *SMALL, "--beta", "0.1", "--seed", "0") == 0
    assert command.result["tally"] == first["tally"]


def test_an_exhaustive_sweep_says_that_its_maximum_is_an_upper_bound(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("reference:formula", "--space", "operand:dy", "--set", "x1=0.3", "--beta", "0.7") == 0
    assert "65,536 points, so the maximum is an upper bound" in command.printed
    assert "max <= " in command.printed and command.result["exhaustive"] is True


@pytest.mark.parametrize(("storage", "symbol"), [("shared", "hp_nlllossgrad_s"), ("private", "hp_nlllossgrad_p")])
def test_storage_chooses_the_entry_point(kernels: Path, command: Command, storage: str, symbol: str) -> None:
    assert command(kernels, *SMALL, "--operator", "nlllossgrad", "--storage", storage) == 0
    assert command.result["symbol"] == symbol


def test_subnormals_are_the_platforms(tmp_path: Path, command: Command) -> None:
    library = build(tmp_path, _FLUSHING)
    assert command(library, *SMALL) == 1
    assert command.result["flush"] is False and command.result["bound_exceeded"]
    assert command(library, *SMALL, "--platform", "mt7004") == 0
    assert command.result["flush"] is True


def test_half_is_passed_as_the_build_takes_it(uint16_half: Path, tmp_path: Path, command: Command) -> None:
    options = (*SMALL, "--beta", "0.1")
    assert command(uint16_half, *options) == 0 and "warning" not in command.printed
    assert command(uint16_half, *options, "--half-abi", "uint16") == 0
    assert command(uint16_half, *options, "--half-abi", "float16") == 1
    zeros = build(tmp_path, "for (int i = 0; i < length; i++) dx1[i] = 0;")
    assert command(zeros, *options) == 1
    assert "warning: Neither _Float16 nor uint16_t as the type of half" in command.printed


def test_reductions_are_numbered_as_the_build_does(other_numbers: Path, command: Command) -> None:
    library = other_numbers
    options = (*SMALL, "--operator", "nlllossgrad", "--reduction", "mean")
    assert command(library, *options) == 2
    assert command.errors == (
        f"golden: {library} numbers reductions none-sum-mean, not sum-mean-none: "
        "sweep with --reduction-enum none-sum-mean.\n"
    )
    assert command(library, *options, "--reduction-enum", "none-sum-mean") == 0
    assert "warning" not in command.printed
    assert command(library, *options, "--reduction-enum", "auto") == 0
    assert "warning: This build numbers reductions none-sum-mean" in command.printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--platform", "FT78NE"), "FT78NE has no hp_smoothl1lossgrad_p: choose another --dtype or --platform."),
        (("--platform", "FT79"), "There is no platform named 'FT79'"),
        (("--samples", "many"), "'many' is not a number of points such as 1000000 or 2^30."),
        (("--samples", "2^63"), "2^63"),
        (("--samples", "0"), "give 1 to 2^61"),
        (("--set", "dy"), "'dy' is not NAME=VALUE."),
        (("--space", "pears"), "did you mean 'pairs'?"),
        (("--storage", "public"), "'public' is not one of"),
    ],
)
def test_wrong_options_are_named(command: Command, options: tuple[str, ...], message: str) -> None:
    assert command("reference:formula", *options) == 2
    assert message in command.errors and "Traceback" not in command.errors


def test_a_folder_that_cannot_be_written_is_refused_first(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert command("reference:formula", *SMALL, "--out", str(tmp_path / "out" / "inner")) == 2
    assert command.errors.startswith("golden: Cannot write into ")


def test_the_help_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    text = capsys.readouterr().out
    assert text.count("golden sweep ") >= 6 and "--scheduler" in text
    assert max(map(len, text.splitlines())) <= 110


def test_what_a_configuration_contributes_is_stated(
    kernels: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    written = tmp_path / "golden.toml"
    written.write_text('[sweep]\ntimeout = 5\nout = "elsewhere"\n')
    monkeypatch.chdir(tmp_path)
    assert command(kernels, *SMALL, "--seed", "3") == 0
    sha256 = hashlib.sha256(written.read_bytes()).hexdigest()
    assert command.result["config"] == {"path": "golden.toml", "sha256": sha256, "options": ["timeout"]}
    sources = command.result["option_sources"]
    assert sources == {"space": LINE, "samples": LINE, "seed": LINE, "timeout": "golden.toml"}
    assert f"configuration: golden.toml, SHA-256 {sha256}: timeout" in command.printed
