"""Whoever calls a build keeps to its profile: one that ends its process at any other call is none the worse."""

from pathlib import Path

import pytest

from golden.errors import UsageError
from golden.files.vectors import read_vectors
from golden.profile import Profile, load_profile
from runners.calling.manner import Manner
from runners.hunting.hunt import hunt
from runners.judging.traits import inspect
from runners.judging.validate import Settings, validate
from runners.library.session import LibrarySession
from runners.sweeping.engine import open_work, sweep
from runners.sweeping.processes import Processes
from runners.sweeping.space import make_space
from runners.toolchain.build import build_library, include_dir
from tests.helpers.command import needs_compiler
from tests.helpers.validating import SMOKE

_HALF, _FLOAT = (
    f"""
void {prefix}_smoothl1lossgrad_p({real} *dy, {real} *dx1, {real} *x1, {real} *x2, int length, {real} beta)
{{ check(dy, dx1, x1, x2, length * sizeof *dy, length, 1);
   good_{prefix}_p(dy, dx1, x1, x2, length, beta); }}
void {prefix}_smoothl1lossgrad_s({real} *dy, {real} *dx1, {real} *x1, {real} *x2, int length, {real} beta, int mask)
{{ check(dy, dx1, x1, x2, length * sizeof *dy, length, mask);
   good_{prefix}_s(dy, dx1, x1, x2, length, beta, mask); }}
"""
    for prefix, real in (("hp", "half"), ("fp", "float"))
)
_NAMES = [f"{prefix}_smoothl1lossgrad_{storage}" for prefix in ("hp", "fp") for storage in "sp"]
_PARTICULAR = "\n".join(
    [
        "#include <stdint.h>\n#include <stdlib.h>",
        *(f"#define {name} good_{name[:2]}_{name[-1]}" for name in _NAMES),
        '#include "smoothl1lossgrad.c"',
        *(f"#undef {name}" for name in _NAMES),
        """
static void check(void *dy, void *dx1, void *x1, void *x2, size_t size, int length, int mask)
{
    uintptr_t all = (uintptr_t)dy | (uintptr_t)dx1 | (uintptr_t)x1 | (uintptr_t)x2;
    if (all & 63 || length % 16 || length < 16 || mask & (mask + 1) || mask < 1) abort();
    *(volatile char *)((char *)dy + size + 63);
    *(volatile char *)((char *)x2 + size + 63);
}
""",
        _HALF,
        _FLOAT,
    ]
)
_PROFILE = """
name = "particular"
summary = "one that asks for much"
dtypes = ["fp16", "fp32"]
cores = 8
subnormals = "preserve"
half = "uint16"
operators = { nlllossgrad = [] }
[calling]
alignment = 64
overread = 64
lengths = { multiple = 16, least = 16 }
core-masks = "prefix"
aliasing = ["dx1 = dy", "dx1 = x2"]
"""


@pytest.fixture(scope="module")
def particular(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Profile]:
    folder = tmp_path_factory.mktemp("particular")
    (folder / "kernel.c").write_text(_PARTICULAR)
    (folder / "p.toml").write_text(_PROFILE)
    flags = ["-DGOLDEN_HALF_UINT16", f"-I{include_dir()}", "-Wno-all", "-pthread"]
    library = build_library(folder / "lib.so", sources=[folder / "kernel.c"], cflags=flags)
    return library, load_profile(str(folder / "p.toml"))


@needs_compiler
def test_validate_and_probe_find_what_it_is_like(particular: tuple[Path, Profile]) -> None:
    library, profile = particular
    files = [read_vectors(SMOKE / f"smoothl1lossgrad-{dtype}.h5") for dtype in ("fp16", "fp32")]
    with LibrarySession(library) as session:
        results = validate("it", session, session.library, files, Settings(profile, "smoke"))
    assert results.verdict == "conforms" and results.probe.half_abi == "uint16", results.reason
    assert results.probe.subnormals == "preserve"
    left_out = [f.message for f in results.findings if f.kind == "lengths"]
    assert len(left_out) == 2 and "as the profile says, length: multiples of 16, at least 16." in left_out[0]
    for entry in results.entry_points:
        counted = {c.name: c for c in entry.contracts}
        assert counted["aliasing"].checked > 0 and not any(c.broken for c in entry.contracts)
        assert entry.cases + int(left_out[entry.dtype == "fp32"].split()[0]) == len(files[entry.dtype == "fp32"].heads)
    with LibrarySession(library) as session:
        traits = inspect(session, files, profile)
    assert traits.half_abi == "uint16" and {e.arithmetic for e in traits.entry_points} == {"correctly rounded"}
    assert {e.alignment for e in traits.entry_points} == {"64 bytes, as the profile says"}


@needs_compiler
def test_hunts_and_sweeps_call_it_as_it_is_to_be_called(particular: tuple[Path, Profile]) -> None:
    library, profile = particular
    with LibrarySession(library) as session:
        session.manner = Manner.of(profile)
        for symbol in ("hp_smoothl1lossgrad_p", "fp_smoothl1lossgrad_s"):
            found, case = hunt(session, symbol, rounds=1, terms=profile.terms)
            assert not found.fails and case.golden.value.size == 16
    space = make_space("random", "smoothl1lossgrad", "fp16", storage="shared", samples=1 << 14)
    work, info = open_work(str(library), space, terms=profile.terms, manner=Manner.of(profile))
    assert (work.half_abi, work.align, work.core_mask) == ("uint16", 64, 1)
    assert sweep("it", work, info, Processes(1)).bound_exceeded == 0


@needs_compiler
def test_a_sweep_whose_calls_the_profile_excludes_is_refused(particular: tuple[Path, Profile]) -> None:
    library, profile = particular
    manner = Manner.of(profile)
    space = make_space("g-w", "nlllossgrad", "fp16", reduction="none")
    with pytest.raises(UsageError, match="This sweep calls with class_num 1; the profile says: multiples of 16"):
        open_work(str(library), space, manner=manner)
    space = make_space("w-total", "nlllossgrad", "fp16", reduction="mean")
    with pytest.raises(UsageError, match="lie 2 bytes apart, and the profile aligns them to 64"):
        open_work(str(library), space, manner=manner._replace(lengths=Manner().lengths))
