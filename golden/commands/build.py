"""``golden build``."""

from pathlib import Path

import click

from golden.commands.options import quiet
from golden.commands.terminal import examples, say
from golden.errors import UsageError


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

    from runners.toolchain.build import build_harness, build_library, write_harness_sources

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
        say(path)
