"""What a build is like, found out with vectors that have not all the classes that a prober prefers."""

import dataclasses
from collections.abc import Callable

import pytest

from golden.case import Head
from golden.files.manifest import suite_folder
from golden.files.vectors import VectorFile, read_vectors
from golden.profile import load_profile
from runners.judging.traits import inspect
from runners.models import ReferenceSession

SYMBOL = "fp_smoothl1lossgrad_p"


def with_cases(wanted: Callable[[Head], bool]) -> VectorFile:
    file = read_vectors(suite_folder("smoke") / "smoothl1lossgrad-fp32.h5")
    cases = [case for case in file.cases if wanted(case.head)]
    return dataclasses.replace(file, heads=[case.head for case in cases], cases=cases)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (lambda head: head.klass not in ("length", "shape"), "4 bytes"),
        (lambda head: head.size <= 16, "unknown: no case is long enough"),
    ],
)
def test_alignment_is_probed_with_whatever_is_long_enough(wanted: Callable[[Head], bool], found: str) -> None:
    traits = inspect(ReferenceSession("formula"), [with_cases(wanted)], load_profile("host"))
    entry = next(entry for entry in traits.entry_points if entry.symbol == SYMBOL)
    assert entry.alignment == found
