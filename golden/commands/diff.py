"""``golden diff``."""

import sys
from pathlib import Path
from typing import Any

import click

from golden.commands.options import (
    OneOf,
    allow_option,
    complete_target,
    platform_option,
    quiet,
    suite_option,
    vectors_option,
)
from golden.commands.terminal import examples, exit_codes, say
from golden.commands.validate import judged


@click.command(
    short_help="Compare two runs: better, worse, other bits.",
    epilog=examples(
        "golden diff before/results.json after/results.json --format md",
        "golden diff old.so new.so --platform MT7004",
    )
    + exit_codes(0, 1, 2, 3, 4, 5, 130, c0="nothing is worse", c1="something is worse"),
)
@click.argument("before", shell_complete=complete_target)
@click.argument("after", shell_complete=complete_target)
@click.option(
    "--format",
    "kind",
    type=OneOf(["text", "md", "json"]),
    default="text",
    show_default=True,
    help="What is printed.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@platform_option("For builds: what they are held to.")
@allow_option()
@suite_option("For builds: smoke, core or full.")
@vectors_option("For builds: a vector file or folder instead.", multiple=True)
@quiet
def diff(before: str, after: str, kind: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Compare two runs: what got better, worse, or has other bits.

    BEFORE and AFTER are results files (.json), or builds, which are validated first.
    """
    from golden.files.results import read_results
    from reports.diff import DIFF_FORMATS, bits, compare

    options["shown"] = not quiet
    runs = [read_results(Path(w)) if w.endswith(".json") else judged(w, **options) for w in (before, after)]
    if not all(run.complete for run in runs):
        raise KeyboardInterrupt
    found = compare(*runs)
    if as_json or not quiet:
        click.echo(DIFF_FORMATS["json" if as_json else kind](found), nl=False)
    if kind == "text" and not (as_json or quiet):
        say(bits(*runs))
    sys.exit(1 if found.outcome == "worse" else 0)
