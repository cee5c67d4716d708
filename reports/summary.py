"""What a run comes to: order of builds, sums over groups, who fails and why, header facts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import msgspec

from golden.results import GRADES, EntryPointResult, Failure, Results, Tally
from reports import text
from reports.messages import language, tr

#: The counts of a tally; they add up.
COUNTS = (
    "cases",
    "elements",
    "measured",
    "misrounded",
    "failures",
    "nan",
    "infinity",
    "overflow",
    "zero",
    "zero_sign",
)


#: Facts among a run's options that have a line of their own in the header.
_OWN_LINE = ("sandbox", "draw")


@dataclass(frozen=True)
class Fact:
    """One line of a report's header. ``code``: an identifier, to be set as such."""

    name: str
    value: str
    code: bool = False


@dataclass
class Problem:
    """Why a build fails, for the first screen: entry points that fail in the same way share one."""

    symbols: list[str]
    status: str
    required: bool
    summary: str
    detail: str = ""  #: what the run says about it, in its words
    failure: Failure | None = None
    also: list[str] = field(default_factory=list)  #: other (class, kind) pairs that fail


@dataclass(frozen=True)
class Shares:
    """Elements of the required tier by verdict class; the three add up to ``elements``."""

    correct: int
    legal: int
    failing: int

    @property
    def elements(self) -> int:
        """All elements."""
        return self.correct + self.legal + self.failing


def ranked(runs: Sequence[Results]) -> list[Results]:
    """Order builds: those that conform, then by failing entry points, failing cases, and name."""
    return sorted(
        runs,
        key=lambda r: (
            r.verdict != "conforms",
            len(failing_entry_points(r)),
            sum(e.failures for e in r.entry_points),
            r.platform.name,
            text.build_label(r),
            msgspec.json.encode(r),
        ),
    )


def labels(runs: Sequence[Results]) -> list[str]:
    """Return a name for each build; those that share file name and platform are told apart by digest."""
    names = [(run.platform.name, text.build_label(run)) for run in runs]
    result = []
    for number, (run, name) in enumerate(zip(runs, names, strict=True), 1):
        mark = run.library.sha256[:8] or f"#{number}"
        same = [r for r, other in zip(runs, names, strict=True) if other == name]
        if len(same) > 1 and sum(r.library.sha256 == run.library.sha256 for r in same) > 1:
            mark = f"#{number}"
        result.append(name[1] if len(same) == 1 else f"{name[1]} ({mark})")
    return result


def failing_entry_points(run: Results) -> list[EntryPointResult]:
    """Return the entry points that the platform requires and that do not pass."""
    return [e for e in run.entry_points if e.required and e.status != "pass"]


