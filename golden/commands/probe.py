"""``golden probe``."""

from pathlib import Path

import click

from golden.commands.options import as_json, complete_target, platform_option, suite_option, timeout, vectors_option
from golden.commands.terminal import examples, exit_codes, print_json, say


@click.command(
    short_help="Find out what a build is like; judges nothing.",
    epilog=examples("golden probe libvendor.so", "golden probe libvendor.so --json") + exit_codes(0, 2, 3, 4, 5),
)
@click.argument("target", shell_complete=complete_target)
@platform_option("Profile whose terms the results are compared with: FT78NE, MT7004, host, or a profile's path.")
@suite_option("Suite whose inputs are used.")
@vectors_option()
@timeout
@as_json
def probe(target: str, platform: str, suite: str, vectors: Path | None, timeout: float, as_json: bool) -> None:
    """Find out what a build is like: half ABI, numbers of choices, subnormals, evaluation order, accuracy, alignment.

    Judges nothing; 'golden validate' does.
    """
    from golden.files.manifest import open_vectors
    from golden.files.names import NUMBERING_OPTION
    from golden.profile import load_profile
    from runners.judging.traits import inspect
    from runners.targets import open_target

    profile, files = load_profile(platform), open_vectors(suite, vectors)
    session, _ = open_target(target, timeout)
    try:
        traits = inspect(session, files, profile)
    finally:
        session.close()
    if as_json:
        print_json(traits)
        return
    for name, found in (
        ("half abi", traits.half_abi),
        (NUMBERING_OPTION.replace("-", " "), traits.numbering),
        ("subnormals", traits.subnormals),
    ):
        say(f"{name}: {found}")
    for entry in traits.entry_points:
        say(entry.symbol)
        for field in entry.__struct_fields__[1:]:
            say(f"  {field.replace('_', ' ')}: {getattr(entry, field)}")
