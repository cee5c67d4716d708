"""golden: the standard that a kernel build is held to.

Operators, floating-point formats, oracle, judge, platform profiles and the schemas of vector and results
files live here. Nothing in this package starts a process, compiles or writes a report; only
:mod:`golden.cli` may import ``generators``, ``runners`` and ``reports``.
"""

__version__ = "0.2.0"
