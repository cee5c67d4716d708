"""``golden repro``."""

from pathlib import Path

import click

from golden.commands.options import complete_failing, complete_platform
from golden.commands.suites import dtypes_of, opened, seed_option
from golden.commands.terminal import examples, exit_codes, say
from golden.errors import UsageError, VectorError


@click.command(
    short_help="Write one C file that shows a failure.",
    epilog=examples("golden repro out/results.json smoothl1lossgrad/fp32/beta=0.1/kink/n=31 -o repro.c")
    + exit_codes(0, 2, 4, 5),
)
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("case", shell_complete=complete_failing)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File [default: stdout].")
@click.option("--symbol", help="Entry point [default: the first on which the case fails].")
@click.option("--platform", help="Profile of the run, if it is a file of yours.", shell_complete=complete_platform)
@seed_option
def repro(
    results: Path, case: str, output: Path | None, symbol: str | None, platform: str | None, seed: str | None
) -> None:
    """Write one C file that shows a failure with the vendor's header and library alone."""
    from golden.commands import catalogue
    from golden.files.atomic import write_atomically
    from golden.files.results import read_results
    from golden.operator import entry_points
    from golden.profile import load_profile
    from reports.repro import choose_symbol, render_repro
    from runners.calling.plan import invocations

    run = read_results(results)
    suite, paths = run.vectors.suite, [Path(path) for path in run.vectors.paths]
    private = seed or run.vectors.seed or None
    if run.vectors.seed_sha256 and not (private or paths or suite.endswith(".toml")):
        raise UsageError(f"The vectors of {results} were made with a private seed: give it with --seed.")
    with opened(suite, paths, private, dtypes_of(case)) as (files, _):
        found = catalogue.find(files, case)
        file = next(f for f in files if any(head.id == case for head in f.heads))
    if file.digest not in run.vectors.digests.values():
        raise VectorError(f"{file.path} is not the file that {results} was made with; validate again, or restore it.")
    name = choose_symbol(run, found, symbol)
    profile = load_profile(platform or run.platform.name)
    plan = invocations(found, entry_points()[name], profile)
    program = render_repro(run, found, name, plan, run.platform.terms)
    if output is None:
        click.echo(program, nl=False)
    else:
        write_atomically(output, program.encode())
        say(output)
