"""``golden doctor``."""

import sys

import click

from golden.commands.options import as_json, quiet
from golden.commands.terminal import examples, exit_codes, print_json, say


@click.command(
    short_help="Tell what this machine has, and what is missing.",
    epilog=examples("golden doctor", "golden doctor --json")
    + exit_codes(0, 2, 5, c0="libraries can be validated here", c2="something essential is missing"),
)
@quiet
@as_json
def doctor(quiet: bool, as_json: bool) -> None:
    """Tell what this machine has, what each part enables, and what to install for the rest."""
    from golden.errors import MachineError
    from runners.toolchain.doctor import diagnose, healthy, render, sandboxed, trusted

    checks = diagnose()
    if as_json:
        facts = {"healthy": healthy(checks), "trusted": trusted(checks), "sandbox": sandboxed(checks)}
        print_json({**facts, "checks": checks})
    elif not quiet:
        say(render(checks))
    sys.exit(MachineError.exit_code if not trusted(checks) else 0 if healthy(checks) else 2)
