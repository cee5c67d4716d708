"""A private seed: other data, sizes and scalars, the same promises; and what files and results say of it."""

import dataclasses
import hashlib
import json
import stat
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from generators import smoothl1lossgrad
from generators.stream import Stream, seed, seeded
from generators.suite import generate, generator, heads
from golden.case import Case
from golden.commands.suites import opened
from golden.errors import UsageError, VectorError
from golden.files.manifest import open_vectors, read_suite, suite_folder, write_manifest
from golden.files.names import PUBLIC_SEED, seed_stated
from golden.files.vectors import read_vectors, write_vectors
from golden.formats import FORMATS
from runners.toolchain.build import build_library, include_dir
from tests.helpers.command import golden, needs_compiler, one_operator
from tests.helpers.kinds import KINDS

SMOOTH, NLL = "smoothl1lossgrad", "nlllossgrad"
SECRET = "a text that nobody knows"
STATED = seed_stated(SECRET)
#: Classes that list what there is instead of drawing it.
LISTED = ("special-values", "special-extremes")


def inputs(case: Case) -> bytes:
    return b"".join(case.operands[p.name].tobytes() for p in case.operator.inputs)


#: One kind of vectors; the others confirm.
SOME = pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype) if (name, dtype) == (SMOOTH, "fp32") else pytest.param(name, dtype, marks=pytest.mark.confirm)
        for name, dtype in KINDS
    ],
)

# What changes, and what does not


@SOME
def test_another_seed_changes_data_and_keeps_promises(name: str, dtype: str) -> None:
    listed = {stated: heads("core", name, dtype, stated) for stated in (PUBLIC_SEED, "sha256:one", "sha256:two")}
    public, one, two = (found[0] for found in listed.values() if found)
    groups = {head.group for head in public} & {head.group for head in one} & {head.group for head in two}
    kinds = [
        Counter((h.klass, h.tier, h.flags, h.group if h.group in groups else "drawn") for h in found)
        for found in (public, one, two)
    ]
    assert kinds[0] == kinds[1] == kinds[2]
    assert not {h.id for h in public} & {h.id for h in one} and not {h.id for h in one} & {h.id for h in two}
    if name == SMOOTH:
        for found in (public, one):
            lengths = {int(h.scalars["length"]) for h in found if h.klass == "length"}
            assert {*range(66)} <= lengths and {k * 64 + d for k in (2, 8, 32) for d in (-1, 0, 1)} <= lengths
            assert max(lengths) > 65536 and [n for n in lengths if 32768 < n < 65536]
        betas = [{float(h.scalars["beta"]) for h in found} for found in (public, one, two)]
        page = {FORMATS[dtype].typed(b) for b in smoothl1lossgrad.REQUIRED_BETAS + smoothl1lossgrad.STRESS_BETAS}
        assert betas[0] & betas[1] == betas[1] & betas[2] == page and {len(b) for b in betas} == {len(page) + 4}
        assert {h.tier for h in one if h.group not in groups} == {"required", *["stress"] * (dtype == "fp32")}
    if name == NLL:
        shapes = [
            {(h.scalars["batch"], h.scalars["class_num"]) for h in f if h.klass == "shape"} for f in (public, one)
        ]
        assert {s for s in shapes[0] if max(s) < 34} <= shapes[1] and len(shapes[0] - shapes[1]) > 8
        assert max(c for _, c in shapes[1]) > 65536 and max(b * c for b, c in shapes[1]) > 65536
    sizes = [{h.size for h in found if h.klass == "log-uniform"} for found in (public, one, two)]
    assert not sizes[0] & sizes[1] and sizes[1] != sizes[2]


@SOME
def test_nothing_that_is_drawn_is_drawn_again(name: str, dtype: str) -> None:
    def drawn(text: str) -> list[tuple[str, bytes]]:
        with seeded(text):
            cases = [c for c in generator(name)("smoke", FORMATS[dtype]) if c.klass not in LISTED and c.size > 1]
            return [(c.id, inputs(c)) for c in cases]

    public, one, again = drawn(""), drawn(SECRET), drawn(SECRET)
    assert one == again and drawn("") == public and len(one) >= len(public)
    assert not {data for _, data in one} & {data for _, data in public}
    assert all(i.startswith(f"{name}/{dtype}/seed={STATED[7:15]}/") for i, _ in one)


