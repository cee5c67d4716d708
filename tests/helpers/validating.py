"""Validations of models and of kernels with one thing wrong, without a command line."""

from pathlib import Path

import numpy as np

from golden.case import Case
from golden.files.manifest import suite_folder
from golden.files.vectors import VectorFile, read_vectors
from golden.formats import FORMATS
from golden.operator import operator
from golden.profile import load_profile
from golden.results import Library, Results
from runners.judging.validate import Settings, validate
from runners.library.session import LibrarySession
from runners.models import ReferenceSession
from runners.toolchain.build import build_library, include_dir

SMOKE = suite_folder("smoke")
SMOOTH = operator("smoothl1lossgrad")


def run(target: str, files: list[VectorFile], platform: str = "host", **options: object) -> Results:
    settings = Settings(load_profile(platform), "test", **options)  # type: ignore[arg-type]
    return validate(target, ReferenceSession(target.partition(":")[2]), Library(), files, settings)


def run_library(
    tmp_path: Path, code: str, *, platform: str = "FT78NE", timeout: float = 2.0, **options: object
) -> Results:
    """Validate the fp32 kernels with fp_smoothl1lossgrad_p replaced; ``good`` is the replaced one."""
    source = tmp_path / "kernel.c"
    source.write_text(
        '#include <stdlib.h>\n#define fp_smoothl1lossgrad_p good\n#include "smoothl1lossgrad.c"\n'
        "#undef fp_smoothl1lossgrad_p\n"
        "void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)\n"
        f"{{ {code} }}\n"
    )
    flags = ["-DGOLDEN_FP32_ONLY", f"-I{include_dir()}", "-Wno-all", "-pthread"]
    library = build_library(tmp_path / "lib.so", sources=[source], cflags=flags)
    files = [read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")]
    with LibrarySession(library, timeout=timeout, draw="steady") as session:
        settings = Settings(load_profile(platform), "smoke", **options)  # type: ignore[arg-type]
        return validate(str(library), session, session.library, files, settings)


def case_with(n: int, dy: float) -> Case:
    fmt = FORMATS["fp32"]
    operands = {"dy": np.full(n, dy, fmt.dtype), "x1": np.full(n, 0.3, fmt.dtype), "x2": np.zeros(n, fmt.dtype)}
    scalars: dict[str, int | float | str] = {"length": n, "beta": 0.5}
    golden = SMOOTH.oracle(fmt, scalars, operands)
    name = f"smoothl1lossgrad/fp32/beta=0.5/made/n={n}"
    return Case(name, SMOOTH, "fp32", "required", "made", ("rounding",), scalars, operands, golden)
