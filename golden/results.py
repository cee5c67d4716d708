"""Schema of ``results.json``: what one validation run found."""

from typing import Annotated, Literal, get_args

import msgspec

from golden.calling import Calling
from golden.document import Document
from golden.files.names import NUMBERING_OPTION
from golden.terms import Accept, PlatformArithmetic, Terms

SCHEMA = "golden-results/1"

Status = Literal["pass", "fail", "missing", "crash", "timeout"]
Grade = Literal["correctly-rounded", "faithful", "formula", "legal", "fails"]
#: Best first. ``fails`` is also the grade of whatever did not run.
GRADES: tuple[Grade, ...] = ("correctly-rounded", "faithful", "formula", "legal", "fails")
Severity = Literal["failure", "warning", "info"]
#: Best first. ``partial``: nothing failed of a selection; that says nothing about the rest, so it is never "conforms".
Verdict = Literal["conforms", "partial", "fails"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_HEX_FLOAT = r"^-?(nan|inf|0x[01](\.[0-9a-f]{1,13})?p(\+[0-9]{1,3}|-[0-9]{1,4}))$"


class Number(msgspec.Struct, Document, frozen=True):
    """A floating-point number as people and as programs read it."""

    hex: Annotated[str, msgspec.Meta(pattern=_HEX_FLOAT)]  #: C hex-float, such as ``-0x1.8p+3``, or ``nan``, ``inf``
    bits: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-f]{1,16}$")]  #: bit pattern, such as ``0xc600``
    decimal: str  #: shortest decimal that reads back as the same number


class Element(msgspec.Struct, Document, frozen=True):
    """One output element held against its exact value."""

    case: str
    klass: str
    index: int
    inputs: dict[str, Number | int | str]
    expected: Number
    got: Number
    kind: str  #: see golden.judge.KINDS
    ulp: float  #: error in ulp; 0.0 for kinds that are not distances
    bound: float  #: largest legal error of this element in ulp


class Tally(msgspec.Struct, Document):
    """Counts and error statistics over a set of output elements.

    ``measured`` counts elements whose exact value is a non-zero real number: error statistics are over these.
    ``nan``, ``infinity``, ``zero``: elements where exactly one of expected and got is of that class;
    ``overflow``: got infinite for a finite exact value; ``zero_sign``: zeros of the other sign (they conform).
    """

    cases: int = 0
    elements: int = 0
    measured: int = 0
    misrounded: int = 0
    failures: int = 0  #: elements outside every legal order's bound
    nan: int = 0
    infinity: int = 0
    overflow: int = 0
    zero: int = 0
    zero_sign: int = 0
    max_ulp: float = 0.0
    mean_ulp: float = 0.0
    p999_ulp: float = 0.0  #: 99.9th percentile, rounded up to the edge of a histogram bin
    bias_ulp: float = 0.0  #: mean of the signed error (got - exact) in ulp, positive away from -inf
    grade: Grade = "fails"
    worst: Element | None = None
    histogram: dict[str, int] = {}  #: upper bin edge in ulp -> elements


class Binade(msgspec.Struct, Document, frozen=True, omit_defaults=True):
    """Errors of the measured elements whose coordinate x has 2**exponent <= |x| < 2**(exponent + 1)."""

    exponent: int
    negative: bool = False  #: x < 0; never in a landscape that is not ``signed``
    elements: int = 0  #: with a distance: a NaN in the place of a number is counted in ``failures`` alone
    misrounded: int = 0
    failures: int = 0
    max_ulp: float = 0.0
    mean_ulp: float = 0.0


class Landscape(msgspec.Struct, Document, frozen=True):
    """Where the error lives: the measured elements by the binade of one coordinate, from low to high.

    ``axis``: ``result`` (the magnitude of the exact value), or the operator's own coordinate, such as
    ``diff / beta``. The binades ``limit`` and ``-limit`` hold what lies further out, or nearer to zero, too.
    """

    axis: str
    signed: bool
    limit: int
    binades: list[Binade]


class Contract(msgspec.Struct, Document, frozen=True, omit_defaults=True):
    """How often one contract was checked on an entry point, and in how many cases it was broken.

    ``name``: one of :data:`CONTRACTS`. ``checked`` counts in the unit that stands there. ``broken`` counts cases in
    which it was broken, or could not be excluded as the cause where several things were varied at once.
    ``observable``: False where the way of running cannot see it; nothing was checked then.
    """

    name: str
    checked: int = 0
    broken: int = 0
    observable: bool = True


