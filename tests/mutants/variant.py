"""What a variant of the kernels is, how its sources are made and how it is built."""

import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from runners.toolchain.build import build_harness, build_library, find_compiler, include_dir
from tests.helpers.board import build_board

#: A library that is loaded, a harness behind a pipe, or a board that leaves dumps.
Through = Literal["library", "exec", "dump"]
MAKERS = {"library": build_library, "exec": build_harness, "dump": build_board}
SUFFIXES = {"library": ".so", "exec": "", "dump": ".board"}
#: Defects may use any C: threads, processes, mathematics. Their warnings are nobody's concern.
FLAGS = ("-w", "-D_GNU_SOURCE", "-pthread", "-lm")

SMOOTHL1, NLL, CORES = "smoothl1lossgrad.c", "nlllossgrad.c", "cores.h"
HALF, SMOOTHL1_HEADER = "half_arithmetic.h", "smoothl1lossgrad.h"


@dataclass(frozen=True)
class Edit:
    """Replaces a text that occurs exactly ``times`` times in a file of the kernels, everywhere it does."""

    file: str
    old: str
    new: str
    times: int = 1


@dataclass(frozen=True)
class Variant:
    """A change of the kernels, and how they are then compiled."""

    name: str
    family: str
    description: str
    edits: tuple[Edit, ...] = ()
    flags: tuple[str, ...] = ()
    cc: str | None = None


class StaleVariantError(Exception):
    """A text that a variant replaces is not in the kernels as often as it says."""


def defect(name: str, family: str, description: str, *edits: Edit, flags: tuple[str, ...] = ()) -> Variant:
    """Describe a defective variant."""
    return Variant(name, family, description, edits, flags)


def preamble(file: str, code: str) -> Edit:
    """Insert declarations before the kernels of a file."""
    include = '#include "cores.h"\n'
    return Edit(file, include, include + code + "\n")


@cache
def kernel_texts() -> Mapping[str, str]:
    """Return the text of every file of the bundled kernels by name."""
    files = [p for p in sorted(include_dir().iterdir()) if p.suffix in (".c", ".h")]
    return {p.name: p.read_text() for p in files if not p.name.startswith("harness")}


def sources(variant: Variant) -> dict[str, str]:
    """Return the kernels' files with the variant's edits; raises :class:`StaleVariantError`."""
    texts = dict(kernel_texts())
    for edit in variant.edits:
        # Counted in the untouched file too, so that one edit never acts on what another has written.
        for text in (kernel_texts().get(edit.file, ""), texts.get(edit.file, "")):
            if (found := text.count(edit.old)) != edit.times or edit.old == edit.new:
                raise StaleVariantError(
                    f"{variant.name}: this text occurs {found} times in {edit.file}, not {edit.times}:\n{edit.old}"
                )
        texts[edit.file] = texts[edit.file].replace(edit.old, edit.new)
    return texts


def build(variant: Variant, folder: Path, through: Through = "library") -> Path:
    """Compile a variant into ``folder`` for a way of running it; what has the same content there is used again.

    Raises :class:`golden.errors.UsageError` where the compiler is missing or refuses.
    """
    texts = sources(variant)
    content = repr((texts, variant.flags, FLAGS, _version(variant.cc)))
    stem = f"{variant.name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    output = folder / f"{stem}{SUFFIXES[through]}"
    if not output.is_file():
        written = folder / f"{stem}.src"
        written.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (written / name).write_text(text)
        MAKERS[through](output, variant.cc, (*FLAGS, *variant.flags), [written / n for n in texts if n.endswith(".c")])
    return output


@cache
def _version(cc: str | None) -> str:
    command = [*find_compiler(cc), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def stale(variants: Iterator[Variant]) -> list[str]:
    """Return what is stale about variants, one message each."""
    found = []
    for variant in variants:
        try:
            sources(variant)
        except StaleVariantError as error:
            found.append(str(error))
    return found
