"""Suites that commands make before they use them: with a private seed, or as a file of the user's describes."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golden.errors import UsageError
from golden.files.names import seed_stated

if TYPE_CHECKING:
    from generators.suite_file import SuiteFile
    from golden.files.vectors import VectorFile


def _seed(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """Refuse a seed that is none."""
    if text is not None and not (text.strip() and text.isprintable()):
        raise click.BadParameter("a seed is a text that can be printed.")
    return text


seed_option = click.option(
    "--seed", metavar="TEXT", callback=_seed, help="A private seed: other data, sizes and scalars of the same kinds."
)


def described(suite: str) -> "SuiteFile | None":
    """Return what a suite file says; None for a suite's name. Raises :class:`UsageError` for what makes no sense."""
    if not suite.endswith(".toml"):
        return None
    from generators.suite_file import read_suite_file

    return read_suite_file(Path(suite))


@contextmanager
def opened(
    suite: str,
    vectors: Sequence[Path],
    seed: str | None,
    dtypes: Collection[str],
    recheck: bool = False,
    told: bool = False,
) -> "Iterator[tuple[list[VectorFile], str]]":
    """Yield the files of a suite, or those that lie at ``vectors``, and their private seed if one is known.

    Files that are nowhere else are made for this run, those of ``dtypes``.

    These lie in a folder that nobody else can read, and are removed as soon as nothing reads them any more. ``told``:
    say on stderr what is being made. Raises what reading and making vectors raise, and :class:`UsageError` for vectors
    of another seed than ``seed``.
    """
    from generators.stream import seeded
    from generators.suite import generate, heads
    from golden.commands.terminal import say
    from golden.files.manifest import open_all, open_vectors, write_manifest

    own = None if vectors else described(suite)
    private = seed or (own.seed if own else "")
    find = partial(heads, own=own)
    with seeded(private):
        if vectors or not (own or private):
            files = open_all(suite, vectors, recheck, find)
            for file in files:
                if private and file.seed != seed_stated(private):
                    raise UsageError(f"{file.path} was not made with the seed that --seed gives.")
            yield files, private
            return
    folder = Path(tempfile.mkdtemp(prefix="golden-"))  # readable by nobody else
    try:
        if told:
            say(f"making the vectors of {suite}", err=True)
        written = generate(own or suite, folder, dtypes=[*dtypes], jobs=os.cpu_count() or 1, private=private)
        write_manifest(folder, own.name if own else suite, {w.path.name: (w.digest, w.cases) for w in written})
        with seeded(private):
            files = open_vectors(suite, folder, recheck, find)
        if all(isinstance(file.cases, tuple) for file in files):  # all held in memory
            shutil.rmtree(folder)
        yield files, private
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def dtypes_of(case: str) -> set[str]:
    """Return the dtype that a case's id names, or all of them where it names none."""
    from golden.formats import FORMATS

    return {*FORMATS} & {*case.split("/")[1:2]} or {*FORMATS}
