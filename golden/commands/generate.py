"""``golden generate``."""

import os
from pathlib import Path

import click

from golden.commands.options import choices, dtypes_option, operators_option, quiet
from golden.commands.terminal import examples, say


@click.command(
    short_help="Write the golden vectors of a suite.",
    epilog=examples("golden generate --suite core", "golden generate --suite full --operator nlllossgrad --out big"),
)
@click.option(
    "--suite",
    default="core",
    show_default=True,
    help="smoke, core or full.",
    shell_complete=choices(lambda: ("smoke", "core", "full")),
)
@operators_option
@dtypes_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder [default: vectors/SUITE].")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes [default: all cores].")
@quiet
def generate(
    suite: str, operators: tuple[str, ...], dtypes: tuple[str, ...], out: Path | None, jobs: int, quiet: bool
) -> None:
    """Write the golden vectors of a suite, with a manifest of their digests."""
    from generators.suite import generate as generate_suite

    folder = out or Path("vectors") / suite
    written = generate_suite(
        suite,
        folder,
        list(operators),
        list(dtypes),
        jobs,
        done=lambda w: (
            None
            if quiet
            else say(f"{w.path}: {w.cases} cases, {w.elements} elements, {w.rate:.1f} million/s", err=True)
        ),
    )
    if not quiet:
        say(f"{folder}: {sum(w.cases for w in written)} cases in {len(written)} files")
