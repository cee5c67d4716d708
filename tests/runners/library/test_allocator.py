"""``--memory symbol:ALLOC,FREE``: operands in the library's own memory, and what is still seen there."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from golden.errors import TargetError, UsageError
from golden.files.results import read_results
from golden.operator import entry_points
from golden.profile import load_profile
from runners.calling.call import Invocation, Outcome
from runners.calling.from_case import call_for
from runners.calling.placement import Allocator, Regions, placing
from runners.library.session import LibrarySession
from runners.targets import open_target
from runners.toolchain.build import build_library, kernel_sources
from tests.helpers.command import golden

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler on PATH"
)
SYMBOL = "fp_smoothl1lossgrad_p"
POOL = Allocator("pool_get", "pool_put")

# A pool that knows what it has given out. fp_smoothl1lossgrad_p refuses other memory, and misbehaves by its length.
SOURCE = r"""
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
static struct { char *at; size_t size; } blocks[64];
static int lost;
void *pool_get(size_t size)
{
    for (int i = 0; i < 64; i++)
        if (!blocks[i].at) {
            blocks[i].size = size;
            return blocks[i].at = malloc(size);
        }
    return NULL;
}
void pool_put(void *p)
{
    for (int i = 0; i < 64; i++)
        if (p && blocks[i].at == (char *)p) {
            free(p);
            blocks[i].at = NULL;
            return;
        }
    lost++;
}
void *pool_empty(size_t size) { (void)size; return NULL; }
static int mine(const void *p, size_t size)
{
    for (int i = 0; i < 64; i++)
        if (blocks[i].at && (char *)p >= blocks[i].at && (char *)p + size <= blocks[i].at + blocks[i].size)
            return 1;
    return 0;
}
static int held(void)
{
    int n = 0;
    for (int i = 0; i < 64; i++)
        n += blocks[i].at != NULL;
    return n;
}
void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
{
    size_t size = (size_t)length * 4;
    if (!mine(dy, size) || !mine(dx1, size) || !mine(x1, size) || !mine(x2, size) || lost || held() != 4)
        abort();
    for (int i = 0; i < length; i++)
        dx1[i] = (x1[i] - x2[i]) / beta * dy[i];
    switch (length) {
    case 1: dx1[1] = 0; break;
    case 2: dx1[-1] = 0; break;
    case 3: x1[1] = 5; break;
    case 4: x2[-2] = 0; break;
    case 5: x2[6] = 0; break;
    case 6: { static int calls; if (calls++ == 0) x1[1] = 5, x2[-2] = 0, dy[6] = 0; break; }
    case 20: dx1[0] = (uintptr_t)dy % 128, dx1[1] = (uintptr_t)dx1 % 128, dx1[2] = (uintptr_t)x1 % 128; break;
    }
}
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    (folder / "pool.c").write_text(SOURCE, encoding="utf-8")
    return build_library(folder / "pool.so", cflags=["-w"], sources=[folder / "pool.c"])


def run(session: LibrarySession, n: int, *plan: Invocation) -> list[Outcome]:
    operands = {name: np.arange(1, n + 1, dtype=np.float32) for name in ("dy", "x1", "x2")}
    operands["x2"] = operands["x2"] - 1
    return session.run(call_for(entry_points()[SYMBOL], {"length": n, "beta": 2.0}, operands, plan or (Invocation(),)))


def test_operands_come_from_the_library_and_go_back(pool: Path) -> None:
    with LibrarySession(pool) as session:
        assert run(session, 12)[0].signal == "SIGABRT"  # memory of ours
    with LibrarySession(pool, allocator=POOL) as session:
        for n in (0, 12, 1000, 12, 100_000):
            for outcome in run(session, n, Invocation(), Invocation(placement="begin", offset=3, skew=5), Invocation()):
                assert outcome.status == "ok" and outcome.findings == [], outcome
                assert np.frombuffer(outcome.output, np.float32).tolist() == (np.arange(1, n + 1) / 2).tolist()
        assert session.close() == []


