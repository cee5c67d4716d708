"""What a suite's plans cover between them, and that none leaves what a profile says of calls."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from golden.calling import Calling, Lengths
from golden.files.collected import subset
from golden.files.manifest import suite_folder
from golden.files.vectors import VectorFile, read_vectors
from golden.operator import EntryPoint, entry_points
from golden.profile import Profile, load_profile
from runners.calling.call import UNREAD, Invocation, PointerArgument, unread_content
from runners.calling.from_case import call_for
from runners.calling.manner import Manner
from runners.calling.placement import remainders
from runners.calling.plan import invocations

HOST = load_profile("host")
NLL, SMOOTH = (entry_points()[f"hp_{name}lossgrad_s"] for name in ("nll", "smoothl1"))


@pytest.fixture(scope="module")
def files() -> dict[str, VectorFile]:
    core = suite_folder("core")
    return {e.symbol: read_vectors(core / f"{e.operator.name}-{e.fmt.name}.h5") for e in (NLL, SMOOTH)}


def plans(file: VectorFile, entry: EntryPoint, profile: Profile = HOST) -> list[list[Invocation]]:
    return [invocations(case, entry, profile, aliasing=True) for case in file.cases]


@pytest.mark.parametrize("entry", [NLL, SMOOTH], ids=lambda e: e.operator.name)
def test_over_a_suite_every_operand_is_alone_and_every_grid_there(
    entry: EntryPoint, files: dict[str, VectorFile]
) -> None:
    made = [i for plan in plans(files[entry.symbol], entry) for i in plan]
    assert {i.alone for i in made} == {"", *(p.name for p in entry.operator.pointers)}
    grids = Counter(i.grid & -i.grid for i in made if i.grid and not i.alone)
    assert set(grids) == {32, 64, 128, 256, 512, 1024, 2048} and min(grids.values()) > 10
    assert any(i.grid & (i.grid - 1) for i in made), "odd multiples of a grid, too"
    assert {i.grid for i in made if i.alone} == {0, 16, 64}
    assert not any(i.alias for i in made)


def test_content_that_must_not_matter_is_of_every_kind(files: dict[str, VectorFile]) -> None:
    made = Counter(i.unread for plan in plans(files[NLL.symbol], NLL) for i in plan[:5])
    assert set(made) == set(UNREAD) and min(made.values()) > 200
    assert {i.unread for plan in plans(files[SMOOTH.symbol], SMOOTH)[:50] for i in plan} <= {"nan", "ones"}
    assert unread_content("zeros", 2, 6) == bytes(6) and unread_content("nan", 4, 8) == b"\xff" * 8
    assert len(unread_content("numbers", 4, 44)) == 44 and unread_content("ones", 2, 4) == b"\x00\x3c" * 2


def calling(**keys: object) -> Profile:
    return msgspec.structs.replace(HOST, calling=msgspec.convert(keys, Calling), alignment=keys.get("alignment", 0))  # type: ignore[arg-type]


def test_places_are_as_aligned_as_the_profile_says(files: dict[str, VectorFile]) -> None:
    profile = calling(alignment=64, overread=32)
    for entry in (NLL, SMOOTH):
        moved = Counter[str]()
        for case in files[entry.symbol].cases[::8]:
            plan = invocations(case, entry, profile)
            assert all(i.overread == 32 for i in plan)
            call = call_for(entry, case.scalars, case.operands, plan)
            rows, unit = remainders(call)
            assert unit % 64 == 0 and not any(place % 64 for row in rows for place in row)
            moved.update(i.alone for i in plan)
            names = [a.name for a in call.arguments if isinstance(a, PointerArgument)]
            for i, row in zip(plan, rows, strict=True):
                if i.alone and i.alone != "labels":  # whose elements are twice as long
                    assert len({place for n, place in zip(names, row, strict=True) if n != i.alone}) == 1
                    assert row[names.index(i.alone)] != row[names.index(i.alone) - 1]
        assert len(moved) > 3


@pytest.mark.parametrize(
    ("masks", "allowed"),
    [("prefix", {(1 << k) - 1 for k in range(1, 9)}), ("full", {255}), ([0x11, 0x0F, 2], {0x11, 0x0F, 2})],
)
def test_masks_are_those_of_the_profile(masks: object, allowed: set[int], files: dict[str, VectorFile]) -> None:
    profile = calling(**{"core-masks": masks})
    made = plans(files[SMOOTH.symbol], SMOOTH, profile)
    assert {i.core_mask for plan in made for i in plan} == allowed
    largest = max(allowed, key=int.bit_count)
    assert all(plan[0].core_mask == largest for plan in made)
    assert Manner.of(profile).one == min(allowed, key=int.bit_count)


def test_outputs_lie_on_inputs_where_the_profile_says_so(files: dict[str, VectorFile]) -> None:
    profile = calling(aliasing=["dx1 = dy", "dx1=x2", "logits_grad = logits"])
    before = plans(files[SMOOTH.symbol], SMOOTH)
    made = plans(files[SMOOTH.symbol], SMOOTH, profile)
    assert {i.alias for plan in made for i in plan} == {"", "dy", "x2"}
    assert abs(sum(map(len, before)) - sum(map(len, made))) < 0.03 * sum(map(len, before)), "none more a case"
    case = files[SMOOTH.symbol].cases[0]
    assert not any(i.alias for i in invocations(case, SMOOTH, profile)), "where the session cannot have it"


def test_cases_of_other_lengths_are_left_out(files: dict[str, VectorFile]) -> None:
    manner = Manner.of(calling(lengths={"multiple": 8, "least": 16}))
    for entry, name in ((NLL, "class_num"), (SMOOTH, "length")):
        file = files[entry.symbol]
        some = subset(file, manner.takes)
        values = {int(head.scalars[name]) for head in some.heads}
        assert values and all(v >= 16 and v % 8 == 0 for v in values)
        assert len(some.cases) == len(some.heads) < len(file.heads)
        assert [c.id for c in some.cases[:5]] == [h.id for h in some.heads[:5]]
    assert subset(file, lambda head: True) is file


def test_lengths_go_up_to_the_next_that_may_be() -> None:
    lengths = Lengths(16, 20)
    assert [lengths.up(n) for n in (0, 1, 32, 33)] == [32, 32, 32, 48] and str(
        lengths
    ) == "multiples of 16, at least 20"
    assert Lengths().up(0) == 1 and Lengths().takes(0) and not lengths.takes(16) and str(Lengths()) == "any"


def test_a_profile_says_it_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    text = 'name = "p"\nsummary = "s"\ndtypes = ["fp16"]\ncores = 4\nsubnormals = "flush"\nhalf = "uint16"\n[calling]\n'
    path.write_text(
        text + 'alignment = 32\ncore-masks = "prefix"\nlengths = { multiple = 4 }\naliasing = ["dx1 = x1"]\n'
    )
    profile = load_profile(str(path))
    assert profile.alignment == 32 and profile.masks == (15, 7, 3, 1) and profile.full_mask == 15
    assert profile.calling.told() == "lengths: multiples of 4; core masks: prefix; in place: dx1 = x1"
    assert profile.calling.aliases("dx1") == ["x1"] and profile.calling.lengths == Lengths(4, 0)
