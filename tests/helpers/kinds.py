"""Which operators there are in which dtypes: those of a third one are tested like those of the first two."""

import pytest

from golden.operator import operators

KINDS = [(op.name, dtype) for op in operators().values() for dtype in op.dtypes]
EVERY_KIND = pytest.mark.parametrize(("name", "dtype"), KINDS)