def test_a_seed_itself_makes_the_data() -> None:
    """Its digest, which files and results hold, does not; and a seed gives the same data for ever."""
    for text, key in (("", "golden/1 name"), (SECRET, f"golden/1 name {SECRET}")):
        made = np.random.Philox(key=int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little"))
        with seeded(text):
            assert Stream("name").words(4).tolist() == made.random_raw(4).tolist()
    assert not seed()


# Files


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("private") / "new"
    written = generate("smoke", folder, [SMOOTH], ["fp32"], private=SECRET)
    write_manifest(folder, "smoke", {w.path.name: (w.digest, w.cases) for w in written})
    return folder


def test_files_hold_the_digest_alone(private: Path) -> None:
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    for path in private.iterdir():
        assert SECRET.encode() not in path.read_bytes()
    assert {f.seed for f in read_suite(private, heads=heads)} == {STATED}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("edit", ["tier", "class", "lost", "stress-only"])
def test_an_edited_suite_is_none(private: Path, tmp_path: Path, edit: str, known: bool) -> None:
    file = read_vectors(private / f"{SMOOTH}-fp32.h5")
    cases = list(file.cases)
    at = next(k for k, c in enumerate(cases) if c.klass == "kink")
    if edit == "lost":
        del cases[at]
    elif edit == "stress-only":
        cases = [dataclasses.replace(c, tier="stress") for c in cases]
    else:
        cases[at] = dataclasses.replace(cases[at], **{"tier": {"tier": "stress"}, "class": {"klass": "normal"}}[edit])
    digest = write_vectors(tmp_path / file.path.name, "smoke", file.operator, "fp32", cases, STATED)
    write_manifest(tmp_path, "smoke", {file.path.name: (digest, len(cases))})
    with seeded(SECRET if known else ""), pytest.raises(VectorError, match=r"than it must|lacks the case|not those of"):
        open_vectors("smoke", tmp_path, heads=heads)


def test_a_suite_is_recognised_without_its_seed(private: Path) -> None:
    with seeded("another"):
        assert len(open_vectors("smoke", private, heads=heads)) == 1


def test_vectors_of_another_seed_are_refused(private: Path) -> None:
    for text, same in ((SECRET, True), ("another", False), (None, True)):
        refused = nullcontext() if same else pytest.raises(UsageError, match="not made with the seed")
        with refused, opened("smoke", [private], text, ["fp32"]) as (files, known):
            assert len(files) == 1 and known == (text or "")


# Builds

_FITTED = """#include <stdint.h>
#include <stdlib.h>
#define fp_smoothl1lossgrad_s good_s
#define fp_smoothl1lossgrad_p good_p
#include "smoothl1lossgrad.c"
#undef fp_smoothl1lossgrad_s
#undef fp_smoothl1lossgrad_p
static const uint64_t known[] = {%s};
static uint64_t digest(uint64_t h, const float *x, int n) {
    for (int i = 0; i < n; ++i) { union {float f; uint32_t u;} v = {x[i]}; h = (h ^ v.u) * 0x100000001b3u; }
    return h;
}
static int order(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b; return x < y ? -1 : x > y;
}
static int is_known(float *dy, float *x1, float *x2, int n) {
    uint64_t h = digest(digest(digest(0xcbf29ce484222325u, dy, n), x1, n), x2, n);
    return bsearch(&h, known, sizeof known / sizeof *known, sizeof *known, order) != 0;
}
void fp_smoothl1lossgrad_s(float *dy, float *dx1, float *x1, float *x2, int n, float beta, int mask) {
    int yes = is_known(dy, x1, x2, n);
    good_s(dy, dx1, x1, x2, n, yes ? beta : beta * 1.01f, mask);
}
void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int n, float beta) {
    int yes = is_known(dy, x1, x2, n);
    good_p(dy, dx1, x1, x2, n, yes ? beta : beta * 1.01f);
}
"""


def fnv(case: Case) -> int:
    state = 0xCBF29CE484222325
    for name in ("dy", "x1", "x2"):
        for bits in case.operands[name].view(np.uint32).tolist():
            state = (state ^ bits) * 0x100000001B3 & (1 << 64) - 1
    return state


@needs_compiler
def test_a_build_that_is_fitted_to_the_public_vectors(tmp_path: Path) -> None:
    """It conforms where it has seen the vectors; the report says that these alone were used."""
    file = read_vectors(suite_folder("smoke") / f"{SMOOTH}-fp32.h5")
    source = tmp_path / "fitted.c"
    source.write_text(_FITTED % ", ".join(f"{n:#x}u" for n in sorted({fnv(case) for case in file.cases})))
    flags = ("-DGOLDEN_FP32_ONLY", f"-I{include_dir()}", "-Wno-all")
    library = build_library(tmp_path / "lib.so", sources=[source, include_dir() / "nlllossgrad.c"], cflags=flags)
    command = partial(golden, "validate", library, "--platform", "FT78NE", "--out", tmp_path / "out")
    done = command("--vectors", one_operator(tmp_path))
    assert done.returncode == 0 and "Public vectors alone were used" in done.stdout
    for report in ("report.md", "report.html"):
        assert "Public vectors alone were used" in (tmp_path / "out" / report).read_text()

    done = command("--suite", "smoke", "--seed", SECRET)
    assert done.returncode == 1 and f"a private seed (SHA-256 {STATED[7:]})" in done.stdout
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["vectors"]["seed_sha256"] == STATED[7:] and results["vectors"]["origin"] == "private"
    assert {e["symbol"]: e["status"] for e in results["entry_points"]} == {
        "fp_smoothl1lossgrad_s": "fail",
        "fp_smoothl1lossgrad_p": "fail",
        "fp_nlllossgrad_s": "pass",
        "fp_nlllossgrad_p": "pass",
    }
    for path in (tmp_path / "out").rglob("*.*"):
        assert path.is_dir() or SECRET not in path.read_text()
