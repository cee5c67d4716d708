"""Platform profiles: the shipped ones say what the pages say; a user's own is read, and its mistakes are named."""

from pathlib import Path

import pytest

from golden.errors import UsageError
from golden.profile import load_profile, shipped

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
    assert len(load_profile("FT78NE").required()) == 4
    assert len(load_profile("mt7004").required()) == 8
    for name in ("FT78NE", "MT7004"):
        profile = load_profile(name)
        assert profile.may_flush and profile.full_mask == 0xFF
        assert profile.provenance.stated and profile.provenance.assumed
    assert not load_profile("host").may_flush


def test_own_profile(tmp_path: Path) -> None:
    path = tmp_path / "ein Brett.toml"
    path.write_text(OWN)
    profile = load_profile(str(path))
    symbols = {e.symbol for e in profile.required()}
    assert "hp_nlllossgrad_s" not in symbols and "hp_smoothl1lossgrad_s" in symbols and len(symbols) == 6
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
