"""``golden export``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golden.commands.options import (
    OneOf,
    draw,
    dtypes_option,
    numbering_option,
    operators_option,
    platform_option,
    quiet,
    suite_option,
    vectors_option,
)
from golden.commands.suites import opened, seed_option
from golden.commands.terminal import check_folder, examples, exit_codes, progress_bar, say
from golden.errors import unknown_name

if TYPE_CHECKING:
    from runners.offline.blobs import Endian


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
        "golden export --suite core --seed TEXT --platform MT7004 --out board",
        "golden validate dump:board",
    )
    + exit_codes(0, 2, 3, 4, 130),
)
@suite_option("smoke, core, full, or a suite file (.toml).")
@vectors_option(multiple=True)
@seed_option
@platform_option()
@operators_option
@dtypes_option
@numbering_option()
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
    vectors: tuple[Path, ...],
    seed: str | None,
    platform: str,
    operators: tuple[str, ...],
    dtypes: tuple[str, ...],
    numbering: str,
    endian: "Endian",
    memory: str,
    address: int | None,
    limit: int,
    draw: str,
    out: Path,
    quiet: bool,
) -> None:
    """Write the calls of a validation, and C sources that make them, for a target that golden cannot talk with.

    README.txt in the folder says what to do there. 'golden validate dump:FOLDER' judges what the target has left, with
    the same --seed if there was one: the folder does not hold it.
    """
    from golden.files.names import NUMBERING_OPTION
    from golden.operator import operators as known
    from golden.profile import load_profile
    from runners.offline.export import choose
    from runners.offline.export import export as write

    for name in operators:
        if name not in known():
            raise unknown_name("operator", name, known())
    profile = load_profile(platform)
    options = {"suite": suite, "platform": platform, NUMBERING_OPTION: numbering, "memory": memory}
    options |= {"draw": draw} if draw else {}
    if vectors:
        options["vectors"] = os.pathsep.join(map(str, vectors))
    check_folder(out.parent)
    wanted = dtypes or tuple({entry.fmt.name for entry in profile.required()})
    with opened(suite, vectors, seed, wanted, told=not quiet) as (found, _), progress_bar(not quiet) as step:
        manifest = write(
            *(out, choose(found, operators, dtypes), profile, options),
            endian=endian,
            address=address,
            limit=limit,
            progress=lambda p: step(p.symbol, p.done, p.total),
        )
    if not quiet:
        size = sum(blob.size for blob in manifest.blobs)
        say(f"{out}: {len(manifest.blobs)} blobs, {size} bytes; see {out / 'README.txt'}")
