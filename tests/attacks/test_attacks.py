"""Damaged and dishonest builds come to nothing, honest ones conform: a part of the table always, all when asked."""

import os
import shutil
import sys
import time
from collections import Counter

import pytest

from runners.process import sandbox
from tests.attacks import run
from tests.attacks.attack import Attack
from tests.attacks.attacks import ATTACKS, GROUPS
from tests.attacks.check import Outcome, check
from tests.helpers.command import WARM

#: One of every kind, in some 20 seconds; the others are slow.
FAST = (
    "sigkill-once",
    "exit-0",
    "kill-parent",
    "daemon",
    "clobbers-rbx",
    "x87-stack",
    "mxcsr-flush",
    "thread",
    "chdir",
    "alarm",
    "foreign-library",
    "unloads-itself",
    "file-left",
    "malloc-lost",
    "opens-guard",
    "input-opened",
    "beside-where-mapped",
    "descriptor-of-inputs",
    "fill-recognised",
    "same-place-and-wrong",
    "parent-recognised",
    "python-answers",
    "done-early",
    "done-ahead",
    "loaded-first",
    "attaches",
    "kills-judge",
    "reads-private-file",
    "truncates",
    "connects",
    "io-uring",
    "defective-replaced",
    "thread-pool",
    "jit",
)

pytestmark = pytest.mark.timeout(120)
needs = pytest.mark.skipif(
    shutil.which("gcc") is None or sys.platform != "linux" or os.uname().machine != "x86_64",
    reason="attacks are written for GCC on Linux and x86-64",
)
by_name = [pytest.param(a, id=a.name, marks=() if a.name in FAST else pytest.mark.slow) for a in ATTACKS]


@needs
@pytest.mark.parametrize("attack", by_name)
def test_golden_does_what_it_must(attack: Attack) -> None:
    outcome = check(attack, warm=WARM)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.wrong == "", outcome


def test_every_group_and_layer_is_tried_always() -> None:
    fast = [a for a in ATTACKS if a.name in FAST]
    assert {a.group for a in fast} == set(GROUPS)
    assert {n for a in fast for n in a.layers} == {*sandbox.LAYERS, "registers"}


def test_every_attack_has_a_name_and_a_source_of_its_own() -> None:
    assert [n for n, count in Counter(a.name for a in ATTACKS).items() if count > 1] == []
    assert [s for s, count in Counter(a.source for a in ATTACKS).items() if count > 1] == []
    assert {a.group for a in ATTACKS} == set(GROUPS)
    assert {n for a in ATTACKS for n in a.layers} <= {*sandbox.LAYERS, "registers"}
    assert set(FAST) <= {a.name for a in ATTACKS}
    assert all(a.description and len(a.description) < 150 for a in ATTACKS)


def test_every_kind_of_attack_has_several() -> None:
    groups = Counter(a.group for a in ATTACKS)
    assert min(count for group, count in groups.items() if group != "copy") >= 6
    assert sum(a.must == "conforms" for a in ATTACKS) >= 20


def test_the_page_says_what_stops_an_attack_and_what_gets_through() -> None:
    held, through, honest = (next(a for a in ATTACKS if a.name == n) for n in ("sigkill-once", "daemon", "prints"))
    text = run.render(
        {
            held.name: Outcome(held.name, "fails", ("crash: f crashed with SIGKILL | perhaps",)),
            through.name: Outcome(through.name, "conforms", wrong="conforms"),
            honest.name: Outcome(honest.name, skipped="no compiler"),
        },
        time.monotonic(),
        {held.name: Outcome(held.name, "conforms", wrong="conforms"), honest.name: Outcome(honest.name, "fails")},
    )
    assert "1 of 2 attacks come to nothing, 0 of 0 honest builds conform" in text and "1 rows were skipped" in text
    assert "| fails; crash: f crashed with SIGKILL \\| perhaps |" in text and "| **conforms** |" in text
    assert "| no compiler |" in text
    assert "with `--sandbox off`, 1 of the 2 attacks that layers of the sandbox stop get through" in text
