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
        "golden build --target aarch64-linux-gnu -o harness-aarch64",
        "golden build --harness --library libvendor.a -o harness",
    ),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where it goes [default: build/libkernels.so, build/harness or build/TRIPLE/harness].",
)
@click.option("--cc", help="C compiler [default: $CC, then cc, gcc, clang].")
@click.option("--cflags", default="", help="Flags for the compiler, after the default ones; as one argument.")
@click.option("--harness", is_flag=True, help="A program for the target exec:, instead of a library.")
@click.option("--target", default="", metavar="TRIPLE", help="A harness for another machine, with TRIPLE-gcc.")
@click.option(
    "--library",
    "libraries",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A .a or .so that has the entry points, for a harness, instead of the bundled kernels (may be repeated).",
)
@click.option(
    "--harness-sources",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Only write the harness's C files there, for a compiler of your own.",
)
@quiet
def build(
    output: Path | None,
    cc: str | None,
    cflags: str,
    harness: bool,
    target: str,
    libraries: tuple[Path, ...],
    harness_sources: Path | None,
    quiet: bool,
) -> None:
    """Compile the bundled C kernels into a shared library for this machine, or a harness for this or another one."""
    import shlex

    from runners.build import build_harness, build_library, write_harness_sources

    try:
        flags = shlex.split(cflags)
    except ValueError as error:
        raise UsageError(f"--cflags cannot be read: {error}.") from error
    if harness_sources is not None:
        built = write_harness_sources(harness_sources)
    elif harness or target or libraries:
        output = output or Path("build") / target / "harness"
        built = [build_harness(output, cc, flags, target=target, libraries=libraries)]
    else:
        built = [build_library(output or Path("build/libkernels.so"), cc, flags)]
    for path in () if quiet else built:
        click.echo(path)


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
