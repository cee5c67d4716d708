"""``golden report``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from golden.commands.options import OneOf, lang_option
from golden.commands.terminal import examples, say
from golden.errors import UsageError

if TYPE_CHECKING:
    from reports.formats import Lang


@click.command(
    short_help="Render one or several results files.",
    epilog=examples(
        "golden report out/results.json",
        "golden report gcc/results.json clang/results.json --format html --out matrix.html",
        "golden report out/results.json out/sweep.json --format html --lang zh --out report.zh.html",
    ),
)
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=OneOf(["md", "html", "csv", "latex", "json", "badge"]),
    default="md",
    show_default=True,
    help="What is written; badge is an SVG for a README.",
)
@lang_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File [default: standard output].")
def report(results: tuple[Path, ...], kind: str, lang: "Lang", out: Path | None) -> None:
    """Render one or several results files; several give one cross-platform report.

    RESULTS may include sweep files (sweep.json): exhaustive maxima stand beside sampled ones.
    """
    from golden.files.atomic import write_atomically
    from golden.files.sweeps import read_results_and_sweeps
    from reports.badge import render_badge
    from reports.formats import FORMATS, TRANSLATED, speaking

    if lang != "en" and kind not in TRANSLATED:
        raise UsageError(f"--lang {lang} is for {' and '.join(TRANSLATED)}; {kind} is in English. Leave --lang out.")
    runs, sweeps = read_results_and_sweeps(results)
    if kind == "badge":
        if not runs:
            raise UsageError("A badge tells a verdict, and sweep files have none. Give a results file too.")
        text = render_badge(runs)
    else:
        with speaking(lang):
            text = FORMATS[kind](runs, sweeps)
    if out is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        write_atomically(out, text.encode())
        say(out)
