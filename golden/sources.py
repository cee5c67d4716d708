"""What judges: version, commit and digest of golden's own sources, for results that must tell which tool made them."""

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from golden import __version__
from golden.results import Judge

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("golden", "generators", "runners", "reports")
_KINDS = (".py", ".c", ".h", ".toml")


@cache
def judge() -> Judge:
    """Return what judges in this process. The digest is of every source file, by path and content."""
    digest = hashlib.sha256()
    for path in sorted(p for name in _PACKAGES for p in (_ROOT / name).rglob("*") if p.suffix in _KINDS):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_ROOT).as_posix()}\0{len(content)}\0".encode() + content)
    return Judge(__version__, _commit(), digest.hexdigest())


def _commit() -> str:
    """Return the commit that is checked out; "" where there is no repository, or one that is packed otherwise."""
    with suppress(OSError):
        git = _ROOT / ".git"
        if git.is_file():  # a worktree names its folder
            git = _ROOT / git.read_text().partition("gitdir:")[2].strip()
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
