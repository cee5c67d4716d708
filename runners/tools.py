"""The commands that need no target: build, list, show. They import what they need when they run."""

from pathlib import Path

import click

from golden.errors import UsageError
from golden.options import OneOf, as_json, complete_case, quiet, suite_option, vectors_option
from golden.terminal import end_quietly_on_closed_pipe, examples, exit_codes, print_json


@click.command(
    short_help="Compile the bundled C kernels.",
    epilog=examples(
        "golden build -o kernels.so",
        "golden build -o fast.so --cc clang --cflags '-O3 -march=native'",
        "golden build -o integer.so --cflags -DGOLDEN_HALF_UINT16",
    ),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("build/libkernels.so"),
    show_default=True,
    help="Where the library goes.",
)
@click.option("--cc", help="C compiler [default: $CC, then cc, gcc, clang].")
@click.option("--cflags", default="", help="Flags for the compiler, after the default ones; as one argument.")
@quiet
def build(output: Path, cc: str | None, cflags: str, quiet: bool) -> None:
    """Compile the bundled C kernels into a shared library for this machine."""
    import shlex

    from runners.build import build_library

    try:
        flags = shlex.split(cflags)
    except ValueError as error:
        raise UsageError(f"--cflags cannot be read: {error}.") from error
    built = build_library(output, cc, flags)
    if not quiet:
        click.echo(built)


@click.command(
    "list",
    short_help="List operators, platforms, suites, models, classes, flags, cases.",
    epilog=examples("golden list", "golden list cases kink", "golden list classes --suite smoke --json")
    + exit_codes(0, 2, 4),
)
@click.argument(
    "what",
    type=OneOf(["all", "operators", "platforms", "suites", "models", "classes", "flags", "cases"]),
    default="all",
    metavar="[WHAT]",
)
@click.argument("pattern", default="")
@suite_option("Suite whose cases and classes are listed.")
@vectors_option("A vector file or folder instead.")
@as_json
def list_(what: str, pattern: str, suite: str, vectors: Path | None, as_json: bool) -> None:
    """List what there is.

    WHAT is operators, platforms, suites, models (reference:MODEL is a target), classes, flags, cases, or all (what
    there is besides cases, classes and flags).
    PATTERN selects cases and classes whose id contains it.
    """
    from golden.manifest import open_vectors
    from runners import catalogue

    end_quietly_on_closed_pipe()
    files = open_vectors(suite, vectors) if what in ("cases", "classes") else []
    if as_json:
        print_json(catalogue.inventory(what, files, pattern))
        return
    if what == "cases":
        lines = catalogue.cases(files, pattern)
    elif what == "classes":
        lines = catalogue.classes(files, pattern)
    else:
        lines = catalogue.overview(what)
    for line in lines:
        click.echo(line)


@click.command(
    short_help="Show a case: operands, exact value, golden, legal orders.",
    epilog=examples("golden show smoothl1lossgrad/fp16/beta=0.5/kink/n=31 --element 3") + exit_codes(0, 2, 4),
)
@click.argument("case", shell_complete=complete_case)
@suite_option("Suite that has the case.")
@vectors_option("A vector file or folder instead.")
@click.option("--element", type=click.IntRange(0), help="Only this output element, in full.")
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Elements shown.")
@as_json
def show(case: str, suite: str, vectors: Path | None, element: int | None, limit: int, as_json: bool) -> None:
    """Show a case: operands, exact value, golden, and what each legal order gives."""
    from golden.manifest import open_vectors
    from runners import catalogue

    end_quietly_on_closed_pipe()
    found = catalogue.find(open_vectors(suite, vectors), case)
    if as_json:
        print_json(catalogue.details(found, element, limit))
        return
    for line in catalogue.describe(found, element, limit):
        click.echo(line)
