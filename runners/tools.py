"""The commands that need no target: build, export, list, platforms, show. They import what they need when they run."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from golden.errors import UsageError, unknown_name
from golden.options import (
    OneOf,
    as_json,
    complete_case,
    complete_operator,
    complete_platform,
    draw,
    platform_option,
    quiet,
    suite_option,
    vectors_option,
)
from golden.terminal import (
    check_folder,
    examples,
    exit_codes,
    print_json,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from runners.offline.blobs import Endian


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


class _Number(click.ParamType[int]):
    """A number of bytes or an address, decimal or hexadecimal."""

    name = "number"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        try:
            number = value if isinstance(value, int) else int(value, 0)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 64:
            self.fail(f"{value!r} is no number such as 65536 or 0xA0000000.", param, ctx)
        return number


@click.command(
    short_help="Write the calls of a validation for a board without an operating system.",
    epilog=examples(
        "golden export --suite smoke --platform MT7004 --out board",
        "golden export --suite smoke --platform FT78NE --address 0x10800000 --limit 0x80000 --out l2",
        "golden validate dump:board",
    )
    + exit_codes(0, 2, 3, 4, 130),
)
@suite_option("smoke, core or full.")
@vectors_option("A vector file, or a folder with a manifest, instead.")
@platform_option("FT78NE, MT7004, host, or a profile's path.")
@click.option(
    "--operator",
    "operators",
    multiple=True,
    help="Only this operator (may be repeated).",
    shell_complete=complete_operator,
)
@click.option(
    "--dtype", "dtypes", multiple=True, type=OneOf(["fp16", "fp32"]), help="Only this dtype (may be repeated)."
)
@click.option(
    "--reduction-enum",
    type=OneOf(["sum-mean-none", "none-sum-mean"]),
    default="sum-mean-none",
    show_default=True,
    help="What the numbers 0, 1, 2 mean.",
)
@click.option(
    "--endian", type=OneOf(["little", "big"]), default="little", show_default=True, help="The target's byte order."
)
@click.option(
    "--memory",
    type=OneOf(["any", "documented"]),
    default="any",
    show_default=True,
    help="Where operands lie: with the calls, or at the platform's addresses.",
)
@click.option("--address", type=_Number(), help="Where calls are loaded [default: the platform's first shared region].")
@click.option(
    "--limit",
    type=_Number(),
    default=16 << 20,
    show_default=True,
    help="Bytes of memory there for calls, results and operands.",
)
@draw
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("export"),
    show_default=True,
    help="Folder, which must not hold anything yet.",
)
@quiet
def export(
    suite: str,
    vectors: Path | None,
    platform: str,
    operators: tuple[str, ...],
    dtypes: tuple[str, ...],
    reduction_enum: str,
    endian: "Endian",
    memory: str,
    address: int | None,
    limit: int,
    draw: str,
    out: Path,
    quiet: bool,
) -> None:
    """Write the calls of a validation, and C sources that make them, for a target that golden cannot talk with.

    README.txt in the folder says what to do there. 'golden validate dump:FOLDER' judges what the target has left.
    """
    from golden.manifest import open_vectors
    from golden.operator import operators as known
    from golden.profile import load_profile
    from runners.offline.export import choose
    from runners.offline.export import export as write

    for name in operators:
        if name not in known():
            raise unknown_name("operator", name, known())
    profile = load_profile(platform)
    files = choose(open_vectors(suite, vectors), operators, dtypes)
    options = {"suite": suite, "platform": platform, "reduction-enum": reduction_enum, "memory": memory}
    options |= {"draw": draw} if draw else {}
    if vectors:
        options["vectors"] = str(vectors)
    check_folder(out.parent)
    with progress_bar(not quiet) as step:
        manifest = write(
            *(out, files, profile, options),
            endian=endian,
            address=address,
            limit=limit,
            progress=lambda p: step(p.symbol, p.done, p.total),
        )
    if not quiet:
        size = sum(blob.size for blob in manifest.blobs)
        say(f"{out}: {len(manifest.blobs)} blobs, {size} bytes; see {out / 'README.txt'}")


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
        say(line)


@click.command(
    short_help="Show a platform profile: what is stated, what is assumed.",
    epilog=examples("golden platforms", "golden platforms MT7004", "golden platforms board.toml --json")
    + exit_codes(0, 2),
)
@click.argument("names", nargs=-1, metavar="[PLATFORM]...", shell_complete=complete_platform)
@as_json
def platforms(names: tuple[str, ...], as_json: bool) -> None:
    """Show platform profiles: what they require, what of it the vendor's pages state, and what is assumed.

    PLATFORM is the name of one that ships, or a file of yours, which is checked. Without one, all that ship are listed.
    """
    from golden.profile import load_profile
    from runners import catalogue

    profiles = [load_profile(name) for name in names]
    if as_json:
        found = [catalogue.platform_facts(profile) for profile in profiles]
        print_json(found or catalogue.inventory("platforms")["platforms"])
        return
    if not profiles:
        for line in catalogue.overview("platforms"):
            say(line)
    for number, profile in enumerate(profiles):
        for line in [*([""] if number else []), *catalogue.describe_platform(profile)]:
            say(line)


@click.command(
    short_help="Show a case: operands, exact value, golden, legal orders.",
    epilog=examples("golden show smoothl1lossgrad/fp16/beta=0.5/kink/n=31 --element 3") + exit_codes(0, 2, 4, 5),
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

    found = catalogue.find(open_vectors(suite, vectors), case)
    if as_json:
        print_json(catalogue.details(found, element, limit))
        return
    for line in catalogue.describe(found, element, limit):
        say(line)
