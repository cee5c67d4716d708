"""The table of defective kernels."""

from tests.mutants import calling, nll, smoothl1, structure
from tests.mutants.variant import Variant

#: Families in the order in which tables list them.
FAMILIES = (
    "operands",
    "signs",
    "branches",
    "constants",
    "scalars",
    "precision",
    "specials",
    "rare values",
    "indices",
    "tails",
    "core partition",
    "memory",
    "reductions",
    "weights",
    "total_weight",
    "state",
    "history",
    "places",
    "contents",
    "rare lengths",
    "crashes and hangs",
)

MUTANTS: list[Variant] = sorted(
    [*smoothl1.MUTANTS, *nll.MUTANTS, *structure.MUTANTS, *calling.MUTANTS], key=lambda m: FAMILIES.index(m.family)
)
