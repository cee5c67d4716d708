"""What is legal and not accepted: a platform may ask for a better grade, or for less than a largest error."""

from collections.abc import Iterator

import numpy as np

from golden.case import Case
from golden.formats import Array
from golden.judge import FAILS, Judged, element, grade_name
from golden.results import GRADES, POLICIES, Failure
from golden.terms import Accept

_NONE = Accept()


def refused(case: Case, output: Array, judged: Judged, accept: Accept, where: str = "") -> Iterator[Failure]:
    """Yield a failure for each policy that legal elements of a case do not meet. ``where``: how the case was run."""
    if accept == _NONE:
        return
    grades = np.where(judged.grade == FAILS, 0, judged.grade)
    worse = np.flatnonzero(grades > GRADES.index(accept.grade))
    if worse.size:
        # Of the worst grade, the largest error says most.
        worst = worse[grades[worse] == grades[worse].max()]
        at = worst[np.argmax(np.nan_to_num(np.abs(judged.signed[worst])))]
        yield _failure(case, output, judged, worse, int(at), POLICIES[0], f"legal, but not {accept.grade}", where)
    beyond = judged.held[np.abs(judged.signed[judged.held]) > accept.limit(case.dtype)]
    if beyond.size:
        at = beyond[np.argmax(np.abs(judged.signed[beyond]))]
        limit = f"legal, but further off than {accept.limit(case.dtype):g} ulp"
        yield _failure(case, output, judged, beyond, int(at), POLICIES[1], limit, where)


def exempt(case: Case, judged: Judged, accept: Accept) -> int:
    """Return how many elements are further off than the largest error, which does not concern them."""
    if accept == _NONE:
        return 0
    signed = np.abs(judged.signed[judged.allowed | judged.flushed])
    return int((signed > accept.limit(case.dtype)).sum())


def _failure(
    case: Case, output: Array, judged: Judged, bad: Array, at: int, kind: str, what: str, where: str
) -> Failure:
    first = element(case, output, judged, at)
    how = f"{first.ulp:.4g} ulp, {grade_name(int(judged.grade[at]))}" if first.ulp else first.kind
    message = (
        f"{bad.size} of {output.size} elements {what}{where}; element {first.index}: "
        f"expected {first.expected.decimal}, got {first.got.decimal} ({how})."
    )
    return Failure(case.id, case.klass, case.tier, kind, message, int(bad.size), first)
