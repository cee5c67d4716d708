"""Platform profiles: what a platform's builds must have and may do. TOML files, three of them shipped."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from golden.errors import UsageError, unknown_name
from golden.formats import FORMATS
from golden.names import platforms
from golden.operator import EntryPoint, entry_points


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Start addresses of the regions that operands are documented to lie in; empty where nothing is stated."""

    shared: list[int] = []
    private: list[int] = []


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which facts the vendor states, and which this profile assumes."""

    stated: list[str] = []
    assumed: list[str] = []


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A platform. ``operators`` overrides ``dtypes`` for single operators (an empty list: not supported)."""

    name: str
    summary: str
    dtypes: list[Literal["fp16", "fp32"]]
    cores: Annotated[int, msgspec.Meta(ge=1, le=32)]
    subnormals: Literal["preserve", "flush", "unspecified"]
    half: Literal["float16", "uint16", "unspecified"]
    #: Operand alignment in bytes; 0 is the element's own size.
    alignment: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0
    memory: Memory = Memory()
    operators: dict[str, list[Literal["fp16", "fp32"]]] = {}
    provenance: Provenance = Provenance()

    @property
    def full_mask(self) -> int:
        """The core mask that names every core, as a C int."""
        mask = (1 << self.cores) - 1
        return mask - (1 << 32) if mask >= 1 << 31 else mask

    @property
    def may_flush(self) -> bool:
        """Tell whether subnormals may be replaced by zero."""
        return self.subnormals != "preserve"

    def requires(self, entry: EntryPoint) -> bool:
        """Tell whether a build for this platform must have an entry point."""
        return entry.fmt.name in self.operators.get(entry.operator.name, self.dtypes)

    def required(self) -> list[EntryPoint]:
        """Return every entry point a build for this platform must have."""
        return [entry for entry in entry_points().values() if self.requires(entry)]


def shipped() -> list[str]:
    """Return the names of the profiles that ship."""
    return list(platforms())


def load_profile(name: str) -> Profile:
    """Load a profile by the name of a shipped one (any case) or the path of a TOML file.

    Raises :class:`UsageError` that names the file and the key that is wrong.
    """
    known = {stem.lower(): path for stem, path in platforms().items()}
    path = known.get(name.lower(), Path(name))
    if not path.is_file():
        if path.suffix == ".toml":
            raise UsageError(f"There is no platform profile {name!r}; shipped are {', '.join(shipped())}.")
        raise UsageError(f"{unknown_name('platform', name, shipped())} A profile of your own is a path (.toml).")
    try:
        profile = msgspec.toml.decode(path.read_bytes(), type=Profile)
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"Platform profile {path} is not valid: {error}.") from error
    if not profile.dtypes or not set(profile.dtypes) <= set(FORMATS):
        raise UsageError(f"Platform profile {path} supports no dtype; give at least one of {', '.join(FORMATS)}.")
    return profile
