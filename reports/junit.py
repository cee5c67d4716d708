"""``junit.xml``: one test suite an entry point, one test case a class, as CI systems read it."""

from xml.etree import ElementTree as ET

from golden.results import EntryPointResult, Failure, Results
from reports import text
from reports.summary import count_of


def render_junit(run: Results) -> str:
    """Return the JUnit document of one run; whatever breaks conformance is a failure or an error in it."""
    root = ET.Element("testsuites", name=f"golden {text.build_label(run)} {run.platform.name}")
    for entry in run.entry_points:
        _suite(root, run, entry)
    symbols = {e.symbol for e in run.entry_points}
    build = ET.SubElement(root, "testsuite", name="build")
    case = ET.SubElement(build, "testcase", classname="build", name="verdict")
    if run.verdict == "partial":  # neither green nor red: nothing is said about the build
        ET.SubElement(case, "skipped", message=run.reason)
    elif run.verdict != "conforms":
        ET.SubElement(case, "failure", type="verdict", message=run.reason)
    for finding in run.findings:
        if finding.severity == "failure" and finding.symbol not in symbols:
            case = ET.SubElement(build, "testcase", classname="build", name=finding.kind)
            ET.SubElement(case, "failure", type=finding.kind, message=finding.message)
    for suite in root:
        _count(suite)
    _count(root)
    root.set("time", f"{run.seconds:.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, run: Results, entry: EntryPointResult) -> None:
    suite = ET.SubElement(root, "testsuite", name=entry.symbol)
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("status", entry.status),
        ("grade", entry.grade),
        ("max_ulp", text.ulp(entry.max_ulp)),
        ("misrounded", str(entry.misrounded)),
        ("elements", str(entry.elements)),
        ("platform", run.platform.name),
        ("basis", text.stand_in(run)),
    ):
        ET.SubElement(properties, "property", name=name, value=value)
    # A pass stays green whatever the stress tier found; an entry point nobody requires is skipped, not red.
    failing = entry.failing if entry.status != "pass" else []
    by_class: dict[str, list[Failure]] = {name: [] for name in entry.classes}
    for failure in failing:
        by_class.setdefault(failure.klass, []).append(failure)
    for name, failures in by_class.items():
        case = ET.SubElement(suite, "testcase", classname=entry.symbol, name=name)
        if failures and entry.required:
            _outcome(case, entry.symbol, failures, entry.classes.get(name, {}))
        elif failures:
            message = f"not required by this platform: {failures[0].message}"
            ET.SubElement(case, "skipped", message=message)
    if entry.status != "pass" and not failing:
        case = ET.SubElement(suite, "testcase", classname=entry.symbol, name=entry.status)
        tag = "error" if entry.status in ("crash", "timeout") else "failure"
        tag = tag if entry.required else "skipped"
        message = entry.detail or f"{entry.symbol}: {text.words(entry.status)}"
        ET.SubElement(case, tag, type=entry.status, message=message)
    for finding in run.findings:
        if finding.severity == "failure" and finding.symbol == entry.symbol and entry.required:
            case = ET.SubElement(suite, "testcase", classname=entry.symbol, name=finding.kind)
            ET.SubElement(case, "failure", type=finding.kind, message=finding.message)


def _outcome(case: ET.Element, symbol: str, failures: list[Failure], counts: dict[str, int]) -> None:
    """Attach one failure (or error) that tells the first failing case whole and names the others."""
    first = next((f for f in failures if f.first), failures[0])
    tag = "error" if all(f.kind in ("crash", "timeout") for f in failures) else "failure"
    node = ET.SubElement(case, tag, type=first.kind, message=f"{first.case}: {first.message}")
    lines = []
    if element := first.first:
        lines += [f"case {first.case}, element {element.index}: {text.error(element)}"]
        lines += [f"  {name} = {text.number(value)}" for name, value in element.inputs.items()]
        lines += [f"  expected {text.number(element.expected)}", f"  got      {text.number(element.got)}"]
    if counts:
        bad = counts.get("failures", len(failures))
        lines += [f"failing: {count_of(bad, counts.get('cases', 0))}"]
    lines += [f"{f.case} ({f.kind}): {f.message}" for f in failures]
    lines += [text.repro_command("results.json", first.case, symbol)] if text.reproducible(first) else []
    node.text = "\n".join(lines)


def _count(node: ET.Element) -> None:
    cases = list(node.iter("testcase"))
    node.set("tests", str(len(cases)))
    for tag in ("failure", "error", "skipped"):
        name = {"failure": "failures", "error": "errors"}.get(tag, tag)
        node.set(name, str(sum(case.find(tag) is not None for case in cases)))
