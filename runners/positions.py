"""Same inputs, same bits: at every position of a call, and in longer and shorter calls."""

import numpy as np

from golden.case import Case
from golden.formats import Array, Format

#: Cases up to this many elements are also compared with each other.
_REMEMBERED = 256


def comparable_bits(fmt: Format, output: Array) -> Array:
    """Return the bits of an output with all NaNs alike: their payload may depend on anything."""
    return np.where(np.isnan(output), fmt.bits_dtype.type(fmt.exponent_mask | 1), fmt.bits(output))


class Positions:
    """Remembers what results some inputs gave; one for each entry point."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, bytes], int] = {}

    def differing(self, case: Case, output: Array) -> int | None:
        """Return the index of the first element whose bits differ from those of equal inputs, or None."""
        fmt = case.fmt
        index, inputs = case.operator.element_inputs(fmt, case.scalars, case.operands)
        if len(index) == 0:
            return None
        rows = np.ascontiguousarray(inputs).view(np.dtype((np.void, inputs.itemsize * inputs.shape[1]))).reshape(-1)
        keys, first, which = np.unique(rows, return_index=True, return_inverse=True)
        bits = comparable_bits(fmt, output)[index]
        differ = np.flatnonzero(bits != bits[first][which])
        if differ.size:
            return int(index[differ[0]])
        if len(index) <= _REMEMBERED:
            for key, position in zip(keys.tolist(), first.tolist(), strict=True):
                got = int(bits[position])
                if self._seen.setdefault((self._scope(case), key), got) != got:
                    return int(index[position])
        return None

    def _scope(self, case: Case) -> str:
        """Name what besides the element's own inputs a result depends on."""
        total = case.operands.get("total_weight")
        return case.group if total is None else f"{case.group} {total.tobytes().hex()}"
