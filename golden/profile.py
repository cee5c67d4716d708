"""Platform profiles: what a platform's builds must have and may do. TOML files, three of them shipped."""

import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from golden.calling import Calling
from golden.document import Document
from golden.errors import UsageError, nearest, unknown_name
from golden.files import reading
from golden.files.names import platforms
from golden.formats import FORMATS
from golden.operator import EntryPoint, Role, entry_points, operators
from golden.terms import Accept, PlatformArithmetic, Terms

#: Regions begin at least this many bytes apart: an operand of one page lies between guards of 256 KiB.
APART = 1 << 20
_TOP = 1 << 64


class Memory(msgspec.Struct, Document, frozen=True, forbid_unknown_fields=True):
    """Start addresses of the regions that operands are documented to lie in; empty where nothing is stated."""

    shared: list[int] = []
    private: list[int] = []


class Provenance(msgspec.Struct, Document, frozen=True, forbid_unknown_fields=True):
    """Which facts the vendor states, and which this profile assumes."""

    stated: list[str] = []
    assumed: list[str] = []


class Profile(msgspec.Struct, Document, frozen=True, forbid_unknown_fields=True):
    """A platform. ``operators`` overrides ``dtypes`` for single operators (an empty list: not supported)."""

    name: str
    summary: str
    dtypes: list[Literal["fp16", "fp32"]]
    cores: Annotated[int, msgspec.Meta(ge=1, le=32)]
    subnormals: Literal["preserve", "flush", "unspecified"]
    half: Literal["float16", "uint16", "unspecified"]
    #: Operand alignment in bytes; 0 is the element's own size. The same as ``calling.alignment``.
    alignment: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0
    memory: Memory = Memory()
    arithmetic: PlatformArithmetic = PlatformArithmetic()
    calling: Calling = Calling()
    accept: Accept = Accept()
    operators: dict[str, list[Literal["fp16", "fp32"]]] = {}
    provenance: Provenance = Provenance()
    #: Not a key: where a profile of the user's own was read, the SHA-256 of that, and whether it takes a shipped name.
    origin: tuple[str, str, bool] = ("shipped", "", False)

    @property
    def masks(self) -> tuple[int, ...]:
        """The core masks that calls are made with, as C ints, the one that is judged first; (): any."""
        return tuple(map(as_int, self.calling.masks(self.cores)))

    @property
    def full_mask(self) -> int:
        """The core mask of calls that are judged in full: every core, where nothing else is stated."""
        return next(iter(self.masks), as_int((1 << self.cores) - 1))

    @property
    def terms(self) -> Terms:
        """What results are held to."""
        return Terms.of(self.subnormals, self.arithmetic, self.accept)

    def allowing(self, names: Iterable[str]) -> "Profile":
        """Return the profile with more accepted; ``names``: keys of :data:`ALLOWANCES`."""
        accept = self.accept
        for name in names:
            accept = msgspec.structs.replace(accept, **ALLOWANCES[name])
        return msgspec.structs.replace(self, accept=accept)

    def holding(self, grade: str, limits: Iterable[tuple[str, float]]) -> "Profile":
        """Return the profile with another least ``grade`` unless that is "", and other largest errors.

        ``limits``: of dtypes, those of the dtype "" being of all; later ones go before earlier ones.
        """
        accept, largest = self.accept, {**self.accept.max_ulp}
        for dtype, limit in limits:
            largest |= dict.fromkeys([dtype] if dtype else FORMATS, limit)
        changed = {"grade": grade or accept.grade, "max_ulp": largest}
        return msgspec.structs.replace(self, accept=msgspec.structs.replace(accept, **changed))

    def requires(self, entry: EntryPoint) -> bool:
        """Tell whether a build for this platform must have an entry point."""
        return entry.fmt.name in self.operators.get(entry.operator.name, self.dtypes)

    def required(self) -> list[EntryPoint]:
        """Return every entry point a build for this platform must have."""
        return [entry for entry in entry_points().values() if self.requires(entry)]


def as_int(mask: int) -> int:
    """Return a core mask as a C int."""
    return mask - (1 << 32) if mask >= 1 << 31 else mask


#: What the command line may allow, and the keys of [accept] that say the same.
ALLOWANCES: dict[str, dict[str, str]] = {"overflow": {"range": "any-order"}, "nan": {"nan": "unspecified"}}


def shipped() -> list[str]:
    """Return the names of the profiles that ship."""
    return list(platforms())


