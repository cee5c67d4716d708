"""Shared libraries as targets, the judge's side: the memory that it alone fills and inspects, and calls in batches."""
