"""Dumps as targets: ``dump:DIR`` answers calls from the memory that a target left, one file a blob of calls.

Which call an answer belongs to is known by the call's content, not by when it is made: a validation that asks for
anything that was not exported is told so.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from golden.errors import TargetError, UsageError, VectorError
from golden.files.names import NUMBERING_OPTION
from golden.files.vectors import VectorFile
from golden.results import Library
from runners.calling.call import Call, Finding, Outcome
from runners.calling.session import AnsweringSession
from runners.harness.frames import DEFAULT_ENVIRONMENT, HarnessError, environment_changes
from runners.harness.observed import UNOBSERVABLE, blind, observed
from runners.offline.blobs import Dump, Manifest, Piece, call_key, read_dump, read_manifest


def is_dump(target: str) -> bool:
    """Tell whether a target names dumps."""
    return target.startswith("dump:") and not Path(target).exists()


def exported(target: str) -> Manifest:
    """Return the manifest behind ``dump:DIR``; raises what :func:`runners.offline.blobs.read_manifest` raises."""
    return read_manifest(Path(target.removeprefix("dump:")))


def as_exported(target: str, manifest: Manifest, given: Collection[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a validation (named as parameters) with those of the export in place of defaults.

    ``given``: names of the options that somebody has set. Vectors may have moved: which ones they are is for
    :func:`covered` to check. Raises :class:`UsageError` for other options that contradict the export.
    """
    merged = dict(options)
    for name, value in manifest.options.items():
        key = "numbering" if name == NUMBERING_OPTION else name.replace("-", "_")
        if name in ("suite", "vectors"):
            if not {"suite", "vectors"} & {*given}:
                merged[key] = tuple(map(Path, value.split(os.pathsep))) if name == "vectors" else value
        elif name in given and options[key] != value:
            raise UsageError(f"--{name} {options[key]}: {target} was exported with {value}; leave the option out.")
        else:
            merged[key] = value
    return merged


def covered(target: str, manifest: Manifest, files: Sequence[VectorFile]) -> list[VectorFile]:
    """Return the vector files that were exported, out of those at hand.

    Raises :class:`VectorError` where one is missing or has another content now.
    """
    digests = {f.path.name: f.digest for f in files}
    for name, digest in manifest.vectors.items():
        if digests.get(name) != digest:
            what = "has another content now" if name in digests else "is not among these vectors"
            raise VectorError(
                f"{target} was exported from {name}, which {what}; restore it, give the same --seed, or export again."
            )
    return [f for f in files if f.path.name in manifest.vectors]


class OfflineSession(AnsweringSession):
    """Dumps behind the session interface; see :class:`runners.calling.session.Session`.

    All dumps are read and checked at once, and each again when its answers are asked for: memory holds one.

    Raises :class:`TargetError` for dumps that are missing, truncated, corrupt, shuffled, of another export or of
    several programs, and what :func:`runners.offline.blobs.read_manifest` raises.
    """

    unobservable = UNOBSERVABLE | {"history"}

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.name = folder, str(folder)
        self._manifest = read_manifest(folder)
        blobs = self._manifest.blobs
        if missing := [b.dump for b in blobs if not os.path.lexists(folder / b.dump)]:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise TargetError(
                f"{folder} lacks {', '.join(missing[:5])}{more}, of {len(blobs)} dumps: run those blobs too."
            )
        self._pieces: dict[str, list[tuple[int, int, Piece]]] = {}  # by key: blob, serial number, piece
        seen = None
        for number, blob in enumerate(blobs):
            hello = read_dump(folder, self._manifest, number).hello
            for change in environment_changes(DEFAULT_ENVIRONMENT, hello.environment):
                text = f"Before the first call of {blob.file} there was a change of {change}."
                self.load_findings.append(Finding("fp-environment", text))
            same = msgspec.structs.replace(hello, capacity=0, environment=0)
            if seen not in (None, same):
                raise TargetError(f"{folder / blob.dump} is of another program than {blobs[0].dump}: run all with one.")
            seen = same
            for serial, piece in enumerate(blob.pieces, blob.serial):
                self._pieces.setdefault(piece.key, []).append((number, serial, piece))
        assert seen is not None
        self.symbols = seen.symbols
        self.stated_half_abi = seen.half_abi
        self.blind = (
            *blind(seen),
            "what calls of other entry points leave behind",
            "what calls print",
            "why a call does not return",
        )
        self.library = Library(compiler=seen.compiler, machine=seen.machine)
        self._open: tuple[int, Dump] | None = None

    def answer(self, call: Call) -> list[Outcome]:
        """Return the outcomes of a call; raises :class:`TargetError` for one that was not exported."""
        pieces = self._pieces.get(call_key(call))
        if pieces is None:
            raise TargetError(
                f"{self.folder} has no answer to a call of {call.symbol} that this run makes: export again with "
                "this golden and the same options."
            )
        if sum(piece.count for _, _, piece in pieces) != len(call.invocations):
            raise TargetError(
                f"{self.folder} has answers to another number of invocations than the call of {call.symbol} that this "
                "run makes: restore its manifest, or export again."
            )
        return [outcome for piece in pieces for outcome in self._outcomes(call, *piece)]

    def _outcomes(self, call: Call, number: int, serial: int, piece: Piece) -> list[Outcome]:
        blob = self._manifest.blobs[number]
        if self._open is None or self._open[0] != number:
            self._open = number, read_dump(self.folder, self._manifest, number)
        dump = self._open[1]
        outcomes: list[Outcome] = []
        for result in dump.results[serial]:
            try:
                outcomes.append(observed(call, result, outcomes[-1].output if outcomes else None, dump.hello))
            except HarnessError as error:
                raise TargetError(f"{self.folder / blob.dump} is corrupt: the target {error}.") from error
        if dump.stopped == serial:
            message = f"{call.symbol} did not return: {blob.dump} ends in this call, or was dumped too early."
            outcomes.append(Outcome("crash", message=message))
        missing = piece.count - len(outcomes)
        return outcomes + [Outcome("not-run", message=f"{blob.dump} ends before this.") for _ in range(missing)]
