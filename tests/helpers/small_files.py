"""Cases for vector files that are made and damaged by the dozen, and how somebody would edit such a file."""

from pathlib import Path

import h5py
import numpy as np

from generators.suite import generator
from golden.case import Case
from golden.files.vectors import SCHEMA, VectorFile, _digest, case_digest
from golden.formats import FP16
from golden.operator import operator

SMOOTH = operator("smoothl1lossgrad")


def digests(file: VectorFile) -> list[str]:
    return [case_digest(case) for case in file.cases]


def small_cases() -> list[Case]:
    """One short case of every class, and one without elements."""
    chosen: dict[str, Case] = {}
    for case in generator("smoothl1lossgrad")("smoke", FP16):
        if case.golden.value.size <= 33:
            chosen.setdefault(case.klass + str(case.golden.value.size == 0), case)
    return list(chosen.values())


def edited(path: Path, column: str, value: object) -> None:
    """Edit a vector file as somebody would who can compute digests."""
    with h5py.File(path, "r+") as file:
        table = file["cases"][...]
        arrays = {n: file[n][...] for n in (*(f"operands/{p.name}" for p in SMOOTH.inputs), "golden", "residual")}
        if column:
            table[column][1] = value
        else:
            arrays["golden"].view(np.uint16)[:] ^= 1
        for name, values in {"cases": table, **arrays}.items():
            file[name][...] = values
        file.attrs["content_digest"] = np.bytes_(_digest(SCHEMA, SMOOTH, "fp16", table, arrays))
