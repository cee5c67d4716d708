"""Records the commit in wheels and source distributions: neither has a repository to ask later."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RecordCommit(BuildHookInterface[Any]):
    """Adds a file with the commit, unless that is unknown."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file outside the tree, and name it to the builder; an editable install has the repository."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from golden.commit import RECORD, commit  # noqa: PLC0415 - found beside this file only now

        if found := commit(Path(self.root)):
            self._folder = tempfile.TemporaryDirectory()
            path = Path(self._folder.name, RECORD.name)
            path.write_text(f"{found}\n", encoding="ascii")
            build_data["force_include"][str(path)] = RECORD.as_posix()