def test_operands_are_aligned_as_the_invocation_says(pool: Path) -> None:
    plans = {
        Invocation(): [128 - 80] * 3,
        Invocation(align=32): [32] * 3,
        Invocation(placement="begin", offset=1, skew=5): [4, 24, 44],
    }
    with LibrarySession(pool, allocator=POOL) as session:
        for plan, expected in plans.items():
            assert np.frombuffer(run(session, 20, plan)[0].output, np.float32)[:3].tolist() == expected


def test_what_a_call_does_to_memory_is_still_found(pool: Path) -> None:
    expected = {
        1: ("output-overrun", "dx1", 1),
        2: ("output-underrun", "dx1", -1),
        3: ("input-written", "x1", 1),
        4: ("guard", "x2", -2),
        5: ("guard", "x2", 6),
    }
    with LibrarySession(pool, allocator=POOL) as session:
        assert session.unobservable >= {"outside-access", "untouched-operands"}
        assert "reads outside operands" in session.blind
        for n, found in expected.items():
            for outcome in run(session, n, Invocation(), Invocation(), Invocation(placement="begin", offset=3)):
                assert [(f.kind, f.operand, f.element) for f in outcome.findings] == [found]


def test_what_one_invocation_has_changed_is_not_held_against_the_next(pool: Path) -> None:
    with LibrarySession(pool, allocator=POOL) as session:
        first, second = run(session, 6, Invocation(), Invocation())
    assert [(f.kind, f.operand) for f in first.findings] == [("guard", "dy"), ("input-written", "x1"), ("guard", "x2")]
    assert second.findings == [] and np.frombuffer(second.output, np.float32).tolist() == (np.arange(1, 7) / 2).tolist()


def test_an_allocator_that_is_not_there_or_has_nothing(pool: Path) -> None:
    with pytest.raises(TargetError) as caught:
        LibrarySession(pool, allocator=Allocator("pool_get", "pool_drop"))
    assert str(caught.value).endswith("cannot be loaded: it has no function pool_drop, which --memory names.")
    with LibrarySession(pool, allocator=Allocator("pool_empty", "pool_put")) as session:
        outcome = run(session, 12)[0]
    assert outcome.status == "crash" and "returned a null pointer" in outcome.message


@pytest.mark.parametrize("word", ["symbol:", "symbol:a", "symbol:a,b,c", "symbol:a,b c", "symbl:a,b", "document"])
def test_words_that_mean_nothing(word: str) -> None:
    with pytest.raises(UsageError, match="give any, documented, or symbol:ALLOC,FREE"):
        placing(word, load_profile("MT7004"))


def test_what_the_words_mean() -> None:
    profile = load_profile("MT7004")
    assert placing("any", profile) is None and placing("symbol:a,b", profile) == Allocator("a", "b")
    assert isinstance(placing("documented", profile), Regions)
    for target in ("exec:true", "python:a:b"):
        with pytest.raises(UsageError, match="targets allocate by themselves"):
            open_target(target, 1.0, POOL)


@pytest.mark.confirm
def test_a_whole_run(tmp_path: Path) -> None:
    source = tmp_path / "pool.c"
    source.write_text(
        "#include <stdlib.h>\nvoid *get(size_t n) { return malloc(n); }\nvoid put(void *p) { free(p); }\n"
    )
    library = build_library(tmp_path / "k.so", sources=[*kernel_sources(), source], cflags=["-w"])
    options = ("--suite", "smoke", "--memory", "symbol:get,put", "--out", tmp_path / "out", "--quiet")
    done = golden("--no-config", "validate", library, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    results = read_results(tmp_path / "out/results.json")
    assert results.options["memory"] == "symbol:get,put"
    contracts = {c.name: c for c in results.entry_points[0].contracts}
    assert not contracts["outside-access"].observable and contracts["outside-write"].checked
    assert contracts["inputs-unchanged"].checked and not contracts["inputs-unchanged"].broken
