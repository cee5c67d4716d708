"""Whole input spaces, sampled, called and judged in C or in NumPy, in processes or on a cluster."""