def merged(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up. The percentile is read off the merged histogram, as the judge does for each part."""
    total = Tally(grade="correctly-rounded")
    parts = list(tallies)
    if not parts:
        return Tally()
    for part in parts:
        for name in COUNTS:
            setattr(total, name, getattr(total, name) + getattr(part, name))
        total.mean_ulp += part.mean_ulp * part.measured
        total.bias_ulp += part.bias_ulp * part.measured
        total.max_ulp = max(total.max_ulp, part.max_ulp)
        total.grade = max(total.grade, part.grade, key=GRADES.index)
        if part.worst and (total.worst is None or part.worst.ulp > total.worst.ulp):
            total.worst = part.worst
        for upper, elements in part.histogram.items():
            total.histogram[upper] = total.histogram.get(upper, 0) + elements
    total.histogram = dict(sorted(total.histogram.items(), key=lambda item: float(item[0])))
    total.mean_ulp /= total.measured or 1
    total.bias_ulp /= total.measured or 1
    edge = _percentile(total.histogram, 0.999) if total.histogram else max(p.p999_ulp for p in parts)
    total.p999_ulp = min(edge, total.max_ulp)  # an edge is rounded up; the maximum is the better upper bound
    return total


def _percentile(histogram: dict[str, int], share: float) -> float:
    wanted = share * sum(histogram.values())
    seen = accumulate(histogram.values())
    return next(float(edge) for edge, below in zip(histogram, seen, strict=True) if below >= wanted)


def shares(tally: Tally) -> Shares:
    """Split elements into correctly rounded, other legal, and failing."""
    off = max(tally.misrounded, tally.failures)
    return Shares(max(tally.elements - off, 0), off - tally.failures, tally.failures)


def problems(run: Results) -> list[Problem]:
    """Return who fails and why, required entry points first; equal failures are told once."""
    found: dict[object, Problem] = {}
    for entry in sorted(run.entry_points, key=lambda e: not e.required):
        if entry.status == "pass" or (entry.status == "missing" and not entry.required):
            continue
        first = next((f for f in entry.failing if f.first), next(iter(entry.failing), None))
        summary, detail = _summary(entry)
        key = (entry.status, entry.required, summary, detail, msgspec.json.encode(first))
        problem = found.setdefault(key, Problem([], entry.status, entry.required, summary, detail, first))
        problem.symbols.append(entry.symbol)
        pairs = {f"{f.klass} ({text.words(f.kind)})": None for f in entry.failing if f is not first}
        if first:
            pairs.pop(f"{first.klass} ({text.words(first.kind)})", None)
        problem.also = list(dict.fromkeys(problem.also + list(pairs)))
    for finding in run.findings:
        if finding.severity == "failure" and not any(finding.symbol in p.symbols for p in found.values()):
            symbols = [finding.symbol] if finding.symbol else []
            found[id(finding)] = Problem(symbols, "fail", True, text.words(finding.kind), finding.message.rstrip("."))
    return list(found.values())


def _summary(entry: EntryPointResult) -> tuple[str, str]:
    """Return why an entry point does not pass, and the run's own words where those say more."""
    optional = "" if entry.required else tr(" (not required by this platform)")
    if entry.status == "missing":
        return tr("missing: the library does not export it") + optional, ""
    if entry.failures and entry.status == "fail":
        return tr("{count} fail", count=count_of(entry.failures, entry.cases)) + optional, ""
    return text.words(entry.status) + optional, entry.detail.rstrip(".")


def count_of(part: int, whole: int) -> str:
    """Write ``3 of 40 cases``."""
    return tr("{part} of {whole}", part=text.count(part), whole=text.plural(whole, "case"))


def reason(run: Results) -> str:
    """Return the verdict in one sentence: the run's own, or in another language what its entry points come to."""
    if language() == "en":
        return run.reason
    bad, required = failing_entry_points(run), [e for e in run.entry_points if e.required]
    if not any(e.cases for e in required):
        return tr("Nothing was run for {platform}.", platform=run.platform.name)
    told = {"platform": run.platform.name, "required": len(required), "bad": len(bad)}
    if not bad:
        if run.verdict == "conforms":
            return tr("All {required} entry points judged for {platform} pass.", **told)
        return tr("The build does not conform to {platform}.", **told)
    names = tr(", ").join(f"{e.symbol} ({text.label(e.status)})" for e in bad)
    return tr("{bad} of {required} entry points that {platform} requires do not pass: {names}.", names=names, **told)


def facts(run: Results) -> list[Fact]:
    """Return the header: everything that is needed to know what the numbers belong to."""
    library, host, platform, probe = run.library, run.host, run.platform, run.probe
    asked = {name: value for name, value in run.options.items() if name not in _OWN_LINE}
    lines = [
        Fact(tr("Target"), run.target, code=True),
        Fact(tr("Library"), library.path if library.path != run.target else "", code=True),
        Fact("SHA-256", library.sha256, code=True),
        Fact(tr("Compiler"), library.compiler),
        Fact(tr("Built for"), library.machine, code=True),
        Fact(
            tr("Platform profile"),
            tr(
                "{name}: {cores}, {dtypes}, subnormals {subnormals}, half is {half}",
                name=platform.name,
                cores=text.plural(platform.cores, "core"),
                dtypes=", ".join(platform.dtypes),
                subnormals=platform.subnormals,
                half=platform.half,
            ),
        ),
        Fact(tr("Profile of the user’s own"), platform.file),
        Fact(
            tr("Host (judged on, not the platform)"),
            f"{host.machine}, {host.system}, Python {host.python}, NumPy {host.numpy}",
        ),
        Fact(
            tr("Vectors"),
            tr("suite {suite}, {cases}", suite=run.vectors.suite, cases=text.plural(run.vectors.cases, "case")),
        ),
        Fact(tr("Drawn calls"), text.drawn(run.drawn) if run.drawn else ""),
        *(Fact(tr("Digest of {file}", file=name), d, code=True) for name, d in sorted(run.vectors.digests.items())),
        Fact(tr("Options"), ", ".join(f"{k}={v}" for k, v in sorted(asked.items())) or tr("defaults")),
        Fact(tr("Options set by"), ", ".join(f"{k}: {v}" for k, v in sorted(run.option_sources.items()))),
        Fact(tr("Configuration file"), str(run.config)),
        Fact(tr("Sandbox layers in force"), run.options.get("sandbox", "")),
        Fact(tr("Seed of what is drawn for a run (--draw)"), run.options.get("draw", ""), code=True),
        Fact(
            tr("Found by probing"),
            tr(
                "half passed as {abi}; numbers of choices {numbers}; subnormals {subnormals}",
                abi=probe.half_abi,
                numbers=probe.numbering,
                subnormals=probe.subnormals,
            ),
        ),
        Fact(tr("golden version"), str(run.judge) if run.judge.version else run.golden),
        Fact(tr("Judged at (UTC)"), run.created),
        Fact(tr("Run time"), f"{run.seconds:.1f} s" if run.seconds else ""),
    ]
    return [fact for fact in lines if fact.value]
