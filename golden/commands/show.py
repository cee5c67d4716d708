"""``golden list``, ``golden platforms``, ``golden show``: what there is."""

from pathlib import Path

import click

from golden.commands.options import (
    OneOf,
    as_json,
    complete_case,
    complete_platform,
    platform_option,
    suite_option,
    vectors_option,
)
from golden.commands.suites import dtypes_of, opened, seed_option
from golden.commands.terminal import examples, exit_codes, print_json, say


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
    from golden.commands import catalogue
    from golden.files.manifest import open_vectors

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
    from golden.commands import catalogue
    from golden.profile import load_profile

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
@seed_option
@platform_option("Profile whose terms decide what is legal: FT78NE, MT7004, host, or a profile's path.")
@click.option("--element", type=click.IntRange(0), help="Only this output element, in full.")
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Elements shown.")
@as_json
def show(
    case: str,
    suite: str,
    vectors: Path | None,
    seed: str | None,
    platform: str,
    element: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show a case: operands, exact value, golden, which results are legal, and what each legal order gives."""
    from golden.commands import catalogue
    from golden.profile import load_profile

    terms = load_profile(platform).terms
    with opened(suite, [vectors] if vectors else [], seed, dtypes_of(case)) as (files, _):
        found = catalogue.find(files, case)
    if as_json:
        print_json(catalogue.details(found, element, limit, terms))
        return
    for line in catalogue.describe(found, element, limit, terms):
        say(line)
