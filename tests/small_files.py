"""Cases for vector files that are made and damaged by the dozen."""

from generators.suite import generator
from golden.case import Case
from golden.files.vectors import VectorFile, case_digest
from golden.formats import FP16


def digests(file: VectorFile) -> list[str]:
    return [case_digest(case) for case in file.cases]


def small_cases() -> list[Case]:
    """One short case of every class, and one without elements."""
    chosen: dict[str, Case] = {}
    for case in generator("smoothl1lossgrad")("smoke", FP16):
        if case.golden.value.size <= 33:
            chosen.setdefault(case.klass + str(case.golden.value.size == 0), case)
    return list(chosen.values())