#: The contracts beside the numbers: name -> what is counted. What each demands is in docs/reading-the-report.md.
CONTRACTS: dict[str, Literal["invocations", "cases"]] = {
    "returns": "invocations",
    "outside-access": "invocations",
    "outside-write": "invocations",
    "inputs-unchanged": "invocations",
    "untouched-operands": "invocations",
    "fp-environment": "invocations",
    "registers": "invocations",
    "processes": "invocations",
    "output-written": "cases",
    "small-sizes": "cases",
    "core-mask": "invocations",
    "placement": "invocations",
    "output-fill": "invocations",
    "unread-operands": "invocations",
    "aliasing": "invocations",
    "repetition": "invocations",
    "history": "invocations",
    "position": "cases",
    "storage": "cases",
}


#: Kinds of failures by a policy alone (``[accept]``): results are legal, and not as good as is asked for.
POLICIES = ("worse-grade", "beyond-max-ulp")


class Failure(msgspec.Struct, Document, frozen=True):
    """One case that failed on one entry point, with its first bad element where there is one."""

    case: str
    klass: str
    tier: str
    kind: str  #: a kind of golden.judge.KINDS, one of POLICIES, a contract's name, ``crash`` or ``timeout``
    message: str
    elements: int = 0  #: bad elements in the case
    first: Element | None = None


class EntryPointResult(msgspec.Struct, Document):
    """What was found for one C symbol. Counts and grade are of the required tier (see ``stress``)."""

    symbol: str
    operator: str
    dtype: str
    storage: str
    required: bool  #: the platform requires this entry point
    status: Status
    grade: Grade
    max_ulp: float
    misrounded: int
    elements: int
    cases: int
    failures: int  #: failing cases
    detail: str = ""  #: one sentence on why the status is not ``pass``
    held_ulp: float = (
        0.0  #: largest error, of elements with other bits than golden's, that ``[accept] max-ulp`` concerns
    )
    would_conform: str = ""  #: the smallest change of the platform's terms under which it would, as profiles write it
    groups: dict[str, Tally] = {}  #: by the scalars that are no sizes
    stress: dict[str, Tally] = {}
    classes: dict[str, dict[str, int]] = {}  #: class -> {"cases": n, "failures": n}
    bits: dict[str, str] = {}  #: class -> digest of the judged outputs of all its cases, NaN payloads apart
    expected_failures: int = 0  #: failing cases that the user's --xfail file names; they do not decide
    evidence: int = 0  #: cases whose results are not all zero or one constant
    failing: list[Failure] = []  #: at most golden.judge.KEPT_FAILURES, one of every (class, kind) first
    worst: list[Element] = []  #: the worst element of each of the worst golden.tally.KEPT_WORST cases, worst first
    landscapes: list[Landscape] = []  #: where the error lives, over the required tier
    contracts: list[Contract] = []  #: what was checked beside the numbers, over all tiers


class Finding(msgspec.Struct, Document, frozen=True):
    """Something worth knowing: a broken contract (``failure``), or a remark that does not decide."""

    kind: str
    symbol: str
    severity: Severity
    message: str
    case: str = ""


class Library(msgspec.Struct, Document, frozen=True):
    """The file that was judged; empty strings where the target is not a file."""

    path: str = ""
    sha256: str = ""
    compiler: str = ""  #: from the ELF .comment section
    machine: str = ""  #: ELF machine, such as EM_X86_64


class Platform(msgspec.Struct, Document, frozen=True):
    """The profile that decided what was required."""

    name: str
    cores: int
    subnormals: str
    half: str
    dtypes: list[str]
    stated: list[str]  #: what the vendor's pages say
    assumed: list[str]  #: what they do not say and this profile fills in
    source: str = "shipped"  #: or the path of the user's own profile
    sha256: str = ""  #: of a profile of the user's own
    impostor: bool = False  #: it takes the name of one that ships, and says other things
    arithmetic: PlatformArithmetic = PlatformArithmetic()
    accept: Accept = Accept()
    calling: Calling = Calling()

    @property
    def terms(self) -> Terms:
        """What results were held to."""
        return Terms.of(self.subnormals, self.arithmetic, self.accept)

    @property
    def held(self) -> str:
        """What results were held to and the platform does not do as a matter of course, as profiles write it."""
        return ", ".join(filter(None, (self.terms.told(), self.accept.told())))

    @property
    def file(self) -> str:
        """The user's own profile and its digest; "" for one that ships."""
        return "" if self.source == "shipped" else f"{self.source}, SHA-256 {self.sha256}"

    @property
    def described(self) -> str:
        """The name, with where it comes from if it could be taken for another."""
        if not self.impostor:
            return self.name
        return f"{self.name} as defined by {self.source} (sha256 {self.sha256[:12]}…), not the profile that ships,"


