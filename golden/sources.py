"""What judges: version, commit and digest of golden's own sources, for results that must tell which tool made them."""

import hashlib
from functools import cache
from pathlib import Path

from golden import __version__
from golden.commit import commit
from golden.results import Judge

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("golden", "generators", "runners", "reports")
_KINDS = (".py", ".c", ".h", ".S", ".toml", ".j2", ".css", ".js")
#: Reports of the project's own, and what makes them; no part of what is installed.
_PUBLISHED = _ROOT / "reports/published"


@cache
def judge() -> Judge:
    """Return what judges in this process. The digest is of every source file that is installed, by path and content."""
    digest = hashlib.sha256()
    for path in sorted(p for name in _PACKAGES for p in (_ROOT / name).rglob("*") if p.suffix in _KINDS):
        if _PUBLISHED not in path.parents:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(_ROOT).as_posix()}\0{len(content)}\0".encode() + content)
    return Judge(__version__, commit(_ROOT), digest.hexdigest())
