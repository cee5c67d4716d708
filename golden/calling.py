"""How a platform's calls are made: alignment, lengths, core masks, what may be read beyond operands or lie on another.

The table ``[calling]`` of a profile. Every way of calling a build (validate, hunt, probe, sweep, pytest) keeps to it.
"""

from typing import Annotated, Literal

import msgspec

from golden.document import Document

#: Core masks: every one, those of the first cores, or the one that names every core.
Masks = Literal["any", "prefix", "full"]


class Lengths(msgspec.Struct, Document, frozen=True, forbid_unknown_fields=True):
    """Which lengths a build is given: of what, the operator says (:attr:`golden.operator.Operator.length_name`)."""

    multiple: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)] = 1
    least: Annotated[int, msgspec.Meta(ge=0, le=1 << 16)] = 0

    def takes(self, length: int) -> bool:
        """Tell whether a build is given this length."""
        return length >= self.least and length % self.multiple == 0

    def up(self, length: int) -> int:
        """Return the smallest length, at least one and ``length``, that a build is given."""
        return -(-max(length, self.least, 1) // self.multiple) * self.multiple

    def __str__(self) -> str:
        """Say which they are."""
        words = [f"multiples of {self.multiple}"] if self.multiple > 1 else []
        words += [f"at least {self.least}"] if self.least else []
        return ", ".join(words) or "any"


class Calling(msgspec.Struct, Document, frozen=True, forbid_unknown_fields=True):
    """What calls the platform is given.

    ``alignment``: of operands, in bytes; 0 is the element's own size. ``overread``: bytes that a kernel may read beyond
    the end of an operand; they hold anything, and must not influence a bit. ``aliasing``: pairs "output = input" that
    may lie at one address. ``specials``: "finite" makes cases of NaN and infinity a matter of stress.
    """

    alignment: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0
    overread: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0
    lengths: Lengths = Lengths()
    core_masks: Masks | list[int] = msgspec.field(default="any", name="core-masks")
    aliasing: list[str] = []
    specials: Literal["ieee", "finite"] = "ieee"

    def masks(self, cores: int) -> tuple[int, ...]:
        """Return the core masks that calls are made with, without sign, the one that is judged first; (): any."""
        full = (1 << cores) - 1
        if self.core_masks == "any":
            return ()
        if self.core_masks == "full":
            return (full,)
        if self.core_masks == "prefix":
            return tuple((1 << used) - 1 for used in range(cores, 0, -1))
        return tuple(sorted(dict.fromkeys(self.core_masks), key=lambda mask: (-mask.bit_count(), mask)))

    def told(self) -> str:
        """Return what calls keep to beyond the usual, alignment apart."""
        masks = self.core_masks if isinstance(self.core_masks, str) else ", ".join(f"{m:#x}" for m in self.core_masks)
        words = [f"lengths: {self.lengths}"] if self.lengths != Lengths() else []
        words += [f"core masks: {masks}"] if self.core_masks != "any" else []
        words += [f"up to {self.overread} bytes read beyond operands"] if self.overread else []
        words += [f"in place: {', '.join(self.aliasing)}"] if self.aliasing else []
        return "; ".join(words)

    def aliases(self, output: str) -> list[str]:
        """Return the inputs at whose address an output may lie."""
        pairs = [[name.strip() for name in pair.split("=")] for pair in self.aliasing]
        return [of for name, of in pairs if name == output]
