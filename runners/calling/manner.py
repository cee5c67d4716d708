"""How a platform's profile has builds called, for whoever makes calls of its own: probes, hunts, sweeps."""

from typing import NamedTuple

from golden.calling import Lengths
from golden.case import Head
from golden.profile import Profile
from runners.calling.call import ONE_CORE, Invocation


class Manner(NamedTuple):
    """What every call keeps to.

    ``mask``: of calls by all cores; ``one``: of calls by as few as may be. ``align``: bytes that operands are aligned
    to; ``overread``: bytes that may be read beyond them. ``lengths``: those that calls may have.
    """

    mask: int = 0xFF
    one: int = ONE_CORE
    align: int = 1
    overread: int = 0
    lengths: Lengths = Lengths()

    @classmethod
    def of(cls, profile: Profile) -> "Manner":
        """Return a platform's."""
        masks, calling = profile.masks, profile.calling
        one = min(masks, key=lambda mask: (mask & 0xFFFFFFFF).bit_count(), default=ONE_CORE)
        return cls(profile.full_mask, one, max(profile.alignment, 1), calling.overread, calling.lengths)

    def invocation(self, *, one_core: bool = False) -> Invocation:
        """Return the plainest invocation: operands end at a guard, or as near to it as may be."""
        mask = self.one if one_core else self.mask
        return Invocation(core_mask=mask, align=self.align, overread=self.overread)

    def takes(self, head: Head) -> bool:
        """Tell whether a build is given a case."""
        return self.lengths.takes(int(head.scalars[head.operator.length_name]))
