"""Platform profiles: the shipped ones say what the pages say; a user's own is read, and its mistakes are named."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from golden.cli import cli
from golden.errors import UsageError
from golden.operator import entry_points
from golden.profile import ALLOWANCES, Calling, Memory, Profile, Provenance, load_profile, shipped
from golden.terms import Accept, Figures, PlatformArithmetic
from tests import ROOT

OWN = """
name = "board"
summary = "a board"
dtypes = ["fp16", "fp32"]
cores = 4
subnormals = "flush"
half = "uint16"
operators = { nlllossgrad = ["fp32"] }
"""


def test_shipped_profiles_require_what_the_pages_say() -> None:
    assert shipped() == ["FT78NE", "MT7004", "host"]
    assert {e.fmt.name for e in load_profile("FT78NE").required()} == {"fp32"}
    assert {e.symbol for e in load_profile("FT78NE").required()} == {s for s in entry_points() if s.startswith("fp_")}
    assert {e.symbol for e in load_profile("mt7004").required()} == {*entry_points()}
    for name in ("FT78NE", "MT7004"):
        profile = load_profile(name)
        assert profile.terms.flush and profile.full_mask == 0xFF
        assert profile.provenance.stated and profile.provenance.assumed
    assert not load_profile("host").terms.flush


def test_own_profile(tmp_path: Path) -> None:
    path = tmp_path / "ein Brett.toml"
    path.write_text(OWN)
    profile = load_profile(str(path))
    symbols = {e.symbol for e in profile.required()}
    assert symbols == {symbol for symbol in entry_points() if not symbol.startswith("hp_nlllossgrad")}
    assert profile.full_mask == 0xF


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("cores = 4", "cores = 33"), "cores"),
        (("cores = 4", "cors = 4"), "cors"),
        (('"flush"', '"sometimes"'), "subnormals"),
        (('["fp16", "fp32"]', '["bf16"]'), "dtypes"),
        (('["fp16", "fp32"]', "[]"), "no dtype"),
        (('name = "board"', 'name = "board'), "not valid"),
        (("cores = 4", "cors = 4"), "there is no key 'cors'; did you mean 'cores'\\?"),
        (("cores = 4", "cores = 4\ncpu_frequency = 1"), "there is no key 'cpu_frequency'; known are name, summary,"),
        (("cores = 4", ""), "'cores' must be given too"),
        (("cores = 4", 'cores = "4"'), "Expected `int`, got `str` - at `\\$.cores`"),
        (('["fp16", "fp32"]', '["fp16", "bf16"]'), "dtypes: there is no dtype 'bf16'; known are fp16, fp32"),
        (('nlllossgrad = ["fp32"]', 'nlllossgrad = ["fp64"]'), "nlllossgrad: there is no dtype 'fp64'"),
        (("nlllossgrad", "nllossgrad"), "There is no operator named 'nllossgrad'; did you mean 'nlllossgrad'\\?"),
        (("cores = 4", "cores = 4\nalignment = 12"), "alignment = 12 is no power of two"),
        (("cores = 4", "cores = 4\ncalling = { alignment = 12 }"), "calling.alignment = 12 is no power of two"),
        (("cores = 4", "cores = 4\nalignment = 8\ncalling = { alignment = 16 }"), "give one of them"),
        (("cores = 4", "cores = 4\ncalling = { core-masks = [] }"), "calling.core-masks is empty"),
        (("cores = 4", "cores = 4\ncalling = { core-masks = [16] }"), "0x10 is no mask of 4 cores"),
        (
            ("cores = 4", 'cores = 4\ncalling = { aliasing = ["dx1 = weight"] }'),
            "'dx1 = weight' is no output and an input",
        ),
        (("cores = 4", "cores = 4\ncalling = { lenghts = { multiple = 4 } }"), "did you mean 'lengths'\\?"),
        (("cores = 4", "cores = 4\ncalling = { lengths = { multiple = 0 } }"), "Expected `int` >= 1"),
        (("cores = 4", "cores = 4\nmemory = { sharde = [4096] }"), "'memory.sharde'; did you mean 'shared'\\?"),
        (("cores = 4", "cores = 4\nmemory = { shared = [4097] }"), "memory.shared: 0x1001 is no address of a page"),
        (("cores = 4", "cores = 4\nmemory = { private = [-4096] }"), "memory.private: -0x1000 is no address"),
        (
            ("cores = 4", "cores = 4\nmemory = { shared = [0xA0000000], private = [0xA00ff000] }"),
            "memory.shared 0xa0000000 and memory.private 0xa00ff000 overlap",
        ),
    ],
)
def test_mistakes_are_named(change: tuple[str, str], word: str, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(OWN.replace(*change))
    with pytest.raises(UsageError, match=word) as caught:
        load_profile(str(path))
    assert str(path) in str(caught.value)


def test_full_mask_of_32_cores_is_a_c_int(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(OWN.replace("cores = 4", "cores = 32"))
    assert load_profile(str(path)).full_mask == -1


def test_unknown_platform_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="MT7004"):
        load_profile("MT7005")


def test_regions_that_just_fit(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(OWN + "\n[memory]\nshared = [0xA0000000, 0xA0100000]\nprivate = [0x1000]\n")
    assert load_profile(str(path)).memory.shared == [0xA0000000, 0xA0100000]


def golden(*words: str) -> str:
    done = CliRunner().invoke(cli, ["--no-config", "platforms", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_command_shows_what_is_stated_and_what_is_assumed(tmp_path: Path) -> None:
    for name in shipped():
        assert name in golden()
        profile = load_profile(name)
        stated, _, assumed = golden(name).partition("stated by the pages:")[2].partition("assumed:")
        assert all(line in stated for line in profile.provenance.stated or ["nothing"])
        assert all(line in assumed for line in profile.provenance.assumed)
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    shown = golden(str(path), "FT78NE")
    assert "fp16, fp32 (nlllossgrad: fp32)" in shown and "0x10800000" in shown and "0xf\n" in shown
    facts = json.loads(golden(str(path), "--json"))[0]
    assert facts["memory"] == {"shared": [], "private": []} and len(facts["entry_points"]) == len(entry_points()) - 2
    assert [p["name"] for p in json.loads(golden("--json"))] == shipped()


def test_the_document_names_every_key() -> None:
    text = (ROOT / "docs/platform-profiles.md").read_text(encoding="utf-8")
    tables = {
        "": Profile,
        "memory.": Memory,
        "provenance.": Provenance,
        "arithmetic.": PlatformArithmetic,
        "calling.": Calling,
        "accept.": Accept,
    }
    apart = ("memory", "provenance", "arithmetic", "calling", "accept", "origin", "fp32", "fp16")
    for prefix, schema in tables.items():
        for field in msgspec.structs.fields(schema):
            assert f"| `{prefix}{field.encode_name}` |" in text or field.name in apart, field.name
    assert all(f"`{name}`" in text for name in Figures.__struct_fields__)


ARITHMETIC = """
[arithmetic]
fp32 = { divide = 2.5, reciprocal = 1.5 }
rounding = "toward-zero"
exact-powers = false
[calling]
specials = "finite"
[accept]
range = "any-order"
nan = "unspecified"
"""


def test_terms_of_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN + ARITHMETIC)
    profile = load_profile(str(path))
    terms = profile.terms
    assert (terms.arithmetic.fp32.divide, terms.arithmetic.fp32.add, terms.arithmetic.fp16.divide) == (2.5, 0.5, 0.5)
    assert terms.any_range and terms.any_nan and profile.calling.specials == "finite"
    assert terms.told() == (
        "fp32.divide = 2.5, fp32.reciprocal = 1.5, rounding = toward-zero, exact-powers = false, range = any-order, "
        "nan = unspecified"
    )
    assert load_profile("host").terms.told() == ""
    allowed = load_profile("host").allowing(["overflow", "nan"]).terms
    assert allowed.any_range and allowed.any_nan and set(ALLOWANCES) == {"overflow", "nan"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("fp32 = { divide = 0.4 }", "0.5"),
        ("fp32 = { divide = nan }", "divide"),
        ("fp64 = { divide = 1 }", "arithmetic.fp64"),
        ("fp32 = { division = 1 }", "divide"),
        ('rounding = "up"', "up"),
        ("exact-power = true", "exact-powers"),
    ],
)
def test_figures_that_make_no_sense(line: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f"{OWN}\n[arithmetic]\n{line}\n")
    with pytest.raises(UsageError) as error:
        load_profile(str(path))
    assert str(path) in str(error.value) and named in str(error.value)
