"""Libraries whose file is replaced while they are judged: what ran must be what the stated digest is of."""

from tests.attacks.attack import Attack

#: Shows by its name that it is loaded, for long enough to be seen.
_SEEN = """
LOAD
{
    char name[16];
    prctl(PR_GET_NAME, name), prctl(PR_SET_NAME, LURKER);
    usleep(500000);
    prctl(PR_SET_NAME, name);
}
"""

SWAPPED: list[Attack] = [
    Attack("defective-replaced", "copy", "is wrong, and while it is loaded a healthy build is renamed over its file",
           "WRONG;", before=_SEEN, swapped="GOOD;"),
    Attack("healthy-replaced", "copy", "is healthy, and while it is loaded a wrong build is renamed over its file",
           "GOOD;", "conforms", before=_SEEN, swapped="WRONG;"),
]  # fmt: skip
