"""Options that several commands take, what the shell may offer for them, and which of them a user has set."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from golden.errors import GoldenError, UsageError, nearest
from golden.files import names

if TYPE_CHECKING:
    from golden.files.sweeps import SweepResult
    from golden.operator import Operator
    from golden.results import Results

    _R = TypeVar("_R", Results, SweepResult)

_DTYPES = ("fp16", "fp32")
#: Adds an option to a command.
Decorator = Callable[[Callable[..., None]], Callable[..., None]]
#: What the shell offers for a value: (context, parameter, what is typed so far) -> items.
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


class OneOf(click.Choice[str]):
    """A choice that names the nearest value for one that does not exist."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return the sentence for a value that does not exist."""
        near = nearest(str(value), self.choices)
        known = f"did you mean {near!r}?" if near else f"known are {', '.join(self.choices)}."
        return f"{value!r} does not exist; {known}"


def _offer(known: Iterable[str], incomplete: str, **kind: str) -> list[CompletionItem]:
    return [CompletionItem(name, **kind) for name in known if name.lower().startswith(incomplete.lower())]


def complete_suite(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the suites that are there."""
    return _offer(names.suites(), incomplete)


def complete_platform(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the shipped profiles, or files where none of them begins so."""
    return _offer(names.platforms(), incomplete) or [CompletionItem(incomplete, type="file")]


def complete_operator(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the operators."""
    return _offer(names.operators(), incomplete)


def complete_case(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the cases of the suite or the vectors that are named on the line so far."""
    from golden.files.manifest import case_ids

    vectors, suite = context.params.get("vectors"), str(context.params.get("suite") or "core")
    paths = list(vectors) if isinstance(vectors, tuple) else [vectors]
    with suppress(GoldenError):  # nothing can be said while a line is being typed
        ids = (name for path in paths or [None] for name in case_ids(suite, Path(path) if path else None))
        return _offer(dict.fromkeys(ids), incomplete)
    return []


def complete_failing(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the cases that fail in the results file that is named on the line so far."""
    from golden.files.results import read_results

    with suppress(GoldenError, KeyError):
        results = read_results(Path(context.params["results"]))
        return _offer({failure.case: None for e in results.entry_points for failure in e.failing}, incomplete)
    return []


def complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer files, and the reference models where the word can only mean one."""
    if incomplete[:3] == "ref" and not any(Path().glob(f"{incomplete}*")):
        from runners.models import MODELS

        known = [f"reference:{name}" for name in MODELS]
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file")]


def choices(known: Callable[[], Iterable[str]]) -> Complete:
    """Return what offers names that are known only once they are asked for."""
    return lambda context, parameter, incomplete: _offer(known(), incomplete)


class _Bash(BashComplete):
    """Bash breaks words at ``=`` and ``:``, which the ids of cases and the names of targets hold."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        words = [*args, incomplete]
        joined = words[:1]
        for before, word in pairwise(words):
            if word and (word[0] in "=:" or before[-1:] in ("=", ":")):
                joined[-1] += word
            else:
                joined.append(word)
        last = joined[-1]
        self._kept = max(last.rfind("="), last.rfind(":")) + 1  # of the word, bash replaces what follows
        self._prefix = last[: self._kept]
        return joined[:-1], last

    def format_completion(self, item: CompletionItem) -> str:
        value = item.value.removeprefix(self._prefix)
        return f"{item.type},{value}"


add_completion_class(_Bash)


def suite_option(text: str = "smoke, core or full.") -> Decorator:
    """Return the option ``--suite``."""
    return click.option("--suite", default="core", show_default=True, help=text, shell_complete=complete_suite)


def vectors_option(
    text: str = "A vector file, or a folder with a manifest, instead.", multiple: bool = False
) -> Decorator:
    """Return the option ``--vectors``."""
    more = " (may be repeated)." if multiple else "."
    return click.option(
        "--vectors", type=click.Path(path_type=Path), multiple=multiple, help=text.removesuffix(".") + more
    )


def platform_option(text: str = "FT78NE, MT7004, host, or a profile's path.") -> Decorator:
    """Return the option ``--platform``."""
    return click.option("--platform", default="host", show_default=True, help=text, shell_complete=complete_platform)


def allow_option() -> Decorator:
    """Return the option ``--allow``: what is accepted beyond the page, and counted (golden.profile.ALLOWANCES)."""
    return click.option(
        "--allow",
        multiple=True,
        type=OneOf(["overflow", "nan"]),
        help="Accept overflow in any order's intermediates, or any result for NaN (may be repeated).",
    )


class MaxUlp(click.ParamType[tuple[str, float]]):
    """A largest error in ulp, of all dtypes or of one: ``4``, ``fp32=4.0``."""

    name = "max-ulp"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Read it; the dtype of all is ""."""
        if isinstance(value, tuple):  # read already
            return value
        dtype, _, text = str(value).rpartition("=")
        if dtype not in ("", *_DTYPES):
            self.fail(f"{value!r}: there is no dtype {dtype!r}; known are {', '.join(_DTYPES)}.", param, ctx)
        try:
            limit = float(text)
        except ValueError:
            limit = math.nan
        if not 0.5 <= limit < math.inf:
            self.fail(f"{value!r} is no error of at least 0.5 ulp, such as 4 or fp32=4.0.", param, ctx)
        return dtype, limit


def policy_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--require`` and ``--max-ulp``: what must be better than legal (the table [accept] of profiles)."""
    require = click.option(
        "--require",
        type=OneOf(["correctly-rounded", "faithful", "formula", "legal"]),
        help="The least grade that is accepted [default: the platform's, legal].",
    )
    largest = click.option(
        "--max-ulp",
        type=MaxUlp(),
        multiple=True,
        metavar="X|DTYPE=X",
        help="The largest error that is accepted, in ulp (may be repeated).",
    )
    return require(largest(command))


def numbering_option(*more: str) -> Decorator:
    """Return the option of a choice's numbering; ``more``: what it may be beside the numberings themselves."""
    return click.option(
        f"--{names.NUMBERING_OPTION}",
        "numbering",
        type=OneOf(["sum-mean-none", "none-sum-mean", *more]),
        default="sum-mean-none",
        show_default=True,
        help="What the numbers 0, 1, 2 mean.",
    )


def beta_option(default: float) -> Decorator:
    """Return the option ``--beta`` of commands that make inputs of their own."""
    return click.option("--beta", default=default, show_default=True, help="SmoothL1LossGrad's scalar.")


def reduction_option(default: str) -> Decorator:
    """Return the option ``--reduction`` of commands that make inputs of their own."""
    return click.option(
        "--reduction",
        type=OneOf(["sum", "mean", "none"]),
        default=default,
        show_default=True,
        help="NLLLossGrad's reduction.",
    )


set_option = click.option(
    "--set",
    "fixed",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda context, parameter, words: dict(map(_value, words)),
    help="Value of a scalar, or of an operand that does not vary (may be repeated).",
)


def _value(word: str) -> tuple[str, float | str]:
    """Read NAME=VALUE; what is no number is a choice's name."""
    name, equals, text = word.partition("=")
    if not (name and equals and text):
        raise click.BadParameter(f"{word!r} is not NAME=VALUE.")
    try:
        return name, float(text)
    except ValueError:
        return name, text


def scalars_of(
    operator: "Operator", fixed: Mapping[str, float | str], **options: float | str
) -> tuple[dict[str, float | str], dict[str, float]]:
    """Return the scalars, and the values of operands, that a command was given for an operator.

    ``fixed``: what ``--set`` says, which goes first. Of ``options``, those that the operator lacks are left out. Raises
    :class:`UsageError` for a value of an operand that is no number.
    """
    words = {s.word for s in operator.scalars if s.kind != "int"}
    scalars = {word: value for word, value in {**options, **fixed}.items() if word in words}
    values = {}
    for name, value in fixed.items():
        if name not in words:
            if isinstance(value, str):
                raise UsageError(f"--set {name}={value}: {value!r} is not a number.")
            values[name] = value
    return scalars, values


class Seconds(click.FloatRange):
    """A time: a finite positive number. NaN passes every comparison, and nothing waits for longer than 11 days."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(0.0, 1e6, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


sandbox = click.option(
    "--sandbox",
    type=OneOf(["require", "auto", "off"]),
    default="auto",
    show_default=True,
    help="Layers around a library: all of them, those that this machine has, or none.",
)
draw = click.option(
    "--draw",
    metavar="TEXT",
    default="",
    help="Repeat a run's order, fills, guards and addresses: results have it [default: drawn].",
)
timeout = click.option(
    "--timeout",
    type=Seconds(),
    default=10.0,
    show_default=True,
    help="Seconds a kernel call may take.",
)
half_abi = click.option(
    "--half-abi",
    type=OneOf(["auto", "float16", "uint16"]),
    default="auto",
    show_default=True,
    help="How the library takes half by value.",
)
lang_option = click.option(
    "--lang", type=OneOf(["en", "zh"]), default="en", show_default=True, help="Language of md and html."
)
operators_option = click.option(
    "--operator",
    "operators",
    multiple=True,
    help="Only this operator (may be repeated).",
    shell_complete=complete_operator,
)
dtypes_option = click.option(
    "--dtype", "dtypes", multiple=True, type=OneOf(_DTYPES), help="Only this dtype (may be repeated)."
)


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--operator``, ``--dtype``, ``--symbol``, ``--class``, ``--case`` and ``--fail-fast``."""
    for option in reversed((operators_option, dtypes_option, *_PATTERNS, fail_fast)):
        command = option(command)
    return command


_PATTERNS = (
    click.option(
        "--symbol", "symbols", multiple=True, metavar="GLOB", help="Only entry points of that name (may be repeated)."
    ),
    click.option(
        "--class", "classes", multiple=True, metavar="GLOB", help="Only cases of that class (may be repeated)."
    ),
    click.option(
        "--case",
        "cases",
        multiple=True,
        metavar="GLOB",
        help="Only cases of that id (may be repeated).",
        shell_complete=complete_case,
    ),
)
fail_fast = click.option("--fail-fast", is_flag=True, help="Stop at the first failing case.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print only errors; the exit code tells.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def sources(context: click.Context) -> dict[str, str]:
    """Return by long name where each option comes from that is not a default: ``command line`` or a file."""
    found = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if not isinstance(parameter, click.Option) or source is None:
            continue
        if source is ParameterSource.DEFAULT_MAP:
            found[long_name(parameter)] = str(context.obj)
        elif source is not ParameterSource.DEFAULT:
            found[long_name(parameter)] = "command line"
    return found


def with_sources(result: "_R", context: click.Context, hidden: Collection[str] = ()) -> "_R":
    """Return a result that says where options come from, but for the ``hidden`` ones, which change nothing in it."""
    from msgspec.structs import replace

    from golden.results import ConfigFile

    found = {name: source for name, source in sources(context).items() if name not in hidden}
    by_file, config = [name for name, source in found.items() if source != "command line"], context.obj
    read = ConfigFile(config.path, config.sha256, by_file) if by_file else ConfigFile()
    return replace(result, option_sources=found, config=read)


def long_name(option: click.Option) -> str:
    """Return the name by which a configuration file knows an option, such as ``half-abi``."""
    return max(option.opts, key=len).lstrip("-")
