"""``golden generate``."""

import os
from pathlib import Path

import click
from click.core import ParameterSource

from golden.commands.options import choices, dtypes_option, operators_option, quiet
from golden.commands.suites import described, seed_option
from golden.commands.terminal import examples, say
from golden.errors import UsageError
from golden.files.names import PUBLIC_SUITES, seed_stated


@click.command(
    short_help="Write the golden vectors of a suite.",
    epilog=examples(
        "golden generate --suite core",
        "golden generate --suite full --operator nlllossgrad --out big",
        "golden generate ours.toml --out vectors/ours",
        'golden generate --seed "$(openssl rand -hex 16)" --out private',
    ),
)
@click.argument("file", metavar="[SUITE.toml]", required=False)
@click.option(
    "--suite",
    default="core",
    show_default=True,
    help="smoke, core, full, or a suite file (.toml).",
    shell_complete=choices(lambda: PUBLIC_SUITES),
)
@seed_option
@operators_option
@dtypes_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder [default: vectors/SUITE].")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes [default: all cores].")
@quiet
@click.pass_context
def generate(
    context: click.Context,
    /,
    file: str | None,
    suite: str,
    seed: str | None,
    operators: tuple[str, ...],
    dtypes: tuple[str, ...],
    out: Path | None,
    jobs: int,
    quiet: bool,
) -> None:
    """Write the golden vectors of a suite, with a manifest of their digests.

    Files made with a private seed hold its SHA-256, not the seed.
    """
    from generators.suite import generate as generate_suite

    if file is not None:
        if context.get_parameter_source("suite") is ParameterSource.COMMANDLINE:
            raise UsageError(f"{file} is a suite, and so is --suite {suite}: give one of them.")
        if not file.endswith(".toml"):
            raise UsageError(f"{file} is no suite file (.toml); suites are named with --suite.")
        suite = file
    own = described(suite)
    name, private = own.name if own else suite, seed or (own.seed if own else "")
    folder = out or Path("vectors") / (name + (f"-{seed_stated(private)[-64:][:8]}" if private else ""))
    written = generate_suite(
        own or suite,
        folder,
        list(operators),
        list(dtypes),
        jobs,
        done=lambda w: (
            None
            if quiet
            else say(f"{w.path}: {w.cases} cases, {w.elements} elements, {w.rate:.1f} million/s", err=True)
        ),
        private=private,
    )
    if not quiet:
        say(f"{folder}: {sum(w.cases for w in written)} cases in {len(written)} files")
