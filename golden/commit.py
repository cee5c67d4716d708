"""Which commit the sources are of. Nothing is imported that a build lacks: it records the commit in what it makes."""

from contextlib import suppress
from pathlib import Path

#: Holds the commit in wheels and source distributions, which have no repository.
RECORD = Path("golden/data/commit")


def commit(root: Path) -> str:
    """Return the commit that ``root`` is of: recorded, or checked out there; "" where neither can be told."""
    with suppress(OSError):
        return (root / RECORD).read_text(encoding="ascii").strip()
    with suppress(OSError):
        return _checked_out(root)
    return ""


def _checked_out(root: Path) -> str:
    git = root / ".git"
    if git.is_file():  # a worktree names its folder
        git = root / git.read_text().partition("gitdir:")[2].strip()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    common = git / "commondir"
    shared = git / common.read_text().strip() if common.is_file() else git
    ref = head.removeprefix("ref: ")
    if (shared / ref).is_file():
        return (shared / ref).read_text().strip()
    for line in (shared / "packed-refs").read_text().splitlines():
        if line.endswith(f" {ref}"):
            return line.partition(" ")[0]
    return ""