def load_profile(name: str) -> Profile:
    """Load a profile by the name of a shipped one (any case) or the path of a TOML file.

    Raises :class:`UsageError` that names the file and the key that is wrong.
    """
    known = {stem.lower(): path for stem, path in platforms().items()}
    own = name.lower() not in known
    path = known.get(name.lower(), Path(name))
    if not os.path.lexists(path):
        if path.suffix == ".toml":
            raise UsageError(f"There is no platform profile {name!r}; shipped are {', '.join(shipped())}.")
        raise UsageError(f"{unknown_name('platform', name, shipped())} A profile of your own is a path (.toml).")
    try:
        text = reading.read_bytes(path, reading.TOML)
        content = reading.toml_of(text)
        if "origin" in content:
            raise ValueError("there is no key 'origin'")
        _check_keys(content, Profile)
        _check_dtypes(content)
        profile = msgspec.convert(content, Profile)
        _check_values(profile)
        _check_calling(profile)
    except OSError as error:
        raise UsageError(f"Cannot read platform profile {path}: {error.strerror}.") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise UsageError(f"Platform profile {path} is not valid: {str(error).rstrip('.')}.") from error
    if profile.calling.alignment:
        profile = msgspec.structs.replace(profile, alignment=profile.calling.alignment)
    if not own:
        return profile
    impostor = profile.name.lower() in known and profile != load_profile(profile.name)
    return msgspec.structs.replace(profile, origin=(name, hashlib.sha256(text).hexdigest(), impostor))


def _check_keys(table: Mapping[str, object], schema: type[msgspec.Struct], where: str = "") -> None:
    """Raise ValueError for a key that a table does not have, with the nearest one that it has, and for missing ones."""
    known = {field.encode_name: field for field in msgspec.structs.fields(schema)}
    for key, value in table.items():
        if key not in known:
            near = nearest(key, known)
            hint = f"did you mean {near!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"there is no key {where + key!r}; {hint}")
        inner = known[key].type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, dict):
            _check_keys(value, inner, f"{key}.")
    missing = [name for name, field in known.items() if field.required and name not in table]
    if missing:
        raise ValueError(f"{', '.join(repr(where + name) for name in missing)} must be given too")


def _check_dtypes(content: Mapping[str, object]) -> None:
    """Raise ValueError for a dtype that does not exist, wherever dtypes are listed."""
    overrides = content.get("operators")
    lists = {"dtypes": content.get("dtypes"), **(overrides if isinstance(overrides, dict) else {})}
    for key, names in lists.items():
        for name in names if isinstance(names, list) else ():
            if isinstance(name, str) and name not in FORMATS:
                raise ValueError(f"{key}: there is no dtype {name!r}; known are {', '.join(FORMATS)}")


def _check_values(profile: Profile) -> None:
    """Raise ValueError for what is of the right type and makes no sense."""
    if not profile.name or profile.name != profile.name.strip():
        raise ValueError("name is empty, or begins or ends with a blank")
    if not profile.dtypes:
        raise ValueError(f"it supports no dtype; give at least one of {', '.join(FORMATS)}")
    for name in profile.operators:
        if name not in operators():
            raise ValueError(str(unknown_name("operator", name, operators())).rstrip("."))
    for dtype, limit in profile.accept.max_ulp.items():
        if dtype not in FORMATS:
            raise ValueError(f"accept.max-ulp: there is no dtype {dtype!r}; known are {', '.join(FORMATS)}")
        if not math.isfinite(limit):
            raise ValueError(f"accept.max-ulp: {dtype} = {limit} is no number of ulp")
    starts = sorted((at, kind) for kind in ("shared", "private") for at in getattr(profile.memory, kind))
    for at, kind in starts:
        if at % 4096 or not 0 < at < _TOP:
            raise ValueError(f"memory.{kind}: {at:#x} is no address of a page (a multiple of 4096 below 2^64)")
    for (first, one), (second, other) in pairwise(starts):
        if second - first < APART:
            raise ValueError(
                f"memory.{one} {first:#x} and memory.{other} {second:#x} overlap: regions have to begin at least "
                f"{APART >> 20} MiB apart"
            )


def _check_calling(profile: Profile) -> None:
    """Raise ValueError for a way of calling that makes no sense."""
    calling = profile.calling
    for name, value in (("alignment", profile.alignment), ("calling.alignment", calling.alignment)):
        if value & (value - 1):
            raise ValueError(f"{name} = {value} is no power of two")
    if profile.alignment and calling.alignment not in (0, profile.alignment):
        raise ValueError(
            f"alignment = {profile.alignment} and calling.alignment = {calling.alignment}: give one of them"
        )
    if isinstance(calling.core_masks, list):
        if not calling.core_masks:
            raise ValueError("calling.core-masks is empty; give at least one mask, or any, prefix or full")
        for mask in calling.core_masks:
            if not 0 < mask < 1 << profile.cores:
                raise ValueError(f"calling.core-masks: {mask:#x} is no mask of {profile.cores} cores")
    pairs = [
        f"{page.output.name} = {p.name}"
        for page in operators().values()
        for p in page.pointers
        if p.role is not Role.OUTPUT and p.element == "real" and page.alike(p.name)
    ]
    for pair in calling.aliasing:
        if " = ".join(word.strip() for word in pair.split("=")) not in pairs:
            raise ValueError(
                f"calling.aliasing: {pair!r} is no output and an input as long; there are {', '.join(pairs)}"
            )
