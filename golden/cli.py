"""The command line. Only here do the four packages meet; commands import what they need when they run."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from golden.commands.build import build
from golden.commands.completion import completion
from golden.commands.config import find_config, read_config
from golden.commands.diff import diff
from golden.commands.doctor import doctor
from golden.commands.export import export
from golden.commands.fuzz import fuzz
from golden.commands.generate import generate
from golden.commands.hunt import hunt
from golden.commands.probe import probe
from golden.commands.report import report
from golden.commands.repro import repro
from golden.commands.show import list_, platforms, show
from golden.commands.sweep import sweep
from golden.commands.terminal import (
    EXIT_CODES,
    exit_codes,
    run,
)
from golden.commands.validate import validate
from golden.errors import UsageError
from golden.selfcheck import check_arithmetic, require_machine
from golden.shadow import require_ours

#: Commands that run foreign code, and others whose numbers would be wrong in another floating-point mode.
_JUDGES = ("validate", "probe", "sweep", "hunt", "fuzz", "diff")
_COMPUTES = ("generate", "export", "report", "repro", "show")
#: Where the group tells itself whether the command takes options at all.
_NEEDS_CONFIG = "golden.needs-config"


class _Commands(click.Group):
    """Remembers whether options matter: a mistake in a configuration must not hide the help that explains it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, as every group does."""
        name, command, rest = super().resolve_command(ctx, args)
        ctx.meta[_NEEDS_CONFIG] = name != "completion" and not {"-h", "--help"} & {*rest}
        return name, command, rest


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print version, commit and digest of the sources, of these as much as tells them apart."""
    if wanted and not context.resilient_parsing:
        from golden.sources import judge

        found = judge()
        commit = f"commit {found.commit[:12]}, " if found.commit else ""
        click.echo(f"golden {found.version} ({commit}sources {found.digest[:12]})")
        context.exit()


@click.group(
    "golden",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=exit_codes(*EXIT_CODES),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show what judges here."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Options from this file [default: golden.toml, or [tool.golden] of pyproject.toml, here or above].",
)
@click.option("--no-config", is_flag=True, help="Options from no file.")
@click.pass_context
def cli(context: click.Context, config: Path | None, no_config: bool) -> None:
    """Hold a compiled build of the DSP operator kernels against the page: results, accuracy, memory safety.

    Start with 'golden build -o kernels.so' and 'golden validate kernels.so'.
    """
    if config and no_config:
        raise UsageError("--config and --no-config exclude each other.")
    if not context.meta[_NEEDS_CONFIG]:
        return
    require_ours()
    if context.invoked_subcommand in _JUDGES:
        require_machine()
    if context.invoked_subcommand in (*_JUDGES, *_COMPUTES):
        check_arithmetic()
    if config is None and not no_config:
        with suppress(FileNotFoundError):  # whoever works in a folder that was removed has no configuration
            config = find_config(Path.cwd())
    if config is not None:
        context.obj = read_config(config, cli.commands)
        context.default_map = context.obj.defaults


for command in (
    *(generate, build, validate, report, diff, export, repro, list_, platforms, show),
    *(probe, sweep, hunt, fuzz, doctor, completion),
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit; every expected error is one sentence on stderr."""
    sys.exit(run(cli, arguments))


if __name__ == "__main__":
    main()