class Vectors(msgspec.Struct, Document, frozen=True):
    """Which golden data was used. ``suite``: its name, or what was read in its place."""

    suite: str
    cases: int
    digests: dict[str, str]  #: file name, or path where several share a name -> content digest
    paths: list[str] = []  #: files and folders that were read in place of a suite
    #: Who can make them: everyone (public), who has the seed (private), or the suite file (own); "" in older results.
    origin: str = ""
    seed_sha256: str = ""  #: of a private seed
    seed: str = ""  #: its text, if that was to be disclosed


class Selection(msgspec.Struct, Document, frozen=True):
    """What a run was restricted to. Counts are of what the platform requires and the vectors hold; 0 without options.

    ``options``: option -> patterns. ``stopped``: the run ended at the first failing case, as was asked for, with
    ``done`` of ``planned`` cases on entry points run.
    """

    options: dict[str, list[str]] = {}
    cases: int = 0
    of_cases: int = 0
    entry_points: int = 0
    of_entry_points: int = 0
    stopped: bool = False
    done: int = 0
    planned: int = 0

    @property
    def whole(self) -> bool:
        """Tell whether nothing is left out: whatever options say, then a run is one of everything."""
        return not self.stopped and (self.cases, self.entry_points) == (self.of_cases, self.of_entry_points)

    @property
    def told(self) -> str:
        """The options as a command line has them, without dashes; "" where there are none."""
        return ", ".join(f"{option} {pattern}" for option, patterns in self.options.items() for pattern in patterns)


class Probe(msgspec.Struct, Document, frozen=True):
    """What was found out about the target before and while judging it."""

    half_abi: str = "unknown"
    numbering: str = msgspec.field(default="unknown", name=NUMBERING_OPTION.replace("-", "_"))
    subnormals: str = "unknown"
    evaluation_order: dict[str, str] = {}  #: symbol -> order with the share of matching bits


class Host(msgspec.Struct, Document, frozen=True):
    """Where the run took place; never to be read as the platform that was judged."""

    machine: str
    system: str
    python: str
    numpy: str


class ConfigFile(msgspec.Struct, Document, frozen=True):
    """The configuration file that set options of the run, and their names; empty where none did."""

    path: str = ""
    sha256: str = ""
    options: list[str] = []

    def __str__(self) -> str:
        """Return file, digest and options in a line; "" where there is none."""
        return f"{self.path}, SHA-256 {self.sha256}: {', '.join(self.options)}" if self.path else ""


class Judge(msgspec.Struct, Document, frozen=True):
    """What judged: the tool's version, its commit where it runs from a repository, and the digest of its sources."""

    version: str = ""
    commit: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Return version, commit and digest in a line."""
        commit, digest = f", commit {self.commit}", f", SHA-256 of the sources {self.digest}"
        return self.version + (commit if self.commit else "") + (digest if self.digest else "")


class Drawn(msgspec.Struct, Document, frozen=True):
    """How much a run of drawn calls has covered.

    ``calls`` that were drawn were made in ``ways`` with other masks, places and fills. ``features``: entry points with
    a class and a magnitude of sizes, with a size, a mask or a place of operands, that were seen; ``quiet``: calls
    since the last new one, or the last new kind of failure.
    """

    calls: int
    ways: int
    elements: int
    features: int
    quiet: int


class Results(msgspec.Struct, Document, kw_only=True):
    """A whole run. ``complete`` is the footer: without it the file is refused."""

    schema: str
    golden: str  #: version of the tool
    verdict: Verdict
    reason: str  #: the verdict in one sentence
    platform: Platform
    target: str
    library: Library
    host: Host
    vectors: Vectors
    selection: Selection = Selection()
    options: dict[str, str]
    option_sources: dict[str, str] = {}  #: option that was set -> ``command line`` or the configuration file
    config: ConfigFile = ConfigFile()
    created: str = ""  #: UTC, ISO 8601
    judge: Judge = Judge()
    probe: Probe
    seconds: float
    entry_points: list[EntryPointResult]
    findings: list[Finding]
    drawn: Drawn | None = None  #: of ``golden fuzz``
    complete: bool
